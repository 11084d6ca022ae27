//! The rules in force, for the decision path.
//!
//! ```text
//! folder ──▶ confined compiler ──▶ rules ──▶ image ──▶ in force: here, and in the kernel
//! ([folder])      ([child])     (JSON)   (decision)      one generation number for both
//! ```
//!
//! A set is made beside the one in force and takes its place as a whole, so that a question is judged by one
//! set or by the next, never by a part of each. Whatever fails on the way leaves the old set where it is.
//! The last good one is kept on disk, as rules: a host that starts has it at once, before anything is read.

pub(crate) mod child;
pub(crate) mod folder;
mod names;
mod question;
mod set;
mod subject;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use outrigger_api::Answer;
use outrigger_api::settings::HostConfig;
use outrigger_decision::rules::{LineageKey, MarkNames, Rule};
use outrigger_sensor::notice::RuleOutcome;

pub(crate) use self::names::RuleNames;
pub(crate) use self::question::{Asked, Ruling};
pub(crate) use self::set::{Kept, RuleSet};
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
    /// The secret of lineages, the same for every set of this host and for the kernel.
    key: LineageKey,
    /// What the rules of this set and those before it are called.
    pub(crate) names: RuleNames,
    tells: Mutex<Vec<Rule>>,
}

impl InForce {
    /// What was in force when the host before this one ended, so that nothing is undecided until the folder
    /// is read; no rule where nothing was kept, or what was kept is of no use to this build.
    pub(crate) fn recall(config: &HostConfig) -> Self {
        let key = LineageKey(random());
        let kept = match config.rules.enabled {
            true => Keepsakes::new(&config.state_dir).read(KEPT),
            false => None,
        };
        let recalled = kept.and_then(|text| {
            let kept = serde_json::from_str(&text).map_err(|error| error.to_string());
            kept.and_then(|kept| {
                RuleSet::new(kept, Vec::new(), &MarkNames::default(), config, &key)
            })
            .inspect_err(|why| tracing::error!("the rules that were in force are of no use: {why}"))
            .ok()
        });
        let set = recalled.unwrap_or_else(|| RuleSet::none(config, &key));
        Self::new(set, key)
    }

    fn new(set: RuleSet, key: LineageKey) -> Self {
        let generation = AtomicU64::new(set.generation);
        let names = RuleNames::default();
        names.add(set.generation, set.names());
        Self {
            set: RwLock::new(Arc::new(set)),
            generation,
            counts: Default::default(),
            key,
            names,
            tells: Mutex::default(),
        }
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
        let [denied, allowed, watched] = &self.counts;
        match (&ruling.decided, answer) {
            (Some((Answer::Deny, _)), Answer::Deny) => denied.fetch_add(1, Ordering::Relaxed),
            (Some((Answer::Allow, _)), _) => allowed.fetch_add(1, Ordering::Relaxed),
            (Some((Answer::Deny, _)), Answer::Allow) => watched.fetch_add(1, Ordering::Relaxed),
            (None, _) if ruling.would_deny.is_some() => watched.fetch_add(1, Ordering::Relaxed),
            (None, _) => 0,
        };
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
        RuleSet::new(kept, tells, &before.compiled.marks, config, &self.key).map(Arc::new)
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
