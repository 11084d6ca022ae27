//! The set of all engines.

use std::collections::BTreeSet;
use std::os::fd::BorrowedFd;

use outrigger_api::FailureReason;
use outrigger_api::control::{EngineAction, EngineStatus};
use outrigger_sandbox::Usage;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::engine::{CommandError, Engine, ReplaceError, Source};
use crate::happening::{EngineIndex, EngineSpec, Happening};
use crate::launcher::Launcher;

/// The first user that is given to an engine for which none was configured.
const FIRST_UID: u32 = 61_000;
/// How late the caller may come before that counts as standing still, ns. What a busy machine takes
/// to schedule a thread is far below; time limits of engines are not.
const LATE_NS: u64 = 200_000_000;
/// How long [`Supervisor::stop_all`] waits for engines to end by themselves.
const STOP_LIMIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Owns the lives of all engines.
///
/// Call it from one thread that lasts: an engine's process lives no longer than the thread that
/// started it.
#[derive(Debug)]
pub struct Supervisor {
    engines: Vec<Engine>,
    launcher: Box<dyn Launcher>,
    /// The last time it was told, ns.
    now: u64,
    /// When it wanted to be called next, as of the last tick.
    planned: Option<u64>,
}

/// Names a descriptor of [`Supervisor::descriptors`]. An old one is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    engine: EngineIndex,
    source: Source,
}

impl Supervisor {
    /// A supervisor of `specs`, all of which are due to start at the first ticks.
    pub fn new(specs: Vec<EngineSpec>, launcher: Box<dyn Launcher>) -> Self {
        let uids = assign_uids(&specs);
        let engines = specs.into_iter().zip(uids).enumerate();
        Self {
            engines: engines.map(|(index, (spec, uid))| Engine::new(index, spec, uid)).collect(),
            launcher,
            now: 0,
            planned: None,
        }
    }

    /// What to poll for reading, at most sixteen per engine. Ask again after each call that changes
    /// anything: descriptors come and go with processes.
    pub fn descriptors(&self) -> Vec<(BorrowedFd<'_>, Token)> {
        let of = |(index, engine)| {
            let engine: &Engine = engine;
            let token = move |source| Token { engine: index, source };
            engine.descriptors(self.now).map(move |(fd, source)| (fd, token(source)))
        };
        self.engines.iter().enumerate().flat_map(of).collect()
    }

    /// When [`Supervisor::tick`] is due, ns of `CLOCK_MONOTONIC`; a time that has passed means now.
    /// `None`: only if a descriptor is readable.
    pub fn next_wake(&self) -> Option<u64> {
        self.engines.iter().filter_map(Engine::wake).min()
    }

    /// The descriptor of `token` is readable. What is read of it is bounded.
    pub fn ready(&mut self, token: Token, now: u64, out: &mut Vec<Happening>) {
        self.with(token.engine, now, |engine| engine.ready(token.source, now, out));
    }

    /// Does what is due; starts one engine at most.
    pub fn tick(&mut self, now: u64, out: &mut Vec<Happening>) {
        self.clock(now);
        for engine in &mut self.engines {
            engine.tick(now, out);
        }
        let due =
            self.engines.iter_mut().filter_map(|engine| Some((engine.start_due(now)?, engine)));
        if let Some((_, engine)) = due.min_by_key(|(due, _)| *due) {
            engine.start(&mut *self.launcher, now, out);
        }
        self.planned = self.next_wake();
    }

    /// The host found a fault of `engine`'s: counted; a corrupt ring ends its process; garbage and
    /// foreign answers do past a small number, for good.
    pub fn fault(
        &mut self,
        engine: EngineIndex,
        reason: FailureReason,
        detail: &str,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        self.with(engine, now, |engine| engine.fault(reason, detail, now, out));
    }

    /// `engine` cannot do its work here, for the reason `why`: its process ends, and it is not started
    /// again until an operator does.
    pub fn refuse(&mut self, engine: EngineIndex, why: String, now: u64, out: &mut Vec<Happening>) {
        self.with(engine, now, |engine| engine.refuse(why, now, out));
    }

    /// `engine` has nothing that could be started, for the reason `why`: it is
    /// [`EngineState::NotInstalled`](outrigger_api::control::EngineState::NotInstalled) until something
    /// takes its place. For before the first tick.
    pub fn withhold(&mut self, engine: EngineIndex, why: &str) {
        if let Some(engine) = self.engines.get_mut(engine) {
            engine.withhold(why);
        }
    }

    /// `engine` is not to run, for the reason `why`: its processes end, and it is
    /// [`EngineState::Withheld`](outrigger_api::control::EngineState::Withheld) for as long as this supervisor
    /// lives, whatever an operator asks and whatever is to take its place.
    pub fn keep_off(&mut self, engine: EngineIndex, why: &str, now: u64, out: &mut Vec<Happening>) {
        self.with(engine, now, |engine| engine.keep_off(why, now, out));
    }

    /// Starts a process of another version of `engine` beside the one that runs, as `spec` says. The one that
    /// runs is not touched, whatever becomes of the other: it ends in [`Happening::ReplacementReady`] once
    /// it has docked, or in [`Happening::ReplaceFailed`].
    ///
    /// Both run as the engine's user, each in a sandbox, a control group and namespaces of its own. A second
    /// user would keep them no further apart: neither has a name for the other's processes, memory or
    /// descriptors, every call by which one process acts on another is refused to both, and what they share
    /// on a disk they can only read. What one may use is the engine's limit and not a share of it, so for as
    /// long as both run the engine may use twice its limit and never more: a third process waits until one
    /// of the two is gone.
    ///
    /// # Errors
    ///
    /// [`ReplaceError`]; nothing was started then.
    pub fn replace(
        &mut self,
        engine: EngineIndex,
        spec: EngineSpec,
        now: u64,
    ) -> Result<(), ReplaceError> {
        self.with(engine, now, |engine| engine.replace(spec, now))
            .unwrap_or(Err(ReplaceError::Unknown(engine)))
    }

    /// Puts the process that is ready in `engine`'s place: [`Happening::Replaced`]. The one before it answers
    /// what it has in hand until [`Supervisor::dismiss`], and for `finish` ns at most. False, and nothing
    /// was done, if none is ready.
    pub fn promote(
        &mut self,
        engine: EngineIndex,
        finish: u64,
        now: u64,
        out: &mut Vec<Happening>,
    ) -> bool {
        self.with(engine, now, |engine| engine.promote(finish, now, out)).unwrap_or(false)
    }

    /// Puts another version in `engine`'s place of which no process is ready: the running one is told to stop
    /// at once, and the other is started when it is gone. For a version that must be in force, since that was
    /// written down, and whose process ended meanwhile.
    pub fn restart_as(
        &mut self,
        engine: EngineIndex,
        spec: EngineSpec,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        self.with(engine, now, |engine| engine.restart_as(spec, now, out));
    }

    /// Ends the process that was to take `engine`'s place, if there is one, and tells nothing of it.
    pub fn abandon(&mut self, engine: EngineIndex, now: u64) {
        self.with(engine, now, |engine| engine.abandon(now));
    }

    /// The process that was replaced has answered all that it had in hand, or is not to: it is told to stop.
    pub fn dismiss(&mut self, engine: EngineIndex, now: u64, out: &mut Vec<Happening>) {
        self.with(engine, now, |engine| engine.dismiss(now, out));
    }

    /// Starts a process of another version of `engine` beside the one that decides, as `spec` says:
    /// [`Happening::ShadowDocked`] once it takes copies of questions. It is looked after as an engine is, and ends in
    /// [`Happening::ShadowFailed`] at the first thing that it does wrong, or in silence by
    /// [`Supervisor::end_shadow`]. It runs as the engine's user, confined apart; see [`Supervisor::replace`].
    ///
    /// Nothing that it does or uses counts as the engine's: no fault, no restart, no line over a rate, no
    /// processor time. The engine may be in any state meanwhile, in quarantine too.
    ///
    /// # Errors
    ///
    /// [`ReplaceError`]; nothing was started then.
    pub fn shadow(
        &mut self,
        engine: EngineIndex,
        spec: EngineSpec,
        now: u64,
    ) -> Result<(), ReplaceError> {
        self.with(engine, now, |engine| engine.shadow(spec, now))
            .unwrap_or(Err(ReplaceError::Unknown(engine)))
    }

    /// Ends the process that runs in shadow beside `engine`, if there is one, and tells nothing of it.
    pub fn end_shadow(&mut self, engine: EngineIndex, now: u64) {
        self.with(engine, now, |engine| engine.end_shadow(now));
    }

    /// The host found a fault of the process' that runs in shadow: it is ended, [`Happening::ShadowFailed`].
    pub fn shadow_fault(
        &mut self,
        engine: EngineIndex,
        reason: FailureReason,
        detail: &str,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        self.with(engine, now, |engine| engine.shadow_fault(reason, detail, now, out));
    }

    /// What the process uses that runs in shadow beside `engine`, as [`Supervisor::usage`] tells of engines;
    /// `None` if none runs.
    pub fn shadow_usage(&self, engine: EngineIndex) -> Option<Usage> {
        self.engines.get(engine).and_then(Engine::shadow_usage)
    }

    /// The number of the process that runs in shadow beside `engine`, in the host's pid namespace.
    pub fn shadow_pid(&self, engine: EngineIndex) -> Option<u32> {
        self.engines.get(engine).and_then(Engine::shadow_pid)
    }

    /// `engine` let `count` questions pass their deadline.
    pub fn misses(&mut self, engine: EngineIndex, count: u32, now: u64, out: &mut Vec<Happening>) {
        self.with(engine, now, |engine| engine.missed(count, now, out));
    }

    /// The last loss of `engine` was the fault of an object that it will not be asked about again:
    /// this loss and the one before it, in which the object was first suspected, cost it no restart
    /// and no wait. Call it on [`Happening::Lost`], before the next tick: it does not end a
    /// quarantine.
    pub fn pardon(&mut self, engine: EngineIndex, now: u64) {
        self.with(engine, now, |engine| engine.pardon(now));
    }

    /// Does what an operator wants; what was done, for a person.
    ///
    /// # Errors
    ///
    /// [`CommandError`] with the engine's state if that does not allow it.
    pub fn command(
        &mut self,
        engine: EngineIndex,
        action: EngineAction,
        now: u64,
        out: &mut Vec<Happening>,
    ) -> Result<String, CommandError> {
        self.with(engine, now, |engine| engine.command(action, now, out))
            .unwrap_or(Err(CommandError::Unknown(engine)))
    }

    /// The state of every engine. What goes through the rings and what decision knows (`asked`, the
    /// votes, `latency_ns`, `poisoned_objects`) is left at nothing.
    pub fn status(&self) -> Vec<EngineStatus> {
        self.engines.iter().map(|engine| engine.status(self.now)).collect()
    }

    /// When `engine` is next started, ns of `CLOCK_MONOTONIC`; `None` unless it waits for that.
    pub fn start_due(&self, engine: EngineIndex) -> Option<u64> {
        self.engines.get(engine).and_then(Engine::next_start)
    }

    /// Whether `engine` has answered a Ping that was sent after `since`, so that it was done then with all
    /// that it had read before.
    pub(crate) fn is_quiet(&self, engine: EngineIndex, since: u64) -> bool {
        self.engines.get(engine).is_some_and(|engine| engine.is_quiet(since))
    }

    /// What every engine uses, in the order of [`Supervisor::status`]. Reads a few small files of the
    /// kernel's for each.
    pub fn usage(&self) -> Vec<Usage> {
        self.engines.iter().map(Engine::usage).collect()
    }

    /// Ends all engines, and none is started again. Waits: a moment for those that end when told,
    /// then up to a second for each whose end the kernel delays.
    pub fn stop_all(&mut self, now: u64) {
        for engine in &mut self.engines {
            engine.stop(now);
        }
        self.wait_for_ends();
        // All are killed before one is waited for.
        self.engines.iter_mut().for_each(Engine::kill_remains);
        for engine in &mut self.engines {
            engine.drop_remains();
        }
    }

    /// Waits until every process that was told to stop has ended, or the time for it is over.
    fn wait_for_ends(&mut self) {
        while self.one_has_ended() {
            for engine in &mut self.engines {
                engine.clear_remains(self.now);
            }
        }
    }

    /// Waits for a process to end; false if none is left or none ends in time.
    fn one_has_ended(&self) -> bool {
        let of = |(fd, _)| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut ends: Vec<_> = self.descriptors().into_iter().map(of).collect();
        !ends.is_empty() && matches!(poll(&mut ends, Some(&STOP_LIMIT)), Ok(1..))
    }

    /// Has `engine` do something at `now`.
    fn with<T>(
        &mut self,
        engine: EngineIndex,
        now: u64,
        act: impl FnOnce(&mut Engine) -> T,
    ) -> Option<T> {
        self.clock(now);
        let result = self.engines.get_mut(engine).map(act);
        self.planned = self.next_wake();
        result
    }

    /// Takes `now`, and holds time in which nobody called against no engine.
    fn clock(&mut self, now: u64) {
        let expected = self.planned.map_or(now, |planned| planned.max(self.now));
        let gap = now.saturating_sub(expected);
        if gap > LATE_NS {
            tracing::warn!(ms = gap / 1_000_000, "the supervisor was not called in time");
            self.engines.iter_mut().for_each(|engine| engine.stood_still(gap, now));
        }
        self.now = self.now.max(now);
    }
}

/// A user for each engine, no two the same: the configured one, else one by its place in the list.
fn assign_uids(specs: &[EngineSpec]) -> Vec<u32> {
    let mut taken: BTreeSet<u32> = specs.iter().filter_map(|spec| spec.config.uid).collect();
    let mut free = |wanted: u32| {
        let uid = (wanted..).find(|uid| !taken.contains(uid)).unwrap_or(wanted);
        taken.insert(uid);
        uid
    };
    specs
        .iter()
        .zip(FIRST_UID..)
        .map(|(spec, wanted)| spec.config.uid.unwrap_or_else(|| free(wanted)))
        .collect()
}
