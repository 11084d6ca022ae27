//! The threads that end cases: by verdict, and by deadline.
//!
//! `verdicts` sleeps on the engines' doorbells and nothing else: one futex, no timer, since it is on the
//! way of every question. `deadlines` ends what is due. Waking it for each new case would cost more than
//! asking, so it keeps an alarm of its own while there is traffic: it never sleeps longer than the
//! shortest time that a case has, so that one opened meanwhile is hardly ever due before. After a second
//! without a case it sleeps without an alarm. It says until when it sleeps; whoever opens a case that is
//! due before rings.
//!
//! A doorbell lies in memory that its engine writes, so an engine can keep wake-ups of `verdicts` to
//! itself. That must not be another engine's loss: at every alarm `deadlines` looks into all rings too,
//! and when the set of doorbells changed, `verdicts` is interrupted by a signal until it has seen it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use outrigger_dock::Doorbell;
use outrigger_sensor::clock;
use outrigger_sensor::process::{Interruptible, become_important, become_urgent};

use super::Host;
use crate::shared::SECOND;

/// How long a question may be in the host's hands, ns: the budget ends where the opener goes on, not where
/// the answer is decided, so a tenth of it is for the way.
pub(crate) const fn time_of(budget: u64) -> u64 {
    budget - budget / 10
}

/// How long the alarm goes on after the last case, ns.
const LINGER: u64 = SECOND;

/// Takes verdicts until the process ends.
pub(crate) fn run(host: &Arc<Host>) {
    become_important();
    match Interruptible::this_thread() {
        Ok(thread) => host.verdicts_thread(thread),
        Err(error) => host.sensor_failed(&error),
    }
    let mut ended = Vec::new();
    let mut bells: Vec<(Doorbell, u32)> = Vec::new();
    let mut generation = 0;
    loop {
        if let Some(changed) = host.changed_bells(&mut generation) {
            bells = changed;
            host.bells_seen.store(generation, Ordering::Release);
        }
        bells.iter_mut().for_each(|(bell, value)| *value = bell.arm());
        // After the arming, so that what comes from here on wakes us.
        if !host.has_verdicts()
            && let Err(error) = outrigger_dock::sleep(&bells, None)
        {
            host.sensor_failed(&error);
        }
        bells.iter().for_each(|(bell, _)| bell.disarm());
        host.collect(clock::now(), &mut ended);
        host.finish_all(&mut ended);
    }
}

/// Ends what is due until the process ends.
pub(crate) fn keep_deadlines(host: &Arc<Host>) {
    if let Err(error) = become_urgent() {
        tracing::warn!(
            "the thread of deadlines has no real-time priority, so many who wait are answered later: {error}"
        );
    }
    let mut ended = Vec::new();
    let mut last_case = clock::now();
    let mut cases = 0;
    loop {
        let value = host.bell.arm();
        let now = clock::now();
        let mut next = host.collect(now, &mut ended);
        // Counted, not looked for: a case can come and go between two looks.
        let asked = host.asked();
        if asked != cases {
            (cases, last_case) = (asked, now);
        }
        host.finish_all(&mut ended);
        host.show_bells();
        let doze = next.is_none() && now.saturating_sub(last_case) > LINGER;
        let alarm = if doze { u64::MAX } else { now.saturating_add(time_of(host.shortest_budget)) };
        host.alarm.store(next.unwrap_or(alarm).min(alarm), Ordering::SeqCst);
        // A case opened before that was said did not ring.
        next = host.next_deadline();
        let until = Some(next.unwrap_or(alarm).min(alarm)).filter(|until| *until != u64::MAX);
        if let Err(error) = outrigger_dock::sleep(&[(host.bell.clone(), value)], until) {
            host.sensor_failed(&error);
        }
        host.alarm.store(0, Ordering::SeqCst);
        host.bell.disarm();
    }
}
