//! Measures what a folder of rules costs: compiling it, scanning by it, memory. Its arguments: the folder (by
//! default the rules that ship), and files to scan besides the two that it makes.
//!
//! `cargo run --release --package outrigger-engine-yara --example measure`
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use outrigger_engine_yara::{Options, RuleSet, Yara};
use outrigger_sdk::kit::{Ask, Host};
use outrigger_sdk::{Event, Verdict};

/// Times that each thing is done.
const TIMES: usize = 300;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let shipped = || Path::new(env!("CARGO_MANIFEST_DIR")).join("content");
    let folder = arguments.next().map_or_else(shipped, PathBuf::from);

    println!("resident before: {}", resident());
    let begun = Instant::now();
    let set = RuleSet::compile(&folder).expect("rules");
    println!("{}: compiled in {:?}", set.description(), begun.elapsed());
    drop(set);

    let options = Options { scan_time: Duration::from_secs(5), ..Options::default() };
    let mut host = Host::dock(Yara::new(options), &folder);
    for bytes in [0, 4 << 10, 1 << 20, 8 << 20] {
        let content = text(bytes);
        scan(&mut host, &format!("{bytes} bytes of text"), || Ask::open(&content));
    }
    for path in arguments {
        scan(&mut host, &path.to_string_lossy(), || {
            Ask::new(Event::FileOpen).file_of(File::open(&path).expect("a file"))
        });
    }
    println!("resident after: {}", resident());
}

/// Asks about the same thing again and again; prints how long the engine had it in hand.
fn scan(host: &mut Host, what: &str, ask: impl Fn() -> Ask) {
    let mut spent = Vec::with_capacity(TIMES);
    let mut last = Verdict::Abstain;
    for _ in 0..TIMES {
        host.ask(ask());
        let verdict = host.verdict();
        spent.push(Duration::from_nanos(verdict.spent));
        last = verdict.verdict;
    }
    spent.sort_unstable();
    let [p50, p99] = [TIMES / 2, TIMES * 99 / 100].map(|rank| spent[rank]);
    println!("{what}: p50 {p50:?}, p99 {p99:?} ({last:?})");
}

/// So many bytes of what reads like a program's text.
fn text(bytes: usize) -> Vec<u8> {
    let lines = (0_u32..).flat_map(|n| format!("value_{n} = call({n}, \"text\");\n").into_bytes());
    lines.take(bytes).collect()
}

/// This process' resident memory.
fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.unwrap_or("unknown").trim().to_owned()
}
