//! The programs in the kernel that see what happens, and decide it by rules: the host's hold on them.
//!
//! They are loaded once per host, by a thread that may take its time, and attached as far as rules or
//! engines want their events. The rules that they evaluate are the host's own image, put there before
//! the host itself judges by it. What they say goes the way of every notice ([`super::notices`]).

use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use outrigger_api::control::{PlaneCounts, PlaneStatus};
use outrigger_api::reason::chain;
use outrigger_api::{Event, EventSet, FileKey, Lost, Verdict};
use outrigger_decision::rules::{Effect, Lineage};
use outrigger_sensor::bpf;
use outrigger_sensor::changes;
use outrigger_sensor::identity;
use outrigger_sensor::notice::{Notice, RuleOutcome, Seen};
use outrigger_sensor::page::Tally;
use outrigger_sensor::plane::{Plane, Remembered, Settings, Trial};
use serde_json::json;

use super::control::{Compared, Denied};
use super::filters::Looks;
use super::notices::{self, Source};
use super::policy::contents::Kind;
use super::policy::{Identity, Named, RuleSet};
use super::{Host, lock};

/// The programs, loaded.
#[derive(Debug)]
pub(crate) struct InKernel {
    plane: Arc<Mutex<Plane>>,
    remembered: Remembered,
    /// What they can tell of and no other sensor does, and what rules decide in them; once they are loaded.
    found: OnceLock<(EventSet, EventSet)>,
    /// What is wanted of them now: told, ruled.
    wanted: Mutex<(EventSet, EventSet)>,
    /// Somebody takes what they say.
    heard: AtomicBool,
    /// Of the set that they decide by.
    generation: AtomicU64,
    counts: Mutex<Counts>,
}

/// What they said.
#[derive(Debug, Default)]
struct Counts {
    events: BTreeMap<Event, PlaneCounts>,
    /// Notices that were lost, of whatever event.
    lost: u64,
}

/// Has the kernel remember processes from now on.
///
/// # Errors
///
/// Why it cannot, in a sentence.
pub(crate) fn begin(host: &Host) -> Result<(), String> {
    let header = host.page().header();
    let companions = [&header.keeper_pid, &header.gate_pid].map(|pid| pid.load(Ordering::Acquire));
    let settings = Settings {
        lineage_key: host.policy.key().0,
        own: vec![companions[0], companions[1], std::process::id()],
        ..Settings::default()
    };
    let plane = Plane::begin(&settings).map_err(|error| chain(&error))?;
    let remembered = plane.remembered().map_err(|error| error.to_string())?;
    let in_kernel = InKernel {
        plane: Arc::new(Mutex::new(plane)),
        remembered,
        found: OnceLock::new(),
        wanted: Mutex::default(),
        heard: AtomicBool::new(false),
        generation: AtomicU64::new(0),
        counts: Mutex::default(),
    };
    // Begun once; another's would be as good.
    let _ = host.plane.set(in_kernel);
    Ok(())
}

/// Loads the rest of the programs, which takes seconds, and says what was found for each event.
pub(crate) fn load(host: &Host) -> Option<Vec<Trial>> {
    let in_kernel = host.plane.get()?;
    let trials = {
        let mut plane = lock(&in_kernel.plane);
        plane.load();
        plane.trials().to_vec()
    };
    let found = |holds: fn(&Trial) -> bool| -> EventSet {
        trials.iter().filter(|trial| holds(trial)).map(|trial| trial.event).collect()
    };
    let told = found(|trial| trial.told.is_ok()).difference(told_otherwise());
    // Set once, here alone.
    let _ = in_kernel.found.set((told, found(|trial| trial.ruled.is_ok())));
    Some(trials)
}

/// The events that other sensors tell of.
pub(crate) fn told_otherwise() -> EventSet {
    let others: EventSet = bpf::EVENTS.into_iter().chain(Event::askable()).collect();
    others.union(changes::EVENTS)
}

impl InKernel {
    /// The events that these programs tell of and no other sensor does.
    pub(crate) fn told(&self) -> EventSet {
        self.found.get().map(|(told, _)| *told).unwrap_or_default()
    }

    fn ruled(&self) -> EventSet {
        self.found.get().map(|(_, ruled)| *ruled).unwrap_or_default()
    }

    /// Whether the programs are loaded. While they are being loaded nothing is asked of them, since that
    /// would wait.
    pub(crate) fn is_loaded(&self) -> bool {
        self.found.get().is_some()
    }

    /// Puts `set` in force in the kernel, as a whole.
    ///
    /// # Errors
    ///
    /// What the kernel says; the set before is in force there then.
    pub(crate) fn put(&self, set: &RuleSet) -> io::Result<()> {
        lock(&self.plane).set_rules(set.compiled.image.bytes())?;
        self.generation.store(set.generation, Ordering::Relaxed);
        Ok(())
    }

    /// These are our own processes.
    pub(crate) fn leave_out(&self, pids: &[u32]) -> io::Result<()> {
        lock(&self.plane).set_own(pids)
    }

    /// Whether rules about `event` are evaluated in the kernel.
    pub(crate) fn decides(&self, event: Event) -> bool {
        self.ruled().contains(event)
    }

    /// Counts what they said of each event.
    fn count(&self, seen: &[Seen]) {
        let mut counts = lock(&self.counts);
        for one in seen {
            match one {
                Seen::Notice(notice) => {
                    let of = counts.events.entry(notice.event).or_default();
                    of.notices = of.notices.saturating_add(1);
                    let outcome = match notice.ruled.map(|ruled| ruled.outcome) {
                        Some(RuleOutcome::Denied) => &mut of.denied,
                        Some(RuleOutcome::WouldDeny) => &mut of.would_deny,
                        Some(RuleOutcome::Allowed) => &mut of.allowed,
                        None => continue,
                    };
                    *outcome = outcome.saturating_add(1);
                }
                Seen::Loss(loss) => {
                    let Lost::Exactly(lost) = loss.lost else { continue };
                    counts.lost = counts.lost.saturating_add(lost);
                    let mut events = loss.events.iter();
                    if let (Some(event), None) = (events.next(), events.next()) {
                        let of = counts.events.entry(event).or_default();
                        of.lost = of.lost.saturating_add(lost);
                    }
                }
            }
        }
    }

    /// For the operator.
    pub(crate) fn status(&self) -> PlaneStatus {
        let (told, ruled) = *lock(&self.wanted);
        let counts = lock(&self.counts);
        let names = |events: EventSet| events.iter().map(|event| event.name().to_owned()).collect();
        PlaneStatus {
            told: names(told),
            ruled: names(ruled),
            lost: counts.lost,
            generation: self.generation.load(Ordering::Relaxed),
            events: counts
                .events
                .iter()
                .map(|(event, of)| (event.name().to_owned(), *of))
                .collect(),
        }
    }
}

impl Source for Plane {
    fn events(&self) -> EventSet {
        self.attached()
    }

    fn ready(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<()> {
        self.drain(seen)
    }

    fn has_rules(&self) -> bool {
        true
    }
}

impl Host {
    /// Attaches what rules and engines want of the programs in the kernel, and nothing else.
    ///
    /// # Errors
    ///
    /// If a program that was loaded cannot be attached, or nobody can take what it says.
    pub(super) fn attach_plane(self: &Arc<Self>) -> io::Result<()> {
        let Some(in_kernel) = self.plane.get().filter(|plane| plane.is_loaded()) else {
            return Ok(());
        };
        let engines = lock(&self.core)
            .engines
            .iter()
            .fold(EventSet::EMPTY, |told, engine| told.union(engine.told));
        let told = engines.intersection(in_kernel.told());
        let ruled = self.policy.current().events().intersection(in_kernel.ruled());
        // Filters are rules to the programs: of an event that has some, the set is evaluated too. Where rules cannot
        // decide it they would seem to; there the host filters.
        let filtered = told.iter().filter(|event| Looks::of(&self.manifests, *event).any);
        let filtered = filtered.collect::<EventSet>().intersection(in_kernel.ruled());
        lock(&in_kernel.plane).attach(told, ruled.union(filtered))?;
        *lock(&in_kernel.wanted) = (told, ruled);
        let wanted = !told.union(ruled).is_empty();
        if wanted && !in_kernel.heard.swap(true, Ordering::AcqRel) {
            notices::start(self, vec![Box::new(Arc::clone(&in_kernel.plane))])?;
        }
        Ok(())
    }

    /// What the kernel remembers of processes, if it does.
    pub(super) fn remembered(&self) -> Option<&Remembered> {
        self.plane.get().map(|plane| &plane.remembered)
    }

    /// Whether the host itself judges questions about `event`: always but where the kernel's programs have
    /// judged them before they came here. What a rule allows they cannot keep from being asked about.
    pub(super) fn judges(&self, set: &RuleSet, event: Event) -> bool {
        let before = self.plane.get().is_some_and(|plane| plane.decides(event));
        set.decides(event) && (!before || set.does(event, &Effect::Allow))
    }

    /// Who asks, as rules see it: from what the kernel remembers, else what is to be seen of him.
    pub(super) fn identity(
        &self,
        pid: u32,
        pidfd: Option<BorrowedFd<'_>>,
        set: &RuleSet,
    ) -> Identity {
        let mut identity = Identity::of_waiting(pid);
        let remembered = self.plane.get().zip(pidfd);
        if let Some(subject) = remembered.and_then(|(plane, pidfd)| plane.remembered.subject(pidfd))
        {
            identity.lineage = Lineage::new(&subject.lineage, subject.lineage_is_cut);
            identity.exe = subject.exe.or(identity.exe);
            identity.marks = set.marks_now(&subject.marks);
        }
        identity
    }

    /// Counts what the programs in the kernel said and what was lost on the way here, and writes down what their
    /// rules refused.
    pub(super) fn note_plane(&self, seen: &[Seen]) {
        let Some(plane) = self.plane.get() else { return };
        plane.count(seen);
        for one in seen {
            if let Seen::Notice(notice) = one {
                self.note_ruling(notice);
            }
        }
    }

    fn note_ruling(&self, notice: &Notice) {
        let Some(ruled) = notice.ruled else { return };
        let named = self.policy.names.named(ruled);
        let engine = named.as_ref().and_then(|named| named.engine);
        if let Some((place, Kind::Shadow)) = engine {
            let path = notice.path.as_deref().unwrap_or_default();
            let compared = Compared { active: Verdict::Allow, shadow: Verdict::Deny };
            let guarded = self.guard.claims(path);
            return self.tell_ruled(place, notice, named.as_ref(), guarded, Some(compared));
        }
        self.policy.count_in_kernel(ruled.outcome);
        if ruled.outcome == RuleOutcome::Allowed {
            return;
        }
        let denied = ruled.outcome == RuleOutcome::Denied;
        let spared = engine.is_some_and(|(_, kind)| kind == Kind::Conflict);
        if let Some((place, _)) = engine.filter(|_| denied || spared) {
            self.policy.count_of_engine(place, spared);
            self.tell_ruled(place, notice, named.as_ref(), spared, None);
        }
        if spared {
            self.page().header().add(Tally::Conflicts, 1);
        }
        let text = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let value = json!({
            "event": notice.event.name(),
            "rule": named.as_ref().map(|named| &*named.name),
            "generation": ruled.generation,
            "denied": denied,
            "pid": notice.pid,
            "uid": notice.credentials.map(|credentials| credentials.uid),
            "program": identity::program(notice.pid).map(|path| path.display().to_string()),
            "path": text(&notice.path),
            "address": notice.endpoint.and_then(|end| end.address).map(|address| address.to_string()),
            "port": notice.endpoint.map(|end| end.port),
        });
        self.journal.write(if spared { "conflict" } else { "rule" }, value);
    }

    /// Tells the control thread what the rules of an engine denied in the kernel, if it watches that engine, or what
    /// those of its release in shadow would have.
    fn tell_ruled(
        &self,
        place: usize,
        notice: &Notice,
        named: Option<&Named>,
        guarded: bool,
        compared: Option<Compared>,
    ) {
        let watched = self.watched.load(Ordering::Acquire) & (1 << (place % 64)) != 0;
        if !watched && compared.is_none() {
            return;
        }
        let path = notice.path.as_ref().map(|path| String::from_utf8_lossy(path).into_owned());
        self.to_control.denied(Denied {
            place,
            event: notice.event,
            object: notice.file.unwrap_or_else(|| stand_in(path.as_deref())),
            path,
            rule: named.map(|named| named.name.to_string()).unwrap_or_default(),
            guarded,
            compared,
        });
    }
}

/// A key for an object that the kernel gave none for: the same for the same path.
fn stand_in(path: Option<&str>) -> FileKey {
    let mut key = FileKey::default();
    let name = BuildHasherDefault::<DefaultHasher>::default().hash_one(path);
    key.0[..8].copy_from_slice(&name.to_le_bytes());
    key
}
