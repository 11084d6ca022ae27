//! Recorded events through one engine: without root, without a kernel's questions, the same each time.

use std::fs::File;
use std::io::BufWriter;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use outrigger_api::record::ContentAbsent;
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::{Answer, Event};
use outrigger_sensor::recording::{Header, Kept, Writer};
use outrigger_testkit::figures::{Late, say};
use outrigger_testkit::{EngineSetup, Lab, binaries};
use serde_json::Value;

use crate::scene::short_or_full;

/// Events per second through one trivial engine.
const PROMISED: u64 = 200_000;
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
