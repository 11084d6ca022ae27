//! Runs the example `probe` confined, with a time limit.

use std::fs::File;
use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use outrigger_sandbox::{Bind, Confined, Confinement, Exit, Limits, RefusedCall, start};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The longest that any test may wait for its process.
const PATIENCE: Duration = Duration::from_secs(20);

/// A confinement of the probe, to be changed by a test before it runs.
pub(crate) struct Probe {
    pub(crate) confinement: Confinement,
    output: PipeReader,
}

/// The probe with these arguments; `None`, and a line that says so, where it cannot run.
pub(crate) fn probe(arguments: &[&str]) -> Option<Probe> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: starting a confined process needs root");
        return None;
    }
    let (output, log) = std::io::pipe().expect("a pipe");
    Some(Probe { confinement: confinement(arguments, log.into()), output })
}

/// A folder with one file, `list`, shared by all tests.
pub(crate) fn content() -> &'static Path {
    static CONTENT: LazyLock<PathBuf> = LazyLock::new(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("content");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("list"), "harmless\n").expect("a file in it");
        folder
    });
    &CONTENT
}

/// What came of one act.
pub(crate) struct Outcome {
    pub(crate) said: String,
    pub(crate) calls: Vec<RefusedCall>,
}

impl Outcome {
    /// The detail of the report on `call`, empty if it has none; `None` without a report.
    pub(crate) fn refused(&self, call: &str) -> Option<&str> {
        let report = self.calls.iter().find(|report| report.call == call)?;
        Some(report.detail.as_deref().unwrap_or_default())
    }
}

/// Has a probe try one act.
pub(crate) fn attempt(act: &[&str]) -> Option<Outcome> {
    let (said, confined) = probe(act)?.run();
    end(&confined);
    let calls = std::iter::from_fn(|| confined.calls.next()).collect();
    Some(Outcome { said, calls })
}

/// The act fails with `EPERM` and is reported as this call, with this detail (empty for none).
pub(crate) fn is_refused(act: &str, call: &str, detail: &str) {
    let Some(outcome) = attempt(&[act]) else { return };

    assert_eq!(outcome.said, "errno 1\n");
    assert_eq!(outcome.refused(call), Some(detail), "{:?}", outcome.calls);
}

fn confinement(arguments: &[&str], log: OwnedFd) -> Confinement {
    let granted = File::open(content().join("list")).expect("the content");
    Confinement {
        name: "probe".into(),
        program: probe_path(),
        arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
        uid: 61_321,
        gid: 61_321,
        apart: false,
        read_only: vec![Bind::data(content(), "/content")],
        limits: Limits { memory_bytes: 64 << 20, threads: 8, descriptors: 64, cpu_percent: None },
        descriptors: vec![granted.into()],
        input: None,
        log: Some(log),
        ignore_groups: Vec::new(),
        ignore_mask: 0,
    }
}

/// Cargo builds examples before it runs tests, two folders up.
pub(crate) fn probe_path() -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.ancestors().nth(2).expect("a target folder");
    target.join("examples/probe")
}

impl Probe {
    /// Runs it to its end; what it said.
    pub(crate) fn run(self) -> (String, Confined) {
        let (mut output, confined) = self.start();
        let said = read_all(&mut output);
        (said, confined)
    }

    pub(crate) fn start(self) -> (PipeReader, Confined) {
        let confined = start(self.confinement).expect("the probe starts");
        (self.output, confined)
    }
}

/// Reads until the other side is closed, or panics when it takes too long.
pub(crate) fn read_all(output: &mut PipeReader) -> String {
    let mut said = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        wait_readable(output.as_fd());
        match output.read(&mut chunk).expect("the probe's output") {
            0 => return String::from_utf8(said).expect("text"),
            got => said.extend_from_slice(&chunk[..got]),
        }
    }
}

/// Waits for the process' end.
pub(crate) fn end(confined: &Confined) -> Exit {
    wait_readable(confined.pidfd.as_fd());
    confined.exit().expect("its status").expect("it has ended")
}

pub(crate) fn wait_readable(fd: impl AsFd) {
    let limit = Timespec::try_from(PATIENCE).expect("a short time");
    let mut wanted = [PollFd::new(&fd, PollFlags::IN)];
    let ready = poll(&mut wanted, Some(&limit)).expect("a wait");
    assert_eq!(ready, 1, "nothing came within {PATIENCE:?}");
}
