//! fapolicyd, enforcing: a program runs if the trust database knows it.
//!
//! As packaged by Debian 12 it does not work: its one rule denies every program, and its source of trust is
//! the rpm database, for which it was not built. So the sample rules for known libraries are taken, and a
//! trust file of everything in `/usr`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::volume::run;

use crate::side::versions;

const PROGRAM: &str = "/usr/sbin/fapolicyd";
const CONFIG: &str = "/etc/fapolicyd/fapolicyd.conf";
const RULES: &str = "/etc/fapolicyd/rules.d";
const SAMPLES: &str = "/usr/share/fapolicyd/sample-rules";
const PID_FILE: &str = "/run/fapolicyd.pid";
const OUTPUT: &str = "/var/log/fapolicyd.log";
/// Known libraries, as the package's README-rules names them.
const TAKEN: [&str; 11] = [
    "10-languages",
    "20-dracut",
    "21-updaters",
    "30-patterns",
    "40-bad-elf",
    "41-shared-obj",
    "42-trusted-elf",
    "70-trusted-lang",
    "72-shell",
    "90-deny-execute",
    "95-allow-open",
];
/// It reads its whole database before it starts.
const START: Duration = Duration::from_secs(60);

/// Starts the daemon, which ends with its world.
pub(crate) fn start() -> Result<()> {
    ensure!(Path::new(PROGRAM).exists(), "fapolicyd is not installed in the private root");
    say(versions(&["fapolicyd"])?);
    configure()?;
    run(&mut Command::new("fagenrules"))?;
    run(Command::new("fapolicyd-cli").args(["--file", "add", "/usr/"]))?;
    let output = fs::File::create(OUTPUT)?;
    // As its unit starts it: it goes into the background by itself.
    let status = Command::new("setsid")
        .arg(PROGRAM)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .context("cannot start fapolicyd")?;
    ensure!(status.success(), "fapolicyd ended with {status}\n{}", log());
    wait_for(PID_FILE, START, || Ok(Path::new(PID_FILE).exists().then_some(())))
}

/// What it wrote.
pub(crate) fn log() -> String {
    fs::read_to_string(OUTPUT).unwrap_or_default()
}

/// Changes of the packaged configuration only what must be.
fn configure() -> Result<()> {
    let packaged = fs::read_to_string(CONFIG).with_context(|| CONFIG)?;
    let changed = |line: &str| match line.split(' ').next() {
        Some("trust") => "trust = file".to_owned(),
        Some("uid") => "uid = 0".to_owned(),
        Some("gid") => "gid = 0".to_owned(),
        _ => line.to_owned(),
    };
    fs::write(CONFIG, packaged.lines().map(changed).collect::<Vec<_>>().join("\n") + "\n")?;
    for packaged in fs::read_dir(RULES)? {
        fs::remove_file(packaged?.path())?;
    }
    for name in TAKEN {
        let sample = format!("{SAMPLES}/{name}.rules");
        fs::copy(&sample, format!("{RULES}/{name}.rules")).with_context(|| sample)?;
    }
    Ok(())
}
