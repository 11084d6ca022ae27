//! What this machine lets us do for each event, as found by trial.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalogue::Event;

/// How an event can be answered, from strongest to weakest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Engines are asked and the answer is enforced.
    Ask,
    /// Rules in the kernel decide; nobody is asked.
    Rule,
    /// It is seen, not decided.
    Notify,
    /// It is not seen.
    Missing,
}

impl Level {
    /// Whether this is `wanted` or stronger.
    pub const fn reaches(self, wanted: Self) -> bool {
        self as u8 <= wanted as u8
    }

    /// Its name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ask => "ask",
            Self::Rule => "rule",
            Self::Notify => "notify",
            Self::Missing => "missing",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One way in which an event passes unseen although its level says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// A short fixed name, for scripts: `memfd-exec`, `unmarked-file-system`, `open-before-mark`, …
    pub name: String,
    /// What passes unseen and why, one sentence.
    pub why: String,
    /// What an operator can do about it, if anything.
    pub remedy: Option<String>,
}

/// What was found for one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCoverage {
    /// The event's name.
    pub event: String,
    /// The strongest level that a trial proved.
    pub level: Level,
    /// The sensor that gives it: `fanotify`, …
    pub sensor: String,
    /// Why not more: the refused call and its errno, or what the kernel lacks.
    pub reason: Option<String>,
    /// The sensor by which engines are told of the event after it happened, if one does.
    #[serde(default)]
    pub told_by: Option<String>,
    /// Why engines are not told of it.
    #[serde(default)]
    pub not_told: Option<String>,
    /// The sensor in which rules decide the event without asking anybody, if one does.
    #[serde(default)]
    pub ruled_by: Option<String>,
    /// Why rules do not decide it.
    #[serde(default)]
    pub not_ruled: Option<String>,
    /// What passes unseen all the same.
    pub gaps: Vec<Gap>,
}

impl EventCoverage {
    /// Whether the event is one that Outrigger asks about where the kernel lets it. One that this build
    /// does not know, of a newer host, is none of its promises.
    pub fn can_be_asked(&self) -> bool {
        self.event.parse().is_ok_and(Event::can_be_asked)
    }
}

/// A file system under protection, or one that should be and is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeCoverage {
    /// Where it is mounted (lossy UTF-8), as seen in the mount namespace protection started in.
    pub path: String,
    /// Its type, as in `/proc/self/mountinfo`: `tmpfs`, `ext4`, …
    pub fs_type: String,
    /// `major:minor` of its device.
    pub device: String,
    /// Whether its opens and execs ask.
    pub covered: bool,
    /// Whether an Allow may be cached: only where the race test proved that the cache never lies.
    pub cached: bool,
    /// Whether it is not covered because the configuration leaves it out.
    #[serde(default)]
    pub left_out: bool,
    /// Why it is not covered or not cached, and that nothing is refused there, where that is so.
    pub reason: Option<String>,
}

/// An event of which this machine gives less than it gave before, and nobody has said that it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrunk {
    /// The event's name.
    pub event: String,
    /// The level that it had.
    pub was: Level,
    /// The kernel's release on which it had it.
    pub was_on: String,
    /// The level that it has.
    pub is: Level,
    /// Why it has no more than that.
    pub reason: Option<String>,
}

impl fmt::Display for Shrunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, was, was_on, is, reason } = self;
        write!(f, "{event} was {was} on Linux {was_on} and is {is}")?;
        reason.as_ref().map_or(Ok(()), |reason| write!(f, ": {reason}"))
    }
}

/// Coverage of this machine, per event and per volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// The kernel's release, as `uname -r` says.
    pub kernel: String,
    /// One entry per event of the catalogue.
    pub events: Vec<EventCoverage>,
    /// One entry per volume under a protected tree.
    pub volumes: Vec<VolumeCoverage>,
    /// One entry per event of which there was more before, until that is accepted
    /// ([`crate::control::Request::AcceptCoverage`]) or there is as much again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shrunk: Vec<Shrunk>,
}

impl Coverage {
    /// What was found for `event`.
    pub fn event(&self, event: Event) -> Option<&EventCoverage> {
        self.events.iter().find(|entry| entry.event == event.name())
    }

    /// Whether every volume that should be covered is, every event that can be asked about is asked about, and
    /// of none there was more before. An event that is only told decides nothing, so it takes nothing from
    /// protection.
    pub fn is_whole(&self) -> bool {
        self.shrunk.is_empty()
            && self.volumes.iter().all(|volume| volume.covered || volume.left_out)
            && self.events.iter().all(|event| event.level == Level::Ask || !event.can_be_asked())
    }
}
