//! The host's main thread: engines, mounts, configuration, the operator.
//!
//! Nothing here is on the way of a question. It may take milliseconds (starting an engine) without
//! anybody waiting longer.

mod policy;
mod safety;
mod shrunk;
mod swap;
mod trial;
mod upgrade;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use outrigger_api::control::{EngineAction, EngineState, EngineStatus, Request, Response};
use outrigger_api::coverage::{Coverage, EventCoverage};
use outrigger_api::ledger::Ledger;
use outrigger_api::settings::{HostConfig, Manifest, Need, ProtectMode};
use outrigger_api::{EngineName, EventSet, FailureReason};
use outrigger_decision::EngineIndex;
use outrigger_sensor::bpf::{self, ProcessSensor};
use outrigger_sensor::changes::{self, FileSensor};
use outrigger_sensor::group::{Mask, PERMISSION_MASK};
use outrigger_sensor::page::Reader;
use outrigger_sensor::volumes::Volumes;
use outrigger_sensor::{Group, clock, coverage};
use outrigger_supervisor::{Happening, SandboxLauncher, Supervisor, Token};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::Signal;
use serde_json::json;

use self::policy::{Purpose, Reading};
use self::safety::Repairs;
use self::shrunk::Comparison;
use self::swap::Swap;
use self::trial::Trial;
pub(crate) use self::trial::{Compared, Denied};
use super::boot::Boot;
use super::core::News;
use super::engines::{Link, Presence};
use super::filters::Filters;
use super::installed::{Checked, Trees, Version};
use super::journal::Trouble;
use super::keepsakes::{self, Keepsakes};
use super::machine::{self, Machine};
use super::metrics;
use super::notices::{self, Source};
use super::server::{self, Errand};
use super::shadows;
use super::subscriptions::Granted;
use super::{Host, VolumeFacts, lock, plane, poisoned, status, verdicts};
use crate::keeper;
use crate::shared::{SECOND, hear, signal};

/// How long the first marks wait for engines to dock, ns.
const DOCK_LIMIT: u64 = 5 * SECOND;
/// How long open cases may go on when the host ends by itself, ns.
const DRAIN_LIMIT: u64 = clock::ms(25);
/// How long a disk that was full must have taken everything before it counts as one with room, ns. A
/// short line may fit where a longer one did not.
const ROOM_PAUSE: u64 = 3 * SECOND;
/// Why programs that are not loaded yet do nothing.
const BEING_TRIED: &str = "it is being tried whether this kernel takes the program";
/// Exit code of a host that ends to be started anew with another configuration.
const RESTART: i32 = 75;

/// What other threads leave for the control thread.
#[derive(Debug)]
pub(crate) struct Inbox {
    sender: Mutex<Sender<Message>>,
    receiver: Mutex<Receiver<Message>>,
    wake: OwnedFd,
}

#[derive(Debug)]
enum Message {
    News(News),
    Errand(Errand),
    Policy(policy::Step),
    Swap(swap::Step),
    Trial(trial::Step),
    Denied(Denied),
}

impl Inbox {
    pub(crate) fn new() -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { sender: Mutex::new(sender), receiver: Mutex::new(receiver), wake })
    }

    pub(crate) fn news(&self, news: Vec<News>) {
        if news.is_empty() {
            return;
        }
        let sender = lock(&self.sender);
        // The receiver lives as long as this inbox.
        news.into_iter().for_each(|one| drop(sender.send(Message::News(one))));
        signal(&self.wake);
    }

    pub(crate) fn errand(&self, errand: Errand) {
        drop(lock(&self.sender).send(Message::Errand(errand)));
        signal(&self.wake);
    }

    /// A step of a swap is done that waited for the disk.
    fn swap(&self, step: swap::Step) {
        drop(lock(&self.sender).send(Message::Swap(step)));
        signal(&self.wake);
    }

    /// A step of a trial is done that waited for the disk.
    fn trial(&self, step: trial::Step) {
        drop(lock(&self.sender).send(Message::Trial(step)));
        signal(&self.wake);
    }

    /// An engine that is watched has denied something.
    pub(crate) fn denied(&self, denied: Denied) {
        drop(lock(&self.sender).send(Message::Denied(denied)));
        signal(&self.wake);
    }

    fn take(&self) -> Vec<Message> {
        hear(&self.wake);
        lock(&self.receiver).try_iter().collect()
    }
}

/// Runs the host until it is asked to end; returns its exit code.
pub(crate) fn run(
    host: &Arc<Host>,
    problem: Option<String>,
    engines: Vec<(Version, Option<String>)>,
    boot: Boot,
) -> Result<i32> {
    let mut control = Control::new(host, problem, engines, boot)?;
    control.start()?;
    loop {
        control.wait();
        if let Some(code) = control.turn() {
            host.journal.flush(Duration::from_secs(1));
            if host.recorder.as_ref().is_some_and(|kept| !kept.flush(Duration::from_secs(1))) {
                tracing::warn!("the last decided questions were not recorded in time");
            }
            return Ok(code);
        }
    }
}

struct Control {
    host: Arc<Host>,
    /// This start, and those before.
    boot: Boot,
    repairs: Repairs,
    supervisor: Supervisor,
    /// What runs of each engine.
    manifests: Vec<Manifest>,
    /// As what each engine runs; `None` if there is nothing to run.
    in_force: Vec<Option<Version>>,
    /// What must lie in the slots.
    trees: Trees,
    /// Changes of version that are under way.
    swaps: Vec<Option<Swap>>,
    /// Releases on trial.
    trials: Vec<Option<Trial>>,
    /// It was looked up what was on trial when this host came to decide.
    resumed: bool,
    /// What is wrong with what the administrator decided about releases.
    updates_problem: Option<String>,
    volumes: Volumes,
    /// The folder of policies.
    reading: Reading,
    /// The highest number of a set of rules that was given out.
    generation: u64,
    /// What is wrong with the configuration, if the last good one is in force.
    problem: Option<String>,
    /// Coverage per event, once the trial has ended.
    probed: Arc<OnceLock<Vec<EventCoverage>>>,
    /// The same without the programs at other hooks than the scheduler's, whose trial takes seconds.
    quick: Arc<OnceLock<Vec<EventCoverage>>>,
    /// Coverage, compared with what it was before.
    comparison: Comparison,
    /// Why engines' filters are not in force, if they are not.
    filters_problem: Option<String>,
    /// Those programs were given the rules, once it was known which there are.
    plane_taken: bool,
    /// What each engine gets, or why it cannot work here, once coverage is known.
    granted: Option<Vec<Result<Granted, String>>>,
    /// The sensor of changes to files, if an engine is told of them.
    changes: Option<Arc<Mutex<FileSensor>>>,
    /// Devices of the volumes whose changes are told, or were found not to be.
    watched: Vec<u64>,
    /// Marks are in place and readiness was told.
    marked: bool,
    /// Something was mounted or unmounted since the last look.
    mounts_changed: bool,
    handover: Handover,
    /// The gate's number of starts when last seen.
    gate_starts: u64,
    machine: Machine,
    keepsakes: Keepsakes,
    /// Of which content the memory of poisoned objects is that the host before left.
    poisoned_by: poisoned::Contents,
    /// The kernel is kept, coverage having been probed on it.
    kernel_kept: bool,
    /// When something was last seen not to be written for want of room, ns, while that may go on.
    disk_full: Option<u64>,
    /// When the journal is to try again what it could not write, ns.
    journal_due: u64,
    /// Refused calls and the like, said once per engine and kind on the terminal.
    happenings: Vec<Happening>,
}

/// Where a change of builds stands.
enum Handover {
    None,
    /// This build is new: the old host still answers.
    FromPredecessor {
        said_ready: bool,
    },
    /// This build is old: the new one gets ready.
    ToSuccessor {
        socket: OwnedFd,
        reply: Sender<Response>,
        child: std::process::Child,
    },
}

impl Control {
    fn new(
        host: &Arc<Host>,
        problem: Option<String>,
        engines: Vec<(Version, Option<String>)>,
        boot: Boot,
    ) -> Result<Self> {
        let header = host.page().header();
        let trees = Trees::default();
        engines.iter().for_each(|(version, _)| trees.expect(version));
        let page = host.page();
        let groups = move || page.header().groups().map(|(_, group)| group.number()).collect();
        let launcher = SandboxLauncher::new(groups, PERMISSION_MASK);
        let origin = host.shared.origin.try_clone().context("cannot copy a descriptor")?;
        let keepsakes = Keepsakes::new(&host.config.state_dir);
        let kept = keepsakes.read(keepsakes::POISONED).unwrap_or_default();
        let poisoned_by = poisoned::read(&kept, &host.manifests, &mut lock(&host.core).poison);
        let takes_over =
            host.shared.predecessor.is_some() && header.host_starts.load(Ordering::Acquire) <= 1;
        let launcher = Checked { trees: trees.clone(), launcher };
        let specs = engines.iter().map(|(version, _)| version.spec.clone()).collect();
        let mut supervisor = Supervisor::new(specs, Box::new(launcher));
        for (place, (version, absent)) in engines.iter().enumerate() {
            if let Some(why) = absent {
                tracing::error!("engine {} is not installed: {why}", version.spec.manifest.name);
                supervisor.withhold(place, why);
                if let Some(engine) = lock(&host.core).engines.get_mut(place) {
                    engine.state = Presence::Away(FailureReason::NotDocked);
                }
            }
        }
        let mut happenings = Vec::new();
        safety::keep_off(host, &boot, &mut supervisor, &mut happenings);
        Ok(Self {
            host: Arc::clone(host),
            boot,
            repairs: Repairs::new(&host.config.state_dir),
            supervisor,
            manifests: host.manifests.clone(),
            in_force: engines
                .into_iter()
                .map(|(version, absent)| absent.is_none().then_some(version))
                .collect(),
            trees,
            swaps: host.manifests.iter().map(|_| None).collect(),
            trials: host.manifests.iter().map(|_| None).collect(),
            resumed: false,
            updates_problem: None,
            volumes: Volumes::new(
                host.page(),
                origin,
                Mask::of(host.events()),
                super::looks_at_subjects(&host.manifests),
            ),
            reading: Reading::default(),
            generation: host.policy.generation(),
            problem,
            probed: Arc::default(),
            quick: Arc::default(),
            comparison: Comparison::default(),
            filters_problem: None,
            plane_taken: false,
            granted: None,
            changes: None,
            watched: Vec::new(),
            marked: false,
            mounts_changed: false,
            handover: match takes_over {
                true => Handover::FromPredecessor { said_ready: false },
                false => Handover::None,
            },
            gate_starts: header.gate_starts.load(Ordering::Acquire),
            machine: Machine::default(),
            keepsakes,
            poisoned_by,
            kernel_kept: false,
            disk_full: None,
            journal_due: 0,
            happenings,
        })
    }

    fn start(&mut self) -> Result<()> {
        let host = Arc::clone(&self.host);
        self.tell_start();
        self.ask_by_policy();
        self.read_policies(Purpose::Start);
        // Before an engine is started, which is to ignore them all.
        match host.shared.mounts.read() {
            Ok(mounts) => {
                self.volumes.make_groups(&mounts, &host.config.protect, &ignore_in);
            }
            Err(error) => host.sensor_failed(&error),
        }
        for (index, group) in host.page().header().groups() {
            host.start_reader(index, group)?;
        }
        let verdicts = Arc::clone(&host);
        std::thread::Builder::new()
            .name("verdicts".into())
            .spawn(move || verdicts::run(&verdicts))
            .context("cannot start the thread of verdicts")?;
        let deadlines = Arc::clone(&host);
        std::thread::Builder::new()
            .name("deadlines".into())
            .spawn(move || verdicts::keep_deadlines(&deadlines))
            .context("cannot start the thread of deadlines")?;
        let shadows = Arc::clone(&host);
        std::thread::Builder::new()
            .name("shadows".into())
            .spawn(move || shadows::run(&shadows))
            .context("cannot start the thread of shadows")?;
        let probed = Arc::clone(&self.probed);
        let quick = Arc::clone(&self.quick);
        // Questions are judged from the first one on.
        let begun = host.policy.current().needs_memory().then(|| plane::begin(&host));
        let opening = Arc::clone(&host);
        std::thread::Builder::new()
            .name("trial".into())
            .spawn(move || {
                // Set once, here alone.
                let begun = begun.unwrap_or_else(|| plane::begin(&opening));
                let _ = quick.set(coverage::with_plane(Err(BEING_TRIED.to_owned())));
                let trials = begun.and_then(|()| plane::load(&opening).ok_or_else(String::new));
                let _ = probed.set(coverage::with_plane(trials));
            })
            .context("cannot start the thread of the trial")?;
        if host.page().header().marked.load(Ordering::Acquire) != 0 {
            // The marks of the host before still ask.
            self.refresh_volumes();
        }
        if matches!(self.handover, Handover::None) {
            host.page().header().host_ready.store(1, Ordering::Release);
            self.serve()?;
        }
        Ok(())
    }

    /// Listens to the operator, and to who reads the metrics. Nobody depends on the latter, so that they
    /// cannot be served stops nothing.
    fn serve(&self) -> Result<()> {
        server::serve(&self.host.config.control_socket, Arc::clone(&self.host))?;
        if let Some(path) = &self.host.config.metrics_socket {
            let host = Arc::clone(&self.host);
            if let Err(error) = metrics::serve(path, Arc::new(move || host.metrics())) {
                tracing::error!("{error:#}; the ledger is in `outrigger top` all the same");
            }
        }
        Ok(())
    }

    fn tell_start(&mut self) {
        let header = self.host.page().header();
        let starts = header.host_starts.load(Ordering::Acquire);
        let fallbacks: u64 =
            header.gate_fallbacks.iter().map(|count| count.load(Ordering::Relaxed)).sum();
        let value = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "host_starts": starts,
            "gate_fallbacks": fallbacks,
        });
        self.host.journal.write("host-started", value);
        if starts > 1 {
            tracing::warn!(
                "the host was started again ({starts} starts, {fallbacks} fallbacks by the gate)"
            );
        }
        if let Some(reason) = header.take_host_end() {
            self.host.write_fault(reason, reason.description());
        }
        let kernel = machine::kernel();
        if let Some(before) = self.keepsakes.read(keepsakes::KERNEL)
            && before != kernel
        {
            tracing::warn!("the kernel has changed: coverage is probed again");
            let detail = format!("coverage was last probed on {before}; now on {kernel}");
            self.host.note(FailureReason::KernelChanged, &detail);
        }
        for told in self.boot.take_told() {
            if told.unclean {
                let why = told.value["why"].as_str().unwrap_or_default();
                self.host.note(FailureReason::UncleanBoots, why);
            }
            self.host.journal.write(told.kind, told.value);
        }
        if let Some(problem) = &self.problem {
            tracing::error!("{problem}");
            self.host.journal.write("configuration-refused", json!({ "why": problem }));
        }
    }

    fn wait(&mut self) {
        let host = &self.host;
        let engines = self.supervisor.descriptors();
        let mut polled = vec![
            PollFd::new(&host.shared.signals, PollFlags::IN),
            PollFd::new(&host.shared.keeper, PollFlags::IN),
            PollFd::new(&host.to_control.wake, PollFlags::IN),
            PollFd::new(&host.shared.mounts, PollFlags::PRI),
        ];
        match &self.handover {
            Handover::FromPredecessor { said_ready: true } => {
                if let Some(socket) = &host.shared.predecessor {
                    polled.push(PollFd::new(socket, PollFlags::IN));
                }
            }
            Handover::ToSuccessor { socket, .. } => polled.push(PollFd::new(socket, PollFlags::IN)),
            Handover::None | Handover::FromPredecessor { said_ready: false } => {}
        }
        polled.extend(engines.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)));
        let now = clock::now();
        // Twice a second for what has no descriptor: the gate's restarts, the first marks' limit.
        let until = [self.supervisor.next_wake(), self.trials_due()];
        let until = until.into_iter().flatten().min().unwrap_or(u64::MAX);
        let nanos = until.saturating_sub(now).min(if self.marked { SECOND } else { SECOND / 20 });
        let limit = Timespec {
            tv_sec: i64::try_from(nanos / SECOND).unwrap_or(1),
            tv_nsec: i64::try_from(nanos % SECOND).unwrap_or(0),
        };
        // An interruption is as good as an event.
        let _ = poll(&mut polled, Some(&limit));
        // Told once per change, to whoever polls first.
        let changed = polled[3].revents().intersects(PollFlags::PRI | PollFlags::ERR);
        drop(polled);
        self.mounts_changed |= changed;
    }

    /// Looks at everything once; the exit code if the host ends.
    fn turn(&mut self) -> Option<i32> {
        if is_readable(self.host.shared.keeper.as_fd()) {
            return Some(self.end_without_keeper());
        }
        let (mut stop, mut reload) = (false, false);
        let _ = self.host.shared.signals.read(|signal| {
            stop |= signal.number == Signal::TERM.as_raw().unsigned_abs();
            reload |= signal.number == Signal::HUP.as_raw().unsigned_abs();
        });
        if stop {
            return Some(self.stop());
        }
        self.grant_events();
        self.take_plane();
        self.compare_coverage();
        self.commit_waiting_swaps();
        self.look_after_engines();
        self.look_at_mounts();
        self.look_at_gate();
        self.look_at_machine();
        self.look_at_disk();
        if let Some(code) = self.look_at_safety() {
            return Some(code);
        }
        if let Some(code) = self.look_at_handover() {
            return Some(code);
        }
        if reload {
            self.reload(None);
        }
        for message in self.host.to_control.take() {
            match message {
                Message::News(news) => self.hear(news),
                Message::Errand(errand) => {
                    if let Some(code) = self.errand(errand) {
                        return Some(code);
                    }
                }
                Message::Policy(step) => {
                    if let Some(code) = self.go_on_with_policy(step) {
                        return Some(code);
                    }
                }
                Message::Swap(step) => {
                    if let Some(code) = self.go_on_with_swap(step) {
                        return Some(code);
                    }
                }
                Message::Trial(step) => {
                    if let Some(code) = self.go_on_with_trial(step) {
                        return Some(code);
                    }
                }
                Message::Denied(denied) => self.hear_denied(&denied),
            }
        }
        self.look_at_trials();
        self.act();
        self.place_first_marks();
        None
    }

    // ---- engines ----

    fn look_after_engines(&mut self) {
        let now = clock::now();
        let ready: Vec<Token> = self
            .supervisor
            .descriptors()
            .iter()
            .filter(|(fd, _)| is_readable(*fd))
            .map(|(_, token)| *token)
            .collect();
        for token in ready {
            self.supervisor.ready(token, now, &mut self.happenings);
            // A crash is attributed before the next tick decides what it costs.
            self.act();
        }
        self.supervisor.tick(now, &mut self.happenings);
        self.act();
    }

    fn hear(&mut self, news: News) {
        let now = clock::now();
        match news {
            News::Fault { engine, reason, detail } => {
                self.supervisor.fault(engine.get(), reason, &detail, now, &mut self.happenings);
            }
            News::Misses { engine, count } => {
                self.supervisor.misses(engine.get(), count, now, &mut self.happenings);
                self.missed_on_trial(engine.get(), count);
            }
            News::FormerDone { engine } => {
                self.supervisor.dismiss(engine.get(), now, &mut self.happenings);
            }
            News::Judged { engine, batch } => self.hear_judged(engine.get(), &batch),
            News::ShadowFault { engine, reason, detail } => {
                let place = engine.get();
                self.supervisor.shadow_fault(place, reason, &detail, now, &mut self.happenings);
            }
        }
    }

    /// Carries what happened to engines into the decision path and the journal.
    fn act(&mut self) {
        let happenings = std::mem::take(&mut self.happenings);
        let moved = happenings.iter().any(moves_an_engine);
        for happening in happenings {
            self.act_on(happening);
        }
        if moved {
            self.sync_presence();
        }
    }

    fn act_on(&mut self, happening: Happening) {
        let journal = self.host.journal.clone();
        let name = |place: usize| self.host.manifests[place].name.clone();
        match happening {
            Happening::Starting(place) => {
                journal.write("engine-starting", json!({ "engine": name(place) }));
                self.started_for_trial(place);
            }
            Happening::Docked(place, link) => {
                tracing::info!("engine {} has docked", name(place));
                journal.write("engine-docked", json!({ "engine": name(place) }));
                self.recall_poisoned(place);
                self.dock(place, *link);
            }
            Happening::Lost(place, reason) => {
                self.host.page().header().count_fault(reason);
                tracing::warn!("engine {} is lost: {reason}", name(place));
                journal.write("engine-lost", json!({ "engine": name(place), "reason": reason }));
                self.boot.disturbed();
                self.lose(place, reason);
                let status = self.supervisor.status().into_iter().nth(place);
                let why = status.and_then(|status| status.last_fault);
                self.fault_on_trial(place, reason, why.as_deref().unwrap_or("its process ended"));
            }
            Happening::Fault { engine, reason, detail } => {
                self.host.page().header().count_fault(reason);
                let value = json!({ "engine": name(engine), "reason": reason, "detail": detail });
                journal.write("engine-fault", value);
                self.fault_on_trial(engine, reason, &detail);
            }
            Happening::Waiting { engine, due } => {
                let ms = due.saturating_sub(clock::now()) / 1_000_000;
                let value = json!({ "engine": name(engine), "in_ms": ms });
                journal.write("engine-waits", value);
            }
            Happening::Quarantined(place, why) => {
                tracing::error!("engine {} is in quarantine: {why}", name(place));
                journal.write("engine-quarantined", json!({ "engine": name(place), "why": why }));
                self.gone_on_trial(place, FailureReason::Quarantined, &why);
            }
            Happening::Failed(place, why) => {
                tracing::error!("engine {} cannot dock: {why}", name(place));
                journal.write("engine-failed", json!({ "engine": name(place), "why": why }));
                self.gone_on_trial(place, FailureReason::NotDocked, &why);
            }
            Happening::Released(place) => {
                tracing::info!("engine {} is released", name(place));
                journal.write("engine-released", json!({ "engine": name(place) }));
                self.set_aside(place, false);
                self.forget_poisoned(place);
            }
            Happening::ReplacementReady(place) => self.commit_swap(place),
            Happening::Replaced(place, link) => self.replace(place, *link),
            Happening::ReplaceFailed { engine, reason, why } => {
                self.host.page().header().count_fault(reason);
                tracing::error!("engine {} goes on as it is: {why}", name(engine));
                let value = json!({ "engine": name(engine), "reason": reason, "why": why });
                journal.write("engine-not-replaced", value);
                self.fail_swap(engine, reason, &why);
            }
            Happening::FormerEnded(place) => {
                journal.write("engine-former-ended", json!({ "engine": name(place) }));
                if let Some(index) = EngineIndex::new(place) {
                    lock(&self.host.core).drop_former(index);
                    self.collect_bells();
                }
            }
            Happening::ShadowDocked(place, link) => self.shadow_docked(place, *link),
            Happening::ShadowFailed { engine, reason, why } => {
                self.host.page().header().count_fault(reason);
                tracing::error!("engine {} goes on as it is: in shadow: {why}", name(engine));
                let value = json!({ "engine": name(engine), "reason": reason, "why": why });
                journal.write("engine-shadow-failed", value);
                self.shadow_failed(engine, reason, &why);
            }
            Happening::ContentChanged(place, content) => {
                journal
                    .write("content-loaded", json!({ "engine": name(place), "content": content }));
                self.forget_poisoned(place);
                self.host.new_epoch();
            }
            Happening::ContentRefused(place, why) => {
                let reason = FailureReason::ContentRejected;
                self.host.page().header().count_fault(reason);
                tracing::warn!("engine {} keeps its old content: {why}", name(place));
                let value = json!({ "engine": name(place), "reason": reason, "why": why });
                journal.write("content-refused", value);
            }
            Happening::Log { engine, level, text } => {
                let level = format!("{level:?}").to_lowercase();
                let value = json!({ "engine": name(engine), "level": level, "text": text });
                journal.write("engine-log", value);
            }
            Happening::CallRefused { engine, call, detail } => {
                let value = json!({ "engine": name(engine), "call": call, "detail": detail });
                journal.write("call-refused", value);
            }
        }
    }

    /// Gives every engine what of its events this machine has, once that is known. One that cannot work
    /// with it is taken off the dock.
    fn grant_events(&mut self) {
        if self.granted.is_some() {
            return;
        }
        let found = if self.wants_plane() { &self.probed } else { &self.quick };
        let Some(coverage) = found.get() else { return };
        let of = |manifest| Granted::of(manifest, coverage);
        let granted: Vec<_> = self.host.manifests.iter().map(of).collect();
        let now = clock::now();
        for (place, granted) in granted.iter().enumerate() {
            let name = &self.host.manifests[place].name;
            match granted {
                Ok(granted) => {
                    for what in &granted.degraded {
                        tracing::warn!("engine {name} gets less than it needs: {what}");
                        let value = json!({ "engine": name, "what": what });
                        self.host.journal.write("engine-degraded", value);
                    }
                    if let Some(engine) = lock(&self.host.core).engines.get_mut(place) {
                        engine.grant_events(granted.clone());
                    }
                }
                // What is not installed needs nothing yet.
                Err(_) if self.is_absent(place) => {}
                Err(why) => {
                    self.supervisor.refuse(place, why.clone(), now, &mut self.happenings);
                }
            }
        }
        self.set_filters();
        self.granted = Some(granted);
        // A verdict of the engines as they were before may be another.
        self.host.new_epoch();
        self.act();
        self.start_sensors();
    }

    /// Has what engines do not want left out of what they are told.
    fn set_filters(&mut self) {
        let host = &self.host;
        let told: Vec<EventSet> =
            lock(&host.core).engines.iter().map(|engine| engine.told).collect();
        let engines = host.manifests.iter().zip(told);
        match Filters::new(engines, host.policy.key()) {
            Ok(None) => {}
            Ok(Some(filters)) => {
                // Set once, here alone.
                let _ = host.filters.set(filters);
            }
            Err(why) => {
                let problem = format!("engines are told what their filters leave out: {why}");
                tracing::error!("{problem}");
                self.filters_problem = Some(problem);
            }
        }
    }

    /// Whether an engine wants something that only programs at other hooks than the scheduler's may give.
    fn wants_plane(&self) -> bool {
        let others = plane::told_otherwise();
        let subscriptions = self.host.manifests.iter().flat_map(|manifest| &manifest.events);
        subscriptions.into_iter().any(|one| one.needs == Need::Rule || !others.contains(one.event))
    }

    /// Why the engine cannot work here, if so.
    fn unfit(&self, place: usize) -> Option<String> {
        self.granted.as_ref()?.get(place)?.as_ref().err().cloned()
    }

    /// Starts the sensors that engines want to be told by.
    fn start_sensors(&mut self) {
        let told = lock(&self.host.core)
            .engines
            .iter()
            .fold(EventSet::EMPTY, |told, engine| told.union(engine.told));
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        if !told.intersection(bpf::EVENTS.into_iter().collect()).is_empty() {
            match ProcessSensor::open() {
                Ok(sensor) => sources.push(Box::new(sensor)),
                Err(error) => self.sensor_refused("processes", &error),
            }
        }
        if !told.intersection(changes::EVENTS).is_empty() {
            match FileSensor::open(told) {
                Ok(sensor) => {
                    let sensor = Arc::new(Mutex::new(sensor));
                    self.changes = Some(Arc::clone(&sensor));
                    self.leave_ourselves_out();
                    self.watch_changes();
                    sources.push(Box::new(sensor));
                }
                Err(error) => self.sensor_refused("changes to files", &error),
            }
        }
        if !sources.is_empty()
            && let Err(error) = notices::start(&self.host, sources)
        {
            self.host.sensor_failed(&error);
        }
    }

    /// A sensor that loaded on trial does not: engines that need it are told nothing, and status says so.
    fn sensor_refused(&self, what: &str, error: &dyn std::error::Error) {
        let text = format!("engines are not told of {what}: {error}");
        tracing::error!("{text}");
        self.host.sensor_failures.fetch_add(1, Ordering::Relaxed);
        self.host.note(FailureReason::SensorLost, &text);
    }

    /// What the platform itself does to files is told to nobody.
    fn leave_ourselves_out(&self) {
        let header = self.host.page().header();
        let pids = [&header.keeper_pid, &header.gate_pid].map(|pid| pid.load(Ordering::Acquire));
        let own = [pids[0], pids[1], std::process::id()];
        if let Some(changes) = &self.changes {
            lock(changes).leave_out(&own);
        }
        if let Some(plane) = self.host.plane.get().filter(|plane| plane.is_loaded())
            && let Err(error) = plane.leave_out(&own)
        {
            tracing::error!(%error, "the kernel's programs do not know the platform's own processes");
        }
    }

    /// Has the changes of every volume under protection told, and of no other.
    fn watch_changes(&mut self) {
        let Some(changes) = &self.changes else { return };
        let mut sensor = lock(changes);
        let current: Vec<u64> = self.volumes.iter().map(|volume| volume.device).collect();
        for gone in self.watched.extract_if(.., |device| !current.contains(device)) {
            sensor.unmark(gone);
        }
        for volume in self.volumes.iter() {
            if self.watched.contains(&volume.device) {
                continue;
            }
            let marked =
                self.volumes.open_point(&volume.point).map_err(|error| error.to_string()).and_then(
                    |point| sensor.mark(volume, point.as_fd()).map_err(|error| error.to_string()),
                );
            // It is tried once: what a file system cannot do it cannot do later.
            self.watched.push(volume.device);
            if let Err(why) = marked {
                tracing::warn!("changes on {} are not told: {why}", volume.point.display());
                let value = json!({ "volume": volume.coverage(), "why": why });
                self.host.journal.write("changes-not-told", value);
            }
        }
    }

    fn dock(&mut self, place: usize, link: outrigger_supervisor::Link) {
        let Some(index) = EngineIndex::new(place) else { return };
        if let Some(why) = self.unfit(place) {
            // An operator started it again; the machine is still what it was.
            return self.supervisor.refuse(place, why, clock::now(), &mut self.happenings);
        }
        let outrigger_supervisor::Link { events, verdicts, content } = link;
        // Its first verdicts may differ from what was cached without it.
        self.host.new_epoch();
        let mut wakes = Vec::new();
        {
            let mut core = lock(&self.host.core);
            let link = Link::new(events, verdicts, content);
            core.dock(index, link, clock::now());
            core.take_wakes(&mut wakes);
        }
        self.collect_bells();
        wakes.iter().for_each(outrigger_dock::Waker::wake);
    }

    fn lose(&mut self, place: usize, reason: FailureReason) {
        let Some(index) = EngineIndex::new(place) else { return };
        let mut ended = Vec::new();
        let poisoned = {
            let mut core = lock(&self.host.core);
            let in_hand = core.lose(index, reason, Presence::Coming, clock::now(), &mut ended);
            let blamed = matches!(
                reason,
                FailureReason::EngineCrashed
                    | FailureReason::EngineHung
                    | FailureReason::OutOfMemory
            );
            in_hand
                .filter(|_| blamed)
                .map(|object| (core.poison.note(index, object, reason), object))
        };
        self.host.finish_all(&mut ended);
        self.collect_bells();
        if poisoned.is_some() {
            self.keep_poisoned();
        }
        if let Some((true, object)) = poisoned {
            let name = &self.host.manifests[place].name;
            tracing::warn!(
                "engine {name} is not asked about one file any more: it ended on it twice"
            );
            let value =
                json!({ "engine": name, "file": object.file.to_string(), "reason": reason });
            self.host.journal.write("object-poisoned", value);
            self.supervisor.pardon(place, clock::now());
        }
    }

    /// At an engine's first dock: what an earlier host remembered of it holds if its content is the same.
    fn recall_poisoned(&mut self, place: usize) {
        let Some(before) = self.poisoned_by[place].take() else { return };
        let now = self.supervisor.status().into_iter().nth(place).and_then(|engine| engine.content);
        if now.as_deref() != Some(&*before) {
            self.forget_poisoned(place);
        }
    }

    /// It is asked about everything again: it was released, or judges by other content.
    fn forget_poisoned(&mut self, place: usize) {
        let Some(index) = EngineIndex::new(place) else { return };
        self.poisoned_by[place] = None;
        let forgot = {
            let poison = &mut lock(&self.host.core).poison;
            let any = poison.rows(index).next().is_some();
            poison.forget(index);
            any
        };
        if forgot {
            self.keep_poisoned();
        }
    }

    /// Keeps what engines crashed on for the next host.
    fn keep_poisoned(&mut self) {
        let contents = self
            .supervisor
            .status()
            .into_iter()
            .zip(&self.poisoned_by)
            .map(|(engine, before)| engine.content.or_else(|| before.clone()))
            .collect();
        let manifests = &self.manifests;
        let rows = poisoned::rows(&lock(&self.host.core).poison, manifests.len());
        let text = poisoned::write(rows, manifests, &contents);
        self.keepsakes.keep(keepsakes::POISONED, text, clock::now());
    }

    fn collect_bells(&self) {
        let bells = lock(&self.host.core).doorbells();
        *lock(&self.host.bells) = bells;
        self.host.bells_changed.fetch_add(1, Ordering::AcqRel);
        self.host.show_bells();
        self.host.bell.ring();
    }

    /// Tells the decision path which engines are worth waiting for.
    fn sync_presence(&self) {
        let mut ended = Vec::new();
        for (place, status) in self.supervisor.status().iter().enumerate() {
            let Some(index) = EngineIndex::new(place) else { continue };
            let away = match status.state {
                EngineState::Docked => continue,
                EngineState::Starting => None,
                // The first restart is due at once; one that backs off is not worth a budget.
                EngineState::Restarting if self.comes_soon(place) => None,
                EngineState::Restarting | EngineState::Failed | EngineState::NotInstalled => {
                    Some(FailureReason::NotDocked)
                }
                EngineState::Withheld => Some(self.missing_as(&status.name)),
                EngineState::Quarantined => Some(FailureReason::Quarantined),
            };
            let mut core = lock(&self.host.core);
            match away {
                None => core.expect(index),
                Some(reason) => {
                    let presence = Presence::Away(reason);
                    core.lose(index, reason, presence, clock::now(), &mut ended);
                }
            }
        }
        self.host.finish_all(&mut ended);
        self.collect_bells();
    }

    /// Whether a question may well outlast the wait for the engine's next start. One whose loss is not
    /// judged yet counts as such: the next tick does it.
    fn comes_soon(&self, place: usize) -> bool {
        let due = self.supervisor.start_due(place).unwrap_or(0);
        due.saturating_sub(clock::now()) < self.host.shortest_budget
    }

    // ---- volumes ----

    /// The first marks wait for the engines, so that no file is refused because one still starts.
    fn place_first_marks(&mut self) {
        if self.marked || matches!(self.handover, Handover::FromPredecessor { .. }) {
            return;
        }
        let states = self.supervisor.status();
        let settled = states
            .iter()
            .all(|engine| !matches!(engine.state, EngineState::Starting | EngineState::Restarting));
        let waited = clock::now().saturating_sub(self.host.started);
        let remembers = !self.host.policy.current().needs_memory()
            || self.host.plane.get().is_some()
            || self.probed.get().is_some();
        let known = self.granted.is_some() && self.reading.is_settled() && remembers;
        if !(settled && known) && waited < DOCK_LIMIT {
            return;
        }
        self.refresh_volumes();
        self.marked = true;
        self.remember_configuration();
        let is_first = self.host.page().header().marked.swap(1, Ordering::AcqRel) == 0;
        if let Some(ready) = &self.host.shared.ready
            && is_first
        {
            // The starter may have gone; it is told once, by the first host that comes so far.
            let _ = rustix::io::write(ready, b"ready\n");
            self.host.shared.close_ready();
        }
    }

    fn look_at_mounts(&mut self) {
        if self.marked && std::mem::take(&mut self.mounts_changed) {
            self.refresh_volumes();
        }
    }

    fn refresh_volumes(&mut self) {
        // What was mounted since has propagated into our namespace too. First, so that nothing is asked
        // about there that we open.
        if let Err(error) = keeper::ignore_own_mounts(&self.host.page()) {
            tracing::error!("{error:#}");
        }
        let mounts = match self.host.shared.mounts.read() {
            Ok(mounts) => mounts,
            Err(error) => return self.host.sensor_failed(&error),
        };
        let before: Vec<usize> =
            self.host.page().header().groups().map(|(index, _)| index).collect();
        let changes = self.volumes.refresh(&mounts, &self.host.config.protect, &ignore_in);
        *self.host.volumes.write().unwrap_or_else(std::sync::PoisonError::into_inner) = self
            .volumes
            .iter()
            .map(|volume| {
                let facts = VolumeFacts {
                    cacheable: volume.cacheable && volume.group == Some(0),
                    monitored: volume.mode == ProtectMode::Monitor,
                };
                (volume.device, (facts, volume.point.clone()))
            })
            .collect();
        for volume in &changes.covered {
            self.host.journal.write("volume-covered", json!(volume.coverage()));
        }
        for volume in &changes.uncovered {
            // Where nobody is asked about anything, nothing is lost.
            if !self.host.events().is_empty() {
                self.host.page().header().count_fault(FailureReason::SensorLost);
            }
            let reason = volume.reason.as_deref().unwrap_or("unknown");
            tracing::error!("{} is not covered: {reason}", volume.point.display());
            let name = FailureReason::SensorLost;
            let value = json!({ "reason": name, "volume": volume.coverage() });
            self.host.journal.write("volume-uncovered", value);
        }
        for volume in &changes.left_out {
            self.host.journal.write("volume-left-out", json!(volume.coverage()));
        }
        for volume in &changes.gone {
            self.host.journal.write("volume-gone", json!(volume.coverage()));
        }
        self.watch_changes();
        for (index, group) in self.host.page().header().groups() {
            if !before.contains(&index)
                && let Err(error) = self.host.start_reader(index, group)
            {
                tracing::error!("{error:#}");
            }
        }
    }

    fn coverage(&self) -> Coverage {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let events = self.probed.get().or_else(|| self.quick.get()).cloned().unwrap_or_default();
        let volumes = self.volumes.iter().map(|volume| volume.coverage()).collect();
        Coverage { kernel, events, volumes, shrunk: self.comparison.shrunk().to_vec() }
    }

    // ---- the platform's own processes ----

    fn look_at_gate(&mut self) {
        let starts = self.host.page().header().gate_starts.load(Ordering::Acquire);
        if starts != self.gate_starts {
            tracing::warn!("the gate was started again ({starts} starts)");
            let detail = format!("the gate was started again ({starts} starts)");
            // It may have died more than once since the last look.
            for _ in self.gate_starts..starts {
                self.host.note(FailureReason::GateDead, &detail);
            }
            self.gate_starts = starts;
            self.leave_ourselves_out();
        }
    }

    // ---- the machine ----

    fn look_at_machine(&mut self) {
        for (reason, what) in self.machine.look() {
            tracing::info!("{what}");
            self.host.note(reason, &what);
        }
        if !self.kernel_kept && self.quick.get().is_some() {
            self.kernel_kept = true;
            let kernel = machine::kernel().into_bytes();
            self.keepsakes.keep(keepsakes::KERNEL, kernel, clock::now());
        }
    }

    /// Tries again what could not be written, and tells once that there is no room.
    fn look_at_disk(&mut self) {
        let now = clock::now();
        self.keepsakes.retry(now);
        let journal = self.host.journal.trouble();
        if journal.is_some() && now >= self.journal_due {
            self.journal_due = now.saturating_add(SECOND);
            self.host.journal.retry();
        }
        let kept = self.keepsakes.trouble().map(|(trouble, _)| trouble);
        if [journal, kept].contains(&Some(Trouble::Full)) {
            if self.disk_full.is_none() {
                let folder = self.host.config.state_dir.display();
                self.host.note(FailureReason::DiskFull, &format!("there is no room in {folder}"));
            }
            self.disk_full = Some(now);
        }
        self.disk_full = self.disk_full.filter(|seen| now.saturating_sub(*seen) < ROOM_PAUSE);
    }

    fn end_without_keeper(&mut self) -> i32 {
        let text = "the keeper ended; protection ends with it and the kernel allows what waits";
        tracing::error!("{text}");
        self.host.note(FailureReason::KeeperDead, text);
        self.supervisor.stop_all(clock::now());
        1
    }

    fn stop(&mut self) -> i32 {
        let host = Arc::clone(&self.host);
        self.boot.mark_stopped(clock::now().saturating_sub(host.started));
        for (_, group) in host.page().header().groups() {
            // The keeper does it again, and closing the groups does the same.
            let _ = group.unmark_all_file_systems();
        }
        let end = clock::now() + SECOND;
        while lock(&host.core).in_flight() > 0 && clock::now() < end {
            std::thread::yield_now();
        }
        host.flush_cache();
        self.supervisor.stop_all(clock::now());
        // Nobody connects to a host that is gone.
        let _ = std::fs::remove_file(&host.config.control_socket);
        if let Some(metrics) = &host.config.metrics_socket {
            let _ = std::fs::remove_file(metrics);
        }
        host.journal.write("host-stopped", json!({}));
        0
    }

    // ---- the operator ----

    fn errand(&mut self, errand: Errand) -> Option<i32> {
        let Errand { request, reply } = errand;
        let response = match request {
            Request::Status => Response::Status(Box::new(self.status())),
            Request::Engines => Response::Engines { engines: self.engines() },
            Request::Ledger => {
                let engines = self.engines();
                let ledger = self.host.ledger(engines, &self.supervisor.usage());
                Response::Ledger(Box::new(Ledger {
                    policy: self.policy_status(),
                    plane: self.host.plane.get().map(plane::InKernel::status),
                    shrunk: self.comparison.shrunk().to_vec(),
                    ..ledger
                }))
            }
            Request::Doctor => Response::Doctor(self.coverage()),
            Request::Engine { name, action } => {
                let place = self.host.manifests.iter().position(|manifest| manifest.name == name);
                match place {
                    Some(place) => {
                        let now = clock::now();
                        if action == EngineAction::Quarantine {
                            self.set_aside(place, true);
                        }
                        let done =
                            self.supervisor.command(place, action, now, &mut self.happenings);
                        self.act();
                        match done {
                            Ok(message) => Response::Done { message },
                            Err(error) => Response::Error { message: error.to_string() },
                        }
                    }
                    None => self.no_engine(&name),
                }
            }
            Request::AcceptCoverage => self.accept_coverage(),
            Request::Flush => {
                self.host.new_epoch();
                Response::Done { message: "every cached verdict is dropped".to_owned() }
            }
            Request::Reload => {
                self.reload(Some(reply));
                return None;
            }
            Request::ApplyPolicy => {
                self.read_policies(Purpose::Apply(reply));
                return None;
            }
            Request::Swap { engine } => {
                self.swap(&engine, reply);
                return None;
            }
            Request::Trial { engine, releases, emergency } => {
                self.begin_trial(&engine, releases, emergency, reply);
                return None;
            }
            Request::Trials => Response::Trials { trials: self.list_trials() },
            Request::StopTrial { engine } => {
                self.stop_trial(&engine, reply);
                return None;
            }
            Request::GoBack { engine, part } => {
                self.send_back(&engine, part, reply);
                return None;
            }
            Request::EnterSafeMode { engine } => self.enter_safe_mode_by_hand(engine.as_ref()),
            Request::LeaveSafeMode { engine } => {
                return self.leave_safe_mode_by_hand(engine.as_ref(), &reply);
            }
            Request::Upgrade { binary } => {
                self.upgrade(binary, reply);
                return None;
            }
            Request::Watch | Request::Explain { .. } => {
                Response::Error { message: "answered by the connection itself".to_owned() }
            }
        };
        // A connection that is gone needs no answer.
        let _ = reply.send(response);
        None
    }

    fn no_engine(&self, name: &EngineName) -> Response {
        let known: Vec<&str> = self.host.manifests.iter().map(|m| m.name.as_str()).collect();
        let message = format!(
            "no engine is called {name}; there are: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        );
        Response::Error { message }
    }

    fn status(&self) -> outrigger_api::control::Status {
        let mut problems = self.safety_problems();
        problems.extend(self.problem.iter().cloned());
        problems.extend(self.reading.problem().map(str::to_owned));
        if self.quick.get().is_none() {
            problems.push("coverage is being probed".to_owned());
        }
        if let Some((trouble, why)) = self.keepsakes.trouble() {
            problems.push(status::named(trouble, why));
        } else if self.disk_full.is_some() && self.host.journal.trouble().is_none() {
            let folder = self.host.config.state_dir.display();
            let what = format!("a moment ago there was no room in {folder}");
            problems.push(status::named(Trouble::Full, &what));
        }
        problems.extend(self.trial_problems());
        if !self.marked {
            problems.push("protection begins when the engines have docked".to_owned());
        }
        let coverage = self.coverage();
        problems.extend(self.undecided(&coverage));
        problems.extend(self.shrunk_problem());
        problems.extend(self.filters_problem.iter().cloned());
        problems.extend(self.reading.problems_of_contents());
        let policy = self.policy_status();
        let status = self.host.status(self.engines(), coverage, problems);
        let plane = self.host.plane.get().map(plane::InKernel::status);
        outrigger_api::control::Status { policy, plane, ..status }
    }

    fn engines(&self) -> Vec<EngineStatus> {
        let mut engines = self.supervisor.status();
        self.host.add_figures(&mut engines);
        engines
    }

    /// Reads the configuration again, and the policies. One that is refused changes nothing; a good one is
    /// put in force by a new host: this one ends what is open, and what is asked meanwhile waits for the next.
    fn reload(&mut self, reply: Option<Sender<Response>>) {
        match self.check_configuration() {
            Ok(()) => self.read_policies(Purpose::Reload(reply)),
            Err(message) => {
                if let Some(reply) = reply {
                    // A connection that is gone needs no answer.
                    let _ = reply.send(Response::Error { message });
                }
            }
        }
    }

    fn check_configuration(&self) -> Result<(), String> {
        let checked = HostConfig::read(&self.host.shared.config_path)
            .and_then(|config| config.read_manifests().map(|_| ()));
        checked.map_err(|errors| {
            tracing::error!("the configuration is refused; the old one stays in force:\n{errors}");
            self.host.journal.write("configuration-refused", json!({ "why": errors.to_string() }));
            format!("refused; the old configuration stays in force\n{errors}")
        })
    }

    /// Makes way for a host with the configuration as it is now, if it is still well.
    fn put_configuration_in_force(&mut self, reply: Option<&Sender<Response>>) -> Option<i32> {
        let respond = |response| {
            if let Some(reply) = reply {
                let _ = reply.send(response);
            }
        };
        if let Err(message) = self.check_configuration() {
            respond(Response::Error { message });
            return None;
        }
        self.host.journal.write("configuration-reloaded", json!({}));
        let done = Response::Done { message: "the new configuration is in force".to_owned() };
        Some(self.make_way(|| respond(done)))
    }

    /// Ends this host for another one, which takes what is in force then: this one ends what is open, and what
    /// is asked meanwhile waits for the next.
    fn make_way(&mut self, respond: impl FnOnce()) -> i32 {
        self.boot.mark_made_way();
        self.host.page().header().plan_host_end();
        self.drain();
        respond();
        // Lets the connection's thread write the answer before the process is gone.
        std::thread::sleep(Duration::from_millis(2));
        RESTART
    }

    fn remember_configuration(&mut self) {
        if self.problem.is_some() {
            return;
        }
        match std::fs::read(&self.host.shared.config_path) {
            Ok(text) => self.keepsakes.keep(keepsakes::LAST_GOOD, text, clock::now()),
            Err(error) => tracing::warn!(%error, "cannot read the configuration to keep a copy"),
        }
    }

    /// Stops reading and lets what is open come to its end, within a limit.
    fn drain(&self) {
        let host = &self.host;
        let header = host.page().header();
        header.set_reader(Reader::Draining);
        let end = clock::now() + DRAIN_LIMIT;
        // A reader of a file system that can block may be stuck there; it is not waited for.
        let readers: Vec<_> = host.readers().clone();
        let ordinary = readers.iter().filter(|(index, _)| *index == 0).count() as u64;
        while clock::now() < end {
            let parked = host.parked.load(Ordering::Acquire);
            if parked >= ordinary && lock(&host.core).in_flight() == 0 {
                break;
            }
            readers.iter().for_each(|(_, thread)| thread.interrupt());
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// Lets what this process opens pass unasked in a group that was made just now.
fn ignore_in(group: Group) {
    if let Err(error) = keeper::ignore_own_mounts_in(&[group]) {
        tracing::error!("{error:#}");
    }
}

/// Whether it changes which engines are worth waiting for.
const fn moves_an_engine(happening: &Happening) -> bool {
    match happening {
        Happening::Starting(_)
        | Happening::Docked(..)
        | Happening::Replaced(..)
        | Happening::Lost(..)
        | Happening::Waiting { .. }
        | Happening::Quarantined(..)
        | Happening::Failed(..)
        | Happening::Released(_) => true,
        Happening::Fault { .. }
        | Happening::ReplacementReady(_)
        | Happening::ReplaceFailed { .. }
        | Happening::FormerEnded(_)
        | Happening::ShadowDocked(..)
        | Happening::ShadowFailed { .. }
        | Happening::ContentChanged(..)
        | Happening::ContentRefused(..)
        | Happening::Log { .. }
        | Happening::CallRefused { .. } => false,
    }
}

fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_in_the_inbox_comes_out_in_order() {
        let inbox = Inbox::new().expect("an eventfd can be made");
        let engine = EngineIndex::new(0).expect("zero is a place");

        inbox.news(vec![News::Misses { engine, count: 1 }, News::Misses { engine, count: 2 }]);

        let counts: Vec<u32> = inbox
            .take()
            .into_iter()
            .filter_map(|message| match message {
                Message::News(News::Misses { count, .. }) => Some(count),
                Message::News(
                    News::Fault { .. }
                    | News::FormerDone { .. }
                    | News::Judged { .. }
                    | News::ShadowFault { .. },
                )
                | Message::Errand(_)
                | Message::Policy(_)
                | Message::Swap(_)
                | Message::Trial(_)
                | Message::Denied(_) => None,
            })
            .collect();
        assert_eq!(counts, [1, 2]);
        assert!(inbox.take().is_empty());
    }
}
