//! Versions of engines in shadow: shown what their engines are asked, once it is answered.
//!
//! Whoever opened the file has gone on by then. The thread that answered keeps a copy of the question and a copy of its
//! descriptor, in a bounded list and without waiting for anybody; a thread of their own, `shadows`, does the rest: it
//! finds the path, writes rings, sends content, takes verdicts and compares ([`plane`], [`pairs`]). So nothing here is on the way
//! of a question, and what is in shadow reaches no case, cache, book or memory of poisoned objects.
//!
//! At most [`plane::IN_HAND_MAX`] are in the hands of one at a time; what comes meanwhile it is not shown, and that is
//! counted. It looks at most once in [`PAUSE`], and is no more important than they are: who rings without pause costs no more than who means well.
//!
//! Not shown is: what was answered without the engine (an empty file, the open after an exec, a file on which it ended
//! twice, a full queue); what another engine's Deny ended before it had spoken; and files on file systems that
//! can keep a reader waiting, for which it could not be blamed. What the engine would have been asked had it been docked is
//! shown, so that a better version can prove itself while the worse one is in quarantine.

mod pairs;
mod plane;

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outrigger_api::{CaseId, FailureReason, Verdict};
use outrigger_decision::EngineIndex;
use outrigger_dock::{Doorbell, Waker};
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::process::borrow_number;
use outrigger_sensor::{clock, identity};
use serde_json::json;

pub(crate) use self::plane::{Judged, Wants};
use self::plane::{Plane, Tally};
use super::core::{Decided, Intake};
use super::engines::Link;
use super::history::{Decider, EntryVote};
use super::policy::RuleNames;
use super::{Host, lock, verdicts};

/// The shortest time from one look to the next.
const PAUSE: Duration = Duration::from_millis(1);
/// Most descriptors that are kept for what is in shadow: as many as one may have in hand, and as many that wait.
pub(super) const HELD_MAX: u32 = 32;
/// Most copies that wait for the thread, of questions and of what became of them.
const COPIES_MAX: usize = 256;

/// What the threads that answer leave for those in shadow.
#[derive(Debug)]
pub(crate) struct Shadows {
    /// How many there are.
    count: AtomicUsize,
    copies: std::sync::Mutex<Vec<Copied>>,
    /// As often as copies of descriptors are kept, and once.
    held: Arc<()>,
    plane: std::sync::Mutex<Plane>,
    bell: Doorbell,
}

/// Something that engines have heard.
#[derive(Debug)]
enum Copied {
    Question(Box<Shown>),
    Told(Box<(Seen, Decided)>),
}

/// A question that has been answered.
#[derive(Debug)]
pub(crate) struct Shown {
    /// Its `file` is the number of the copy.
    intake: Intake,
    file: Option<Held>,
    case: CaseId,
    /// How long it may take, ns.
    budget: u64,
    said: Vec<Said>,
}

/// What one engine said of it.
#[derive(Debug)]
struct Said {
    engine: EngineIndex,
    /// And what it says of that; `None` if it said nothing.
    active: Option<(Verdict, String)>,
}

/// A copy of an object's descriptor.
#[derive(Debug, Clone)]
struct Held(Arc<Counted>);

#[derive(Debug)]
struct Counted {
    file: OwnedFd,
    /// Its share of those that may be kept.
    _share: Arc<()>,
}

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.file.as_fd()
    }
}

impl Shadows {
    /// Of nothing in shadow, which is told of rules by these names.
    ///
    /// # Errors
    ///
    /// If no doorbell can be made.
    pub(super) fn new(rule_names: RuleNames) -> std::io::Result<Self> {
        Ok(Self {
            count: AtomicUsize::new(0),
            copies: std::sync::Mutex::default(),
            held: Arc::new(()),
            plane: std::sync::Mutex::new(Plane::new(rule_names)),
            bell: Doorbell::new()?,
        })
    }

    /// Whether anything is in shadow.
    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// A copy of the descriptor `number`, unless too many are kept.
    fn hold(&self, number: i32) -> Option<Held> {
        if Arc::strong_count(&self.held) > HELD_MAX as usize {
            return None;
        }
        let file = borrow_number(number)?.try_clone_to_owned().ok()?;
        Some(Held(Arc::new(Counted { file, _share: Arc::clone(&self.held) })))
    }

    /// Leaves a copy, unless that would mean to wait.
    fn leave(&self, copy: Copied) {
        let Ok(mut copies) = self.copies.try_lock() else { return };
        if copies.len() < COPIES_MAX {
            copies.push(copy);
            drop(copies);
            self.bell.ring();
        }
    }

    /// Everything that is due at `now`; whom to wake, and what to tell.
    fn look(&self, now: u64, wakes: &mut Vec<Waker>, news: &mut Vec<super::core::News>) {
        let copies = std::mem::take(&mut *lock(&self.copies));
        let mut plane = lock(&self.plane);
        for copy in copies {
            match copy {
                Copied::Question(shown) => plane.show(shown.with_path(), now),
                Copied::Told(told) => {
                    let (seen, decided) = *told;
                    plane.tell(std::iter::once((&seen, Some(decided))), now);
                }
            }
        }
        plane.look(now);
        plane.publish(wakes);
        plane.take_news(news);
    }

    /// Arms the bells; until when nothing else is due.
    fn arm(&self, bells: &mut Vec<(Doorbell, u32)>) -> Option<u64> {
        let mut rings = vec![self.bell.clone()];
        let until = lock(&self.plane).bells(&mut rings);
        bells.extend(rings.into_iter().map(|bell| {
            let value = bell.arm();
            (bell, value)
        }));
        until
    }

    fn has_work(&self) -> bool {
        !lock(&self.copies).is_empty() || lock(&self.plane).has_verdicts()
    }
}

impl Shown {
    /// With the path, for who reads of differences.
    fn with_path(mut self) -> Self {
        if self.intake.path.is_none() {
            self.intake.path = identity::path(self.intake.file);
        }
        self
    }
}

/// Serves what is in shadow until the process ends.
pub(crate) fn run(host: &Arc<Host>) {
    let shadows = &host.shadows;
    let (mut bells, mut wakes, mut news) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let until = shadows.arm(&mut bells);
        // After the arming, so that what comes from here on wakes us.
        if !shadows.has_work()
            && let Err(error) = outrigger_dock::sleep(&bells, until)
        {
            host.sensor_failed(&error);
        }
        bells.drain(..).for_each(|(bell, _)| bell.disarm());
        shadows.look(clock::now(), &mut wakes, &mut news);
        wakes.drain(..).for_each(|waker| waker.wake());
        host.to_control.news(std::mem::take(&mut news));
        if !shadows.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
}

impl Host {
    /// A version of the engine in shadow has docked behind `link` and is shown what it `wants` of what the engine is
    /// asked and told. A new epoch, so that known files are asked about once more.
    pub(super) fn begin_shadow(
        &self,
        index: EngineIndex,
        link: outrigger_supervisor::Link,
        wants: Wants,
    ) {
        let outrigger_supervisor::Link { events, verdicts, content } = link;
        let link = Link::new(events, verdicts, content);
        let granted = lock(&self.core).engines.get(index.get()).map(|one| (one.events, one.told));
        let (asked, told) = granted.unwrap_or_default();
        let (asked, told) = (wants.asked.intersection(asked), wants.told.intersection(told));
        let count = {
            let mut plane = lock(&self.shadows.plane);
            plane.begin(index, link, Wants { asked, told, ..wants }, clock::now());
            plane.count()
        };
        self.shadows.count.store(count, Ordering::Release);
        self.shadows.bell.ring();
        self.new_epoch();
    }

    /// The version of the engine in shadow is shown nothing any more, if there is one.
    pub(super) fn end_shadow(&self, index: EngineIndex) {
        let mut news = Vec::new();
        let (count, tally) = {
            let mut plane = lock(&self.shadows.plane);
            let tally = plane.end(index);
            plane.take_news(&mut news);
            (plane.count(), tally)
        };
        self.shadows.count.store(count, Ordering::Release);
        self.shadows.bell.ring();
        self.to_control.news(news);
        if let Some(Tally { shown, left_out }) = tally {
            let engine = self.manifests.get(index.get()).map(|manifest| &manifest.name);
            let value = json!({ "engine": engine, "shown": shown, "left_out": left_out });
            self.journal.write("engine-out-of-shadow", value);
        }
    }

    /// A copy of the descriptor of a question that was just answered, if it is to be shown. It is taken before
    /// the descriptor is closed.
    pub(super) fn keep_for_shadows(
        &self,
        intake: &Intake,
        by: Decider,
        votes: &[EntryVote],
    ) -> Option<Kept> {
        let unasked = matches!(by, Decider::EmptyFile | Decider::Rule)
            || by.fallback_reason() == Some(FailureReason::QueueFull);
        if self.shadows.is_empty() || intake.may_block || unasked {
            return None;
        }
        let file = self.shadows.hold(intake.file)?;
        let engines = 0..self.manifests.len();
        let said = engines.filter_map(EngineIndex::new).filter_map(|engine| said(engine, votes));
        Some(Kept { file, said: said.collect() })
    }

    /// Leaves the question for those in shadow.
    pub(super) fn show(&self, mut intake: Intake, case: CaseId, kept: Kept) {
        let Kept { file, said } = kept;
        // They have as much time as those who decided had.
        let budget = verdicts::time_of(self.facts(intake.event).budget);
        intake.file = file.as_fd().as_raw_fd();
        intake.pidfd = -1;
        let shown = Shown { intake, file: Some(file), case, budget, said };
        self.shadows.leave(Copied::Question(Box::new(shown)));
    }

    /// Tells those in shadow what engines were told.
    pub(super) fn tell_shadows(&self, seen: &[Seen], now: u64) {
        if !self.shadows.is_empty() {
            lock(&self.shadows.plane).tell(seen.iter().map(|seen| (seen, None)), now);
            self.shadows.bell.ring();
        }
    }

    /// The same of what became of a question.
    pub(super) fn tell_shadows_decided(&self, notice: &Notice, decided: Decided) {
        if !self.shadows.is_empty() {
            let told = Box::new((Seen::Notice(notice.clone()), decided));
            self.shadows.leave(Copied::Told(told));
        }
    }
}

/// What is kept of a question while its answer is written down.
#[derive(Debug)]
pub(super) struct Kept {
    file: Held,
    said: Vec<Said>,
}

/// What the engine said; `None` if there is nothing to compare with.
fn said(engine: EngineIndex, votes: &[EntryVote]) -> Option<Said> {
    let Some(vote) = votes.iter().find(|vote| vote.engine == engine) else {
        // In quarantine, and left out for it; or not its event, which those in shadow know.
        return Some(Said { engine, active: None });
    };
    match (vote.verdict, vote.missing) {
        (Some(verdict), _) => {
            let rule = vote.detail.as_ref().map(|detail| detail.as_str().to_owned());
            Some(Said { engine, active: Some((verdict, rule.unwrap_or_default())) })
        }
        (None, Some(FailureReason::PoisonedObject) | None) => None,
        (None, Some(_)) => Some(Said { engine, active: None }),
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::record::Detail;

    use super::*;
    use crate::host::core::test_kit::SCAN;

    fn vote(verdict: Option<Verdict>, missing: Option<FailureReason>) -> EntryVote {
        let detail = Some(Box::new(Detail::new("rule 7")));
        EntryVote { engine: SCAN, required: true, verdict, missing, at: None, detail }
    }

    /// What there is to compare with of an engine that voted so; `None` if it is not shown.
    fn compared(votes: &[EntryVote]) -> Option<Option<(Verdict, String)>> {
        said(SCAN, votes).map(|said| said.active)
    }

    #[test]
    fn a_question_is_shown_beside_the_engines_word_or_its_absence() {
        let denied = compared(&[vote(Some(Verdict::Deny), None)]);

        assert_eq!(denied, Some(Some((Verdict::Deny, "rule 7".to_owned()))));
        assert_eq!(compared(&[vote(None, Some(FailureReason::EngineSlow))]), Some(None));
        assert_eq!(compared(&[vote(None, Some(FailureReason::Quarantined))]), Some(None));
        assert_eq!(compared(&[]), Some(None));
    }

    #[test]
    fn what_it_is_not_asked_about_or_had_no_time_to_judge_is_not_shown() {
        assert_eq!(compared(&[vote(None, Some(FailureReason::PoisonedObject))]), None);
        assert_eq!(compared(&[vote(None, None)]), None);
    }

    fn told() -> Copied {
        let by = outrigger_api::record::notice::DecidedBy::Engine;
        let case = CaseId::new(1).expect("not zero");
        let decided = Decided { case, answer: outrigger_api::Answer::Allow, by };
        let seen = Seen::Notice(Notice::new(outrigger_api::Event::FileOpen, 1));
        Copied::Told(Box::new((seen, decided)))
    }

    #[test]
    fn who_answers_never_waits_to_leave_a_copy_and_leaves_a_bounded_number() {
        let shadows = Shadows::new(RuleNames::default()).expect("a doorbell");
        let held = lock(&shadows.copies);
        shadows.leave(told());
        drop(held);
        assert_eq!(lock(&shadows.copies).len(), 0, "it was not waited for");

        (0..2 * COPIES_MAX).for_each(|_| shadows.leave(told()));

        assert_eq!(lock(&shadows.copies).len(), COPIES_MAX);
    }

    #[test]
    fn a_bounded_number_of_descriptors_is_kept_and_each_is_given_back() {
        let shadows = Shadows::new(RuleNames::default()).expect("a doorbell");
        let file = tempfile::tempfile().expect("a file");
        let number = file.as_raw_fd();

        let held: Vec<Held> = (0..HELD_MAX).filter_map(|_| shadows.hold(number)).collect();
        let again = held.clone();
        assert_eq!(held.len(), HELD_MAX as usize);
        assert!(shadows.hold(number).is_none());
        drop((held, again));

        assert!(shadows.hold(number).is_some());
    }
}
