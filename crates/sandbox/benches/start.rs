//! Time from `start()` to the program's `main`, and from a kill to the next `main`.
//!
//! An engine must be docked again within 100 ms of its death; this is the sandbox's share of it.
//! `cargo bench -p outrigger-sandbox` prints it; needs root.
#![expect(clippy::print_stdout, reason = "its output is the result")]

use std::io::{PipeReader, Read};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use outrigger_sandbox::{Confined, Confinement, Limits, start};

const ROUNDS: usize = 200;

fn main() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    // What a host of the size of ours costs a clone: its page tables.
    let memory = vec![1_u8; 32 << 20];

    let mut returned = Vec::new();
    let mut ran = Vec::new();
    let mut again = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let (confined, mut output) = start_probe();
        returned.push(begin.elapsed());
        hear(&mut output);
        ran.push(begin.elapsed());

        let killed = Instant::now();
        confined.kill();
        drop(confined);
        let (_confined, mut output) = start_probe();
        hear(&mut output);
        again.push(killed.elapsed());
    }

    print("start() returned", returned);
    print("start() to main()", ran);
    print("kill to the next main()", again);
    drop(memory);
}

fn start_probe() -> (Confined, PipeReader) {
    let (output, log) = std::io::pipe().expect("a pipe");
    let confined = start(Confinement {
        name: "bench".into(),
        program: probe_path(),
        arguments: vec!["stay".into()],
        uid: 61_323,
        gid: 61_323,
        apart: false,
        read_only: Vec::new(),
        limits: Limits { memory_bytes: 64 << 20, threads: 4, descriptors: 32, cpu_percent: None },
        descriptors: Vec::new(),
        input: None,
        log: Some(log.into()),
        ignore_groups: Vec::new(),
        ignore_mask: 0,
    });
    (confined.expect("a start"), output)
}

/// Waits for the first word of the probe.
fn hear(output: &mut PipeReader) {
    let mut word = [0; 1];
    output.read_exact(&mut word).expect("a word");
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    println!("{what:24} p50 {:9.2?}  p99 {:9.2?}  max {:9.2?}", at(50), at(99), at(100));
}

/// `cargo bench` builds examples too, beside its own folder.
fn probe_path() -> PathBuf {
    let bench = std::env::current_exe().expect("its own path");
    bench.ancestors().nth(2).expect("a target folder").join("examples/probe")
}
