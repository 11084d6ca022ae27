//! Sets are replaced while threads act: whatever begins after the call returned is judged by the new set,
//! and nothing is judged by neither.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use outrigger_api::Event;
use outrigger_decision::rules::{Effect, Rule};

use super::{Ruling, opens, rule, under};

/// Threads that open files.
const THREADS: usize = 4;

struct State<'a> {
    place: &'a str,
    stop: AtomicBool,
    /// Replacements that have begun, and that have returned.
    begun: AtomicU64,
    done: AtomicU64,
    looks: AtomicU64,
    wrong: AtomicU64,
    neither: AtomicU64,
}

/// Runs for `length`, below `place`.
pub(super) fn run(ruling: &mut Ruling, place: &str, length: Duration) -> Result<String> {
    let state = State {
        place,
        stop: AtomicBool::default(),
        begun: AtomicU64::default(),
        done: AtomicU64::default(),
        looks: AtomicU64::default(),
        wrong: AtomicU64::default(),
        neither: AtomicU64::default(),
    };
    for file in ["odd", "even", "always", "never"] {
        std::fs::write(state.at(file), "content")?;
    }
    ruling.enforce(&set(&state, 0))?;
    let replaced = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| act_until_over(&state))).collect();
        let end = Instant::now() + length;
        let mut replaced = Ok(0);
        while Instant::now() < end && replaced.is_ok() {
            replaced = replace(ruling, &state);
            std::thread::park_timeout(Duration::from_millis(50));
        }
        state.stop.store(true, Ordering::SeqCst);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        replaced
    })?;
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (looks, wrong, neither) = (count(&state.looks), count(&state.wrong), count(&state.neither));
    let said = format!(
        "{looks} opens, {replaced} sets: {wrong} judged by an old set, {neither} judged by none"
    );
    ensure!((wrong, neither) == (0, 0), "{said}");
    ensure!(looks >= 100 && replaced >= 5, "{said}: too few to say anything");
    Ok(said)
}

impl State<'_> {
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }
}

/// The set of a number: what it denies is `odd` or `even`, and `always`.
fn set(state: &State<'_>, number: u64) -> Vec<Rule> {
    let denied = if number.is_multiple_of(2) { "even" } else { "odd" };
    [denied, "always"]
        .map(|name| {
            let name = format!("{name}-{number}");
            let file = state.at(name.split('-').next().unwrap_or_default());
            rule(&name, Event::FileOpen, Effect::Deny, under(&file))
        })
        .into()
}

fn replace(ruling: &mut Ruling, state: &State<'_>) -> Result<u64> {
    let number = state.begun.fetch_add(1, Ordering::SeqCst) + 1;
    ruling.replace(&set(state, number))?;
    state.done.store(number, Ordering::SeqCst);
    Ok(number)
}

fn act_until_over(state: &State<'_>) -> io::Result<()> {
    while !state.stop.load(Ordering::SeqCst) {
        act(state).inspect_err(|_| state.stop.store(true, Ordering::SeqCst))?;
    }
    Ok(())
}

fn act(state: &State<'_>) -> io::Result<()> {
    let before = state.done.load(Ordering::SeqCst);
    let odd_is_open = opens(state.at("odd"))?;
    let even_is_open = opens(state.at("even"))?;
    let stayed = state.begun.load(Ordering::SeqCst) == before;
    state.looks.fetch_add(2, Ordering::SeqCst);
    let even_is_denied = before.is_multiple_of(2);
    if stayed && (odd_is_open, even_is_open) != (even_is_denied, !even_is_denied) {
        state.wrong.fetch_add(1, Ordering::SeqCst);
    }
    // Every set says the same of these.
    state.looks.fetch_add(2, Ordering::SeqCst);
    if opens(state.at("always"))? || !opens(state.at("never"))? {
        state.neither.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}
