//! A host for tests of engines: docks one, asks it, and listens to what it says.
//!
//! It speaks to the engine exactly as the real host does, over the same sockets and rings, but decides
//! nothing: a test asks a question and looks at the verdict. Nothing here waits longer than
//! [`PATIENCE`].
//!
//! ```
//! # use outrigger_sdk::{Engine, Judgement, Question, Verdict, kit::{Ask, Host}};
//! # struct Doorman;
//! impl Engine for Doorman {
//!     # fn name(&self) -> &str { "doorman" }
//!     # fn version(&self) -> &str { "1" }
//!     // …
//!     fn judge(&mut self, _question: &Question<'_>) -> Judgement {
//!         Judgement::deny("closed")
//!     }
//! }
//!
//! let mut host = Host::dock(Doorman, "/nowhere");
//! let judged = host.judged(Ask::open(b"hello").path("/etc/motd"));
//! assert_eq!(judged, (Verdict::Deny, "closed".to_owned()));
//! ```
//!
//! # Panics
//!
//! Every method, where an engine does not do what an engine must: a test that fails.

mod ask;
mod running;
mod tell;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use outrigger_api::frame::v1::{to_engine, to_host};
use outrigger_api::frame::{CONTRACT, FRAME_MAX, decode_to_host, encode_to_engine};
use outrigger_api::record::EVENT_MAX;
use outrigger_api::{CaseId, Event, Loss, Verdict};
use outrigger_dock::handshake::{CAPABILITIES, Offer, negotiate};
use outrigger_dock::{
    EventWriter, Feed, NOTICE_RING_BYTES, VERDICT_RING_BYTES, VerdictReader, content, control,
    sleep,
};
use rustix::event::{PollFd, PollFlags, Timespec};

use crate::clock;
use crate::engine::Engine;
use crate::run::{Ended, RunError};

pub use ask::Ask;
pub use outrigger_api::frame::v1;
pub use outrigger_api::record::{ContentAbsent, VerdictRecord};
pub use outrigger_dock::Told;
use running::Running;
pub use tell::Tell;

/// Longest wait for anything that an engine must do.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A host with one engine docked. Dropped, it is gone, and the engine ends.
#[derive(Debug)]
pub struct Host {
    control: OwnedFd,
    content: OwnedFd,
    events: Feed,
    verdicts: VerdictReader,
    engine: Running,
    loaded: String,
    case: u64,
    kept: Kept,
}

/// Files that the host keeps open, since to close one may wait for its file system.
#[derive(Debug, Default)]
struct Kept(Vec<OwnedFd>);

impl Drop for Kept {
    fn drop(&mut self) {
        let files = std::mem::take(&mut self.0);
        if !files.is_empty() {
            std::thread::spawn(move || drop(files));
        }
    }
}

impl Host {
    /// Docks `engine`, on a thread of its own.
    pub fn dock(engine: impl Engine + Send + 'static, content_dir: impl Into<PathBuf>) -> Self {
        let content_dir = content_dir.into();
        Self::with(|control, content| Running::thread(control, content, engine, content_dir))
    }

    /// Starts `program` as an engine, and docks it. It is not confined in any way.
    pub fn start(program: &Path, arguments: &[&str]) -> Self {
        Self::with(|control, content| Running::process(control, content, program, arguments))
    }

    fn with(start: impl FnOnce(OwnedFd, OwnedFd) -> Running) -> Self {
        let (control, engine_control) = control::pair().expect("a socket pair");
        let (content, engine_content) = content::pair().expect("a socket pair");
        let (events, event_ring) = EventWriter::create(NOTICE_RING_BYTES).expect("a ring");
        let events = Feed::new(events);
        let (verdicts, verdict_ring) = VerdictReader::create(VERDICT_RING_BYTES).expect("a ring");
        let engine = start(engine_control, engine_content);

        let to_host::Message::Hello(hello) = receive(&control) else {
            panic!("the engine's first message is no Hello");
        };
        let welcome = to_engine::Message::Welcome(welcome(&hello));
        let rings = [event_ring.as_fd(), verdict_ring.as_fd()];
        control::send(control.as_fd(), &encode_to_engine(welcome), &rings).expect("sent");
        let loaded = match receive(&control) {
            to_host::Message::Docked(docked) => docked.content,
            other => panic!("the engine did not dock: {other:?}"),
        };
        Self { control, content, events, verdicts, engine, loaded, case: 0, kept: Kept::default() }
    }

    /// What the engine said of its content when it docked.
    pub fn loaded(&self) -> &str {
        &self.loaded
    }

    /// Asks one question; the case's number.
    pub fn ask(&mut self, ask: Ask) -> CaseId {
        let case = self.queue(ask);
        self.publish();
        case
    }

    /// Asks several questions, of all of which the engine hears at once.
    pub fn ask_all(&mut self, asks: impl IntoIterator<Item = Ask>) -> Vec<CaseId> {
        let cases = asks.into_iter().map(|ask| self.queue(ask)).collect();
        self.publish();
        cases
    }

    /// Asks one question: the verdict on it, and what the engine says of that.
    pub fn judged(&mut self, ask: Ask) -> (Verdict, String) {
        let case = self.ask(ask);
        let verdict = self.verdict();
        assert_eq!(verdict.case, case, "a verdict on another question");
        (verdict.verdict, verdict.detail.as_str().to_owned())
    }

    /// Tells of something that has happened; what became of the notice.
    pub fn tell(&mut self, tell: Tell) -> Told {
        let mut record = [0; EVENT_MAX];
        let event = tell.event;
        let len = tell.write(&mut record);
        let told = self.events.tell(event, &mut record[..len], clock::now());
        self.publish();
        told.expect("the engine keeps its ring in order")
    }

    /// Tells that notices were lost before the host had them.
    pub fn lose(&mut self, loss: Loss) {
        self.events.lose(loss);
        self.settle();
    }

    /// Waits until the engine is told of every loss.
    pub fn settle(&mut self) {
        let deadline = clock::now() + ns(PATIENCE);
        while !self.events.settle(clock::now()).expect("the engine keeps its ring in order") {
            assert!(!clock::passed(deadline), "no room within {PATIENCE:?}");
            std::thread::yield_now();
        }
        self.publish();
    }

    /// The next verdict.
    pub fn verdict(&mut self) -> VerdictRecord {
        let bell = self.verdicts.doorbell();
        let deadline = clock::now() + ns(PATIENCE);
        loop {
            if let Some(bytes) = self.verdicts.pop().expect("the verdict ring is in order") {
                return VerdictRecord::parse(&bytes).expect("the engine writes verdicts");
            }
            assert!(!clock::passed(deadline), "no verdict within {PATIENCE:?}");
            let armed = bell.arm();
            if self.verdicts.is_empty() {
                sleep(&[(bell.clone(), armed)], Some(deadline)).expect("asleep");
            }
            bell.disarm();
        }
    }

    /// Whether a verdict is there that was not taken.
    pub fn has_verdict(&self) -> bool {
        !self.verdicts.is_empty()
    }

    /// Sends the engine a ping, without waiting for the answer.
    pub fn ping(&self, nonce: u64) {
        self.send(to_engine::Message::Ping(v1::Ping { nonce }));
    }

    /// Tells the engine to read its content again, and waits until it has.
    ///
    /// # Errors
    ///
    /// The engine's reason, if it refused the new content.
    pub fn reload(&self) -> Result<String, String> {
        self.send(to_engine::Message::Reload(v1::Reload {}));
        match self.message() {
            to_host::Message::ContentLoaded(loaded) if loaded.refused.is_empty() => {
                Ok(loaded.content)
            }
            to_host::Message::ContentLoaded(loaded) => Err(loaded.refused),
            other => panic!("the engine answered a Reload by {other:?}"),
        }
    }

    /// Tells the engine to stop, and waits until it has.
    ///
    /// # Errors
    ///
    /// The engine's, if it ended by one.
    pub fn stop(self) -> Result<Ended, RunError> {
        self.send(to_engine::Message::Stop(v1::Stop {}));
        self.engine.end()
    }

    /// Goes away without a word, as a host that dies, and waits until the engine has ended.
    ///
    /// # Errors
    ///
    /// The engine's, if it ended by one.
    pub fn vanish(self) -> Result<Ended, RunError> {
        let Self { control, content, engine, .. } = self;
        drop((control, content));
        engine.end()
    }

    /// Sends the engine any message.
    pub fn send(&self, message: to_engine::Message) {
        control::send(self.control.as_fd(), &encode_to_engine(message), &[]).expect("sent");
    }

    /// The engine's next message.
    pub fn message(&self) -> to_host::Message {
        receive(&self.control)
    }

    /// Whether the engine says nothing for as long as `time`.
    pub fn silent_for(&self, time: Duration) -> bool {
        !readable(self.control.as_fd(), time)
    }

    fn queue(&mut self, ask: Ask) -> CaseId {
        self.case += 1;
        let case = CaseId::new(self.case).expect("cases begin at one");
        if let Some(file) = ask.file() {
            content::send(self.content.as_fd(), case, file).expect("room for a descriptor");
        }
        let mut record = [0; EVENT_MAX];
        let mut header = ask.header(case);
        let asked = self.events.ask(&mut header, ask.path_bytes(), &mut record);
        asked.expect("room for a question");
        self.kept.0.extend(ask.into_blocking_file());
        case
    }

    fn publish(&mut self) {
        if self.events.publish() {
            self.events.waker().wake();
        }
    }
}

/// What the real host would answer to the `Hello` of the engine that it expects.
fn welcome(hello: &v1::Hello) -> v1::Welcome {
    let name = hello.engine.parse().expect("the engine has an engine's name");
    let offer = Offer {
        name: &name,
        version: &hello.version,
        contract: CONTRACT,
        capabilities: CAPABILITIES,
        events: Event::ALL,
        event_ring_bytes: NOTICE_RING_BYTES,
        heartbeat_ms: 1000,
    };
    negotiate(hello, &offer).expect("the engine speaks this contract")
}

fn receive(control: &OwnedFd) -> to_host::Message {
    wait_readable(control.as_fd(), "no message");
    let mut packet = [0; FRAME_MAX];
    match control::recv_bare(control.as_fd(), &mut packet) {
        Ok(len) => decode_to_host(&packet[..len]).expect("the engine sends messages"),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => panic!("the engine ended"),
        Err(error) => panic!("{error}"),
    }
}

fn wait_readable(fd: BorrowedFd<'_>, otherwise: &str) {
    assert!(readable(fd, PATIENCE), "{otherwise} within {PATIENCE:?}");
}

/// Whether `fd` becomes readable within `time`.
fn readable(fd: BorrowedFd<'_>, time: Duration) -> bool {
    let time = Timespec::try_from(time).expect("a short time");
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&time)));
    ready.expect("poll works") > 0
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("less than 584 years")
}
