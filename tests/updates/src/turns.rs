//! The same thing at each of a program's system calls, by several threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;

use crate::Effort;

/// Does `turn` for every number up to `last` that `effort` takes, and stops at the first failure.
pub(crate) fn each(
    last: u64,
    effort: &Effort,
    turn: &(dyn Fn(u64) -> Result<()> + Sync),
) -> Result<u64> {
    let next = AtomicU64::new(1 + effort.seed % effort.kill_every);
    let (done, failure) = (AtomicU64::new(0), Mutex::new(None));
    let failed = || failure.lock().unwrap_or_else(PoisonError::into_inner);
    let work = || {
        loop {
            let number = next.fetch_add(effort.kill_every, Ordering::Relaxed);
            if number > last || failed().is_some() {
                return;
            }
            match turn(number) {
                Ok(()) => done.fetch_add(1, Ordering::Relaxed),
                Err(error) => {
                    failed().get_or_insert(error);
                    return;
                }
            };
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..effort.threads.max(1) {
            scope.spawn(work);
        }
    });
    match failed().take() {
        Some(error) => Err(error),
        None => Ok(done.into_inner()),
    }
}
