//! What the decision path knows of each engine: who it is, how it is reached, what it did lately.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use outrigger_api::settings::{ContentGrant, EngineConfig, Fields, Manifest};
use outrigger_api::verdict::VerdictBasis;
use outrigger_api::{CaseId, Event, EventSet, FailureReason, Mode};
use outrigger_decision::poison::Object as PoisonObject;
use outrigger_decision::policy::{EngineFacts, Standing};
use outrigger_dock::{Feed, VerdictReader};

use super::ledger::Books;
use super::subscriptions::Granted;

/// Records in an engine's hands that are remembered; as many as its ring can hold at the least size.
const HANDED_MAX: usize = 8192;

/// One engine, docked or not.
#[derive(Debug)]
pub(crate) struct Engine {
    /// The events that it is asked about.
    pub(crate) events: EventSet,
    /// The events that it is told of.
    pub(crate) told: EventSet,
    /// What it gets less than it needs, and can work with; for people.
    pub(crate) degraded: Vec<String>,
    pub(crate) required: bool,
    pub(crate) mode: Mode,
    pub(crate) basis: VerdictBasis,
    pub(crate) fields: Fields,
    /// What content it is granted; `None` where its manifest asks for none.
    pub(crate) grant: ContentGrant,
    pub(crate) state: Presence,
    /// The process that was replaced, until it has finished.
    pub(crate) former: Option<Former>,
    pub(crate) books: Books,
    /// Questions that it left without a verdict since it gave one.
    pub(crate) unanswered: u64,
    /// How often it was woken for what lies in its ring.
    pub(crate) woken: u64,
    handed: VecDeque<Handed>,
}

/// A process that has lost its place to another version and answers what it has in hand.
#[derive(Debug)]
pub(crate) struct Former {
    pub(crate) link: Link,
    handed: VecDeque<Handed>,
    /// It was said to have finished.
    pub(crate) told: bool,
}

impl Former {
    /// Whether it was handed a record about `case` and has not answered it: it counts as answered now.
    pub(crate) fn take(&mut self, case: CaseId) -> bool {
        let place = self.handed.iter().position(|handed| handed.case == case);
        place.and_then(|place| self.handed.remove(place)).is_some()
    }
}

/// Whether an engine can be asked.
#[derive(Debug)]
pub(crate) enum Presence {
    /// It is starting, or will at once: its questions wait for it as long as their budget allows.
    Coming,
    /// It takes questions.
    Docked(Link),
    /// It will not come soon, and why.
    Away(FailureReason),
}

/// The two rings and the content socket of a docked engine.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) events: Feed,
    pub(crate) verdicts: VerdictReader,
    pub(crate) content: Option<OwnedFd>,
    /// Written since the last publication.
    pub(crate) unpublished: bool,
    /// One of its rings was found corrupt: neither is looked at any more.
    corrupt: bool,
}

impl Link {
    pub(crate) const fn new(
        events: Feed,
        verdicts: VerdictReader,
        content: Option<OwnedFd>,
    ) -> Self {
        Self { events, verdicts, content, unpublished: false, corrupt: false }
    }

    /// Whether its rings can be used.
    pub(crate) const fn is_sound(&self) -> bool {
        !self.corrupt
    }

    /// Notes that a ring of its is corrupt: it stays so until the engine's next process, and is one fault however
    /// often somebody would look.
    pub(crate) const fn give_up(&mut self) {
        self.corrupt = true;
    }
}

/// A record that the engine has and has not answered.
#[derive(Debug, Clone, Copy)]
struct Handed {
    case: CaseId,
    object: PoisonObject,
    /// The process that was replaced has it too, so that the case may have this engine's vote already.
    again: bool,
}

impl Engine {
    /// The engine of this manifest as the administrator configured it; not docked.
    pub(crate) fn new(manifest: &Manifest, config: &EngineConfig) -> Self {
        let Granted { asked, told, degraded } = Granted::in_full(manifest);
        let subscribed = manifest.events.iter().map(|subscription| subscription.event).collect();
        Self {
            events: asked,
            told,
            degraded,
            required: config.required,
            mode: config.mode,
            basis: manifest.verdict,
            fields: manifest.fields,
            grant: if manifest.content { config.content.clone() } else { ContentGrant::None },
            state: Presence::Coming,
            former: None,
            books: Books::new(subscribed),
            unanswered: 0,
            woken: 0,
            handed: VecDeque::new(),
        }
    }

    /// Gives it what this machine lets it have.
    pub(crate) fn grant_events(&mut self, granted: Granted) {
        Granted { asked: self.events, told: self.told, degraded: self.degraded } = granted;
    }

    /// Whether it reads content, so that its questions have the longer budget.
    pub(crate) fn reads_content(&self) -> bool {
        self.grant != ContentGrant::None
    }

    /// What the decision core must know of it. One that is coming is asked as if it were there.
    pub(crate) fn facts(&self) -> EngineFacts {
        EngineFacts {
            standing: match self.state {
                Presence::Coming | Presence::Docked(_) => Standing::Docked,
                Presence::Away(reason) => Standing::Away(reason),
            },
            events: self.events,
            required: self.required,
            mode: self.mode,
            basis: self.basis,
        }
    }

    /// The link, while it is docked.
    pub(crate) fn link(&mut self) -> Option<&mut Link> {
        match &mut self.state {
            Presence::Docked(link) => Some(link),
            Presence::Coming | Presence::Away(_) => None,
        }
    }

    /// The links whose rings are looked at: of the process that is docked, and of the one before it.
    pub(crate) fn links(&mut self) -> impl Iterator<Item = &mut Link> {
        let current = match &mut self.state {
            Presence::Docked(link) => Some(link),
            Presence::Coming | Presence::Away(_) => None,
        };
        let former = self.former.as_mut().map(|former| &mut former.link);
        current.into_iter().chain(former)
    }

    /// Takes questions by `link` from now on. A process that was docked becomes the former one.
    pub(crate) fn succeed(&mut self, link: Link) {
        let before = std::mem::replace(&mut self.state, Presence::Docked(link));
        let handed = std::mem::take(&mut self.handed);
        self.unanswered = 0;
        self.former = match before {
            Presence::Docked(link) if link.is_sound() => Some(Former { link, handed, told: false }),
            Presence::Docked(_) | Presence::Coming | Presence::Away(_) => None,
        };
    }

    /// Remembers that it was handed a record about `event`.
    pub(crate) fn hand(&mut self, case: CaseId, object: PoisonObject, event: Event) {
        self.note_handed(Handed { case, object, again: false });
        self.books.asked(event);
    }

    /// The same of a record that the process before it was handed too: one question all the same.
    pub(crate) fn hand_again(&mut self, case: CaseId, object: PoisonObject) {
        self.note_handed(Handed { case, object, again: true });
    }

    fn note_handed(&mut self, handed: Handed) {
        if self.handed.len() == HANDED_MAX {
            self.handed.pop_front();
        }
        self.handed.push_back(handed);
    }

    /// Forgets a record that it answered, and older ones whose cases have ended: it passed them over. Whether
    /// the process before it had that record too.
    pub(crate) fn take_back(&mut self, case: CaseId, is_open: impl Fn(CaseId) -> bool) -> bool {
        if let Some(handed) = self.handed.pop_front_if(|handed| handed.case == case) {
            return handed.again;
        }
        let position = self.handed.iter().position(|handed| handed.case == case);
        let Some((place, again)) =
            position.and_then(|place| Some((place, self.handed.get(place)?.again)))
        else {
            return false;
        };
        let mut index = 0;
        self.handed.retain(|handed| {
            let keep = index > place || (index < place && is_open(handed.case));
            index += 1;
            keep
        });
        again
    }

    /// The record it was most likely working on: the oldest that it has not answered, since engines
    /// judge in the ring's order. Forgets all.
    pub(crate) fn drop_hands(&mut self) -> Option<PoisonObject> {
        let first = self.handed.pop_front().map(|handed| handed.object);
        self.handed.clear();
        self.unanswered = 0;
        first
    }
}

impl AsMut<Books> for Engine {
    fn as_mut(&mut self) -> &mut Books {
        &mut self.books
    }
}

#[cfg(test)]
mod tests {
    use outrigger_api::FileKey;

    use super::*;

    fn engine() -> Engine {
        Engine {
            events: EventSet::EMPTY,
            told: EventSet::EMPTY,
            degraded: Vec::new(),
            required: true,
            mode: Mode::Enforce,
            basis: VerdictBasis::Content,
            fields: Fields::default(),
            grant: ContentGrant::None,
            state: Presence::Coming,
            former: None,
            books: Books::new(EventSet::EMPTY),
            unanswered: 0,
            woken: 0,
            handed: VecDeque::new(),
        }
    }

    fn object(number: u8) -> PoisonObject {
        PoisonObject { file: FileKey([number; 32]), changed: 0, size: 0 }
    }

    fn case(number: u64) -> CaseId {
        CaseId::new(number).expect("not zero")
    }

    #[test]
    fn the_oldest_unanswered_record_is_the_one_in_hand() {
        let mut engine = engine();
        (1..=3)
            .for_each(|number| engine.hand(case(number.into()), object(number), Event::FileOpen));

        engine.take_back(case(1), |_| true);

        assert_eq!(engine.drop_hands(), Some(object(2)));
    }

    #[test]
    fn a_record_passed_over_after_its_deadline_is_not_in_hand() {
        let mut engine = engine();
        (1..=3)
            .for_each(|number| engine.hand(case(number.into()), object(number), Event::FileOpen));

        engine.take_back(case(2), |_| false);

        assert_eq!(engine.drop_hands(), Some(object(3)));
    }
}
