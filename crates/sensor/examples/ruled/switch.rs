//! Sets are replaced while threads act: whatever begins after the call returned is judged by the new set,
//! and nothing is judged by neither.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_api::Event;
use outrigger_decision::rules::{Effect, Rule};

use crate::{Outcome, PLACE, Ruling, opens, rule, under};

/// Threads that open files.
const THREADS: usize = 4;

#[derive(Default)]
struct State {
    stop: AtomicBool,
    /// Replacements that have begun, and that have returned.
    begun: AtomicU64,
    done: AtomicU64,
    looks: AtomicU64,
    wrong: AtomicU64,
    neither: AtomicU64,
}

pub(crate) fn run(mut ruling: Ruling, seconds: u64) -> Outcome {
    for file in ["odd", "even", "always", "never"] {
        std::fs::write(at(file), "content")?;
    }
    ruling.enforce(&set(0))?;
    let state = State::default();
    let result: Result<u64, String> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..THREADS).map(|_| scope.spawn(|| act_until_over(&state))).collect();
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut replaced = Ok(0);
        while Instant::now() < end {
            replaced = replace(&mut ruling, &state).map_err(|error| error.to_string());
            if replaced.is_err() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        state.stop.store(true, Ordering::SeqCst);
        for thread in threads {
            let acted = thread.join().map_err(|_| "a thread panicked".to_owned())?;
            acted.map_err(|error| error.to_string())?;
        }
        replaced
    });
    let replaced = result?;
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (looks, wrong, neither) = (count(&state.looks), count(&state.wrong), count(&state.neither));
    println!(
        "{looks} opens, {replaced} sets: {wrong} judged by an old set, {neither} judged by none"
    );
    if wrong + neither > 0 || looks < 100 || replaced < 5 {
        return Err("a replacement lost a decision, or there was too little to say so".into());
    }
    Ok(())
}

fn at(name: &str) -> String {
    format!("{PLACE}/{name}")
}

/// The set of a number: what it denies is `odd` or `even`, and `always`.
fn set(number: u64) -> Vec<Rule> {
    let denied = if number.is_multiple_of(2) { "even" } else { "odd" };
    [denied, "always"]
        .map(|name| {
            let name = format!("{name}-{number}");
            let file = at(name.split('-').next().unwrap_or_default());
            rule(&name, Event::FileOpen, Effect::Deny, under(&file))
        })
        .into()
}

fn replace(ruling: &mut Ruling, state: &State) -> Result<u64, Box<dyn std::error::Error>> {
    let number = state.begun.fetch_add(1, Ordering::SeqCst) + 1;
    ruling.replace(&set(number))?;
    state.done.store(number, Ordering::SeqCst);
    Ok(number)
}

fn act_until_over(state: &State) -> io::Result<()> {
    while !state.stop.load(Ordering::SeqCst) {
        act(state).inspect_err(|_| state.stop.store(true, Ordering::SeqCst))?;
    }
    Ok(())
}

fn act(state: &State) -> io::Result<()> {
    let before = state.done.load(Ordering::SeqCst);
    let odd_is_open = opens(at("odd"))?;
    let even_is_open = opens(at("even"))?;
    let stayed = state.begun.load(Ordering::SeqCst) == before;
    state.looks.fetch_add(2, Ordering::SeqCst);
    let even_is_denied = before.is_multiple_of(2);
    if stayed && (odd_is_open, even_is_open) != (even_is_denied, !even_is_denied) {
        state.wrong.fetch_add(1, Ordering::SeqCst);
    }
    // Every set says the same of these.
    state.looks.fetch_add(2, Ordering::SeqCst);
    if opens(at("always"))? || !opens(at("never"))? {
        state.neither.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}
