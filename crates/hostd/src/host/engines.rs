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
    pub(crate) books: Books,
    handed: VecDeque<Handed>,
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
            books: Books::new(subscribed),
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

    /// Remembers that it was handed a record about `event`.
    pub(crate) fn hand(&mut self, case: CaseId, object: PoisonObject, event: Event) {
        if self.handed.len() == HANDED_MAX {
            self.handed.pop_front();
        }
        self.handed.push_back(Handed { case, object });
        self.books.asked(event);
    }

    /// Forgets a record that it answered, and older ones whose cases have ended: it passed them over.
    pub(crate) fn take_back(&mut self, case: CaseId, is_open: impl Fn(CaseId) -> bool) {
        if self.handed.front().is_some_and(|handed| handed.case == case) {
            self.handed.pop_front();
            return;
        }
        let Some(place) = self.handed.iter().position(|handed| handed.case == case) else { return };
        let mut index = 0;
        self.handed.retain(|handed| {
            let keep = index > place || (index < place && is_open(handed.case));
            index += 1;
            keep
        });
    }

    /// The record it was most likely working on: the oldest that it has not answered, since engines
    /// judge in the ring's order. Forgets all.
    pub(crate) fn drop_hands(&mut self) -> Option<PoisonObject> {
        let first = self.handed.pop_front().map(|handed| handed.object);
        self.handed.clear();
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
            books: Books::new(EventSet::EMPTY),
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
