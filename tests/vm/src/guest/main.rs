//! What runs inside the guest, as root, on a machine whose whole root is protected.
//!
//! ```text
//! outrigger-vm-guest machine open|closed     programs, stopped engines, faults under load
//! outrigger-vm-guest boot-setup              has systemd start the platform early
//! outrigger-vm-guest booted                  what systemd started came up under protection
//! outrigger-vm-guest trial                   a release is tried while the machine sleeps and its clock jumps
//! outrigger-vm-guest causes                  every event is caused, with nobody looking
//! outrigger-vm-guest events                  every event is caused, told, and decided by rules
//! outrigger-vm-guest bench-rules             what an open costs with rules, against without
//! outrigger-vm-guest stress SECONDS          every event, caused under three engines and rules that are replaced
//! outrigger-vm-guest ruled                   the platform with rules, filters and a host that dies, where BPF LSM loads
//! outrigger-vm-guest identity PROCESSES      who does what, in thousands of processes, with few process ids
//! outrigger-vm-guest races SECONDS           rules decide while names, sets and marks move
//! outrigger-vm-guest agree PAIRS             the kernel's evaluation of random rules against the host's
//! outrigger-vm-guest policies                each policy of docs/policy.md, monitored and enforced
//! outrigger-vm-guest versus kernel|preflight|shadow|probation
//!                                            content with a fault, for code in the kernel or docked
//! ```

mod agree;
mod bench;
mod booted;
mod docked;
mod events;
mod faults;
mod identity;
mod machine;
mod policies;
mod programs;
mod races;
mod report;
mod ruled;
mod shell;
mod stopped;
mod stress;
mod trial;
mod versus;
mod waits;
mod work;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use outrigger_testkit::agent;

use crate::report::Report;

fn main() -> ExitCode {
    if let Some(code) = agent::played() {
        return code;
    }
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut report = Report::default();
    let ran = match words.as_slice() {
        ["machine", "open"] => machine::run(false, &mut report),
        ["machine", "closed"] => machine::run(true, &mut report),
        ["boot-setup"] => booted::prepare(),
        ["booted"] => booted::run(&mut report),
        ["trial"] => trial::run(&mut report),
        ["events"] => events::run(&mut report),
        ["causes"] => events::causes(&mut report),
        ["policies"] => policies::run(&mut report),
        ["deed", words @ ..] => return policies::deed(words),
        ["act", event, user, object, target] => return events::act(event, user, object, target),
        ["bench-rules"] => bench::run(&mut report),
        [bench::OPENS, path] => bench::opens(path),
        ["ruled"] => ruled::run(&mut report),
        ["ruled-deed", words @ ..] => return ruled::deed(words),
        ["identity", count] => identity::run(count, &mut report),
        [identity::WORD, words @ ..] => return identity::play(words),
        ["races", seconds] => races::run(seconds, &mut report),
        [races::MARKED, part, place] => return races::child(part, place),
        ["agree", pairs] => agree::run(pairs, &mut report),
        ["stress", seconds] => stress::run(seconds, &mut report),
        ["versus", "kernel"] => versus::kernel(),
        ["versus", "preflight"] => docked::preflight(),
        ["versus", "shadow"] => docked::shadow(),
        ["versus", "probation"] => docked::probation(),
        [role @ (work::OPENS | work::STARTS), folder, number] => {
            work::run(role, Path::new(folder), number)
        }
        _ => Err(anyhow::anyhow!(
            "usage: outrigger-vm-guest machine open|closed, boot-setup, booted, trial, causes, events, policies, bench-rules, ruled, stress, identity, races, agree or versus …"
        )),
    };
    if let Err(error) = ran {
        report.fail("guest::goes_on", &format!("{error:#}"));
    }
    report.code()
}
