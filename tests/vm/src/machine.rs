//! One guest: booted, listened to, judged.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use outrigger_testkit::figures::say;
use outrigger_vm_tests::{Outcome, Said};

use crate::archive::Archive;
use crate::job::{Boot, Clock, Failing, Job, Root};
use crate::kernel::Kernel;
use crate::memory;

/// How long a guest may take to power off once its job has ended.
const GOODBYE: Duration = Duration::from_secs(60);
/// What the kernel is told. It does not check whether the timer ticks: on a busy machine the emulated one can be
/// too late for that, nor whether a processor stands still, which those of a busy machine do; a guest that hangs is seen
/// by its job's limit. Warnings are shown, since a guest's kernel is to have none.
const COMMAND_LINE: &str =
    "console=ttyS0 loglevel=5 panic=-1 net.ifnames=0 no_timer_check nowatchdog";
/// What a program that is linked with shared libraries names.
const LOADER: &[u8] = b"/lib64/ld-linux";
/// Lines shown of a guest that hung or died.
const LAST_LINES: usize = 30;
/// Where the consoles of guests are kept in which something did not hold.
const CONSOLES: &str = "target/vm/consoles";

/// How a guest ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The job ended with this status, and the guest powered off.
    Exit(i32),
    /// The guest went away without a word.
    Died,
    /// It was still there when the time was up.
    Hung,
    /// Whoever listened had heard enough.
    Enough,
}

/// What becomes of the guest after a line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// It is listened to.
    Listen,
    /// Its job has ended with this status: it powers off.
    Ended(i32),
    /// It is stopped.
    Enough,
}

/// Boots `kernel`, on a throw-away copy of `root` if the job wants a disk, and runs the job; whether all of it held, and what was said to
/// have happened there. `label` stands before every line that is told meanwhile.
///
/// # Errors
///
/// If the guest cannot be started.
pub(crate) fn run(
    kernel: &Kernel,
    root: Option<&Path>,
    job: &Job,
    verbose: bool,
    label: String,
) -> Result<(bool, Vec<(String, String)>)> {
    say(format_args!("{label}vm {} on {} ...", job.name, kernel.release));
    let start = Instant::now();
    let shows = verbose || job.shows_output;
    let mut report = Report { shows, label, ..Report::default() };
    let (end, console) = watch(kernel, root, job, &mut |line| match report.take(line) {
        Said::Exit(code) => Next::Ended(code),
        _ => Next::Listen,
    })?;
    for line in complaints(&console) {
        let name = "kernel::has_no_complaint".to_owned();
        report.take(&Outcome { held: false, name, detail: line }.to_string());
    }
    let held = end == End::Exit(0) && report.failed == 0;
    if !held {
        report.tell_last(&console);
        keep(&console, &job.name, kernel);
    }
    let what = match end {
        End::Exit(0) if held => format!("ok, {} held", report.held),
        End::Exit(status) => {
            let failed = report.failed;
            format!("FAILED: status {status}, {} held, {failed} failed", report.held)
        }
        End::Died => "FAILED: the guest died; its last lines are above".to_owned(),
        End::Hung => {
            let limit = job.limit.as_secs();
            format!("FAILED: not done after {limit} s, its limit; the last lines are above")
        }
        End::Enough => "FAILED: it was stopped".to_owned(),
    };
    let took = start.elapsed().as_secs_f64();
    let label = &report.label;
    say(format_args!("{label}vm {} on {} ... {what} ({took:.0} s)", job.name, kernel.release));
    Ok((held, report.facts))
}

/// Boots `kernel` as [`run`] does, runs the job and hands each line of the guest to `take`;
/// gives how that ended and what the guest's kernel said.
///
/// # Errors
///
/// If the guest cannot be started.
pub(crate) fn watch(
    kernel: &Kernel,
    root: Option<&Path>,
    job: &Job,
    take: &mut dyn FnMut(&str) -> Next,
) -> Result<(End, Vec<u8>)> {
    let folder = tempfile::Builder::new().prefix("outrigger-vm-").tempdir()?;
    let initial = folder.path().join("initial");
    fs::write(&initial, first_root(kernel, job)?)?;
    let console = folder.path().join("console");
    let mut guest = Guest::boot(kernel, root, &initial, &console, job)?;
    let end = guest.listen(job.limit, take)?;
    guest.stop();
    Ok((end, fs::read(&console).unwrap_or_default()))
}

/// What the kernel unpacks into memory: a script, a small tool box, modules, the job's files.
fn first_root(kernel: &Kernel, job: &Job) -> Result<Vec<u8>> {
    const OWN: &str = "job/usr/lib/outrigger-vm";
    let busybox =
        fs::read("/bin/busybox").context("cannot read /bin/busybox; run: tools/setup.sh vm")?;
    ensure!(
        !busybox.windows(LOADER.len()).any(|window| window == LOADER),
        "/bin/busybox needs libraries, which the guest does not have yet\n\
         install the package busybox-static"
    );
    let mut archive = Archive::default();
    for folder in ["dev", "proc", "sys", "disk"] {
        archive.folder(folder);
    }
    archive.file("init", 0o755, include_bytes!("../guest/init.sh"));
    archive.file("bin/busybox", 0o755, &busybox);
    for (number, module) in kernel.modules.iter().enumerate() {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("modules/{number:02}-{name}"), 0o644, &fs::read(module)?);
    }
    archive.file(&format!("{OWN}/start"), 0o755, include_bytes!("../guest/start.sh"));
    archive.file(&format!("{OWN}/busybox"), 0o755, &busybox);
    for (name, words) in [("command", &job.command), ("setup", &job.setup)] {
        if !words.is_empty() {
            archive.file(&format!("{OWN}/{name}"), 0o755, script(words).as_bytes());
        }
    }
    let boot = match job.boot {
        Boot::Script => "script\n",
        Boot::Systemd => "systemd\n",
    };
    archive.file(&format!("{OWN}/boot"), 0o644, boot.as_bytes());
    if job.boot == Boot::Systemd {
        let unit = include_bytes!("../guest/outrigger-vm.service");
        let units = "job/etc/systemd/system";
        archive.file(&format!("{units}/outrigger-vm.service"), 0o644, unit);
        let wanted = format!("{units}/multi-user.target.wants/outrigger-vm.service");
        archive.link(&wanted, "/etc/systemd/system/outrigger-vm.service");
    }
    if job.root == Root::Memory {
        memory::furnish(&mut archive, &job.files)?;
    }
    for file in &job.files {
        file.add_to(&mut archive)?;
    }
    Ok(archive.finish())
}

/// A script that becomes the program of `words`.
fn script(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!(
        "#!/bin/sh\nPATH={}:/usr/sbin:/usr/bin:/sbin:/bin\nexec {}\n",
        crate::job::PROGRAMS,
        words.join(" ")
    )
}

/// `word` as the shell takes it for itself.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

struct Guest {
    process: Child,
    lines: Receiver<String>,
}

impl Guest {
    fn boot(
        kernel: &Kernel,
        root: Option<&Path>,
        initial: &Path,
        console: &Path,
        job: &Job,
    ) -> Result<Self> {
        let oops = if job.failing == Failing::LimpsOn { "" } else { " oops=panic" };
        let disk = match (job.root, root) {
            (Root::Memory, _) => Vec::new(),
            (Root::Debian, Some(root)) => {
                let drive = format!("file={},format=raw,if=virtio,snapshot=on", root.display());
                vec!["-drive".to_owned(), drive]
            }
            (Root::Debian, None) => bail!("the job wants a disk, and there is none"),
        };
        let mut command = Command::new("qemu-system-x86_64");
        command
            // Emulated, whatever the machine has: stock kernels do not start under a nested KVM.
            .args(["-M", "q35", "-cpu", kernel.processor()])
            .args(match job.clock {
                Clock::OfThisMachine => {
                    vec!["-accel", "tcg,thread=multi", "-smp", kernel.processors()]
                }
                Clock::Instructions => {
                    vec!["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"]
                }
            })
            .args(["-m", &job.memory_mib.to_string()])
            .args(["-nodefaults", "-nographic", "-display", "none"])
            .args((job.failing != Failing::BootsAgain).then_some("-no-reboot"))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio"])
            .args(disk)
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(initial)
            .arg("-append")
            .arg(format!("{COMMAND_LINE}{oops}"))
            // Where QEMU puts what the guest writes to its disk.
            .env("TMPDIR", initial.parent().unwrap_or_else(|| Path::new("/tmp")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = match command.spawn() {
            Ok(process) => process,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("qemu-system-x86_64 is not installed; run: tools/setup.sh vm")
            }
            Err(error) => return Err(error).context("cannot start qemu-system-x86_64"),
        };
        let output = process.stdout.take().context("the guest's second port is a pipe")?;
        Ok(Self { process, lines: lines_of(output) })
    }

    fn listen(&mut self, limit: Duration, take: &mut dyn FnMut(&str) -> Next) -> Result<End> {
        let mut until = Instant::now() + limit;
        let mut status = None;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match (self.lines.recv_timeout(left), status) {
                (Ok(line), _) => match take(&line) {
                    Next::Listen => {}
                    Next::Ended(code) => {
                        status = Some(code);
                        until = until.min(Instant::now() + GOODBYE);
                    }
                    Next::Enough => return Ok(End::Enough),
                },
                (Err(RecvTimeoutError::Disconnected), Some(code)) => return Ok(End::Exit(code)),
                (Err(RecvTimeoutError::Disconnected), None) => return Ok(End::Died),
                (Err(RecvTimeoutError::Timeout), _) => return Ok(End::Hung),
            }
        }
    }

    fn stop(&mut self) {
        // Gone already where all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The lines of the guest's second port, as they come.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|len| len > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// What a guest said so far.
#[derive(Default)]
struct Report {
    shows: bool,
    label: String,
    facts: Vec<(String, String)>,
    held: usize,
    failed: usize,
    text: Vec<String>,
}

impl Report {
    fn take(&mut self, line: &str) -> Said {
        let said = Said::parse(line);
        let label = &self.label;
        match &said {
            Said::Up(seconds) => say(format_args!("{label}  up after {seconds} s")),
            Said::Result(outcome) => {
                let word = if outcome.held { "ok    " } else { "FAILED" };
                say(format_args!("{label}  {word} {}: {}", outcome.name, outcome.detail));
                *(if outcome.held { &mut self.held } else { &mut self.failed }) += 1;
            }
            Said::Exit(_) | Said::Beat(_) => {}
            Said::Fact(name, text) => self.facts.push((name.clone(), text.clone())),
            Said::Text(text) => {
                if self.shows {
                    say(format_args!("{label}  {text}"));
                }
                self.text.push(text.clone());
            }
        }
        said
    }

    /// The last lines of the job, if they were not shown, and of the kernel.
    fn tell_last(&self, console: &[u8]) {
        let console = String::from_utf8_lossy(console);
        // The firmware draws, and systemd paints.
        let kernel: Vec<&str> = console
            .lines()
            .map(|line| line.rsplit('\u{1b}').next().unwrap_or(line).trim_end_matches('\r'))
            .filter(|line| !line.is_empty())
            .collect();
        let job: Vec<&str> = self.text.iter().map(String::as_str).collect();
        for (whose, lines) in [("the job", &job), ("the guest's kernel", &kernel)] {
            if lines.is_empty() || (self.shows && whose == "the job") {
                continue;
            }
            tell_last(whose, lines);
        }
    }
}

/// Keeps all that a guest's kernel said: what it says of a hang fills more than the last lines.
fn keep(console: &[u8], job: &str, kernel: &Kernel) {
    let path = Path::new(CONSOLES).join(format!("{job}-{}.log", kernel.name));
    let kept = fs::create_dir_all(CONSOLES).and_then(|()| fs::write(&path, console));
    match kept {
        Ok(()) => say(format_args!("  all of it is in {}", path.display())),
        Err(error) => say(format_args!("  {}: {error}", path.display())),
    }
}

/// What a kernel says when something is wrong with it, or with a BPF program that it took.
const COMPLAINTS: [&str; 3] = ["WARNING:", "BUG:", "verifier"];

/// The lines of the kernel that are complaints.
fn complaints(console: &[u8]) -> Vec<String> {
    let console = String::from_utf8_lossy(console);
    let is_complaint = |line: &&str| COMPLAINTS.iter().any(|word| line.contains(word));
    console.lines().filter(is_complaint).map(str::to_owned).collect()
}

/// The last of the `lines` of a guest in which something did not hold.
pub(crate) fn tell_last(whose: &str, lines: &[impl Display]) {
    say(format_args!("  --- {whose} said last:"));
    let from = lines.len().saturating_sub(LAST_LINES);
    lines[from..].iter().for_each(|line| say(format_args!("  {line}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_for_the_shell() {
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
    }

    #[test]
    fn what_a_kernel_complains_of_is_found() {
        let console = b"[ 1.0] fine\r\n[ 2.0] WARNING: CPU: 1 PID: 4 at x.c:3\r\n";

        assert_eq!(complaints(console), ["[ 2.0] WARNING: CPU: 1 PID: 4 at x.c:3"]);
    }

    #[test]
    fn results_are_counted_and_text_is_kept() {
        let mut report = Report::default();

        report.take("OUTRIGGER-RESULT ok a::b 3 ms");
        report.take("OUTRIGGER-RESULT FAILED a::c hung");
        report.take("whatever");

        assert_eq!((report.held, report.failed, report.text.len()), (1, 1, 1));
    }
}
