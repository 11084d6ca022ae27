//! The host: reads questions, asks engines, answers; starts, feeds and measures engines.
//!
//! Threads: `questions` reads and opens cases ([`reader`]); `verdicts` takes votes and `deadlines` ends
//! what is due (both in [`verdicts`]), and each answers what it ended ([`answers`]); `shadows` shows versions on
//! trial what was answered ([`shadows`]); the main thread looks
//! after engines, mounts, configuration and the operator ([`control`]); `journal`, `recording`, the control connections
//! and the metrics wait for the disk and for people. What questions and verdicts share is one lock
//! ([`core`]).
//!
//! Restartable at any time: everything that a question needs is in the kernel or in the shared page. A
//! host that ends takes its engines with it, and the next one starts them anew.

mod answers;
mod boot;
mod cache;
mod control;
mod core;
mod empty;
mod engines;
mod filters;
mod grants;
mod guard;
mod history;
mod impatient;
mod installed;
mod journal;
mod keepsakes;
mod ledger;
mod machine;
mod metrics;
mod notices;
mod plane;
mod poisoned;
mod policy;
mod private;
mod reader;
mod recording;
mod releases;
mod repair;
mod request;
mod server;
mod shadows;
mod shrunk;
mod socket;
mod status;
mod subscriptions;
mod verdicts;

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use anyhow::{Context as _, Result};
use outrigger_api::control::Response;
use outrigger_api::settings::{ContentGrant, HostConfig, Manifest};
use outrigger_api::verdict::{Fallback, VerdictBasis};
use outrigger_api::{Event, EventSet, FailureReason, Mode};
use outrigger_decision::EngineIndex;
use outrigger_decision::exec_once::ExecOnce;
use outrigger_decision::policy::{Policies, Policy};
use outrigger_dock::{Doorbell, Waker};
use outrigger_sensor::group::Mask;
use outrigger_sensor::identity::Subjects;
use outrigger_sensor::page::{GROUPS_MAX, Page};
use outrigger_sensor::process::Interruptible;
use outrigger_sensor::{Group, clock, identity};
use serde_json::json;

use self::boot::Boot;
use self::cache::{Cache, free_and_close};
use self::core::{Core, Finished, Intake};
use self::engines::Engine;
use self::filters::{Filters, Looks};
use self::grants::KeyMaterial;
use self::history::History;
use self::installed::Version;
use self::journal::Journal;
use self::policy::contents::Wanted;
use self::recording::Recorder;
use self::server::{Desk, Errand};
use self::shadows::Shadows;
use self::subscriptions::Granted;
use crate::keeper;
use crate::shared::Shared;

/// Descriptors kept aside for the host's own files, sockets, engines and connections, and what is in shadow.
const FIXED_DESCRIPTORS: u32 = 768 + shadows::HELD_MAX;

/// Whether any engine looks at the subject, so that questions should come with a handle on it.
pub(crate) fn looks_at_subjects<'a>(manifests: impl IntoIterator<Item = &'a Manifest>) -> bool {
    manifests.into_iter().any(|manifest| {
        manifest.verdict == VerdictBasis::Subject
            || manifest.fields.credentials
            || Looks::of([manifest], Event::FileOpen).any
    })
}

/// What the reader must know per event.
#[derive(Debug)]
pub(crate) struct Facts {
    /// Some engine looks at the subject.
    wants_subject: bool,
    /// Longest wait, ns.
    budget: u64,
    /// Some engine is told what became of it.
    told: bool,
    wants_path: bool,
    wants_credentials: bool,
    may_cache: bool,
    /// Engines that read content, with what they are granted.
    readers: Vec<(EngineIndex, ContentGrant)>,
}

impl Facts {
    /// With what filters look at of what engines are told.
    fn looked_at_by(self, looks: Looks) -> Self {
        Self {
            wants_path: self.wants_path || (self.told && looks.path),
            wants_credentials: self.wants_credentials || (self.told && looks.uid),
            ..self
        }
    }
}

/// What the decision path must know of a volume.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct VolumeFacts {
    cacheable: bool,
    /// Nothing is refused on it, but in trees that say otherwise.
    monitored: bool,
}

/// Everything that the host's threads share.
#[derive(Debug)]
pub(crate) struct Host {
    shared: &'static Shared,
    config: HostConfig,
    /// As they were when this host started; what of them can change while it runs is the control thread's.
    manifests: Vec<Manifest>,
    facts: Vec<Facts>,
    subjects: Subjects,
    keys: KeyMaterial,
    guard: guard::Guard,
    history: History,
    /// The rules in force.
    policy: policy::InForce,
    /// The programs in the kernel, once they are loaded.
    plane: OnceLock<plane::InKernel>,
    /// What engines want to be told of what other sensors tell, once it is known what they are told.
    filters: OnceLock<Filters>,
    journal: Journal,
    /// Keeps decided questions, if the configuration wants that.
    recorder: Option<Recorder>,
    core: Mutex<Core>,
    cache: Mutex<Cache>,
    /// Descriptor by which each file was leased last; the slot says whether it still is.
    leased: Mutex<HashMap<u64, i32>>,
    execs: Mutex<ExecOnce>,
    /// By device: what is known of a volume, and where it is mounted.
    volumes: RwLock<BTreeMap<u64, (VolumeFacts, PathBuf)>>,
    readers: Mutex<Vec<(usize, Interruptible)>>,
    parked: AtomicU64,
    closers: Mutex<Vec<Option<Sender<i32>>>>,
    epoch: AtomicU64,
    bell: Doorbell,
    bells: Mutex<Vec<Doorbell>>,
    bells_changed: AtomicU64,
    bells_seen: AtomicU64,
    verdicts: Mutex<Option<Interruptible>>,
    /// The engines whose denials the control thread wants to hear of, a bit each.
    watched: AtomicU64,
    shadows: Shadows,
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
    // What was mounted while there was no host; before anything is opened here.
    keeper::ignore_own_mounts(&shared.page)?;
    let (config, problem) = effective_config(shared);
    // Before an engine of theirs is looked up: it takes back what is not to run any more.
    let boot = Boot::begin(shared, &config);
    let engines = installed_engines(&config)?;
    let manifests = engines.iter().map(|(version, _)| version.spec.manifest.clone()).collect();
    let decides = |version: &&Version| boot.keeps_off(&version.spec.manifest.name).is_none();
    let in_force = engines.iter().filter(|(_, absent)| absent.is_none());
    let in_force = in_force.map(|(version, _)| version).filter(decides);
    let contents: Vec<Wanted> = in_force.filter_map(|version| Wanted::of(version, false)).collect();
    let host = Arc::new(Host::new(shared, config, manifests, &contents)?);
    host.publish_policy();
    host.close_orphans();
    control::run(&host, problem, engines, boot)
}

/// What every engine is to run as, and why one is not to.
fn installed_engines(config: &HostConfig) -> Result<Vec<(Version, Option<String>)>> {
    let manifests = config.read_manifests()?;
    let engines = config.engines.iter().zip(manifests);
    engines
        .map(|(engine, manifest)| installed::at_start(&config.state_dir, engine, manifest))
        .collect()
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
    fn new(
        shared: &'static Shared,
        config: HostConfig,
        manifests: Vec<Manifest>,
        contents: &[Wanted],
    ) -> Result<Self> {
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
        let guard = guard::Guard::new(&config, &manifests);
        let policy = policy::InForce::recall(&config, guard.spare(), contents);
        let mut core = Core::new(engines, policies.clone(), in_flight_max as usize);
        core.rule_names = policy.names.clone();
        let facts: Vec<Facts> = Event::ALL
            .iter()
            .map(|&event| {
                let looks = Looks::of(&manifests, event);
                facts(policies.of(event), &core, event, leases).looked_at_by(looks)
            })
            .collect();
        let budgets = Event::askable().map(|event| facts[event.index()].budget);
        let names = manifests.iter().map(|manifest| manifest.name.clone()).collect();
        let every = Mask::of(Event::askable().collect());
        Ok(Self {
            shared,
            subjects: Subjects::probe(),
            keys: KeyMaterial::look_up(shared.origin.as_fd(), &config.state_dir),
            guard,
            history: History::new(names),
            shadows: Shadows::new(policy.names.clone()).context("cannot make a doorbell")?,
            policy,
            plane: OnceLock::new(),
            filters: OnceLock::new(),
            recorder: Recorder::start(
                &config,
                guard::Guard::new(&config, &manifests),
                shared.origin.as_fd(),
            )
            .context("cannot start a thread")?,
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
            watched: AtomicU64::new(0),
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
        for event in Event::askable() {
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

    /// The events whose questions the kernel is to ask: those that a rule decides, that an engine is asked
    /// about, or told the answer of.
    fn events(&self) -> EventSet {
        let asked = self.manifests.iter().map(|manifest| Granted::in_full(manifest).asked);
        let asked = asked.fold(self.ruled(), EventSet::union);
        let told = Event::askable().filter(|event| self.facts(*event).told);
        asked.union(told.collect())
    }

    /// The askable events that this host judges by rules.
    fn ruled(&self) -> EventSet {
        let set = self.policy.current();
        Event::askable().filter(|event| self.judges(&set, *event)).collect()
    }

    fn volume(&self, device: u64) -> VolumeFacts {
        let volumes = self.volumes.read().unwrap_or_else(PoisonError::into_inner);
        volumes.get(&device).map(|(facts, _)| *facts).unwrap_or_default()
    }

    /// Whether a Deny on the object is enforced where it lies.
    fn refuses(&self, intake: &Intake) -> bool {
        let protect = &self.config.protect;
        let known = {
            let volumes = self.volumes.read().unwrap_or_else(PoisonError::into_inner);
            volumes.get(&intake.object.device).cloned()
        };
        let Some((facts, point)) = known else { return true };
        let volume = if facts.monitored { Mode::Monitor } else { Mode::Enforce };
        if !protect.differs_within(&point) {
            return volume == Mode::Enforce;
        }
        // As with the guard rails: the path is a claim, until it leads to the same file from our root. On
        // a file system that can block nobody looks.
        let look = || intake.path.clone().or_else(|| identity::path(intake.file));
        let path = (!intake.may_block).then(look).flatten();
        let origin = self.shared.origin.as_fd();
        let path = path.filter(|path| grants::key_of(origin, path) == Some(intake.object.key));
        protect.refuses(&point, volume, path.as_deref())
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

    /// Opens a case for each intake and wakes the engines.
    fn ask(&self, intakes: &mut Vec<Intake>, now: u64, ended: &mut Vec<Finished>) {
        let mut wakes = Vec::new();
        let mut news = Vec::new();
        let soonest = intakes.iter().map(|intake| intake.deadline).min();
        {
            let mut core = lock(&self.core);
            for intake in intakes.drain(..) {
                core.put(intake, now, ended);
            }
            core.publish();
            core.take_wakes(&mut wakes);
            core.take_news(&mut news);
        }
        wakes.iter().for_each(Waker::wake);
        if soonest.is_some_and(|soonest| soonest < self.alarm.load(Ordering::SeqCst)) {
            self.bell.ring();
        }
        self.to_control.news(news);
    }

    /// Takes verdicts and deadlines; returns when the next case is due.
    fn collect(&self, now: u64, ended: &mut Vec<Finished>) -> Option<u64> {
        let mut wakes = Vec::new();
        let mut news = Vec::new();
        let next = {
            let mut core = lock(&self.core);
            core.collect(now, ended);
            core.take_wakes(&mut wakes);
            core.take_news(&mut news);
            core.next_deadline()
        };
        wakes.iter().for_each(Waker::wake);
        self.to_control.news(news);
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

    /// A new generation of policy, content or engines: what was cached before is stale.
    fn new_epoch(&self) {
        let epoch = {
            let mut core = lock(&self.core);
            core.epoch += 1;
            core.epoch
        };
        self.enter_epoch(epoch);
    }

    /// Forgets what was decided before `epoch`, which the core is in.
    fn enter_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
        lock(&self.execs).clear();
        self.flush_cache();
    }

    /// The longest that a question waits, ns.
    fn longest_budget(&self) -> u64 {
        let budgets = Event::askable().map(|event| self.facts(event).budget);
        budgets.max().unwrap_or(self.shortest_budget)
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
        std::thread::Builder::new()
            .name(name)
            .spawn(move || reader::run(&host, index, group))
            .context("cannot start a reader's thread")?;
        Ok(())
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
    // An exec is told of by another sensor, which sees that it succeeded.
    let told = || {
        let is_told = |engine: &&Engine| engine.told.contains(event);
        core.engines.iter().filter(is_told).filter(|_| event == Event::FileOpen)
    };
    let readers: Vec<_> = asked()
        .filter(|(_, engine)| engine.reads_content())
        .map(|(index, engine)| (index, engine.grant.clone()))
        .collect();
    let budget = policy.deadline(0, !readers.is_empty());
    Facts {
        budget,
        wants_subject: told().next().is_some()
            || asked().any(|(_, engine)| {
                engine.basis == VerdictBasis::Subject || engine.fields.credentials
            }),
        told: told().next().is_some(),
        wants_path: asked().any(|(_, engine)| engine.fields.path)
            || told().any(|engine| engine.fields.path),
        wants_credentials: asked().any(|(_, engine)| engine.fields.credentials)
            || told().any(|engine| engine.fields.credentials),
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
