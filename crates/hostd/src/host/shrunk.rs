//! What this machine gave of each event before, so that less of it is not taken for all there is.
//!
//! Kept on disk is the most that was ever found of each event and on which kernel that was. What is found at
//! a start is compared with it: less is told once, and stays a problem until there is as much again or the
//! operator says that it may be less. A file that cannot be read is such a problem too, and stays as it is
//! until then: to begin anew in silence would hide what it said.

use std::collections::BTreeMap;

use outrigger_api::coverage::{EventCoverage, Level, Shrunk};
use serde::{Deserialize, Serialize};

/// What a build says of an event that it does not know, and another knew.
const UNKNOWN: &str = "this build of the host does not know the event";

/// The most that was found of each event, by its name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Most {
    events: BTreeMap<String, Entry>,
}

/// The most that was found of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    level: Level,
    /// Release of the last kernel on which it had that level.
    kernel: String,
    /// That it has only this level was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told: Option<Level>,
}

/// What a comparison found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Compared {
    /// Every event of which there is less than before.
    pub(crate) shrunk: Vec<Shrunk>,
    /// How many of them were not told before.
    pub(crate) news: Vec<Shrunk>,
}

impl Most {
    /// Reads what was kept.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    /// As it is kept.
    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and levels are plain data")
    }

    /// Compares what was `found` on the kernel of this release, and remembers it where it is as much as before
    /// or more.
    pub(crate) fn compare(&mut self, kernel: &str, found: &[EventCoverage]) -> Compared {
        for event in found {
            self.events.entry(event.event.clone()).or_insert_with(|| Entry::of(event, kernel));
        }
        let mut compared = Compared::default();
        for (name, entry) in &mut self.events {
            let now = found.iter().find(|event| event.event == *name);
            let is = now.map_or(Level::Missing, |event| event.level);
            if is.reaches(entry.level) {
                *entry = Entry { level: is, kernel: kernel.to_owned(), told: None };
                continue;
            }
            let shrunk = Shrunk {
                event: name.clone(),
                was: entry.level,
                was_on: entry.kernel.clone(),
                is,
                reason: now.map_or_else(|| Some(UNKNOWN.to_owned()), |event| event.reason.clone()),
            };
            if entry.told.replace(is) != Some(is) {
                compared.news.push(shrunk.clone());
            }
            compared.shrunk.push(shrunk);
        }
        compared
    }

    /// What is found is all that is wanted.
    pub(crate) fn of(kernel: &str, found: &[EventCoverage]) -> Self {
        let entry = |event: &EventCoverage| (event.event.clone(), Entry::of(event, kernel));
        Self { events: found.iter().map(entry).collect() }
    }
}

impl Entry {
    fn of(event: &EventCoverage, kernel: &str) -> Self {
        Self { level: event.level, kernel: kernel.to_owned(), told: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(levels: &[(&str, Level)]) -> Vec<EventCoverage> {
        let entry = |(event, level): &(&str, Level)| EventCoverage {
            event: (*event).to_owned(),
            level: *level,
            sensor: "lsm".to_owned(),
            reason: (*level == Level::Missing).then(|| "EPERM".to_owned()),
            told_by: None,
            not_told: None,
            ruled_by: None,
            not_ruled: None,
            gaps: Vec::new(),
        };
        levels.iter().map(entry).collect()
    }

    /// As the next host has it.
    fn kept(most: &Most) -> Most {
        let text = String::from_utf8(most.write()).expect("JSON is text");
        Most::parse(&text).expect("it reads what it wrote")
    }

    #[test]
    fn less_than_before_is_news_once_and_stays_so() {
        let mut most = Most::default();
        let first = most.compare("6.12", &found(&[("file.unlink", Level::Rule)]));

        let second = most.compare("6.18", &found(&[("file.unlink", Level::Missing)]));
        let third = kept(&most).compare("6.18", &found(&[("file.unlink", Level::Missing)]));

        assert_eq!(first, Compared::default());
        let told: Vec<String> = second.news.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["file.unlink was rule on Linux 6.12 and is missing: EPERM"]);
        assert_eq!(third, Compared { shrunk: second.shrunk, news: Vec::new() });
    }

    #[test]
    fn still_less_is_news_again() {
        let mut most = Most::of("6.12", &found(&[("net.connect", Level::Rule)]));
        most.compare("6.18", &found(&[("net.connect", Level::Notify)]));

        let less = most.compare("6.18", &found(&[("net.connect", Level::Missing)]));

        assert_eq!(less.news.len(), 1);
    }

    #[test]
    fn as_much_as_before_ends_it_and_the_next_shrinking_is_news() {
        let mut most = Most::of("6.12", &found(&[("net.connect", Level::Rule)]));
        most.compare("6.18", &found(&[("net.connect", Level::Missing)]));

        let again = most.compare("6.19", &found(&[("net.connect", Level::Rule)]));
        let less = most.compare("6.20", &found(&[("net.connect", Level::Missing)]));

        assert_eq!(again, Compared::default());
        assert_eq!((less.news.len(), less.news[0].was_on.as_str()), (1, "6.19"));
    }

    #[test]
    fn what_is_accepted_is_compared_with_from_then_on() {
        let less = found(&[("net.connect", Level::Notify)]);
        let mut most = Most::of("6.18", &less);

        assert_eq!(most.compare("6.18", &less), Compared::default());
        assert_eq!(
            most.compare("6.18", &found(&[("net.connect", Level::Missing)])).shrunk.len(),
            1
        );
    }

    #[test]
    fn an_event_that_only_another_build_knows_is_missing() {
        let mut most = Most::of("6.12", &found(&[("pipe.open", Level::Notify)]));

        let compared = most.compare("6.12", &found(&[("net.connect", Level::Notify)]));

        assert_eq!(compared.shrunk[0].is, Level::Missing);
        assert_eq!(compared.shrunk[0].reason.as_deref(), Some(UNKNOWN));
    }

    #[test]
    fn what_was_not_kept_so_is_refused() {
        for text in ["", "{", "[]", "{\"events\":{\"a\":{\"level\":\"all\",\"kernel\":\"6\"}}}"] {
            assert!(Most::parse(text).is_err(), "{text:?}");
        }
    }
}
