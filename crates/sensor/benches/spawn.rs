//! What the process sensor costs whoever starts a program: `/bin/true`, from before the fork until its
//! end is known, with the sensor and without, in turns.
//!
//! Everything runs on one CPU, the sensor's reader too, so that its work counts as well; then on all.
//! `cargo bench -p outrigger-sensor`, as root.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_sensor::bpf::ProcessSensor;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::thread::CpuSet;

const ROUNDS: usize = 12;
const SPAWNS: usize = 300;
/// Started first and not counted: what a sensor's opening leaves to be cleared up is not its cost.
const WARM_UP: usize = 150;
/// Has this program be the one that watches.
const WATCH: &str = "watch";

fn main() {
    if std::env::args().any(|argument| argument == WATCH) {
        return watch();
    }
    let all = rustix::thread::sched_getaffinity(None).expect("an affinity");
    let cpu = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).expect("a CPU");
    let mut one = CpuSet::new();
    one.set(cpu);
    for (name, cpus) in [("one CPU", one), ("all CPUs", all)] {
        rustix::thread::sched_setaffinity(None, &cpus).expect("it may run there");
        compare(name);
    }
}

fn compare(name: &str) {
    spawn_all();
    let rounds: Vec<(Duration, Duration)> = (0..ROUNDS)
        .map(|round| {
            // Whichever is second may profit from what the first left in the caches.
            if round.is_multiple_of(2) {
                let without = spawn_all();
                (without, spawn_all_seen())
            } else {
                let with = spawn_all_seen();
                (spawn_all(), with)
            }
        })
        .collect();
    let without = median(rounds.iter().map(|(without, _)| micros(*without)).collect());
    let with = median(rounds.iter().map(|(_, with)| micros(*with)).collect());
    let ratio =
        median(rounds.iter().map(|(without, with)| micros(*with) / micros(*without)).collect());
    println!(
        "spawn and end, {name}: {without:.1} us without, {with:.1} us with the sensor, ratio {ratio:.4} \
         (medians of {ROUNDS} rounds of {SPAWNS})"
    );
}

/// How long one of [`SPAWNS`] programs took: the median.
fn spawn_all() -> Duration {
    let one = |_| {
        let begin = Instant::now();
        let status = Command::new("/bin/true").status().expect("it starts");
        assert!(status.success());
        begin.elapsed()
    };
    let mut times: Vec<Duration> = (0..WARM_UP + SPAWNS).map(one).skip(WARM_UP).collect();
    times.sort_unstable();
    times[SPAWNS / 2]
}

/// The same while a sensor watches, in a process of its own as the host is: a second thread of this one
/// would slow its memory mapping down, and that is not the sensor's doing.
fn spawn_all_seen() -> Duration {
    let own = std::env::current_exe().expect("it has a path");
    let mut watcher = Command::new(own);
    let watcher = watcher.arg(WATCH).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut watcher = watcher.spawn().expect("it starts");
    let mut ready = [0];
    watcher.stdout.take().expect("piped").read_exact(&mut ready).expect("the sensor opens");

    let time = spawn_all();

    drop(watcher.stdin.take());
    assert!(watcher.wait().expect("it ends").success());
    time
}

/// Reads the sensor until standard input is closed.
fn watch() {
    let mut sensor = ProcessSensor::open().expect("root has a process sensor");
    std::io::stdout().write_all(b"!").expect("somebody waits");
    std::io::stdout().flush().expect("somebody waits");
    let mut seen = Vec::new();
    loop {
        sensor.drain(&mut seen).expect("the ring holds what the programs wrote");
        seen.clear();
        let input = std::io::stdin();
        let mut fds =
            [PollFd::new(&sensor, PollFlags::IN), PollFd::new(&input, PollFlags::empty())];
        poll(&mut fds, None).expect("it can be waited for");
        if !fds[1].revents().is_empty() {
            return;
        }
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
