//! What the engine was told, counted, and whether the lineage of one process's children is right.

use std::collections::HashMap;
use std::fmt::Write as _;

use outrigger_sdk::{Answer, Event, Loss, Lost, Notice, ProcessKey};

/// Everything that it was told.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    told: HashMap<Event, u64>,
    /// Exactly so many were lost.
    lost: HashMap<Event, u64>,
    /// Losses that nobody counted exactly, but those from before the sensors ran.
    vague: u64,
    pressed: u64,
    allowed: u64,
    denied: u64,
    /// The process whose children are followed, and its key as the first of them has it.
    spawner: Option<u32>,
    key: Option<ProcessKey>,
    children: HashMap<ProcessKey, Seen>,
    forked: u64,
    ran: u64,
    ended: u64,
    wrong: u64,
}

/// How far a child has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Forked,
    Ran,
}

impl Tally {
    /// Follows the children of this process from now on.
    pub(crate) fn follow(&mut self, spawner: u32) {
        if self.spawner != Some(spawner) {
            *self = Self { spawner: Some(spawner), ..Self::default() };
        }
    }

    pub(crate) fn notice(&mut self, notice: &Notice<'_>) {
        *self.told.entry(notice.event()).or_default() += 1;
        match notice.outcome() {
            Some((Answer::Allow, _)) => self.allowed += 1,
            Some((Answer::Deny, _)) => self.denied += 1,
            None => {}
        }
        let Some(child) = notice.subject() else { return };
        match notice.event() {
            Event::ProcessFork if self.spawner.is_some() && notice.parent_pid() == self.spawner => {
                self.forked += 1;
                let parent = notice.parent();
                self.key = self.key.or(parent);
                let known = self.children.insert(child, Seen::Forked).is_some();
                self.wrong += u64::from(known || parent.is_none() || parent != self.key);
            }
            Event::ProcessExec => {
                if let Some(seen) = self.children.get_mut(&child) {
                    self.ran += 1;
                    let right = *seen == Seen::Forked
                        && notice.parent() == self.key
                        && notice.path().is_some_and(|path| path.ends_with("true"));
                    self.wrong += u64::from(!right);
                    *seen = Seen::Ran;
                }
            }
            Event::ProcessExit => {
                if let Some(seen) = self.children.remove(&child) {
                    self.ended += 1;
                    self.wrong += u64::from(seen != Seen::Ran || notice.status() != Some(0));
                }
            }
            _ => {}
        }
    }

    pub(crate) fn gap(&mut self, gap: &Loss) {
        let mut events = gap.events.iter();
        match (gap.lost, events.next(), events.next()) {
            (Lost::Exactly(count), Some(event), None) => {
                *self.lost.entry(event).or_default() += count;
            }
            _ if gap.cause == outrigger_sdk::LossCause::SensorStart => {}
            _ => self.vague += 1,
        }
    }

    pub(crate) fn pressure(&mut self) {
        self.pressed += 1;
    }

    /// All of it on one line, as `name=number`.
    pub(crate) fn line(&self) -> String {
        let Self { forked, ran, ended, wrong, vague, pressed, allowed, denied, .. } = self;
        let mut line = format!(
            "forked={forked} ran={ran} ended={ended} wrong={wrong} vague={vague} \
             pressed={pressed} allowed={allowed} denied={denied}"
        );
        for &event in Event::ALL {
            let count = |counts: &HashMap<Event, u64>| counts.get(&event).copied().unwrap_or(0);
            let (told, lost) = (count(&self.told), count(&self.lost));
            if told + lost > 0 {
                write!(line, " {event}={told} lost.{event}={lost}").expect("a String takes all");
            }
        }
        line
    }
}
