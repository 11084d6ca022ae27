//! Notices into the engines' rings: the part of delivery that needs the lock.
//!
//! What is written is memory, and a batch is short, so that a question never waits long behind it. What an
//! engine's ring has no room for is dropped, counted in its books, and told by its ring as soon as there is
//! room ([`outrigger_dock::Feed`]).

use outrigger_api::record::notice::{DecidedBy, NoticeExtra, NoticeTail, write_notice};
use outrigger_api::record::{Arguments, EventHeader, RuleOutcome, present};
use outrigger_api::settings::Fields;
use outrigger_api::{Answer, CaseId, EventSet, FailureReason, Loss, LossCause, Lost};
use outrigger_decision::EngineIndex;
use outrigger_dock::Told;
use outrigger_sensor::notice::{Notice, Seen};
use zerocopy::FromZeros as _;

use super::{Core, News};
use crate::host::engines::{Engine, Link, Presence};
use crate::host::ledger::Books;
use crate::host::policy::RuleNames;

/// What was decided of an operation that an engine is told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decided {
    pub(crate) case: CaseId,
    pub(crate) answer: Answer,
    pub(crate) by: DecidedBy,
}

impl Core {
    /// Tells every engine of `seen` what it wants to be told.
    pub(crate) fn tell(&mut self, seen: &[Seen], now: u64) {
        self.tell_each(seen.iter().map(|seen| (seen, None)), now);
    }

    /// Tells every engine that wants to be told what became of an operation.
    pub(crate) fn tell_decided(&mut self, notice: Notice, decided: Decided, now: u64) {
        self.tell_each(std::iter::once((&Seen::Notice(notice), Some(decided))), now);
    }

    /// Tells of losses where there is room again; whether any engine is still owed some.
    pub(crate) fn settle(&mut self, now: u64) -> bool {
        if self.owing {
            self.tell_each(std::iter::empty(), now);
        }
        self.owing
    }

    fn tell_each<'a>(
        &mut self,
        seen: impl Iterator<Item = (&'a Seen, Option<Decided>)> + Clone,
        now: u64,
    ) {
        let Self { engines, record, news, rule_names, .. } = self;
        for (place, engine) in engines.iter_mut().enumerate() {
            if engine.told.is_empty() {
                continue;
            }
            let Engine { told, fields, state, books, .. } = engine;
            // One that is not docked has no ring: what it is told begins with its next start.
            let Presence::Docked(link) = state else { continue };
            let ear = Ear {
                link,
                number: place,
                told: *told,
                fields: *fields,
                names: rule_names,
                books: Some(books),
            };
            if let Err(error) = tell_one(ear, seen.clone(), now, record)
                && let Some(index) = EngineIndex::new(place)
            {
                engine.link().into_iter().for_each(Link::give_up);
                let reason = FailureReason::RingCorrupt;
                news.push(News::Fault { engine: index, reason, detail: error.to_string() });
            }
        }
        let links = self.engines.iter_mut().filter_map(Engine::link).filter(|link| link.is_sound());
        self.owing = links.fold(false, |owing, link| owing | link.events.owes_gaps());
        self.publish();
    }
}

/// A process that is told of things.
pub(crate) struct Ear<'a> {
    pub(crate) link: &'a mut Link,
    /// Its engine's number, which is its bit where a sensor says who wants to be told.
    pub(crate) number: usize,
    pub(crate) told: EventSet,
    pub(crate) fields: Fields,
    pub(crate) names: &'a RuleNames,
    /// Where what it is told is entered, if anywhere.
    pub(crate) books: Option<&'a mut Books>,
}

/// Tells one process of `seen` what it wants of it, and of what it missed.
///
/// # Errors
///
/// If it broke its ring.
pub(crate) fn tell_one<'a>(
    ear: Ear<'_>,
    seen: impl Iterator<Item = (&'a Seen, Option<Decided>)>,
    now: u64,
    record: &mut [u8],
) -> Result<(), outrigger_dock::PushError> {
    let Ear { link, number, told, fields, names, mut books } = ear;
    if !link.is_sound() {
        return Ok(());
    }
    for (seen, decided) in seen {
        match seen {
            Seen::Notice(notice) if told.contains(notice.event) && wanted(notice, number) => {
                let len = write(notice, decided, fields, names, now, record);
                let done = link.events.tell(notice.event, &mut record[..len], now)?;
                match (done, &mut books) {
                    (_, None) => {}
                    (Told::Yes, Some(books)) => books.told(notice.event),
                    (Told::Dropped, Some(books)) => books.untold(&Loss {
                        events: std::iter::once(notice.event).collect(),
                        lost: Lost::Exactly(1),
                        cause: LossCause::EngineRing,
                    }),
                }
            }
            Seen::Notice(_) => {}
            Seen::Loss(loss) => {
                let events = loss.events.intersection(told);
                if !events.is_empty() {
                    let loss = Loss { events, ..*loss };
                    if let Some(books) = &mut books {
                        books.untold(&loss);
                    }
                    link.events.lose(loss);
                }
            }
        }
    }
    link.events.settle(now)?;
    // Who sleeps is not woken for what was not for it.
    link.unpublished |= link.events.has_unpublished();
    Ok(())
}

/// Whether the engine of this number is among those that the sensor says want it.
fn wanted(notice: &Notice, number: usize) -> bool {
    let bit = u32::try_from(number).ok().and_then(|number| 1_u64.checked_shl(number));
    notice.wanted.is_none_or(|wanted| bit.is_some_and(|bit| wanted & bit != 0))
}

/// Writes one notice for an engine that wants `fields`; the record's length.
fn write(
    notice: &Notice,
    decided: Option<Decided>,
    fields: Fields,
    names: &RuleNames,
    now: u64,
    record: &mut [u8],
) -> usize {
    let mut header = EventHeader::new_zeroed();
    let mut extra = NoticeExtra::new_zeroed();
    let mut bits = present::KERNEL_TIME;
    header.event = notice.event.number().into();
    header.kernel_time = notice.kernel_time.into();
    header.host_time = now.into();
    if let Some(decided) = decided {
        header.case = decided.case.get().into();
        header.outcome = if decided.answer == Answer::Allow { 1 } else { 2 };
        header.decided_by = decided.by as u8;
    } else if let Some(outcome) = notice.ruled.and_then(|ruled| decisive(ruled.outcome)) {
        header.outcome = outcome;
        header.decided_by = DecidedBy::Rule as u8;
    }
    if let Some(process) = notice.process {
        header.process = process.0;
        bits |= present::PROCESS;
    }
    if notice.pid != 0 {
        header.pid = notice.pid.into();
        bits |= present::PID;
    }
    if let Some(file) = notice.file {
        header.file = file.0;
        bits |= present::FILE;
    }
    if let Some(credentials) = notice.credentials.filter(|_| fields.credentials) {
        header.uid = credentials.uid.into();
        header.gid = credentials.gid.into();
        bits |= present::CREDENTIALS;
    }
    let mut more = false;
    if let Some(parent) = notice.parent {
        extra.parent = parent.0;
        (bits, more) = (bits | present::PARENT, true);
    }
    if let Some(pid) = notice.parent_pid {
        extra.parent_pid = pid.into();
        (bits, more) = (bits | present::PARENT_PID, true);
    }
    if let Some(status) = notice.status {
        extra.status = status.cast_unsigned().into();
        (bits, more) = (bits | present::STATUS, true);
    }
    header.present = bits.into();
    let [path, new_path] =
        [&notice.path, &notice.new_path].map(|path| path.as_deref().filter(|_| fields.path));
    let rule = notice.ruled.and_then(|ruled| names.of(ruled));
    let arguments = Arguments {
        target: notice.target,
        target_pid: (notice.target_pid != 0).then_some(notice.target_pid),
        ruled: notice.ruled.map(|ruled| ruled.outcome),
        rule: rule.as_deref(),
        ..Arguments::default()
    };
    let arguments = match fields.arguments {
        true => Arguments {
            values: notice.values,
            endpoint: notice.endpoint,
            text: notice.text.as_deref(),
            ..arguments
        },
        false => arguments,
    };
    let tail = NoticeTail { path, extra: more.then_some(extra), new_path, arguments };
    write_notice(&mut header, tail, record)
}

/// What a rule that decided made of the operation, as a header has it.
const fn decisive(outcome: RuleOutcome) -> Option<u8> {
    match outcome {
        RuleOutcome::Allowed => Some(1),
        RuleOutcome::Denied => Some(2),
        RuleOutcome::WouldDeny => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use outrigger_api::Event;
    use outrigger_api::record::notice::{NOTICE_MAX, NoticeRecord, RingRecord};
    use outrigger_sensor::notice::{Endpoint, Ruled};

    use super::super::test_kit::asked;
    use super::*;

    fn connect(outcome: RuleOutcome) -> Notice {
        Notice {
            endpoint: Some(Endpoint {
                family: 2,
                address: Some(IpAddr::from([192, 0, 2, 1])),
                port: 53,
            }),
            values: [Some(17), Some(2)],
            ruled: Some(Ruled { outcome, generation: 3, rule: 1 }),
            ..Notice::new(Event::NetConnect, 5)
        }
    }

    fn told(notice: &Notice, fields: Fields) -> NoticeRecord {
        let names = RuleNames::default();
        names.add(3, vec!["first".into(), "no-dns".into()]);
        names.add(4, vec!["another".into()]);
        let mut record = [0; NOTICE_MAX];
        let len = write(notice, None, fields, &names, 9, &mut record);
        match RingRecord::parse(&record[..len]) {
            Ok(RingRecord::Notice(notice)) => notice,
            other => panic!("no notice: {other:?}"),
        }
    }

    #[test]
    fn what_a_rule_of_the_set_before_did_is_told_by_its_name() {
        let denied = told(&connect(RuleOutcome::Denied), Fields::default());
        let monitored = told(&connect(RuleOutcome::WouldDeny), Fields::default());

        assert_eq!(denied.outcome, Some((Answer::Deny, DecidedBy::Rule)));
        assert_eq!(denied.rule.as_deref(), Some("no-dns"));
        assert_eq!((monitored.outcome, monitored.ruled), (None, Some(RuleOutcome::WouldDeny)));
    }

    #[test]
    fn arguments_go_to_those_who_ask_for_them() {
        let notice = connect(RuleOutcome::Allowed);

        let without = told(&notice, Fields::default());
        let with = told(&notice, Fields { arguments: true, ..Fields::default() });

        assert_eq!((without.endpoint, without.values), (None, [None, None]));
        assert_eq!((with.endpoint, with.values), (notice.endpoint, notice.values));
    }

    #[test]
    fn who_sleeps_is_woken_by_what_it_wants_alone() {
        let (mut core, mut process, _) = asked();
        core.engines[0].told = EventSet::EMPTY.with(Event::NetConnect);
        let notice = |wanted| {
            [Seen::Notice(Notice { wanted: Some(wanted), ..Notice::new(Event::NetConnect, 5) })]
        };
        let mut wakes = Vec::new();
        core.take_wakes(&mut wakes);
        process.doze();

        let woken = [0, 0b10, 0b01].map(|wanted| {
            core.tell(&notice(wanted), 9);
            wakes.clear();
            core.take_wakes(&mut wakes);
            wakes.len()
        });

        assert_eq!(woken, [0, 0, 1]);
        assert_eq!(process.take_all(), 1);
    }

    #[test]
    fn a_sensor_that_filters_says_who_wants_it() {
        let notice = Notice { wanted: Some(0b10), ..Notice::new(Event::NetConnect, 5) };

        assert!(!wanted(&notice, 0) && wanted(&notice, 1) && !wanted(&notice, 64));
        assert!(wanted(&Notice::new(Event::NetConnect, 5), 64));
    }
}
