//! Questions into the engine's ring, verdicts out of the other.

use std::os::fd::OwnedFd;

use outrigger_api::FailureReason;
use outrigger_api::record::VerdictRecord;
use outrigger_api::sample::Sample;
use outrigger_dock::{PushError, content, sleep};

use super::window::Found;
use super::{
    BATCH_BUDGETS, DESCRIPTORS_MAX, DOZE, GRACE, IN_FLIGHT_MAX, MS, Replay, ReplayError, now,
    question,
};

impl Replay {
    /// Takes every verdict that has come and gives up what is overdue; how many came.
    pub(super) fn collect(&mut self) -> usize {
        let Some(docked) = &mut self.link else { return 0 };
        let mut found = std::mem::take(&mut self.found);
        let mut broken = None;
        for _ in 0..IN_FLIGHT_MAX {
            match docked.link.verdicts.pop() {
                Ok(None) => break,
                Ok(Some(bytes)) => found.push(VerdictRecord::parse(&bytes)),
                Err(error) => {
                    broken = Some((FailureReason::RingCorrupt, error.to_string()));
                    break;
                }
            }
        }
        let now = now();
        // Those of one look share the time since the last: which of them took how much is not seen.
        let count = found.len();
        let share = now.saturating_sub(self.last_verdict) / count.max(1) as u64;
        let began = self.last_verdict;
        if count > 0 {
            self.last_verdict = now;
        }
        let mut faults = Vec::new();
        for record in found.drain(..) {
            match record {
                Err(error) => faults.push((FailureReason::Garbage, error.to_string())),
                Ok(vote) => match self.window.find(vote.case) {
                    Found::Open(place) => {
                        let alone = now.saturating_sub(self.window.asked_at(place).max(began));
                        let spent = if count == 1 { alone } else { share.min(alone) };
                        let judged = (vote.verdict, vote.detail);
                        self.window.verdict(place, judged, spent, &self.limits);
                        self.must_idle = false;
                    }
                    Found::Closed => self.ending.late += 1,
                    Found::Foreign => {
                        let what = format!("{:?} was never asked", vote.case);
                        faults.push((FailureReason::ForeignAnswer, what));
                    }
                },
            }
        }
        self.found = found;
        if self.window.give_up(now, GRACE, &self.limits) {
            self.must_idle = true;
        }
        for (reason, detail) in faults.into_iter().chain(broken) {
            self.supervisor.fault(0, reason, &detail, now, &mut self.happenings);
            self.next_look = 0;
        }
        count
    }

    /// Takes and asks as much as may be in flight; how much that was.
    pub(super) fn fill(
        &mut self,
        samples: &mut dyn Iterator<Item = (Sample, Option<OwnedFd>)>,
        more: &mut bool,
    ) -> usize {
        if self.window.asks_alone() {
            return self.ask_alone();
        }
        let with_content = question::reads_content(&self.spec);
        let most = if with_content { DESCRIPTORS_MAX } else { IN_FLIGHT_MAX };
        let most = self.limits.in_flight.min(most);
        let mut done = 0;
        while self.window.in_hands() < most {
            if self.window.next_waiting().is_none() {
                // What is done and cannot go out yet waits as well: it is bounded by what is in flight.
                if self.window.len() >= 2 * IN_FLIGHT_MAX {
                    break;
                }
                let Some((sample, content)) = samples.next() else {
                    *more = false;
                    break;
                };
                let refused = question::refusal(&self.spec, &sample, content.as_ref());
                self.window.push(sample, content, refused);
                done += 1;
                continue;
            }
            if !self.put(self.time_in_batch()) {
                break;
            }
            done += 1;
        }
        self.publish();
        done
    }

    /// How long a question in a batch has: it waits for those before it, and an engine that takes all the
    /// time there is must not be held for one that hangs.
    fn time_in_batch(&self) -> u64 {
        let budget = self.limits.budget;
        let hang = u64::from(self.spec.manifest.limits.hang_ms).saturating_mul(MS);
        budget.saturating_mul(BATCH_BUDGETS).min(budget.max(hang / 2))
    }

    /// Asks the oldest suspect, once nothing else is in flight and the engine is at rest.
    fn ask_alone(&mut self) -> usize {
        let busy = self.window.in_hands() > 0;
        if busy || (self.must_idle && !self.supervisor.is_quiet(0, self.window.given_up_at())) {
            return 0;
        }
        self.must_idle = false;
        self.window.recall_suspect();
        let asked = usize::from(self.put(self.limits.budget));
        self.publish();
        asked
    }

    /// Puts the next question into the ring, its content first; false if there is no room.
    fn put(&mut self, time: u64) -> bool {
        let Some(docked) = &mut self.link else { return false };
        let Some(place) = self.window.next_waiting() else { return false };
        let now = now();
        let case = self.window.next_case();
        let (sample, file) = self.window.sample(place);
        let deadline = now.saturating_add(time);
        let mut header = question::header(&self.spec, sample, case, now, deadline);
        if let (Some(socket), Some(file)) = (&docked.link.content, file)
            && question::has_content(&header)
        {
            use std::os::fd::AsFd as _;
            match content::send(socket.as_fd(), case, file.as_fd()) {
                Ok(()) => {}
                // It takes its descriptors with its questions: there is room when it has judged some.
                Err(content::SendError::Backlog) if self.window.in_hands() > 0 => return false,
                Err(content::SendError::Backlog) => {
                    let why = "it does not take its content descriptors".to_owned();
                    self.supervisor.refuse(0, why, now, &mut self.happenings);
                    self.next_look = 0;
                    return false;
                }
                Err(content::SendError::Gone(_)) => {
                    self.next_look = 0;
                    return false;
                }
            }
        }
        let path = question::path(&self.spec, sample);
        match docked.link.events.ask(&mut header, path, &mut self.scratch) {
            Ok(()) => {
                self.window.asked(place, case, now, deadline);
                true
            }
            Err(PushError::Full) => {
                // Its descriptor is on its way: the case number is spent, and the SDK drops strays.
                self.window.skip_case();
                false
            }
            Err(error @ (PushError::Corrupt(_) | PushError::NoRecord { .. })) => {
                let reason = FailureReason::RingCorrupt;
                let detail = error.to_string();
                self.supervisor.fault(0, reason, &detail, now, &mut self.happenings);
                self.next_look = 0;
                false
            }
        }
    }

    fn publish(&mut self) {
        if let Some(docked) = &mut self.link
            && docked.link.events.publish()
        {
            docked.link.events.waker().wake();
        }
    }

    /// Sleeps until a verdict comes, something is overdue, or the process is due for a look. While
    /// verdicts come by the dozen, for a moment without being woken: a wake-up for each is what would
    /// make a quick engine slow.
    pub(super) fn rest(&mut self, briefly: bool) -> Result<(), ReplayError> {
        let Some(docked) = &self.link else { return Ok(()) };
        let now = now();
        let due = self.window.next_deadline().map_or(u64::MAX, |at| at.saturating_add(GRACE));
        let until = due.min(self.next_look).max(now);
        if briefly {
            let value = self.quiet.arm();
            let until = until.min(now.saturating_add(DOZE));
            return sleep(&[(self.quiet.clone(), value)], Some(until)).map_err(ReplayError::Rings);
        }
        let value = docked.bell.arm();
        let slept = if docked.link.verdicts.is_empty() {
            sleep(&[(docked.bell.clone(), value)], Some(until))
        } else {
            Ok(())
        };
        docked.bell.disarm();
        slept.map_err(ReplayError::Rings)
    }
}
