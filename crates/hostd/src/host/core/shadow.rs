//! A version of an engine in shadow: it is shown what its engine is asked, and what it says is compared.
//!
//! It has no vote. A question is shown to it once those who decide have it and were woken, by a ring and a content
//! socket of its own; where its ring has no room the question is not shown, and nobody waits. What it says
//! reaches nothing but [`Pairs`]: not the case, the cache, the books or the memory of poisoned objects. At its
//! first foul, its rings are not looked at any more and the control thread hears of it.
//!
//! What is not shown: questions that were answered without the engine (an empty file, the open after an exec), and
//! objects that the engine is not asked about since it ended on them twice. What the engine would have been asked had it
//! been docked is shown, so that a better version can prove itself while the worse one is in quarantine.

mod pairs;

use std::path::PathBuf;

use outrigger_api::record::{EVENT_MAX, VerdictRecord};
use outrigger_api::settings::Fields;
use outrigger_api::{CaseId, Event, EventSet, FailureReason, FileKey, Verdict};
use outrigger_decision::{EngineIndex, EngineSet};
use outrigger_dock::{Doorbell, PushError, Waker};
use outrigger_sensor::notice::Seen;

use self::pairs::Pairs;
use super::tell::{Decided, Ear, tell_one};
use super::{Core, Intake, News, VERDICTS_MAX, write};
use crate::host::engines::{Engine, Link};

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
    /// What the one in shadow said within the same budget.
    pub(crate) shadow: Option<Verdict>,
    /// What the one that denies says of it: of both, the one in shadow.
    pub(crate) rule: String,
    /// From when it was shown the question to when its verdict was taken, at most the budget; to the next
    /// look at its ring, which can be 1 ms later than the verdict.
    pub(crate) took_ns: u64,
    /// It was shown the question and said nothing within the budget. Without a verdict and not late: it could not be
    /// shown the question, since its ring was full, or nobody could wait for it any longer.
    pub(crate) late: bool,
}

/// What a version in shadow is shown, as far as its engine is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// The events of which it is shown the questions.
    pub(crate) asked: EventSet,
    /// The events that it is told of.
    pub(crate) told: EventSet,
    pub(crate) fields: Fields,
}

/// A version in shadow, docked.
#[derive(Debug)]
pub(crate) struct Shadow {
    link: Link,
    wants: Wants,
    pairs: Pairs,
    record: Box<[u8]>,
    /// What was compared and not told yet, and since when the first of it waits, ns.
    judged: Vec<Judged>,
    since: u64,
}

impl Shadow {
    fn new(link: Link, wants: Wants) -> Self {
        Self {
            link,
            wants,
            pairs: Pairs::default(),
            record: vec![0; EVENT_MAX].into_boxed_slice(),
            judged: Vec::new(),
            since: 0,
        }
    }

    /// Shows it a question. `asked`: the process that decides was asked too.
    fn show(
        &mut self,
        intake: &Intake,
        case: CaseId,
        index: EngineIndex,
        asked: bool,
        now: u64,
    ) -> Result<(), Broken> {
        if !self.link.is_sound() {
            return Ok(());
        }
        let Self { link, wants, pairs, record, judged, .. } = self;
        match write(intake, case, index, wants.fields, link, record) {
            Ok(()) => pairs.open(case, intake, asked, now, judged),
            Err(PushError::Full) => judged.push(pairs::unshown(intake)),
            Err(error @ (PushError::Corrupt(_) | PushError::NoRecord { .. })) => {
                link.give_up();
                return Err(Broken {
                    reason: FailureReason::RingCorrupt,
                    detail: error.to_string(),
                });
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
            let heard = match self.link.verdicts.pop() {
                Ok(None) => return Ok(()),
                Ok(Some(bytes)) => match VerdictRecord::parse(&bytes) {
                    Ok(vote) => self
                        .pairs
                        .answer(vote.case, vote.verdict, &vote.detail, now, &mut self.judged)
                        .map_err(|foul| Broken {
                            reason: FailureReason::ForeignAnswer,
                            detail: format!("{:?}: {}", vote.case, foul.description()),
                        }),
                    Err(error) => {
                        Err(Broken { reason: FailureReason::Garbage, detail: error.to_string() })
                    }
                },
                Err(error) => Err(broken_ring(&error)),
            };
            if let Err(broken) = heard {
                self.link.give_up();
                return Err(broken);
            }
        }
        Ok(())
    }

    /// What was compared, if it is enough or has waited long enough.
    fn batch(&mut self, now: u64) -> Option<Vec<Judged>> {
        if self.judged.is_empty() {
            self.since = now;
        }
        let due = self.judged.len() >= BATCH_MAX || now.saturating_sub(self.since) >= BATCH_NS;
        (due && !self.judged.is_empty()).then(|| {
            self.since = now;
            std::mem::take(&mut self.judged)
        })
    }

    /// When it next needs a look.
    fn due(&self) -> Option<u64> {
        let batch = (!self.judged.is_empty()).then(|| self.since.saturating_add(BATCH_NS));
        self.pairs.due().into_iter().chain(batch).min()
    }
}

/// It broke the contract and is not listened to any more.
#[derive(Debug)]
struct Broken {
    reason: FailureReason,
    detail: String,
}

fn broken_ring(error: &dyn std::error::Error) -> Broken {
    Broken { reason: FailureReason::RingCorrupt, detail: error.to_string() }
}

impl Broken {
    fn news(self, engine: EngineIndex) -> News {
        News::ShadowFault { engine, reason: self.reason, detail: self.detail }
    }
}

impl Core {
    /// A version of the engine in shadow is shown from now on what it `wants` of what the engine is asked and
    /// told, questions in hand aside. One before it is forgotten.
    pub(crate) fn begin_shadow(&mut self, index: EngineIndex, link: Link, wants: Wants, now: u64) {
        self.end_shadow(index);
        if let Some(engine) = self.engines.get_mut(index.get()) {
            let mut shadow = Shadow::new(link, wants);
            shadow.since = now;
            engine.shadow = Some(Box::new(shadow));
            self.shadows += 1;
        }
    }

    /// Nothing is shown to the version in shadow any more. What was compared and not told yet is told.
    pub(crate) fn end_shadow(&mut self, index: EngineIndex) {
        let engine = self.engines.get_mut(index.get());
        if let Some(mut shadow) = engine.and_then(|engine| engine.shadow.take()) {
            self.shadows -= 1;
            let batch = std::mem::take(&mut shadow.judged);
            if !batch.is_empty() {
                self.news.push(News::Judged { engine: index, batch });
            }
        }
    }

    /// How many versions run in shadow.
    pub(crate) const fn shadows(&self) -> usize {
        self.shadows
    }

    /// What the thread of shadows sleeps on, and until when.
    pub(crate) fn shadow_bells(&self, bells: &mut Vec<Doorbell>) -> Option<u64> {
        let shadows = || self.engines.iter().filter_map(|engine| engine.shadow.as_deref());
        let sound = shadows().filter(|shadow| shadow.link.is_sound());
        bells.extend(sound.map(|shadow| shadow.link.verdicts.doorbell()));
        shadows().filter_map(Shadow::due).min()
    }

    /// Whether a version in shadow has said something that was not taken yet.
    pub(crate) fn has_shadow_verdicts(&self) -> bool {
        let shadows = self.engines.iter().filter_map(|engine| engine.shadow.as_deref());
        let mut links = shadows.map(|shadow| &shadow.link);
        links.any(|link| link.is_sound() && !link.verdicts.is_empty())
    }

    /// Takes what versions in shadow have said, and ends what is compared.
    pub(crate) fn collect_shadows(&mut self, now: u64) {
        let Self { engines, news, .. } = self;
        for (place, engine) in engines.iter_mut().enumerate() {
            let (Some(shadow), Some(index)) = (&mut engine.shadow, EngineIndex::new(place)) else {
                continue;
            };
            if let Err(broken) = shadow.hear(now) {
                news.push(broken.news(index));
            }
            let Shadow { pairs, judged, .. } = &mut **shadow;
            pairs.expire(now, judged);
            if let Some(batch) = shadow.batch(now) {
                news.push(News::Judged { engine: index, batch });
            }
        }
    }

    /// Shows what was handed out since this was last called, and wakes those who decide before.
    pub(super) fn show_fresh(&mut self, now: u64) {
        // A wake-up waits for nobody, and they are to have begun by then.
        self.wake.drain(..).for_each(|waker: Waker| waker.wake());
        let Self { fresh, table, engines, news, .. } = self;
        for (token, case) in fresh.drain(..) {
            let waiting = table.waiting.get(token as usize).and_then(Option::as_ref);
            let Some(waiting) = waiting.filter(|waiting| waiting.case == case) else { continue };
            let shown = Shown { intake: &waiting.intake, case, asked: waiting.asked };
            show(engines, &shown, waiting.poisoned, now, news);
        }
        self.publish_shadows();
    }

    /// Shows a question that none of the deciding engines could be asked.
    pub(super) fn show_unasked(
        &mut self,
        intake: &Intake,
        case: CaseId,
        poisoned: EngineSet,
        now: u64,
    ) {
        if self.shadows > 0 {
            let shown = Shown { intake, case, asked: EngineSet::EMPTY };
            show(&mut self.engines, &shown, poisoned, now, &mut self.news);
            self.publish_shadows();
        }
    }

    /// Tells versions in shadow what their engines are told.
    pub(super) fn tell_shadows<'a>(
        &mut self,
        seen: impl Iterator<Item = (&'a Seen, Option<Decided>)> + Clone,
        now: u64,
    ) {
        if self.shadows == 0 {
            return;
        }
        let Self { engines, news, .. } = self;
        for (place, engine) in engines.iter_mut().enumerate() {
            let (Some(shadow), Some(index)) = (&mut engine.shadow, EngineIndex::new(place)) else {
                continue;
            };
            let Shadow { link, wants, record, .. } = &mut **shadow;
            let told = wants.told.intersection(engine.told);
            if told.is_empty() {
                continue;
            }
            let ear = Ear { link, told, fields: wants.fields, books: None };
            if let Err(error) = tell_one(ear, seen.clone(), now, record) {
                link.give_up();
                news.push(broken_ring(&error).news(index));
            }
        }
        self.publish_shadows();
    }

    /// Whether one of them is to be told of a loss.
    pub(super) fn owes_shadows(&self) -> bool {
        let shadows = self.engines.iter().filter_map(|engine| engine.shadow.as_deref());
        let mut sound = shadows.filter(|shadow| shadow.link.is_sound());
        sound.any(|shadow| shadow.link.events.owes_gaps())
    }

    fn publish_shadows(&mut self) {
        for shadow in self.engines.iter_mut().filter_map(|engine| engine.shadow.as_mut()) {
            let link = &mut shadow.link;
            if std::mem::take(&mut link.unpublished) && link.events.publish() {
                self.wake.push(link.events.waker());
            }
        }
    }
}

impl Engine {
    /// Remembers for the version in shadow what the one that decides said.
    pub(super) fn note_for_shadow(&mut self, vote: &VerdictRecord, now: u64) {
        if let Some(shadow) = &mut self.shadow {
            let Shadow { pairs, judged, .. } = &mut **shadow;
            pairs.active(vote.case, vote.verdict, &vote.detail, now, judged);
        }
    }
}

/// A question as those see it who do not decide it.
struct Shown<'a> {
    intake: &'a Intake,
    case: CaseId,
    asked: EngineSet,
}

fn show(
    engines: &mut [Engine],
    shown: &Shown<'_>,
    poisoned: EngineSet,
    now: u64,
    news: &mut Vec<News>,
) {
    let Shown { intake, case, asked } = *shown;
    for (place, engine) in engines.iter_mut().enumerate() {
        let (Some(shadow), Some(index)) = (&mut engine.shadow, EngineIndex::new(place)) else {
            continue;
        };
        let is_its =
            engine.events.contains(intake.event) && shadow.wants.asked.contains(intake.event);
        if !is_its || poisoned.contains(index) {
            continue;
        }
        if let Err(broken) = shadow.show(intake, case, index, asked.contains(index), now) {
            news.push(broken.news(index));
        }
    }
}

#[cfg(test)]
#[path = "shadow_tests.rs"]
mod tests;
