//! Which release this machine may take, and when: its ring, versions that are pinned, times without updates, and
//! what waits for a person's word. Read here; `outrigger_update::rollout` decides by it.

use std::fmt;

use semver::Version;

use crate::key::EngineName;
use crate::release::Part;
use crate::settings::error::{Problem, quoted};
use crate::settings::keys;
use crate::settings::reader::Section;
use crate::settings::release::release_version;

/// Which release this machine may take, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutConfig {
    /// How many rings go before this machine's.
    pub ring: u32,
    /// What tells this machine from others; without it what the system's installation gave it.
    pub seed: Option<String>,
    /// How long each ring is, in hours.
    pub ring_hours: u32,
    /// Times in which nothing is taken, in UTC.
    pub freeze: Vec<Freeze>,
    /// What waits for a person's word.
    pub approval: Approval,
}

/// Of which releases each waits for a person's word before it runs on live events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Approval {
    /// Of none.
    #[default]
    Nothing,
    /// Those of code.
    Code,
    /// Those of content.
    Content,
    /// All.
    All,
}

impl Approval {
    /// Whether a release of `part` waits.
    pub const fn covers(self, part: Part) -> bool {
        matches!(
            (self, part),
            (Self::All, _) | (Self::Code, Part::Code) | (Self::Content, Part::Content)
        )
    }
}

/// A part of an engine of which not simply the newest release is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinConfig {
    /// Which engine.
    pub engine: EngineName,
    /// What of it.
    pub part: Part,
    /// What is taken.
    pub to: Pin,
}

/// What is taken in place of the newest release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// This one and no other, older than what is in force or not.
    Version(Version),
    /// The one that so many others are newer than.
    Behind(u32),
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "{version}"),
            Self::Behind(count) => write!(f, "{count} behind the newest"),
        }
    }
}

/// A time in which nothing is taken, in UTC. Displayed as it is written in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freeze {
    /// Each week.
    Week {
        /// When it begins.
        from: WeekTime,
        /// When it ends; another time than `from`, and in the next week if it is before it.
        to: WeekTime,
    },
    /// Whole days, once.
    Days {
        /// The first day.
        first: Day,
        /// The last day, not before the first.
        last: Day,
    },
}

/// A time of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WeekTime {
    /// Days since Monday, 0 to 6.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
}

/// A day that the calendar has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day {
    /// 2000 to 9998.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
    /// 1 to 31.
    pub day: i8,
}

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

impl Freeze {
    /// What `text` says: `Fri 18:00 - Mon 06:00`, or `2026-12-20 - 2027-01-04`.
    fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.split_once(" - ")?;
        if let (Some(from), Some(to)) = (WeekTime::parse(from), WeekTime::parse(to)) {
            return (from != to).then_some(Self::Week { from, to });
        }
        let (first, last) = (Day::parse(from)?, Day::parse(to)?);
        (first <= last).then_some(Self::Days { first, last })
    }
}

impl WeekTime {
    fn parse(text: &str) -> Option<Self> {
        let (day, time) = text.split_once(' ')?;
        let day = DAYS.iter().position(|name| *name == day)?;
        let (hour, minute) = time.split_once(':')?;
        let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
        let good = hour < 24 && minute < 60;
        let [day, hour, minute] = [u16::try_from(day).ok()?, hour, minute].map(u8::try_from);
        good.then_some(Self { day: day.ok()?, hour: hour.ok()?, minute: minute.ok()? })
    }
}

impl Day {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
        let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
        let leap =
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => return None,
        };
        let good =
            parts.next().is_none() && (2000..9999).contains(&year) && (1..=days).contains(&day);
        let (year, month, day) =
            (year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?);
        good.then_some(Self { year, month, day })
    }
}

/// The number of just so many digits that `text` is.
fn digits(text: &str, count: usize) -> Option<u16> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

impl fmt::Display for Freeze {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Week { from, to } => write!(f, "{from} - {to}"),
            Self::Days { first, last } => write!(f, "{first} - {last}"),
        }
    }
}

impl fmt::Display for WeekTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS.get(usize::from(self.day)).copied().unwrap_or_default();
        write!(f, "{day} {:02}:{:02}", self.hour, self.minute)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// The ring and what goes with it.
pub(super) fn read(top: &Section<'_>) -> RolloutConfig {
    let table = top.section(&keys::ROLLOUT, &keys::UPDATES_ROLLOUT, keys::UPDATES);
    let seed = table.checked_if_written(&keys::SEED, |text| {
        let good =
            (1..=keys::SEED_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        good.then(|| text.to_owned())
    });
    let freeze = table.names(&keys::FREEZE, |text| Freeze::parse(text).is_some());
    RolloutConfig {
        ring: table.number(&keys::RING),
        seed: seed.map(|(seed, _)| seed),
        ring_hours: table.number(&keys::RING_HOURS),
        freeze: freeze.iter().filter_map(|(text, _)| Freeze::parse(text)).collect(),
        approval: table.choice(&keys::APPROVAL),
    }
}

/// What is pinned. No part of an engine is so twice.
pub(super) fn read_pins(top: &Section<'_>) -> Vec<PinConfig> {
    let tables = top.sections(&keys::PIN, keys::PINS_MAX, &keys::UPDATES_PIN, keys::UPDATES);
    let mut read: Vec<(PinConfig, &Section<'_>)> = Vec::with_capacity(tables.len());
    for table in &tables {
        let engine = table.checked(&keys::OF_ENGINE, |text| text.parse::<EngineName>().ok());
        let part = table.chosen(&keys::PART);
        let to = read_pin(table);
        let (Some((engine, _)), Some(part), Some(to)) = (engine, part, to) else { continue };
        let first = read.iter().find(|(pin, _)| pin.engine == engine && pin.part == part);
        if let Some((_, first)) = first {
            let twice = quoted(&format!("{engine} {part}"));
            table.duplicate(&keys::OF_ENGINE, twice, first);
        }
        read.push((PinConfig { engine, part, to }, table));
    }
    read.into_iter().map(|(pin, _)| pin).collect()
}

fn read_pin(table: &Section<'_>) -> Option<Pin> {
    let version = table.checked_if_written(&keys::PIN_VERSION, release_version);
    let behind = table.optional(&keys::BEHIND);
    let written = [table.value(&keys::PIN_VERSION), table.value(&keys::BEHIND)];
    match &written {
        [Some(_), Some(behind)] => behind.refuse(|| {
            let why = "stands beside `version`: one of them pins, not both".to_owned();
            (Problem::Conflict(why), Some("leave one of the two out".to_owned()))
        }),
        [None, None] => table.unfit("pins nothing", || {
            "write `version = \"1.2.3\"`, or `behind = 1` for the second newest".to_owned()
        }),
        _ => {}
    }
    let version = version.map(|(version, _)| Pin::Version(version));
    version.or_else(|| Some(Pin::Behind(u32::try_from(behind?).unwrap_or(u32::MAX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_updates_reads_as_it_is_written() {
        for text in ["Fri 18:00 - Mon 06:00", "Tue 00:00 - Tue 23:59", "2024-02-29 - 2027-01-04"] {
            assert_eq!(Freeze::parse(text).map(|freeze| freeze.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        let bad = [
            "",
            "Fri 18:00",
            "Fri 18:00-Mon 06:00",
            "Fri 18:00 - Fri 18:00",
            "fri 18:00 - Mon 06:00",
            "Fri 24:00 - Mon 06:00",
            "Fri 18:60 - Mon 06:00",
            "Fri +8:00 - Mon 06:00",
            "Fri 18:00 - 2027-01-04",
            "2026-12-20 - 2026-12-19",
            "2026-02-29 - 2026-03-01",
            "2100-02-29 - 2100-03-01",
            "2026-13-01 - 2027-01-01",
            "2026-00-01 - 2027-01-01",
            "2026-1-1 - 2027-01-01",
            "1999-01-01 - 2027-01-01",
            "2026-01-01-01 - 2027-01-01",
        ];
        for text in bad {
            assert_eq!(Freeze::parse(text), None, "{text}");
        }
    }
}
