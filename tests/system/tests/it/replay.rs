//! Recorded events through one engine: without root, without a kernel's questions, the same each time.

use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::Recording;
use outrigger_api::record::ContentAbsent;
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::{Answer, Event};
use outrigger_sensor::recording::{Header, Kept, Writer};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::{Late, say};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, bait, binaries};
use serde_json::Value;

use crate::scene::{Scene, expect, short_or_full};
use crate::yara::{RULES, web_shell};

/// Events per second through one trivial engine.
const PROMISED: u64 = 200_000;
/// How long the host may take to write what it recorded.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody.
const NOBODY: u32 = 65534;

/// What a replay is given.
struct Replayed {
    corpus: PathBuf,
    manifest: PathBuf,
    content: PathBuf,
}

impl Replayed {
    fn new(lab: &Lab, engine: &EngineSetup, corpus: PathBuf) -> Result<Self> {
        let (manifest, content) = engine.write_alone(&lab.path("replayed"))?;
        Ok(Self { corpus, manifest, content })
    }

    /// Runs `outrigger replay` as nobody.
    fn run(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(binaries::path(binaries::TOOL)?);
        command.arg("replay").arg(&self.corpus).arg("--engine").arg(&self.manifest);
        command.arg("--content-dir").arg(&self.content).args(words).uid(NOBODY).gid(NOBODY);
        command.output().context("the tool can be started")
    }

    /// Its report as JSON.
    fn report(&self, words: &[&str]) -> Result<Value> {
        let output = self.run(&[words, &["--json"]].concat())?;
        let told = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {told}"))
    }
}

/// A corpus at `path` that `write` fills.
fn corpus(
    path: PathBuf,
    write: impl FnOnce(&mut Writer<BufWriter<File>>) -> Result<()>,
) -> Result<PathBuf> {
    let header = Header { origin: "a test".to_owned(), kept: Kept::Bytes, ..Header::default() };
    let mut writer = Writer::new(BufWriter::new(File::create(&path)?), &header)?;
    write(&mut writer)?;
    writer.end()?;
    Ok(path)
}

fn sample(path: String) -> Sample {
    Sample {
        event: Event::FileOpen,
        credentials: Some((1000, 1000)),
        path: Some(path.into_bytes()),
        attributes: None,
        content: Err(ContentAbsent::NotRegular),
        standing: Standing::default(),
        answer: Some(Answer::Allow),
    }
}

fn holding(path: String, digest: Digest) -> Sample {
    Sample { content: Ok(digest), attributes: Some((digest.size, 1)), ..sample(path) }
}

/// The engine looks at the path and says yes: what is measured is the way there and back.
pub(crate) fn is_fast_through_one_engine(lab: &Lab) -> Result<()> {
    let count = short_or_full(400_000, 4_000_000);
    let recorded = corpus(lab.path("corpus"), |writer| {
        (0..count).try_for_each(|number| Ok(writer.sample(&sample(format!("/usr/lib/{number}")))?))
    })?;
    let engine = EngineSetup::faulty("yes", "deny-path .evil").field("path");
    let replayed = Replayed::new(lab, &engine, recorded)?;

    let report = replayed.report(&["--timings"])?;

    ensure!(report["events"]["file.open"]["allow"] == count, "{report:#}");
    let rate = report["timings"]["events_per_second"].as_u64().context("a rate")?;
    say(format_args!("{rate} events/s (promised at least {PROMISED}): {}", report["timings"]));
    // A build without optimisation promises nothing, and a busy machine is tried once more.
    if rate < PROMISED && !cfg!(debug_assertions) {
        return Err(Late::new(format!("{rate} events/s, promised at least {PROMISED}")).into());
    }
    Ok(())
}

pub(crate) fn says_the_same_each_time(lab: &Lab) -> Result<()> {
    let recorded = corpus(lab.path("corpus"), |writer| {
        for number in 0..3000 {
            let bytes = if number % 100 == 7 { "EICAR-STANDARD-ANTIVIRUS" } else { "clean" };
            let digest = writer.blob(format!("{bytes} {number}").as_bytes())?;
            let held = holding(format!("/srv/{number}"), digest);
            writer.sample(&Sample {
                event: [Event::FileOpen, Event::ProcessExec][number % 2],
                ..held
            })?;
            if number % 10 == 0 {
                writer.sample(&sample(format!("/srv/folder{number}")))?;
            }
        }
        let elsewhere = Digest { size: 3, sha256: [7; 32] };
        Ok(writer.sample(&holding("/srv/gone".to_owned(), elsewhere))?)
    })?;
    let engine = EngineSetup::faulty_reader("marks", "deny-marked").field("path");
    let replayed = Replayed::new(lab, &engine, recorded)?;

    let shown =
        [replayed.run(&[])?, replayed.run(&["--in-flight", "1"])?].map(|output| output.stdout);
    let report = replayed.report(&[])?;
    let again = replayed.report(&[])?;

    let text = String::from_utf8_lossy(&shown[0]);
    say(&text);
    ensure!(
        shown[0] == shown[1],
        "the reports differ: {text}\n{}",
        String::from_utf8_lossy(&shown[1])
    );
    ensure!(report == again, "the reports differ: {report:#}\n{again:#}");
    let sums = ["file.open", "process.exec"].map(|event| &report["events"][event]);
    let total = |key: &str| sums.iter().filter_map(|counts| counts[key].as_u64()).sum::<u64>();
    let counted = ["samples", "allow", "deny", "abstain", "not_asked"].map(total);
    ensure!(counted == [3301, 2970, 30, 300, 1], "{counted:?} in {report:#}");
    ensure!(
        report["disagreements"]["count"] == 30 && report["denied"]["count"] == 30,
        "{report:#}"
    );
    ensure!(text.contains("no sandbox: root, namespaces, seccomp"), "not said: {text}");
    Ok(())
}

pub(crate) fn names_the_sample_that_an_engine_crashes_on(lab: &Lab) -> Result<()> {
    let recorded = corpus(lab.path("corpus"), |writer| {
        for number in 0..500 {
            let bytes = if number == 123 || number == 321 { "poison" } else { "clean" };
            let digest = writer.blob(format!("{bytes} {number}").as_bytes())?;
            writer.sample(&holding(format!("/srv/{number}"), digest))?;
        }
        Ok(())
    })?;
    let engine = EngineSetup::faulty_reader("fragile", "crash-on poison");
    let replayed = Replayed::new(lab, &engine, recorded)?;

    let output = replayed.run(&[])?;
    let report = replayed.report(&[])?;

    say(String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.code() == Some(1), "ended with {}", output.status);
    let crashes = report["crashes"].as_array().context("crashes")?;
    let in_hand: Vec<_> =
        crashes.iter().filter_map(|crash| crash["in_hand"]["path"].as_str()).collect();
    ensure!(in_hand == ["/srv/123", "/srv/321"], "{report:#}");
    ensure!(crashes.iter().all(|crash| crash["reason"] == "engine-crashed"), "{report:#}");
    let counts = &report["events"]["file.open"];
    ensure!(counts["allow"] == 498 && counts["crashed"] == 2, "{report:#}");
    Ok(())
}

/// Twenty questions of 30 ms each are 600 ms in the queue, and none of them is a miss of 200 ms. One that
/// takes 300 ms is, however often it is asked.
pub(crate) fn tells_a_slow_engine_from_a_busy_machine(lab: &Lab) -> Result<()> {
    let told = |behaviour: &str, count: u64| -> Result<Value> {
        let recorded = corpus(lab.path("corpus"), |writer| {
            (0..count).try_for_each(|number| Ok(writer.sample(&sample(format!("/srv/{number}")))?))
        })?;
        let engine = EngineSetup::faulty("slow", behaviour);
        Replayed::new(lab, &engine, recorded)?.report(&["--budget-ms", "200"])
    };

    let [patient, slow, silent] = [told("slow 30", 20)?, told("slow 300", 4)?, told("silent", 4)?];

    let counts = |report: &Value, key: &str| report["events"]["file.open"][key].as_u64();
    ensure!(counts(&patient, "allow") == Some(20), "{patient:#}");
    ensure!(counts(&slow, "missed") == Some(4), "{slow:#}");
    ensure!(counts(&silent, "missed") == Some(4), "{silent:#}");
    ensure!(slow["crashes"] == Value::Array(Vec::new()), "{slow:#}");
    Ok(())
}

/// Writes what the host of `folder` recorded as one file that everybody may read.
fn export(lab: &Lab, folder: &Path, words: &[&str]) -> Result<(PathBuf, Value)> {
    let out = lab.path("exported.rec");
    let mut command = Command::new(binaries::path(binaries::TOOL)?);
    command.args(["record", "export", "--json", "--out"]).arg(&out);
    command.arg("--state-dir").arg(folder.join("state")).args(words);
    let output = command.output().context("the tool can be started")?;
    let told = String::from_utf8_lossy(&output.stderr);
    let exported =
        serde_json::from_slice(&output.stdout).with_context(|| format!("no export: {told}"))?;
    fs::set_permissions(&out, fs::Permissions::from_mode(0o644))?;
    Ok((out, exported))
}

/// Up to `count` files of this system, of up to 256 KiB.
fn real_files(count: usize) -> Vec<PathBuf> {
    let mut folders =
        vec![PathBuf::from("/usr/share"), PathBuf::from("/usr/lib"), PathBuf::from("/usr/bin")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::path);
        for entry in entries {
            match entry.metadata() {
                Ok(known) if known.is_dir() => folders.push(entry.path()),
                Ok(known) if known.is_file() && (1..=256 << 10).contains(&known.len()) => {
                    found.push(entry.path());
                }
                _ => {}
            }
        }
    }
    let step = (found.len() / count.max(1)).max(1);
    found.into_iter().step_by(step).take(count).collect()
}

/// What the host says of its recording.
fn recording(host: &Host) -> Result<Recording> {
    host.status()?.recording.context("the status says nothing of a recording")
}

/// Opens of real files, judged by YARA over the kernel and recorded; then the recording, without it.
pub(crate) fn yara_says_what_it_said_live(lab: &Lab) -> Result<()> {
    let count = usize::try_from(short_or_full(300, 5000))?;
    let scene = Scene::new(lab, 1)?;
    let mut files = Vec::new();
    for (number, file) in real_files(count).into_iter().enumerate() {
        files.push(scene.volume.put(&format!("real-{number}"), &fs::read(file)?)?);
    }
    ensure!(files.len() == count, "this system has {} files, not {count}", files.len());
    for number in 0..10 {
        let bad = if number % 2 == 0 { bait::eicar() } else { web_shell() };
        files.push(scene.volume.put(&format!("bad-{number}"), &bad)?);
    }
    let yara = EngineSetup::yara(RULES);
    let setup = Setup::protecting(scene.path()).budget_ms(8000).recording("bytes");
    let host = lab.start(&setup.engine(yara.clone()))?;
    let folder = host.folder().to_owned();

    let (mut refused, mut opened) = (0, 0);
    for some in files.chunks(100) {
        refused += some.iter().filter(|file| ways::open(file) == Outcome::Refused).count();
        opened += some.len() as u64;
        // What comes too fast is kept without content, which is another test's subject.
        wait_for("the recording", PATIENCE, || {
            let kept = recording(&host)?;
            Ok((kept.kept + kept.repeated >= opened).then_some(()))
        })?;
    }
    let live = host.engine("yara")?;
    host.end()?;
    let (corpus, exported) = export(lab, &folder, &[])?;
    let report = Replayed::new(lab, &yara, corpus)?.report(&[])?;

    let counts = &report["events"]["file.open"];
    say(format_args!(
        "live: {} allowed, {} denied; exported: {exported}",
        live.allows, live.denies
    ));
    say(format_args!("replayed: {counts}, {} not as recorded", report["disagreements"]["count"]));
    ensure!(refused == 10 && live.denies == 10, "{refused} were refused, {live:?}");
    ensure!(counts["samples"] == files.len() && counts["allow"] == count, "{report:#}");
    ensure!(counts["deny"] == refused, "{report:#}");
    ensure!(report["disagreements"]["count"] == 0 && report["missed"]["count"] == 0, "{report:#}");
    Ok(())
}

/// A question is kept once, the host says what it keeps, and what is to be left out of an export is.
pub(crate) fn what_is_recorded_is_counted_and_redacted(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 4)?;
    let setup = Setup::protecting(scene.path()).uncached().recording("sums");
    let host = lab.start(&setup.engine(EngineSetup::hashlist()))?;
    let folder = host.folder().to_owned();

    for file in scene.clean.iter().chain([&scene.eicar]).cycle().take(50) {
        let wanted = if *file == scene.eicar { Outcome::Refused } else { Outcome::Through };
        expect("an open", ways::open(file), wanted)?;
    }
    let kept = wait_for("the last question", PATIENCE, || {
        let kept = recording(&host)?;
        Ok((kept.kept + kept.repeated >= 50).then_some(kept))
    })?;
    let secret = scene.eicar.to_str().context("the path is UTF-8")?;
    let exported = export(lab, &folder, &["--without-credentials", "--redact", secret])?;
    host.end()?;

    say(format_args!("{kept:?}; exported: {}", exported.1));
    ensure!((kept.kept, kept.repeated, kept.lost, kept.unwritten) == (5, 45, 0, 0), "{kept:?}");
    ensure!(exported.1["samples"] == 5 && exported.1["redacted"] == 1, "{}", exported.1);
    let bytes = fs::read(&exported.0)?;
    let holds = |content: &[u8]| {
        let sum = outrigger_sensor::recording::sum(content);
        bytes.windows(sum.len()).any(|window| window == sum)
    };
    ensure!(holds(&fs::read(&scene.clean[0])?), "the sum of a clean file is not in the file");
    ensure!(!holds(&bait::eicar()), "the sum of what was left out is in the file");
    Ok(())
}
