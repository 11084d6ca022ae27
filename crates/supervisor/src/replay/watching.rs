//! The engine's process: waited for, looked after, measured, started again.

use outrigger_api::FailureReason;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Crash, Docked, LINES_MAX, LOOK, MEASURE, MS, Replay, ReplayError, now};
use crate::happening::{Happening, Level};

impl Replay {
    pub(super) fn wait_for_dock(&mut self) -> Result<(), ReplayError> {
        loop {
            self.look(now());
            if self.link.is_some() {
                return Ok(());
            }
            if let Some(why) = self.ending.gone.clone() {
                self.supervisor.stop_all(now());
                let lines = std::mem::take(&mut self.ending.lines);
                let engine = self.spec.manifest.name.clone();
                let (reason, refused) = (self.start_ended.take(), self.refused.take());
                return Err(ReplayError::NotDocked { engine, why, reason, refused, lines });
            }
            self.wait(100 * MS);
        }
    }

    /// Waits until there is something to do for the supervisor, at most `limit` ns.
    pub(super) fn wait(&mut self, limit: u64) {
        let now = now();
        let wake = self.supervisor.next_wake().unwrap_or(u64::MAX).saturating_sub(now);
        let limit = Timespec {
            tv_sec: 0,
            tv_nsec: i64::try_from(wake.min(limit).min(999 * MS)).unwrap_or_default(),
        };
        let of = |(fd, _)| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds: Vec<_> = self.supervisor.descriptors().into_iter().map(of).collect();
        // An error is a signal: the look that follows finds what there is.
        let _ = poll(&mut fds, Some(&limit));
        self.next_look = 0;
    }

    /// Has the supervisor do what is due, and takes in what happened.
    pub(super) fn look(&mut self, now: u64) {
        self.next_look = now.saturating_add(LOOK);
        let polled = self.supervisor.descriptors();
        let mut fds: Vec<_> =
            polled.iter().map(|(fd, _)| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
        let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0);
        let tokens: Vec<_> = polled
            .iter()
            .zip(&fds)
            .filter(|(_, fd)| ready && !fd.revents().is_empty())
            .map(|((_, token), _)| *token)
            .collect();
        for token in tokens {
            self.supervisor.ready(token, now, &mut self.happenings);
        }
        // Before the tick, which judges a loss.
        self.take_in(now);
        self.supervisor.tick(now, &mut self.happenings);
        self.take_in(now);
        if now >= self.next_measure {
            self.next_measure = now.saturating_add(MEASURE);
            self.measure();
        }
    }

    fn take_in(&mut self, now: u64) {
        for happening in std::mem::take(&mut self.happenings) {
            match happening {
                Happening::Docked(_, link) => {
                    let bell = link.verdicts.doorbell();
                    self.link = Some(Docked { link: *link, bell });
                    self.last_verdict = now;
                    self.must_idle = false;
                }
                Happening::Lost(_, reason) => self.lost(reason, now),
                Happening::Quarantined(_, why) | Happening::Failed(_, why) => {
                    self.ending.gone = Some(why);
                }
                Happening::Log { level, text, .. } => {
                    if self.link.is_none() && level == Level::Error {
                        self.refused = Some(text.clone());
                    }
                    self.note_line(text);
                }
                Happening::CallRefused { call, detail, .. } => {
                    let detail = detail.map(|detail| format!(" of {detail}")).unwrap_or_default();
                    self.note_line(format!("refused: {call}{detail}"));
                }
                Happening::Starting(_)
                | Happening::Fault { .. }
                | Happening::Waiting { .. }
                | Happening::Released(_)
                // Nothing is replaced in a replay.
                | Happening::ReplacementReady(_)
                | Happening::Replaced(..)
                | Happening::ReplaceFailed { .. }
                | Happening::FormerEnded(_)
                | Happening::ContentChanged(..)
                | Happening::ContentRefused(..)
                | Happening::ShadowDocked(..)
                | Happening::ShadowFailed { .. } => {}
            }
        }
    }

    fn note_line(&mut self, line: String) {
        if self.ending.lines.len() < LINES_MAX {
            self.ending.lines.push(line);
        }
    }

    /// Its process is gone: what it said before counts, what it had in hand is named.
    fn lost(&mut self, reason: FailureReason, now: u64) {
        if self.link.is_none() {
            // It never docked: nothing recorded is to blame, and another would fare no better.
            self.start_ended = Some(reason);
            return;
        }
        self.collect();
        self.link = None;
        let detail = self.supervisor.status().pop().and_then(|status| status.last_fault);
        let in_hand = self.window.lose(reason);
        let detail = plain_detail(&detail.unwrap_or_default(), reason);
        self.ending.crashes.push(Crash { in_hand, reason, detail });
        if self.ending.crashes.len() <= self.limits.crashes as usize {
            self.supervisor.pardon(0, now);
        }
    }

    pub(super) fn measure(&mut self) {
        let Some(usage) = self.supervisor.usage().pop() else { return };
        let ending = &mut self.ending;
        ending.cpu_ns = usage.cpu_ns.max(ending.cpu_ns);
        ending.memory_peak = usage.memory_bytes.max(ending.memory_peak);
    }

    pub(super) fn note_status(&mut self) {
        let Some(status) = self.supervisor.status().pop() else { return };
        let ending = &mut self.ending;
        ending.content = status.content;
        ending.starts = status.starts;
        ending.faults = status.faults.into_iter().collect();
        ending.refused_calls = status.refused_calls;
        ending.sandbox_missing = status.sandbox_missing;
        ending.last_fault = status.last_fault;
    }
}

/// How it ended, without the reason, which stands beside it, and without which of its ends was seen first,
/// which another run would not say.
fn plain_detail(told: &str, reason: FailureReason) -> String {
    let told = told.strip_prefix(reason.name()).unwrap_or(told);
    let told = told.strip_prefix(": ").unwrap_or(told);
    told.strip_prefix("closed its control socket and ").unwrap_or(told).to_owned()
}
