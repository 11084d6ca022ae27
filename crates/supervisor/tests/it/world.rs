//! A supervisor, a clock and engines that the test plays itself: no thread, so no test waits.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use outrigger_api::control::{EngineAction, EngineState, EngineStatus};
use outrigger_api::frame::{self, FRAME_MAX, v1};
use outrigger_api::settings::{
    ContentGrant, EngineConfig, EngineSource, Fields, Limits, Manifest, Need, Subscription,
};
use outrigger_api::verdict::{Mode, VerdictBasis};
use outrigger_api::{Event, FailureReason};
use outrigger_dock::control;
use outrigger_sandbox::{Exit, RefusedCall, Usage};
use outrigger_supervisor::{
    CommandError, EngineSpec, Happening, LaunchError, Launcher, Link, Process, ReplaceError, Start,
    Supervisor,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// ns in a millisecond.
pub(crate) const MS: u64 = 1_000_000;

/// An engine with short budgets: 3 restarts in 60 s, waits of 0, 10, 20 ms, 4 misses in 10 s.
pub(crate) fn spec(name: &str) -> EngineSpec {
    EngineSpec {
        manifest: Manifest {
            name: name.parse().expect("an engine's name"),
            vendor: "Example".to_owned(),
            version: "1.0.0".to_owned(),
            contract: 1..=1,
            verdict: VerdictBasis::Content,
            events: vec![Subscription {
                event: Event::FileOpen,
                needs: Need::Ask,
                degrade_to: None,
            }],
            filters: Vec::new(),
            fields: Fields::default(),
            content: true,
            read: Vec::new(),
            program: "/nowhere".into(),
            arguments: Vec::new(),
            limits: Limits {
                memory_bytes: 64 << 20,
                threads: 4,
                descriptors: 64,
                start_ms: 5000,
                heartbeat_ms: 1000,
                hang_ms: 3000,
            },
            interprets: None,
            folder: "/".into(),
        },
        config: EngineConfig {
            source: EngineSource::Manifest("/engine.toml".into()),
            required: true,
            mode: Mode::Enforce,
            content: ContentGrant::All,
            content_dir: None,
            uid: None,
            misses_max: 4,
            miss_window_ms: 10_000,
            restarts_max: 3,
            restart_window_ms: 60_000,
            backoff_ms: 10,
            backoff_max_ms: 1000,
        },
        events: vec![Event::FileOpen],
    }
}

/// A supervisor and what the test knows of it.
pub(crate) struct World {
    pub(crate) supervisor: Supervisor,
    pub(crate) now: u64,
    /// What happened since it was last asked, one line each.
    told: Vec<String>,
    pub(crate) links: Vec<Link>,
    started: Arc<Mutex<Started>>,
}

#[derive(Debug, Default)]
struct Started {
    engines: VecDeque<Engine>,
    /// So many starts fail.
    failures: u32,
}

impl World {
    pub(crate) fn new(specs: Vec<EngineSpec>) -> Self {
        let started = Arc::new(Mutex::new(Started::default()));
        let launcher = Box::new(FakeLauncher(Arc::clone(&started)));
        Self {
            supervisor: Supervisor::new(specs, launcher),
            now: 1_000_000 * MS,
            told: Vec::new(),
            links: Vec::new(),
            started,
        }
    }

    /// A supervisor of one engine, docked.
    pub(crate) fn docked() -> (Self, Engine) {
        let mut world = Self::new(vec![spec("scanner")]);
        let engine = world.dock();
        world.told();
        (world, engine)
    }

    /// Lets the next starts fail.
    pub(crate) fn fail_starts(&self, count: u32) {
        self.started.lock().expect("one thread").failures = count;
    }

    /// The engine that was started and not taken yet.
    pub(crate) fn started(&mut self) -> Engine {
        self.run();
        self.started.lock().expect("one thread").engines.pop_front().expect("one was started")
    }

    /// Whether an engine was started that was not taken yet.
    pub(crate) fn has_started(&mut self) -> bool {
        self.run();
        !self.started.lock().expect("one thread").engines.is_empty()
    }

    /// Has a process of `spec` started beside the first engine's.
    pub(crate) fn replace(&mut self, spec: EngineSpec) -> Result<(), ReplaceError> {
        self.supervisor.replace(0, spec, self.now)
    }

    /// Has a process of `spec` started in shadow of the first engine.
    pub(crate) fn shadow(&mut self, spec: EngineSpec) -> Result<(), ReplaceError> {
        self.supervisor.shadow(0, spec, self.now)
    }

    pub(crate) fn end_shadow(&mut self) {
        self.supervisor.end_shadow(0, self.now);
    }

    pub(crate) fn shadow_fault(&mut self, reason: FailureReason) {
        let mut out = Vec::new();
        self.supervisor.shadow_fault(0, reason, "seen by the host", self.now, &mut out);
        self.take(out);
    }

    /// Puts the process that is ready in the first engine's place; the other has `finish_ms`.
    pub(crate) fn promote(&mut self, finish_ms: u64) -> bool {
        let mut out = Vec::new();
        let done = self.supervisor.promote(0, finish_ms * MS, self.now, &mut out);
        self.take(out);
        done
    }

    /// The former process has nothing in hand any more.
    pub(crate) fn dismiss(&mut self) {
        let mut out = Vec::new();
        self.supervisor.dismiss(0, self.now, &mut out);
        self.take(out);
    }

    pub(crate) fn restart_as(&mut self, spec: EngineSpec) {
        let mut out = Vec::new();
        self.supervisor.restart_as(0, spec, self.now, &mut out);
        self.take(out);
    }

    /// Docks the engine that was started.
    pub(crate) fn dock(&mut self) -> Engine {
        let engine = self.started();
        self.greet(engine)
    }

    /// Docks `engine`.
    pub(crate) fn greet(&mut self, mut engine: Engine) -> Engine {
        engine.say(engine.hello());
        self.run();
        engine.hear_welcome();
        engine.say(Engine::docked());
        self.run();
        engine
    }

    /// Serves all that is readable and due, until nothing is.
    pub(crate) fn run(&mut self) {
        for _ in 0..1000 {
            self.serve_readable();
            self.tick();
            let due = self.supervisor.next_wake().is_some_and(|at| at <= self.now);
            if !due && self.readable().is_empty() {
                return;
            }
        }
        panic!("the supervisor never comes to rest: {:?}", self.told);
    }

    /// Lets `ms` pass, and serves what is due meanwhile.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms * MS;
        self.run();
        while let Some(at) = self.supervisor.next_wake().filter(|at| *at <= end) {
            self.now = at;
            self.run();
        }
        self.now = end;
        self.run();
    }

    /// One tick.
    pub(crate) fn tick(&mut self) {
        let mut out = Vec::new();
        self.supervisor.tick(self.now, &mut out);
        self.take(out);
    }

    /// Serves every readable descriptor once.
    pub(crate) fn serve_readable(&mut self) {
        for token in self.readable() {
            let mut out = Vec::new();
            self.supervisor.ready(token, self.now, &mut out);
            self.take(out);
        }
    }

    pub(crate) fn fault(&mut self, reason: FailureReason) {
        let mut out = Vec::new();
        self.supervisor.fault(0, reason, "seen by the host", self.now, &mut out);
        self.take(out);
    }

    pub(crate) fn misses(&mut self, count: u32) {
        let mut out = Vec::new();
        self.supervisor.misses(0, count, self.now, &mut out);
        self.take(out);
    }

    pub(crate) fn keep_off(&mut self) {
        let mut out = Vec::new();
        self.supervisor.keep_off(0, "safe mode", self.now, &mut out);
        self.take(out);
        self.run();
    }

    pub(crate) fn command(&mut self, action: EngineAction) -> Result<String, CommandError> {
        let mut out = Vec::new();
        let result = self.supervisor.command(0, action, self.now, &mut out);
        self.take(out);
        result
    }

    /// The status of the first engine.
    pub(crate) fn status(&self) -> EngineStatus {
        self.supervisor.status().swap_remove(0)
    }

    pub(crate) fn state(&self) -> EngineState {
        self.status().state
    }

    /// What happened since this was last asked.
    pub(crate) fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    fn readable(&self) -> Vec<outrigger_supervisor::Token> {
        let all = self.supervisor.descriptors();
        let mut polled: Vec<_> =
            all.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).expect("poll");
        let readable = |fd: &PollFd<'_>| !fd.revents().is_empty();
        polled
            .iter()
            .zip(&all)
            .filter(|(fd, _)| readable(fd))
            .map(|(_, (_, token))| *token)
            .collect()
    }

    fn take(&mut self, out: Vec<Happening>) {
        for happening in out {
            self.told.push(line(&happening));
            if let Happening::Docked(_, link) | Happening::Replaced(_, link) = happening {
                self.links.push(*link);
            }
        }
    }
}

fn line(happening: &Happening) -> String {
    match happening {
        Happening::Starting(engine) => format!("starting {engine}"),
        Happening::Docked(engine, _) => format!("docked {engine}"),
        Happening::Lost(engine, reason) => format!("lost {engine} {reason}"),
        Happening::Fault { engine, reason, .. } => format!("fault {engine} {reason}"),
        Happening::Waiting { engine, .. } => format!("waiting {engine}"),
        Happening::Quarantined(engine, why) => format!("quarantined {engine}: {why}"),
        Happening::Failed(engine, why) => format!("failed {engine}: {why}"),
        Happening::Released(engine) => format!("released {engine}"),
        Happening::ReplacementReady(engine) => format!("ready {engine}"),
        Happening::Replaced(engine, _) => format!("replaced {engine}"),
        Happening::ReplaceFailed { engine, reason, why } => {
            format!("not replaced {engine} {reason}: {why}")
        }
        Happening::FormerEnded(engine) => format!("former ended {engine}"),
        Happening::ShadowDocked(engine, _) => format!("shadow docked {engine}"),
        Happening::ShadowFailed { engine, reason, why } => {
            format!("shadow failed {engine} {reason}: {why}")
        }
        Happening::ContentChanged(engine, content) => format!("content {engine}: {content}"),
        Happening::ContentRefused(engine, why) => format!("content refused {engine}: {why}"),
        Happening::Log { engine, text, .. } => format!("log {engine}: {text}"),
        Happening::CallRefused { engine, call, .. } => format!("call {engine}: {call}"),
    }
}

/// The engine's side: its sockets, and the process that the supervisor believes in.
#[derive(Debug)]
pub(crate) struct Engine {
    control: Option<OwnedFd>,
    pub(crate) content: OwnedFd,
    pub(crate) output: std::fs::File,
    pub(crate) rings: Vec<OwnedFd>,
    pub(crate) uid: u32,
    pub(crate) apart: bool,
    name: String,
    pub(crate) version: String,
    process: Arc<FakeProcess>,
}

impl Engine {
    pub(crate) fn hello(&self) -> v1::to_host::Message {
        v1::to_host::Message::Hello(v1::Hello {
            contract_min: 1,
            contract_max: 1,
            capabilities: Vec::new(),
            sdk: "test".to_owned(),
            engine: self.name.clone(),
            version: self.version.clone(),
        })
    }

    pub(crate) fn docked() -> v1::to_host::Message {
        v1::to_host::Message::Docked(v1::Docked { content: "3 deny".to_owned() })
    }

    pub(crate) fn heartbeat(nonce: u64) -> v1::to_host::Message {
        v1::to_host::Message::Heartbeat(v1::Heartbeat { nonce })
    }

    pub(crate) fn log(text: &str) -> v1::to_host::Message {
        v1::to_host::Message::Log(v1::Log { level: 3, text: text.to_owned() })
    }

    /// Sends `message`.
    pub(crate) fn say(&self, message: v1::to_host::Message) {
        self.send(&frame::encode_to_host(message), &[]).expect("the host reads");
    }

    /// Sends `message`, if the host takes it.
    pub(crate) fn try_say(&self, message: v1::to_host::Message) -> io::Result<()> {
        self.send(&frame::encode_to_host(message), &[])
    }

    /// Sends any bytes and descriptors.
    pub(crate) fn send(&self, packet: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        control::send(self.control.as_ref().expect("open").as_fd(), packet, fds)
    }

    /// Does not wait from now on when it sends.
    pub(crate) fn do_not_wait(&self) {
        rustix::io::ioctl_fionbio(self.control.as_ref().expect("open"), true).expect("ioctl");
    }

    /// The next message from the host, which must be there already.
    pub(crate) fn hear(&mut self) -> v1::to_engine::Message {
        self.do_not_wait();
        let mut packet = [0; FRAME_MAX];
        let control = self.control.as_ref().expect("open").as_fd();
        let received = control::recv(control, &mut packet).expect("the host said something");
        self.rings.extend(received.fds);
        frame::decode_to_engine(&packet[..received.len]).expect("a message of the contract")
    }

    /// Answers the pings that lie in its socket.
    pub(crate) fn answer_pings(&mut self) {
        self.do_not_wait();
        let mut packet = [0; FRAME_MAX];
        while let Some(control) = &self.control
            && let Ok(received) = control::recv(control.as_fd(), &mut packet)
            && let Ok(v1::to_engine::Message::Ping(ping)) =
                frame::decode_to_engine(&packet[..received.len])
        {
            // The host may have ended it meanwhile.
            let _ = self.try_say(Self::heartbeat(ping.nonce));
        }
    }

    pub(crate) fn hear_welcome(&mut self) -> v1::Welcome {
        match self.hear() {
            v1::to_engine::Message::Welcome(welcome) => welcome,
            other => panic!("no Welcome but {other:?}"),
        }
    }

    pub(crate) fn hear_ping(&mut self) -> u64 {
        match self.hear() {
            v1::to_engine::Message::Ping(ping) => ping.nonce,
            other => panic!("no Ping but {other:?}"),
        }
    }

    /// Whether it was taken the right to make anything executable.
    pub(crate) fn may_load_code(&self) -> bool {
        !*self.process.refuses_code.lock().expect("one thread")
    }

    /// Closes the control socket and goes on.
    pub(crate) fn close_control(&mut self) {
        self.control = None;
    }

    pub(crate) fn print(&mut self, text: &str) {
        self.output.write_all(text.as_bytes()).expect("the host reads");
    }

    /// The process ends by itself.
    pub(crate) fn exit(&self, exit: Exit) {
        self.process.end(exit);
    }

    pub(crate) fn crash(&self) {
        self.exit(Exit::Signal(11));
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.process.exit.lock().expect("one thread").is_some()
    }

    /// A signal to end it does nothing until it exits.
    pub(crate) fn survive_kill(&self) {
        *self.process.survives.lock().expect("one thread") = true;
    }

    /// It holds so many descriptors.
    pub(crate) fn hold(&self, descriptors: u64) {
        *self.process.descriptors.lock().expect("one thread") = descriptors;
    }

    /// It is refused another `count` threads.
    pub(crate) fn refuse_threads(&self, count: u64) {
        *self.process.threads.lock().expect("one thread") += count;
    }

    /// It has used so much processor time.
    pub(crate) fn use_cpu(&self, ns: u64) {
        *self.process.cpu.lock().expect("one thread") = Some(ns);
    }

    /// Its sandbox refuses `call`.
    pub(crate) fn call(&self, call: &'static str) {
        let refused = RefusedCall { pid: 1, call: call.into(), detail: None };
        self.process.refused.lock().expect("one thread").push_back(refused);
        rustix::io::write(&self.process.calls, &1_u64.to_ne_bytes()).expect("eventfd");
    }
}

#[derive(Debug)]
struct FakeProcess {
    exit: Mutex<Option<Exit>>,
    survives: Mutex<bool>,
    ended: OwnedFd,
    calls: OwnedFd,
    refused: Mutex<VecDeque<RefusedCall>>,
    descriptors: Mutex<u64>,
    threads: Mutex<u64>,
    cpu: Mutex<Option<u64>>,
    refuses_code: Mutex<bool>,
}

impl FakeProcess {
    fn new() -> Self {
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd");
        Self {
            exit: Mutex::default(),
            survives: Mutex::default(),
            ended: event(),
            calls: event(),
            refused: Mutex::default(),
            descriptors: Mutex::new(9),
            threads: Mutex::default(),
            cpu: Mutex::default(),
            refuses_code: Mutex::default(),
        }
    }

    fn end(&self, exit: Exit) {
        self.exit.lock().expect("one thread").get_or_insert(exit);
        rustix::io::write(&self.ended, &1_u64.to_ne_bytes()).expect("eventfd");
    }
}

#[derive(Debug)]
struct FakeLauncher(Arc<Mutex<Started>>);

impl Launcher for FakeLauncher {
    fn launch(&mut self, start: Start<'_>) -> Result<Box<dyn Process>, LaunchError> {
        let mut started = self.0.lock().expect("one thread");
        if let Some(left) = started.failures.checked_sub(1) {
            started.failures = left;
            return Err(io::Error::other("no such program").into());
        }
        let mut descriptors = start.descriptors.into_iter();
        let process = Arc::new(FakeProcess::new());
        started.engines.push_back(Engine {
            control: descriptors.next(),
            content: descriptors.next().expect("two descriptors"),
            output: start.output.into(),
            rings: Vec::new(),
            uid: start.uid,
            apart: start.apart,
            name: start.spec.manifest.name.as_str().to_owned(),
            version: start.spec.manifest.version.clone(),
            process: Arc::clone(&process),
        });
        Ok(Box::new(Handle(process)))
    }
}

#[derive(Debug)]
struct Handle(Arc<FakeProcess>);

impl Process for Handle {
    fn pid(&self) -> u32 {
        4711
    }

    fn ended(&self) -> BorrowedFd<'_> {
        self.0.ended.as_fd()
    }

    fn exit(&self) -> io::Result<Option<Exit>> {
        Ok(*self.0.exit.lock().expect("one thread"))
    }

    fn kill(&self) {
        if !*self.0.survives.lock().expect("one thread") {
            self.0.end(Exit::Signal(9));
        }
    }

    fn refuse_code(&self) {
        *self.0.refuses_code.lock().expect("one thread") = true;
    }

    fn calls(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.calls.as_fd())
    }

    fn next_call(&self) -> Option<RefusedCall> {
        let mut refused = self.0.refused.lock().expect("one thread");
        let next = refused.pop_front();
        if refused.is_empty() {
            let _ = rustix::io::read(&self.0.calls, &mut [0; 8]);
        }
        next
    }

    fn lost_calls(&self) -> u64 {
        0
    }

    fn descriptors(&self) -> Option<u64> {
        Some(*self.0.descriptors.lock().expect("one thread"))
    }

    fn refused_threads(&self) -> u64 {
        *self.0.threads.lock().expect("one thread")
    }

    fn usage(&self) -> Usage {
        Usage { cpu_ns: *self.0.cpu.lock().expect("one thread"), memory_bytes: None }
    }

    fn sandbox_missing(&self) -> Vec<String> {
        vec!["landlock: missing: a test".to_owned()]
    }
}
