//! The host: reads questions, asks engines, answers; starts, feeds and measures engines.
//!
//! Threads: `questions` reads and opens cases ([`reader`]); `verdicts` takes votes and
//! `deadlines` ends what is due (both in [`verdicts`]); the main thread looks after engines, mounts, configuration and the operator
//! ([`control`]); `journal` and the control connections wait for the disk and for people. What questions
//! and verdicts share is one lock ([`core`]).
//!
//! Restartable at any time: everything that a question needs is in the kernel or in the shared page. A
//! host that ends takes its engines with it, and the next one starts them anew.

mod cache;
mod control;
mod core;
mod engines;
mod grants;
mod guard;
mod history;
mod journal;
mod keepsakes;
mod ledger;
mod machine;
mod metrics;
mod reader;
mod request;
mod server;
mod status;
mod verdicts;

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use anyhow::{Context as _, Result};
use outrigger_api::control::Response;
use outrigger_api::settings::{ContentGrant, HostConfig, Manifest};
use outrigger_api::verdict::{Fallback, VerdictBasis};
use outrigger_api::{Answer, Event, EventSet, FailureReason, Mode, ProcessKey};
use outrigger_decision::EngineIndex;
use outrigger_decision::exec_once::ExecOnce;
use outrigger_decision::guard::apply as apply_guard;
use outrigger_decision::policy::{Policies, Policy};
use outrigger_dock::{Doorbell, Waker};
use outrigger_sensor::group::Mask;
use outrigger_sensor::identity::Subjects;
use outrigger_sensor::page::{GROUPS_MAX, Page, Tally};
use outrigger_sensor::process::{Interruptible, close_number};
use outrigger_sensor::{Group, clock, identity};
use serde_json::json;

use self::cache::{Cache, free_and_close};
use self::core::{Core, Finished, Intake};
use self::engines::Engine;
use self::grants::KeyMaterial;
use self::history::{Decider, Entry, History};
use self::journal::Journal;
use self::server::{Desk, Errand};
use crate::shared::Shared;

/// Descriptors kept aside for the host's own files, sockets, engines and connections.
const FIXED_DESCRIPTORS: u32 = 768;

/// Whether any engine looks at the subject, so that questions should come with a handle on it.
pub(crate) fn looks_at_subjects(manifests: &[Manifest]) -> bool {
    manifests
        .iter()
        .any(|manifest| manifest.verdict == VerdictBasis::Subject || manifest.fields.credentials)
}

/// What the reader must know per event.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Some engine looks at the subject.
    wants_subject: bool,
    /// Longest wait, ns.
    budget: u64,
    wants_path: bool,
    wants_credentials: bool,
    may_cache: bool,
    /// Engines that read content, with what they are granted.
    readers: Vec<(EngineIndex, ContentGrant)>,
}

/// What the decision path must know of a volume.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct VolumeFacts {
    cacheable: bool,
}

/// Everything that the host's threads share.
#[derive(Debug)]
pub(crate) struct Host {
    shared: &'static Shared,
    config: HostConfig,
    manifests: Vec<Manifest>,
    facts: Vec<Facts>,
    subjects: Subjects,
    keys: KeyMaterial,
    guard: guard::Guard,
    history: History,
    journal: Journal,
    core: Mutex<Core>,
    cache: Mutex<Cache>,
    /// Descriptor by which each file was leased last; the slot says whether it still is.
    leased: Mutex<HashMap<u64, i32>>,
    execs: Mutex<ExecOnce>,
    volumes: RwLock<BTreeMap<u64, VolumeFacts>>,
    readers: Mutex<Vec<(usize, Interruptible)>>,
    parked: AtomicU64,
    closers: Mutex<Vec<Option<Sender<i32>>>>,
    epoch: AtomicU64,
    bell: Doorbell,
    bells: Mutex<Vec<Doorbell>>,
    bells_changed: AtomicU64,
    bells_seen: AtomicU64,
    verdicts: Mutex<Option<Interruptible>>,
    /// When `deadlines` wakes at the latest, ns; the largest number while it sleeps without an alarm.
    alarm: AtomicU64,
    shortest_budget: u64,
    in_flight_max: u32,
    to_control: control::Inbox,
    sensor_failures: AtomicU64,
    started: u64,
}

/// Runs the host; ends with the process.
pub(crate) fn run(shared: &'static Shared) -> ! {
    let code = match start(shared) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("the host cannot start: {error:#}");
            1
        }
    };
    #[expect(clippy::exit, reason = "a clone must not return into the keeper's stack")]
    std::process::exit(code)
}

fn start(shared: &'static Shared) -> Result<i32> {
    let (config, problem) = effective_config(shared);
    let manifests = config.read_manifests()?;
    let host = Arc::new(Host::new(shared, config, manifests)?);
    host.publish_policy();
    host.close_orphans();
    control::run(&host, problem)
}

/// The configuration file; where it has become unreadable, the last good one.
fn effective_config(shared: &Shared) -> (HostConfig, Option<String>) {
    match HostConfig::read(&shared.config_path) {
        Ok(config) => (config, None),
        Err(errors) => {
            let last_good = shared.config.state_dir.join(keepsakes::LAST_GOOD);
            let config = HostConfig::read(&last_good).unwrap_or_else(|_| shared.config.clone());
            let problem = format!(
                "the configuration is refused and the last good one stays in force:\n{errors}"
            );
            (config, Some(problem))
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here leaves a value half changed when it panics, and release builds abort anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    fn new(shared: &'static Shared, config: HostConfig, manifests: Vec<Manifest>) -> Result<Self> {
        let page = shared.page;
        let header = page.header();
        let group = header.group(0).context("the keeper made no group")?;
        let engines: Vec<Engine> = manifests
            .iter()
            .zip(&config.engines)
            .map(|(manifest, engine)| Engine::new(manifest, engine))
            .collect();
        let limit = u32::try_from(page.len()).unwrap_or(u32::MAX);
        // A question takes two descriptors; half of what is left goes to questions at most.
        let possible = limit.saturating_sub(FIXED_DESCRIPTORS) / 4;
        let in_flight_max = config.in_flight_max.min(possible).max(16);
        let leases = limit.saturating_sub(FIXED_DESCRIPTORS).saturating_sub(2 * in_flight_max);
        let leases = if config.cache.enabled { leases.min(config.cache.max_files) } else { 0 };
        let policies = Policies::new(&config);
        let core = Core::new(engines, policies.clone(), in_flight_max as usize);
        let facts: Vec<Facts> = Event::ALL
            .iter()
            .map(|&event| facts(policies.of(event), &core, event, leases))
            .collect();
        let budgets = facts.iter().map(|facts| facts.budget);
        let names = manifests.iter().map(|manifest| manifest.name.clone()).collect();
        let every = Mask::of(Event::ALL.iter().copied().collect());
        Ok(Self {
            shared,
            subjects: Subjects::probe(),
            keys: KeyMaterial::look_up(shared.origin.as_fd(), &config.state_dir),
            guard: guard::Guard::new(&config, &manifests),
            history: History::new(names),
            journal: Journal::start(&config.state_dir).context("cannot start a thread")?,
            cache: Mutex::new(Cache::new(page, group, every, leases as usize)),
            leased: Mutex::default(),
            execs: Mutex::new(ExecOnce::default()),
            volumes: RwLock::default(),
            readers: Mutex::default(),
            parked: AtomicU64::new(0),
            closers: Mutex::new((0..GROUPS_MAX).map(|_| None).collect()),
            epoch: AtomicU64::new(core.epoch),
            core: Mutex::new(core),
            bell: Doorbell::new().context("cannot make a doorbell")?,
            bells: Mutex::default(),
            bells_changed: AtomicU64::new(1),
            bells_seen: AtomicU64::new(0),
            verdicts: Mutex::default(),
            alarm: AtomicU64::new(0),
            shortest_budget: budgets.min().unwrap_or(clock::ms(50)),
            in_flight_max,
            to_control: control::Inbox::new().context("cannot make an eventfd")?,
            sensor_failures: AtomicU64::new(0),
            started: clock::now(),
            facts,
            manifests,
            config,
        })
    }

    /// Tells the gate what to answer, and by what budget to judge this host.
    fn publish_policy(&self) {
        let header = self.page().header();
        let policies = Policies::new(&self.config);
        for &event in Event::ALL {
            let policy = *policies.of(event);
            let fallback = match policy.mode {
                Mode::Monitor => Fallback::Open,
                Mode::Enforce => policy.fallback,
            };
            header.set_fallback(event, fallback);
        }
        header.budget.store(self.shortest_budget, Ordering::Release);
    }

    fn page(&self) -> Page {
        self.shared.page
    }

    fn facts(&self, event: Event) -> &Facts {
        &self.facts[event.index()]
    }

    /// The events that any engine is asked about.
    fn events(&self) -> EventSet {
        let events = |manifest: &Manifest| -> Vec<Event> {
            manifest.events.iter().map(|subscription| subscription.event).collect()
        };
        self.manifests.iter().flat_map(events).collect()
    }

    fn volume(&self, device: u64) -> VolumeFacts {
        let volumes = self.volumes.read().unwrap_or_else(PoisonError::into_inner);
        volumes.get(&device).copied().unwrap_or_default()
    }

    fn readers(&self) -> MutexGuard<'_, Vec<(usize, Interruptible)>> {
        lock(&self.readers)
    }

    /// A reader has stopped reading, for a handover.
    fn parked(&self, index: usize) {
        // Only the ordinary file systems' reader is waited for, so only it counts.
        if index == 0 {
            self.parked.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Counts and writes down a fault that is no engine's.
    fn note(&self, reason: FailureReason, detail: &str) {
        self.page().header().count_fault(reason);
        self.write_fault(reason, detail);
    }

    /// Writes down a fault that was counted where it was found.
    fn write_fault(&self, reason: FailureReason, detail: &str) {
        self.journal.write("fault", json!({ "reason": reason, "detail": detail }));
    }

    fn sensor_failed(&self, error: &std::io::Error) {
        if self.sensor_failures.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(%error, "a sensor failed");
        }
        self.note(FailureReason::SensorLost, &error.to_string());
        // The descriptor table is full or the kernel out of memory: what helps is fewer leases.
        lock(&self.cache).shrink_to(0);
    }

    /// The answer to an open that follows an exec question about the same file by the same process.
    fn earlier_exec(&self, intake: &Intake, now: u64) -> Option<Answer> {
        if lock(&self.execs).is_empty() {
            return None;
        }
        let open_set = lock(&self.core).subscribed(intake.event);
        lock(&self.execs).take(intake.exec_key(), intake.object.key, open_set, now)
    }

    /// Whether `file` may lease its object: a file that is leased already is not leased twice.
    fn may_lease(&self, file: i32, object: &identity::Object) -> bool {
        /// Names kept before those that are stale are dropped.
        const NAMES_MAX: usize = 1 << 16;
        let name = BuildHasherDefault::<DefaultHasher>::default().hash_one(object.key);
        let page = self.page();
        let is_current = |name: u64, number: i32| {
            number != file && page.slot(number).is_some_and(|slot| slot.leases(name))
        };
        let mut leased = lock(&self.leased);
        if leased.get(&name).is_some_and(|&number| is_current(name, number)) {
            return false;
        }
        if leased.len() >= NAMES_MAX {
            leased.retain(|&name, &mut number| is_current(name, number));
        }
        leased.insert(name, file);
        if let Some(slot) = page.slot(file) {
            slot.name_file(name);
        }
        true
    }

    /// Answers an open by the exec question that it follows. It is that question's second half, so it
    /// has no case of its own.
    fn answer_from_exec(&self, intake: &Intake, answer: Answer) {
        if let Some(group) = self.page().header().group(usize::from(intake.group)) {
            // It fails if the subject was killed meanwhile: then nobody waits.
            let _ = group.answer(intake.file, answer);
        }
        self.close_or_cache(intake, answer, false, 0);
    }

    /// Opens a case for each intake and wakes the engines.
    fn ask(&self, intakes: &mut Vec<Intake>, now: u64, ended: &mut Vec<Finished>) {
        let mut wakes = Vec::new();
        let mut notices = Vec::new();
        let soonest = intakes.iter().map(|intake| intake.deadline).min();
        {
            let mut core = lock(&self.core);
            for intake in intakes.drain(..) {
                core.put(intake, now, ended);
            }
            core.publish();
            core.take_wakes(&mut wakes);
            core.take_notices(&mut notices);
        }
        wakes.iter().for_each(Waker::wake);
        if soonest.is_some_and(|soonest| soonest < self.alarm.load(Ordering::SeqCst)) {
            self.bell.ring();
        }
        self.to_control.notices(notices);
    }

    /// Takes verdicts and deadlines; returns when the next case is due.
    fn collect(&self, now: u64, ended: &mut Vec<Finished>) -> Option<u64> {
        let mut wakes = Vec::new();
        let mut notices = Vec::new();
        let next = {
            let mut core = lock(&self.core);
            core.collect(now, ended);
            core.take_wakes(&mut wakes);
            core.take_notices(&mut notices);
            core.next_deadline()
        };
        wakes.iter().for_each(Waker::wake);
        self.to_control.notices(notices);
        next
    }

    /// Questions read so far.
    fn asked(&self) -> u64 {
        self.page().header().asked.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn next_deadline(&self) -> Option<u64> {
        lock(&self.core).next_deadline()
    }

    fn has_verdicts(&self) -> bool {
        lock(&self.core).has_verdicts()
    }

    fn verdicts_thread(&self, thread: Interruptible) {
        *lock(&self.verdicts) = Some(thread);
    }

    /// Makes the verdict thread see that its doorbells changed. Repeated at every alarm until it has.
    fn show_bells(&self) {
        let changed = self.bells_changed.load(Ordering::Acquire);
        if self.bells_seen.load(Ordering::Acquire) != changed
            && let Some(thread) = *lock(&self.verdicts)
        {
            thread.interrupt();
        }
    }

    /// What the verdict thread sleeps on, if it is not what it was in `generation`.
    fn changed_bells(&self, generation: &mut u64) -> Option<Vec<(Doorbell, u32)>> {
        let current = self.bells_changed.load(Ordering::Acquire);
        if *generation == current {
            return None;
        }
        *generation = current;
        let mut bells = lock(&self.bells).clone();
        if bells.is_empty() {
            // Nobody is docked: there is nothing to hear but the interruption.
            bells.extend(Doorbell::new());
        }
        Some(bells.into_iter().map(|bell| (bell, 0)).collect())
    }

    /// Answers, closes or caches, and records.
    fn finish_all(&self, ended: &mut Vec<Finished>) {
        if ended.is_empty() {
            return;
        }
        self.history.add(ended.drain(..).map(|finished| self.finish(finished)));
    }

    fn finish(&self, finished: Finished) -> Entry {
        let Finished { intake, case, mut decided_by, asked, votes, .. } = finished;
        let header = self.page().header();
        let mut not_enforced = finished.would_deny;
        let guarded = finished.answer == Answer::Deny && self.is_guarded(&intake);
        let (answer, conflict) = apply_guard(finished.answer, guarded);
        if conflict.is_some() {
            (decided_by, not_enforced) = (Decider::GuardRail, true);
            header.add(Tally::Conflicts, 1);
        } else if finished.would_deny && answer == Answer::Allow {
            header.add(Tally::WouldDeny, 1);
        }
        if intake.event == Event::ProcessExec && answer == Answer::Allow {
            lock(&self.execs).remember(
                intake.exec_key(),
                intake.object.key,
                answer,
                asked,
                finished.at,
            );
        }
        // Who asked is looked up while he still waits, where somebody will want to read it.
        let plain = answer == Answer::Allow && decided_by.fallback_reason().is_none();
        let program = if plain { None } else { identity::program(intake.pid) };
        let process = self.subject(&intake, plain);
        let group = header.group(usize::from(intake.group));
        if let Some(group) = group {
            // It fails if the subject was killed meanwhile: then nobody waits.
            let _ = group.answer(intake.file, answer);
        }
        let answered_at = clock::now();
        header.add(if answer == Answer::Allow { Tally::Allowed } else { Tally::Denied }, 1);
        let known_path = self.path_to_keep(&intake, answer, decided_by);
        let cached = self.close_or_cache(&intake, answer, finished.cacheable, finished.epoch);
        let entry = Entry {
            case,
            event: intake.event,
            process,
            pid: intake.pid,
            uid: intake.credentials.map(|credentials| credentials.uid),
            program,
            path: known_path,
            answer,
            decided_by,
            not_enforced,
            read_at: intake.read_at,
            answered_at,
            budget: intake.deadline.saturating_sub(intake.read_at),
            cached,
            votes,
        };
        self.record(&entry);
        entry
    }

    /// Whether the machine needs the object.
    fn is_guarded(&self, intake: &Intake) -> bool {
        let path = intake.path.clone().or_else(|| identity::path(intake.file));
        path.is_some_and(|path| {
            self.guard.covers(self.shared.origin.as_fd(), &path, intake.object.key)
        })
    }

    /// The subject's key, where it is known or worth a look.
    fn subject(&self, intake: &Intake, plain: bool) -> ProcessKey {
        match intake.process {
            Some(process) => process,
            None if plain => Subjects::passing_key(intake.pid),
            None => identity::handle(intake.pid).map_or_else(
                |_| Subjects::passing_key(intake.pid),
                |handle| self.subjects.key(intake.pid, handle.as_fd()),
            ),
        }
    }

    /// A path is worth a look where somebody will read it: denials, fallbacks, watchers.
    fn path_to_keep(&self, intake: &Intake, answer: Answer, by: Decider) -> Option<PathBuf> {
        let plain = answer == Answer::Allow
            && by.fallback_reason().is_none()
            && by != Decider::GuardRail
            && !self.history.is_watched();
        match &intake.path {
            Some(path) => Some(path.clone()),
            None if plain => None,
            None => identity::path(intake.file),
        }
    }

    fn close_or_cache(&self, intake: &Intake, answer: Answer, cacheable: bool, epoch: u64) -> bool {
        if intake.pidfd >= 0 {
            close_number(intake.pidfd);
        }
        if intake.leased && cacheable && answer == Answer::Allow {
            let mut cache = lock(&self.cache);
            let room = cache.max().saturating_sub(1);
            cache.shrink_to(room);
            if epoch == self.epoch.load(Ordering::Acquire) && cache.put(intake.file) {
                if epoch != self.epoch.load(Ordering::Acquire) {
                    // The flush of the new epoch may have passed before this one went in.
                    cache.drop_newest();
                }
                return true;
            }
        }
        let Some(slot) = self.page().slot(intake.file) else { return false };
        if intake.leased {
            outrigger_sensor::lease::release(intake.file);
        }
        if intake.group == 0 {
            free_and_close(slot, intake.file);
        } else {
            self.close_later(usize::from(intake.group), intake.file);
        }
        false
    }

    /// Closing a file of a file system that can block is left to a thread that may hang with it.
    fn close_later(&self, group: usize, file: i32) {
        let closers = lock(&self.closers);
        if let Some(Some(closer)) = closers.get(group) {
            // The closer ends with the process only.
            let _ = closer.send(file);
        }
    }

    /// Writes down what an operator must be able to read afterwards.
    fn record(&self, entry: &Entry) {
        let fallback = entry.decided_by.fallback_reason();
        if let Some(reason) = fallback {
            let counter = &self.page().header().host_fallbacks[reason.index()];
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let kind = match (entry.decided_by, fallback, entry.answer, entry.not_enforced) {
            (Decider::GuardRail, ..) => "conflict",
            (_, Some(_), ..) => "fallback",
            (_, None, Answer::Deny, _) => "denied",
            (_, None, Answer::Allow, true) => "would-deny",
            (_, None, Answer::Allow, false) => return,
        };
        let decision = self.history.describe(entry.clone());
        match serde_json::to_value(&decision) {
            Ok(value) => self.journal.write(kind, value),
            Err(error) => tracing::error!(%error, "a decision cannot be written down"),
        }
    }

    /// A new generation of policy, content or engines: what was cached before is stale.
    fn new_epoch(&self) {
        let epoch = {
            let mut core = lock(&self.core);
            core.epoch += 1;
            core.epoch
        };
        self.epoch.store(epoch, Ordering::Release);
        self.flush_cache();
    }

    /// Drops every file that is cached now. Some at a time: the threads that answer need the cache too,
    /// and a file takes about 3 µs.
    fn flush_cache(&self) {
        const AT_A_TIME: usize = 256;
        let mut left = lock(&self.cache).len();
        while left > 0 {
            let dropped = lock(&self.cache).drop_some(left.min(AT_A_TIME));
            left = if dropped == 0 { 0 } else { left.saturating_sub(dropped) };
        }
    }

    /// Starts the reader of a group, and for file systems that can block a thread that closes.
    fn start_reader(self: &Arc<Self>, index: usize, group: Group) -> Result<()> {
        if index > 0 {
            let (closer, files) = std::sync::mpsc::channel::<i32>();
            let page = self.page();
            std::thread::Builder::new().name(format!("close-{index}")).spawn(move || {
                for file in files {
                    if let Some(slot) = page.slot(file) {
                        free_and_close(slot, file);
                    }
                }
            })?;
            lock(&self.closers)[index] = Some(closer);
        }
        let host = Arc::clone(self);
        let name = if index == 0 { "questions".to_owned() } else { format!("questions-{index}") };
        std::thread::Builder::new().name(name).spawn(move || reader::run(&host, index, group))?;
        Ok(())
    }

    /// Closes what a dead predecessor left open on file systems that can block.
    fn close_orphans(&self) {
        use outrigger_sensor::page::SlotState;
        let orphans: Vec<i32> = self
            .page()
            .used_slots()
            .filter(|(_, slot)| slot.view().state == SlotState::Orphan)
            .map(|(number, _)| number)
            .collect();
        if orphans.is_empty() {
            return;
        }
        let page = self.page();
        // Left alone it may hang for as long as the file system does.
        let _ = std::thread::Builder::new().name("close-orphans".into()).spawn(move || {
            for number in orphans {
                if let Some(slot) = page.slot(number) {
                    free_and_close(slot, number);
                }
            }
        });
    }
}

fn facts(policy: &Policy, core: &Core, event: Event, leases: u32) -> Facts {
    let asked = || {
        core.engines
            .iter()
            .enumerate()
            .filter(|(_, engine)| engine.events.contains(event))
            .filter_map(|(place, engine)| Some((EngineIndex::new(place)?, engine)))
    };
    let readers: Vec<_> = asked()
        .filter(|(_, engine)| engine.reads_content())
        .map(|(index, engine)| (index, engine.grant.clone()))
        .collect();
    let budget = policy.deadline(0, !readers.is_empty());
    Facts {
        budget,
        wants_subject: asked()
            .any(|(_, engine)| engine.basis == VerdictBasis::Subject || engine.fields.credentials),
        wants_path: asked().any(|(_, engine)| engine.fields.path),
        wants_credentials: asked().any(|(_, engine)| engine.fields.credentials),
        may_cache: leases > 0 && core.may_cache(event),
        readers,
    }
}

impl Desk for Host {
    fn hand_in(&self, errand: Errand) {
        self.to_control.errand(errand);
    }

    fn explain(&self, case: u64) -> Response {
        match self.history.find(case) {
            Some(decision) => Response::Decision(Box::new(decision)),
            None => Response::Error {
                message: match self.history.range() {
                    Some((first, last)) => format!(
                        "case {case} is not known; kept are the last ones, {first} to {last} \
                         (denials and fallbacks before them are in the journal, {})",
                        self.config.state_dir.join("journal.jsonl").display()
                    ),
                    None => format!("case {case} is not known; nothing was decided yet"),
                },
            },
        }
    }

    fn watch(&self, each: &mut dyn FnMut(Option<Response>) -> bool) {
        self.history.watch(|watched| {
            each(watched.map(|watched| match watched {
                history::Watched::Decision(decision) => Response::Decision(decision),
                history::Watched::Missed(count) => Response::Missed { count },
            }))
        });
    }
}
