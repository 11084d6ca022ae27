//! How long the machine itself stood still, so that its own pauses are not taken for the platform's.
//!
//! A virtual processor can be taken away for tens of milliseconds. Whoever runs on it or waits for it
//! then waits that long, whatever the platform does. A thread per processor, above every ordinary
//! thread, wakes every few milliseconds and notes how late it is: no load inside the machine delays
//! it, so what it sees is the machine.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::clock::{as_ms, now, ns};
use crate::sys;

/// How often each processor is looked at.
const BEAT: Duration = Duration::from_millis(2);
/// Lateness that every timer has.
const USUAL: Duration = Duration::from_millis(1);

static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Watches every processor until the process ends. Without the right to real-time priority nothing is
/// watched, and no pause is ever excused.
pub fn watch() {
    let Ok(allowed) = sched_getaffinity(None) else { return };
    for processor in (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor)) {
        let spawned = thread::Builder::new().name("stall".to_owned()).spawn(move || {
            let mut own = CpuSet::new();
            own.set(processor);
            if sched_setaffinity(None, &own).is_ok() && sys::above_all_ordinary_threads().is_ok() {
                note_lateness();
            }
        });
        // A processor that is not watched excuses nothing.
        drop(spawned);
    }
}

/// Whether a thread can have real-time priority here.
pub fn real_time_is_to_be_had() -> bool {
    thread::spawn(|| sys::above_all_ordinary_threads().is_ok()).join().unwrap_or(false)
}

fn note_lateness() -> ! {
    loop {
        let due = now() + ns(BEAT);
        thread::sleep(BEAT);
        let late = now().saturating_sub(due);
        if late > ns(USUAL) {
            LONGEST.fetch_max(late, Ordering::Relaxed);
        }
    }
}

/// The longest pause seen so far, in milliseconds.
pub fn longest_ms() -> f64 {
    as_ms(LONGEST.load(Ordering::Relaxed))
}
