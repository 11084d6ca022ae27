//! What of its events an engine gets on this machine: what it needs, what it can work with, or no dock.
//!
//! Nothing is weakened in silence: an engine that gets less than it needs is told so by the operator's
//! status and the journal, and one that cannot work with what there is does not dock.

use outrigger_api::coverage::EventCoverage;
use outrigger_api::settings::{Manifest, Need};
use outrigger_api::{Event, EventSet};

/// What an engine gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The events that it is asked about.
    pub(crate) asked: EventSet,
    /// The events that it is told of.
    pub(crate) told: EventSet,
    /// What it gets less than it needs, one sentence each.
    pub(crate) degraded: Vec<String>,
}

impl Granted {
    /// Everything that `manifest` can come to have, for as long as coverage is not known. What stands in for a
    /// rule is had from the start: what the kernel is to ask is settled then.
    pub(crate) fn in_full(manifest: &Manifest) -> Self {
        let mut granted = Self::default();
        for subscription in &manifest.events {
            let need = match subscription.needs {
                Need::Rule => subscription.degrade_to.unwrap_or(Need::Rule),
                needs => needs,
            };
            granted.give(subscription.event, need);
        }
        granted
    }

    /// What `manifest` gets where this is the coverage.
    ///
    /// # Errors
    ///
    /// What it needs, cannot have, and cannot do without.
    pub(crate) fn of(manifest: &Manifest, coverage: &[EventCoverage]) -> Result<Self, String> {
        let mut granted = Self::default();
        let mut lacking = Vec::new();
        for subscription in &manifest.events {
            let (event, needs) = (subscription.event, subscription.needs);
            let Err(why) = given(event, needs, coverage) else {
                granted.give(event, needs);
                continue;
            };
            let weaker = subscription.degrade_to;
            match weaker.filter(|weaker| given(event, *weaker, coverage).is_ok()) {
                Some(weaker) => {
                    granted.give(event, weaker);
                    let (less, more) = (words(weaker), words(needs));
                    granted.degraded.push(format!("{less} {event}, not {more} it: {why}"));
                }
                None => lacking.push(format!("{} {event}: {why}", words(needs))),
            }
        }
        match lacking.is_empty() {
            true => Ok(granted),
            false => Err(format!("it needs to be {}", lacking.join("; and to be "))),
        }
    }

    fn give(&mut self, event: Event, need: Need) {
        match need {
            Need::Ask => self.asked = self.asked.with(event),
            Need::Notify => self.told = self.told.with(event),
            Need::Rule => {}
        }
    }
}

const fn words(need: Need) -> &'static str {
    match need {
        Need::Ask => "asked about",
        Need::Rule => "guarded by a rule on",
        Need::Notify => "told of",
    }
}

/// Whether this machine gives `need` of `event`, or why not.
fn given(event: Event, need: Need, coverage: &[EventCoverage]) -> Result<(), String> {
    let Some(found) = coverage.iter().find(|entry| entry.event == event.name()) else {
        return Err("it was not tried".to_owned());
    };
    let given = match need {
        Need::Ask => found.level == Need::Ask.level(),
        Need::Rule => found.ruled_by.is_some(),
        Need::Notify => found.told_by.is_some(),
    };
    let why = match need {
        Need::Notify => &found.not_told,
        Need::Rule => &found.not_ruled,
        Need::Ask => &found.reason,
    };
    if given { Ok(()) } else { Err(why.clone().unwrap_or_else(|| "no reason was found".into())) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use outrigger_api::coverage::Level;

    use super::*;

    fn manifest(events: &str) -> Manifest {
        let text = format!(
            "name = \"a\"\nvendor = \"V\"\nversion = \"1\"\ncontract = \"1\"\n\
             verdict = \"content\"\nentry.program = \"a\"\n{events}"
        );
        Manifest::parse(&text, Path::new("m.toml")).expect("a manifest")
    }

    /// A machine that asks about the one set and tells of the other.
    fn machine(asked: &[Event], told: &[Event]) -> Vec<EventCoverage> {
        let cover = |&event: &Event| EventCoverage {
            event: event.name().to_owned(),
            level: if asked.contains(&event) { Level::Ask } else { Level::Missing },
            sensor: "test".to_owned(),
            reason: (!asked.contains(&event)).then(|| "EPERM".to_owned()),
            told_by: told.contains(&event).then(|| "test".to_owned()),
            not_told: (!told.contains(&event)).then(|| "EINVAL".to_owned()),
            ruled_by: None,
            not_ruled: None,
            gaps: Vec::new(),
        };
        Event::ALL.iter().map(cover).collect()
    }

    fn set(events: &[Event]) -> EventSet {
        events.iter().copied().collect()
    }

    #[test]
    fn an_engine_gets_what_it_needs_where_the_machine_gives_it() {
        let manifest = manifest(
            "events.\"file.open\".needs = \"ask\"\nevents.\"process.fork\".needs = \"notify\"\n",
        );
        let machine = machine(&[Event::FileOpen], &[Event::ProcessFork]);

        let granted = Granted::of(&manifest, &machine).expect("granted");

        assert_eq!(granted.asked, set(&[Event::FileOpen]));
        assert_eq!(granted.told, set(&[Event::ProcessFork]));
        assert!(granted.degraded.is_empty());
        assert_eq!(granted, Granted::in_full(&manifest));
    }

    #[test]
    fn an_engine_degrades_only_as_it_said_and_it_is_told() {
        let manifest =
            manifest("[events.\"process.exec\"]\nneeds = \"ask\"\ndegrade_to = \"notify\"\n");

        let granted = Granted::of(&manifest, &machine(&[], &[Event::ProcessExec]));

        let granted = granted.expect("it can work with that");
        assert_eq!((granted.asked, granted.told), (set(&[]), set(&[Event::ProcessExec])));
        assert_eq!(granted.degraded, ["told of process.exec, not asked about it: EPERM"]);
    }

    #[test]
    fn an_engine_that_cannot_do_without_does_not_dock() {
        let manifest = manifest(
            "events.\"file.open\".needs = \"ask\"\nevents.\"process.exit\".needs = \"notify\"\n",
        );

        let refused = Granted::of(&manifest, &machine(&[], &[]));

        let why =
            "it needs to be told of process.exit: EINVAL; and to be asked about file.open: EPERM";
        assert_eq!(refused, Err(why.to_owned()));
    }

    #[test]
    fn what_stands_in_for_a_rule_is_had_from_the_start() {
        let manifest =
            manifest("[events.\"file.open\"]\nneeds = \"rule\"\ndegrade_to = \"notify\"\n");

        let granted = Granted::in_full(&manifest);

        assert_eq!((granted.asked, granted.told), (set(&[]), set(&[Event::FileOpen])));
    }

    #[test]
    fn an_engine_that_needs_a_rule_where_none_decides_does_not_dock() {
        let manifest = manifest("events.\"file.open\".needs = \"rule\"\n");

        let refused = Granted::of(&manifest, &machine(&[Event::FileOpen], &[]));

        assert!(refused.is_err_and(|why| why.contains("guarded by a rule on file.open")));
    }
}
