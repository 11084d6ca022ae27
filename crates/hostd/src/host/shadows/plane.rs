//! What versions in shadow are shown, and what they say.
//!
//! One stands beside its engine, has no vote, and reaches nothing but its own rings and [`Pairs`]. At its first foul its
//! rings are not looked at any more and the control thread hears of it. Time is an argument.

use std::path::PathBuf;

use outrigger_api::record::{EVENT_MAX, VerdictRecord};
use outrigger_api::settings::Fields;
use outrigger_api::{Event, EventSet, FailureReason, FileKey, Verdict};
use outrigger_decision::EngineIndex;
use outrigger_dock::{Doorbell, PushError, Waker};
use outrigger_sensor::notice::Seen;

use super::Shown;
use super::pairs::{Pair, Pairs};
use crate::host::core::{Decided, Ear, News, tell_one, write};
use crate::host::engines::Link;
use crate::host::policy::RuleNames;

/// Verdicts that are taken from one at a look.
pub(super) const VERDICTS_MAX: usize = 64;
/// Questions in one's hands at a time. On a busy machine it is shown what it can take, and not late with what nobody
/// waits for. Half of [`super::HELD_MAX`].
pub(super) const IN_HAND_MAX: usize = 16;
/// Most comparisons that are told in one go.
const BATCH_MAX: usize = 64;
/// How long a comparison waits for others to be told with it, ns.
const BATCH_NS: u64 = 50_000_000;

/// What a version in shadow said of a question, beside what the one that decides said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) event: Event,
    pub(crate) object: FileKey,
    pub(crate) path: Option<PathBuf>,
    /// What the process that decides said within the budget; `None` if it said nothing, or was not docked.
    pub(crate) active: Option<Verdict>,
    /// What the one in shadow said, with as much time; `None` if it said nothing, or of what the object had
    /// become since.
    pub(crate) shadow: Option<Verdict>,
    /// What the one that denies says of it: of both, the one in shadow.
    pub(crate) rule: String,
    /// From when it was shown the question to when its verdict was taken, at most the budget. Its ring is looked
    /// at once in a millisecond, so the verdict can be that much older.
    pub(crate) took_ns: u64,
    /// It said nothing within the budget, or takes so little out of its ring that it could not be shown the
    /// question. Without a verdict and not late there is nothing to compare.
    pub(crate) late: bool,
}

/// What a version in shadow is to be shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// The events of which it is shown the questions.
    pub(crate) asked: EventSet,
    /// The events that it is told of.
    pub(crate) told: EventSet,
    pub(crate) fields: Fields,
}

/// Every version in shadow, by its engine's place.
#[derive(Debug, Default)]
pub(super) struct Plane {
    shadows: Vec<Option<Box<Shadow>>>,
    news: Vec<News>,
    rule_names: RuleNames,
}

/// A version in shadow, docked.
#[derive(Debug)]
struct Shadow {
    index: EngineIndex,
    link: Link,
    wants: Wants,
    pairs: Pairs,
    record: Box<[u8]>,
    /// What was compared and not told yet, and since when the first of it waits, ns.
    judged: Vec<Judged>,
    since: u64,
    tally: Tally,
}

/// How many questions one was shown, and was not since it had enough in hand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) shown: u64,
    pub(super) left_out: u64,
}

/// It broke the contract and is not listened to any more.
#[derive(Debug)]
struct Broken {
    reason: FailureReason,
    detail: String,
}

impl Plane {
    /// Of nothing in shadow, which is told of rules by these names.
    pub(super) fn new(rule_names: RuleNames) -> Self {
        Self { rule_names, ..Self::default() }
    }

    /// A version of the engine is shown what it `wants` from now on. One before it is forgotten.
    pub(super) fn begin(&mut self, index: EngineIndex, link: Link, wants: Wants, now: u64) {
        self.end(index);
        let place = index.get();
        if self.shadows.len() <= place {
            self.shadows.resize_with(place + 1, || None);
        }
        self.shadows[place] = Some(Box::new(Shadow {
            index,
            link,
            wants,
            pairs: Pairs::default(),
            record: vec![0; EVENT_MAX].into_boxed_slice(),
            judged: Vec::new(),
            since: now,
            tally: Tally::default(),
        }));
    }

    /// Nothing is shown to the engine's version any more. What was compared and not told yet is told. What it was
    /// shown; `None` if there was none.
    pub(super) fn end(&mut self, index: EngineIndex) -> Option<Tally> {
        let Shadow { judged, tally, .. } = *self.shadows.get_mut(index.get())?.take()?;
        if !judged.is_empty() {
            self.news.push(News::Judged { engine: index, batch: judged });
        }
        Some(tally)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.shadows.iter().flatten().count()
    }

    /// Shows a question to those whose engines it was for.
    pub(super) fn show(&mut self, mut shown: Shown, now: u64) {
        let Self { shadows, news, .. } = self;
        shown.intake.deadline = now.saturating_add(shown.budget);
        for one in &shown.said {
            let shadow = shadows.get_mut(one.engine.get()).and_then(Option::as_mut);
            let Some(shadow) = shadow else { continue };
            let is_its = shadow.wants.asked.contains(shown.intake.event);
            if is_its && let Err(broken) = shadow.show(&shown, &one.active, now) {
                news.push(shadow.give_up(broken));
            }
        }
    }

    /// Tells what engines are told.
    pub(super) fn tell<'a>(
        &mut self,
        seen: impl Iterator<Item = (&'a Seen, Option<Decided>)> + Clone,
        now: u64,
    ) {
        let Self { shadows, news, rule_names } = self;
        for shadow in shadows.iter_mut().flatten() {
            let Shadow { index, link, wants, record, .. } = &mut **shadow;
            let ear = Ear {
                link,
                number: index.get(),
                told: wants.told,
                fields: wants.fields,
                names: rule_names,
                books: None,
            };
            if !wants.told.is_empty()
                && let Err(error) = tell_one(ear, seen.clone(), now, record)
            {
                news.push(shadow.give_up(broken_ring(&error)));
            }
        }
    }

    /// Takes what they have said, ends what is compared, and settles what they are owed.
    pub(super) fn look(&mut self, now: u64) {
        let Self { shadows, news, .. } = self;
        for shadow in shadows.iter_mut().flatten() {
            if let Err(broken) = shadow.hear(now) {
                news.push(shadow.give_up(broken));
            }
            let Shadow { pairs, judged, .. } = &mut **shadow;
            pairs.expire(now, judged);
            if let Some(batch) = shadow.batch(now) {
                news.push(News::Judged { engine: shadow.index, batch });
            }
            if shadow.owes() {
                match shadow.link.events.settle(now) {
                    Ok(_) => shadow.link.unpublished = true,
                    Err(error) => news.push(shadow.give_up(broken_ring(&error))),
                }
            }
        }
    }

    /// Publishes what was written for them; whom to wake.
    pub(super) fn publish(&mut self, wakes: &mut Vec<Waker>) {
        for link in self.shadows.iter_mut().flatten().map(|shadow| &mut shadow.link) {
            if std::mem::take(&mut link.unpublished) && link.events.publish() {
                wakes.push(link.events.waker());
            }
        }
    }

    /// What the control thread must hear of.
    pub(super) fn take_news(&mut self, into: &mut Vec<News>) {
        into.append(&mut self.news);
    }

    /// What to sleep on, and until when.
    pub(super) fn bells(&self, bells: &mut Vec<Doorbell>) -> Option<u64> {
        let shadows = || self.shadows.iter().flatten();
        let sound = shadows().filter(|shadow| shadow.link.is_sound());
        bells.extend(sound.map(|shadow| shadow.link.verdicts.doorbell()));
        shadows().filter_map(|shadow| shadow.due()).min()
    }

    /// Whether one has said something that was not taken yet.
    pub(super) fn has_verdicts(&self) -> bool {
        let mut links = self.shadows.iter().flatten().map(|shadow| &shadow.link);
        links.any(|link| link.is_sound() && !link.verdicts.is_empty())
    }
}

impl Shadow {
    fn show(
        &mut self,
        shown: &Shown,
        active: &Option<(Verdict, String)>,
        now: u64,
    ) -> Result<(), Broken> {
        if !self.link.is_sound() {
            return Ok(());
        }
        let Self { index, link, wants, pairs, record, judged, tally, .. } = self;
        if pairs.in_hand() >= IN_HAND_MAX {
            tally.left_out += 1;
            return Ok(());
        }
        tally.shown += 1;
        let pair = Pair::new(shown, active.clone(), now);
        match write(&shown.intake, shown.case, *index, wants.fields, link, record) {
            Ok(()) => pairs.open(shown.case, pair, judged),
            // What it does not take it does not answer.
            Err(PushError::Full) => judged.push(pair.judged(None, now, true)),
            Err(error @ (PushError::Corrupt(_) | PushError::NoRecord { .. })) => {
                return Err(broken_ring(&error));
            }
        }
        Ok(())
    }

    /// Takes what it has said until `now`, a bounded part of it.
    fn hear(&mut self, now: u64) -> Result<(), Broken> {
        for _ in 0..VERDICTS_MAX {
            if !self.link.is_sound() {
                return Ok(());
            }
            let Some(bytes) = self.link.verdicts.pop().map_err(|error| broken_ring(&error))? else {
                return Ok(());
            };
            let vote = VerdictRecord::parse(&bytes).map_err(|error| Broken {
                reason: FailureReason::Garbage,
                detail: error.to_string(),
            })?;
            if !self.pairs.answer(&vote, now, &mut self.judged) {
                let detail =
                    format!("{:?}: it was not shown that, or answered it twice", vote.case);
                return Err(Broken { reason: FailureReason::ForeignAnswer, detail });
            }
        }
        Ok(())
    }

    /// What was compared, if it is enough or has waited long enough.
    fn batch(&mut self, now: u64) -> Option<Vec<Judged>> {
        if self.judged.is_empty() {
            self.since = now;
            return None;
        }
        let due = self.judged.len() >= BATCH_MAX || now.saturating_sub(self.since) >= BATCH_NS;
        due.then(|| {
            self.since = now;
            std::mem::take(&mut self.judged)
        })
    }

    /// When it next needs a look.
    fn due(&self) -> Option<u64> {
        let batch = (!self.judged.is_empty()).then(|| self.since.saturating_add(BATCH_NS));
        self.pairs.due().into_iter().chain(batch).min()
    }

    /// Whether it is to be told of a loss.
    fn owes(&self) -> bool {
        self.link.is_sound() && self.link.events.owes_gaps()
    }

    /// Its rings are not looked at any more; what the control thread hears.
    fn give_up(&mut self, Broken { reason, detail }: Broken) -> News {
        self.link.give_up();
        News::ShadowFault { engine: self.index, reason, detail }
    }
}

fn broken_ring(error: &dyn std::error::Error) -> Broken {
    Broken { reason: FailureReason::RingCorrupt, detail: error.to_string() }
}

#[cfg(test)]
#[path = "plane_tests.rs"]
mod tests;
