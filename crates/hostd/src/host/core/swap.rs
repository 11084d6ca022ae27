//! One process of an engine takes another's place while questions are in hand.
//!
//! The new one is asked at once about everything that the old one has in hand too, and whichever answers first
//! counts: no question depends on a process that is about to end, be it slow, stopped or dead. The old one's
//! answers count for what it was handed and for nothing else. It is looked at until nothing that it was
//! handed waits and it has read what lies in its ring; a fault of it costs nobody anything but its own place.

use outrigger_api::FailureReason;
use outrigger_api::record::VerdictRecord;
use outrigger_decision::EngineIndex;
use outrigger_decision::arbiter::Rejected;

use super::{Core, Finished, Link, News, VERDICTS_MAX};
use crate::host::engines::Former;

impl Core {
    /// Questions go to the process behind `link` from now on. A new epoch: what was decided before is not
    /// cached any more.
    pub(crate) fn replace(&mut self, index: EngineIndex, link: Link, now: u64) {
        let Some(engine) = self.engines.get_mut(index.get()) else { return };
        engine.succeed(link);
        // Under the same lock as the change: no question of the new epoch was the old one's.
        self.epoch += 1;
        // What the one before it let pass is not its.
        if let Some(missed) = self.table.missed.get_mut(index.get()) {
            *missed = 0;
        }
        let pending: Vec<u32> = self.arbiter.pending(index).map(|pending| pending.token).collect();
        for token in pending {
            let waiting = self.table.waiting.get_mut(token as usize);
            let Some(waiting) = waiting.and_then(Option::as_mut).filter(|w| w.in_window) else {
                continue;
            };
            if waiting.dispatched.contains(index) {
                waiting.dispatched = waiting.dispatched.without(index);
                waiting.twice = waiting.twice.with(index);
            }
            self.dispatch(token, now);
        }
        self.publish();
    }

    /// The process that was replaced is not looked at any more.
    pub(crate) fn drop_former(&mut self, index: EngineIndex) {
        if let Some(engine) = self.engines.get_mut(index.get()) {
            engine.former = None;
        }
    }

    /// Takes what the process that was replaced has said, and tells once when it has finished.
    pub(super) fn collect_from_former(
        &mut self,
        place: usize,
        now: u64,
        ended: &mut Vec<Finished>,
    ) {
        let Some(index) = EngineIndex::new(place) else { return };
        for _ in 0..VERDICTS_MAX {
            let Self { arbiter, table, engines, news, .. } = self;
            let Some(former) = engines.get_mut(place).and_then(|engine| engine.former.as_mut())
            else {
                return;
            };
            let Some(vote) = next_vote(former) else { break };
            match arbiter.vote(index, vote.case, vote.verdict, vote.detail, now) {
                Ok(Some(closed)) => table.conclude(engines, &closed, ended),
                Err(Rejected::Late) => {
                    let (reason, detail) = (FailureReason::LateAnswer, format!("{:?}", vote.case));
                    news.push(News::Fault { engine: index, reason, detail });
                }
                // The new one was faster.
                Ok(None) | Err(Rejected::Moot | Rejected::Double | Rejected::Foreign) => {}
            }
        }
        self.look_at_former(index, now);
    }

    fn look_at_former(&mut self, index: EngineIndex, now: u64) {
        let Self { table, engines, news, wake, .. } = self;
        let former = engines.get_mut(index.get()).and_then(|engine| engine.former.as_mut());
        let Some(Former { link, told, .. }) = former.filter(|former| !former.told) else { return };
        let in_hand =
            || table.waiting.iter().flatten().any(|waiting| waiting.twice.contains(index));
        if link.is_sound() && (in_hand() || !has_read_all(link, now)) {
            if link.events.publish() {
                wake.push(link.events.waker());
            }
            return;
        }
        *told = true;
        news.push(News::FormerDone { engine: index });
    }
}

/// The next answer to something that it was handed. One that says anything else is not listened to again.
fn next_vote(former: &mut Former) -> Option<VerdictRecord> {
    if !former.link.is_sound() {
        return None;
    }
    let vote = match former.link.verdicts.pop() {
        Ok(None) => return None,
        Ok(Some(bytes)) => VerdictRecord::parse(&bytes).ok(),
        Err(_) => None,
    };
    let vote = vote.filter(|vote| former.take(vote.case));
    if vote.is_none() {
        former.link.give_up();
    }
    vote
}

/// Whether it has taken all that it was told, and was told all that it was not.
fn has_read_all(link: &mut Link, now: u64) -> bool {
    match link.events.settle(now) {
        Ok(settled) => settled && matches!(link.events.waiting(), Ok(0)),
        Err(_) => {
            link.give_up();
            true
        }
    }
}

#[cfg(test)]
#[path = "swap_tests.rs"]
mod tests;
