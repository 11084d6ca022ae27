//! Recent decided questions, with what engines need of their objects: what a replay on this machine is fed
//! with.
//!
//! ```text
//! decision, answered ──▶ bounded queue ──▶ thread: left out? known? sum, bytes ──▶ files of state_dir
//!                          full: counted                                          disk: counted
//! ```
//!
//! What the decision path does for it, after the kernel has its answer: one look at the object's path, and
//! where content is kept one more descriptor of the object. The thread wakes for many questions at a time,
//! reads by position through that descriptor, and only on file systems that cannot block; what the host
//! reads so makes no event. A question that a file holds already is not written again, nor read.

mod files;
mod reading;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use outrigger_api::control::Recording;
use outrigger_api::record::ContentAbsent;
use outrigger_api::sample::{Sample, Standing};
use outrigger_api::settings::{HostConfig, RecordContent};
use outrigger_api::{Answer, Event};
use outrigger_sensor::identity::{self, Credentials, Object};
use outrigger_sensor::process::borrow_number;
use outrigger_sensor::recording::{Kept, Redaction};

use self::files::Files;
use self::reading::Objects;
use super::core::Intake;
use super::grants::KeyMaterial;
use super::guard::Guard;
use super::lock;

/// Questions that may wait for the thread.
const WAITING_MAX: usize = 4096;
/// Descriptors of theirs: few beside those that the host keeps aside for itself.
const DESCRIPTORS_MAX: usize = 512;
/// How long the thread lets questions gather: it costs the one who makes them no wake-up meanwhile.
const GATHER: Duration = Duration::from_millis(5);

/// Where decided questions go in.
#[derive(Debug)]
pub(crate) struct Recorder {
    shared: Arc<Shared>,
    with_content: bool,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Queue>,
    filled: Condvar,
    settled: Condvar,
    descriptors: AtomicUsize,
    lost: AtomicU64,
    unread: AtomicU64,
    /// What the thread has to tell, as of its last batch.
    told: Mutex<Recording>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Offer>,
    /// The thread sleeps until somebody wakes it.
    asleep: bool,
    /// What was offered has been written, or counted as not.
    idle: bool,
}

/// One decided question.
#[derive(Debug)]
struct Offer {
    event: Event,
    answer: Answer,
    credentials: Option<Credentials>,
    path: Option<PathBuf>,
    object: Object,
    may_block: bool,
    file: Option<OwnedFd>,
}

impl Recorder {
    /// Starts the thread, if the configuration wants anything kept.
    /// `origin` is the root that paths are looked up from, without being opened.
    pub(crate) fn start(
        config: &HostConfig,
        guard: Guard,
        origin: BorrowedFd<'static>,
    ) -> std::io::Result<Option<Self>> {
        let record = &config.record;
        if !record.enabled {
            return Ok(None);
        }
        let kept = kept(record.content);
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            settled: Condvar::new(),
            descriptors: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            told: Mutex::new(Recording {
                content: kept.name().to_owned(),
                bytes_max: record.bytes_max,
                ..Recording::default()
            }),
        });
        let redaction =
            Redaction { paths: record.redact.clone(), credentials: !record.credentials };
        let writer = Writer {
            shared: Arc::clone(&shared),
            files: Files::new(&config.state_dir, record.bytes_max, kept, &redaction),
            redaction,
            objects: Objects::new(kept, KeyMaterial::look_up(origin, &config.state_dir)),
            guard,
            origin,
        };
        std::thread::Builder::new().name("recording".into()).spawn(move || writer.run())?;
        Ok(Some(Self { shared, with_content: kept != Kept::Nothing }))
    }

    /// Takes in a question that was answered and whose descriptor is still open. Never waits.
    pub(crate) fn offer(&self, intake: &Intake, answer: Answer) {
        let offer = Offer {
            event: intake.event,
            answer,
            credentials: intake.credentials,
            path: intake.path.clone().or_else(|| identity::path(intake.file)),
            object: intake.object,
            may_block: intake.may_block,
            file: self.descriptor(intake),
        };
        let mut queue = lock(&self.shared.queue);
        if queue.waiting.len() >= WAITING_MAX {
            drop(queue);
            self.shared.lost.fetch_add(1, Ordering::Relaxed);
            self.shared.let_go(offer.file.is_some());
            return;
        }
        queue.waiting.push(offer);
        queue.idle = false;
        let wake = std::mem::take(&mut queue.asleep);
        drop(queue);
        if wake {
            self.shared.filled.notify_one();
        }
    }

    /// A descriptor more of the object, where its content is kept and nobody can make a reader wait.
    fn descriptor(&self, intake: &Intake) -> Option<OwnedFd> {
        if !self.with_content || intake.may_block || !intake.object.is_regular() {
            return None;
        }
        if self.shared.descriptors.fetch_add(1, Ordering::Relaxed) >= DESCRIPTORS_MAX {
            self.shared.descriptors.fetch_sub(1, Ordering::Relaxed);
            self.shared.unread.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let number = borrow_number(intake.file);
        let copy = number.and_then(|file| rustix::io::fcntl_dupfd_cloexec(file, 0).ok());
        if copy.is_none() {
            self.shared.unread.fetch_add(1, Ordering::Relaxed);
            self.shared.descriptors.fetch_sub(1, Ordering::Relaxed);
        }
        copy
    }

    /// How it stands.
    pub(crate) fn status(&self) -> Recording {
        let mut status = lock(&self.shared.told).clone();
        status.lost = self.shared.lost.load(Ordering::Relaxed);
        status.unread = self.shared.unread.load(Ordering::Relaxed);
        status
    }

    /// Waits until what was offered so far is written, at most `limit`; whether it is.
    pub(crate) fn flush(&self, limit: Duration) -> bool {
        let queue = lock(&self.shared.queue);
        let busy = |queue: &mut Queue| !queue.idle || !queue.waiting.is_empty();
        let waited = self.shared.settled.wait_timeout_while(queue, limit, busy);
        waited.is_ok_and(|(_, waited)| !waited.timed_out())
    }
}

impl Shared {
    /// A question is gone, and with it the descriptor that it `had`, if it had one.
    fn let_go(&self, had: bool) {
        if had {
            self.descriptors.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Waits for questions, and lets some gather.
    fn next_batch(&self) -> Vec<Offer> {
        let mut queue = lock(&self.queue);
        if queue.waiting.is_empty() {
            queue.idle = true;
            queue.asleep = true;
            self.settled.notify_all();
        }
        while queue.waiting.is_empty() {
            queue = self.wait(queue);
        }
        queue.asleep = false;
        let gathers = |queue: &mut Queue| queue.waiting.len() < WAITING_MAX / 2;
        match self.filled.wait_timeout_while(queue, GATHER, gathers) {
            Ok((mut queue, _)) => std::mem::take(&mut queue.waiting),
            Err(poisoned) => std::mem::take(&mut poisoned.into_inner().0.waiting),
        }
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.filled.wait(queue).unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// The thread's part.
struct Writer {
    shared: Arc<Shared>,
    files: Files,
    redaction: Redaction,
    objects: Objects,
    guard: Guard,
    origin: BorrowedFd<'static>,
}

impl Writer {
    fn run(mut self) {
        loop {
            for offer in self.shared.next_batch() {
                let had_file = offer.file.is_some();
                self.keep(offer);
                self.shared.let_go(had_file);
            }
            self.files.flush();
            self.files.tell(&mut lock(&self.shared.told));
        }
    }

    fn keep(&mut self, mut offer: Offer) {
        if self.files.knows(&offer) {
            return;
        }
        let name = files::name(&offer);
        let standing = Standing { known_good: false, guarded: self.is_guarded(&offer) };
        let mut sample = Sample {
            event: offer.event,
            credentials: offer.credentials.map(|known| (known.uid, known.gid)),
            path: offer.path.clone().map(|path| path.into_os_string().into_vec()),
            attributes: Some((offer.object.size, offer.object.changed)),
            content: Err(ContentAbsent::NotGranted),
            standing,
            answer: Some(offer.answer),
        };
        let left_out = sample.path.as_deref().is_some_and(|path| self.redaction.covers(path));
        let mut bytes = None;
        if !left_out {
            let known = |sha256: &[u8; 32]| self.files.has(sha256);
            (sample.content, bytes) = self.objects.look(&mut offer, self.files.object_max(), known);
        }
        self.redaction.apply(&mut sample);
        self.files.put(name, &sample, bytes.as_deref());
    }

    fn is_guarded(&self, offer: &Offer) -> bool {
        let path = offer.path.as_deref().filter(|_| !offer.may_block);
        path.is_some_and(|path| self.guard.covers(self.origin, path, offer.object.key))
    }
}

/// What the configuration means.
const fn kept(content: RecordContent) -> Kept {
    match content {
        RecordContent::Nothing => Kept::Nothing,
        RecordContent::Sums => Kept::Sums,
        RecordContent::Bytes => Kept::Bytes,
    }
}

#[cfg(test)]
mod tests;
