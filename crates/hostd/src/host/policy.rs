//! The rules in force, for the decision path.
//!
//! ```text
//! folder ──▶ confined compiler ──▶ rules ──▶ image ──▶ in force: here, and in the kernel
//! ([folder])      ([child])     (JSON)   (decision)      one generation number for both
//! content ───────────┘            └─▶ with the guard rails, where they are an engine's ([contents])
//! ```
//!
//! A set is made beside the one in force and takes its place as a whole, so that a question is judged by one
//! set or by the next, never by a part of each. Whatever fails on the way leaves the old set where it is.
//! The last good one is kept on disk, as rules: a host that starts has it at once, before anything is read.

pub(crate) mod contents;
mod names;
mod question;
mod set;
mod subject;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use outrigger_api::Answer;
use outrigger_api::settings::HostConfig;
use outrigger_decision::guard::Spare;
use outrigger_decision::rules::{LineageKey, MarkNames, Rule};
use outrigger_sensor::notice::RuleOutcome;

use self::contents::Wanted;
pub(crate) use self::names::{Named, RuleNames};
pub(crate) use self::question::{Asked, Ruling};
pub(crate) use self::set::{Kept, Modes, RuleSet};
pub(crate) use self::subject::{Identity, cgroup};
use super::keepsakes::Keepsakes;

/// The name under which the last good set is kept.
pub(crate) const KEPT: &str = "policy.json";

/// The set in force, replaced as a whole.
#[derive(Debug)]
pub(crate) struct InForce {
    set: RwLock<Arc<RuleSet>>,
    generation: AtomicU64,
    /// Questions that rules denied, allowed, and would have denied.
    counts: [AtomicU64; 3],
    /// Events that the rules of each engine denied, and would have denied but for the guard rails.
    of_engines: Vec<[AtomicU64; 2]>,
    /// The secret of lineages, the same for every set of this host and for the kernel.
    key: LineageKey,
    /// What the rules of this set and those before it are called.
    pub(crate) names: RuleNames,
    tells: Mutex<Vec<Rule>>,
    /// What engines' rules leave out.
    spare: Spare,
}

impl InForce {
    /// What was in force when the host before this one ended, so that nothing is undecided until the folder
    /// is read; no rule where nothing was kept, or what was kept is of no use to this build. Of engines' rules
    /// only those of `contents` are taken, which is what is in force now.
    pub(crate) fn recall(config: &HostConfig, spare: Spare, contents: &[Wanted]) -> Self {
        let key = LineageKey(random());
        let kept = match config.rules.enabled {
            true => Keepsakes::new(&config.state_dir).read(KEPT),
            false => None,
        };
        let before = MarkNames::default();
        let by = Modes { before: &before, config, spare: &spare, key: &key };
        let recalled = kept.and_then(|text| {
            let kept = serde_json::from_str(&text).map_err(|error| error.to_string());
            kept.and_then(|mut kept: Kept| {
                kept.engines.retain(|one| contents.iter().any(|wanted| one.is_of(wanted)));
                RuleSet::new(kept, Vec::new(), &by)
            })
            .inspect_err(|why| tracing::error!("the rules that were in force are of no use: {why}"))
            .ok()
        });
        let set = recalled.unwrap_or_else(|| RuleSet::none(&by));
        let generation = AtomicU64::new(set.generation);
        let names = RuleNames::default();
        names.add(set.generation, set.names());
        Self {
            set: RwLock::new(Arc::new(set)),
            generation,
            counts: Default::default(),
            of_engines: config.engines.iter().map(|_| Default::default()).collect(),
            key,
            names,
            tells: Mutex::default(),
            spare,
        }
    }

    /// What engines' rules leave out.
    pub(crate) fn spare(&self) -> &Spare {
        &self.spare
    }

    /// The set that a question is judged by which comes now.
    pub(crate) fn current(&self) -> Arc<RuleSet> {
        Arc::clone(&self.set.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts `set` in the place of the one before. What is cached of answers must be dropped after it.
    pub(crate) fn replace(&self, set: Arc<RuleSet>) {
        let mut place = self.set.write().unwrap_or_else(PoisonError::into_inner);
        self.generation.store(set.generation, Ordering::Release);
        *place = set;
    }

    /// The number of the set in force.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Counts what rules made of a question, and what it was answered.
    pub(crate) fn count(&self, ruling: &Ruling, answer: Answer) {
        if let Some((place, _)) = ruling.denied_by_engine() {
            self.count_of_engine(place, answer == Answer::Allow);
        }
        let [denied, allowed, watched] = &self.counts;
        match (&ruling.decided, answer) {
            (Some((Answer::Deny, _)), Answer::Deny) => denied.fetch_add(1, Ordering::Relaxed),
            (Some((Answer::Allow, _)), _) => allowed.fetch_add(1, Ordering::Relaxed),
            (Some((Answer::Deny, _)), Answer::Allow) => watched.fetch_add(1, Ordering::Relaxed),
            (None, _) if ruling.would_deny.is_some() || ruling.conflict.is_some() => {
                watched.fetch_add(1, Ordering::Relaxed)
            }
            (None, _) => 0,
        };
    }

    /// Counts that a rule of this engine denied something, or only would have, were it not what the machine needs.
    pub(crate) fn count_of_engine(&self, place: usize, spared: bool) {
        if let Some(counts) = self.of_engines.get(place) {
            counts[usize::from(spared)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that rules of this engine denied, and would have denied but for the guard rails.
    pub(crate) fn counts_of_engine(&self, place: usize) -> [u64; 2] {
        let count = |which: usize| {
            self.of_engines.get(place).map_or(0, |counts| counts[which].load(Ordering::Relaxed))
        };
        std::array::from_fn(count)
    }

    /// Questions that rules denied, allowed, and would have denied, since this host started.
    pub(crate) fn counts(&self) -> [u64; 3] {
        std::array::from_fn(|which| self.counts[which].load(Ordering::Relaxed))
    }

    /// The secret of lineages.
    pub(crate) fn key(&self) -> &LineageKey {
        &self.key
    }

    /// Counts what rules made of an event in the kernel.
    pub(crate) fn count_in_kernel(&self, outcome: RuleOutcome) {
        let which = match outcome {
            RuleOutcome::Denied => 0,
            RuleOutcome::Allowed => 1,
            RuleOutcome::WouldDeny => 2,
        };
        self.counts[which].fetch_add(1, Ordering::Relaxed);
    }

    /// The rules by which engines are told of what they want, which every set has from now on.
    pub(crate) fn set_tells(&self, tells: Vec<Rule>) {
        *self.tells.lock().unwrap_or_else(PoisonError::into_inner) = tells;
    }

    /// Compiles `kept` with what engines want to be told of, to come after the set in force.
    ///
    /// # Errors
    ///
    /// What the compiler refuses, with the rule's place.
    pub(crate) fn compile(&self, kept: Kept, config: &HostConfig) -> Result<Arc<RuleSet>, String> {
        let tells = self.tells.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let before = self.current();
        let by =
            Modes { before: &before.compiled.marks, config, spare: &self.spare, key: &self.key };
        RuleSet::new(kept, tells, &by).map(Arc::new)
    }
}

/// Bytes that nobody can guess, or at least not this host's twice: the clock's, should the kernel have none.
fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        bytes[..8].copy_from_slice(&outrigger_sensor::clock::now().to_le_bytes());
        bytes[8..].copy_from_slice(&super::journal::now_ms().to_le_bytes());
    }
    bytes
}
