//! An engine, its content and a corpus in a folder of their own.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};
use outrigger_api::Event;
use outrigger_api::sample::Standing;
use outrigger_testkit::{binaries, corpus};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// Objects of the corpus.
const OBJECTS: usize = 120;
const ENGINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../engines");

/// What is tried.
pub(crate) struct Lab {
    folder: TempDir,
    manifest: PathBuf,
    objects: Vec<(String, [u8; 32])>,
}

/// What came of it.
pub(crate) struct Tried {
    pub(crate) status: ExitStatus,
    pub(crate) report: Value,
    /// All that was said.
    pub(crate) text: String,
}

/// Whether the test `name` can be made; says so if not.
pub(crate) fn root(name: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("test {name} SKIPPED: needs root");
    }
    root
}

impl Lab {
    fn new(manifest: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        // An engine's user has to reach its content.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
        fs::create_dir(folder.path().join("content"))?;
        fs::create_dir(folder.path().join("objects"))?;
        let file = folder.path().join("manifest.toml");
        fs::write(&file, manifest)?;
        let mut lab = Self { folder, manifest: file, objects: Vec::new() };
        lab.record()?;
        Ok(lab)
    }

    /// The interpreter of Channel File 291, by one of its manifests, on one of its contents.
    pub(crate) fn channel291(manifest: &str, content: &str) -> Result<Self> {
        let lab = Self::of("channel291", manifest, "outrigger-engine-channel291")?;
        let table = format!("{ENGINES}/channel291/content/{content}/pipes.table");
        lab.content("pipes.table", &fs::read_to_string(table)?)?;
        Ok(lab)
    }

    /// The engine `hashlist` with these lists.
    pub(crate) fn hashlist(lists: &[(&str, &str)]) -> Result<Self> {
        let lab = Self::shipped("hashlist", binaries::HASHLIST)?;
        lists.iter().try_for_each(|(name, text)| lab.content(name, text))?;
        Ok(lab)
    }

    /// An engine of this repository, without content.
    pub(crate) fn shipped(name: &str, program: &str) -> Result<Self> {
        Self::of(name, "manifest.toml", program)
    }

    fn of(name: &str, manifest: &str, program: &str) -> Result<Self> {
        let text = fs::read_to_string(format!("{ENGINES}/{name}/{manifest}"))?;
        let built = binaries::path(program)?;
        Self::new(&text.replace(&format!("{program:?}"), &format!("{:?}", built.display())))
    }

    /// The engine that attacks on command, with these limits.
    pub(crate) fn hostile(name: &str, limits: &str) -> Result<Self> {
        let program = binaries::path(binaries::HOSTILE)?;
        Self::new(&format!(
            "name = {name:?}\nvendor = \"Outrigger tests\"\nversion = {:?}\ncontract = \"1\"\n\
             verdict = \"content\"\nentry.program = {:?}\nentry.arguments = [{name:?}]\n\
             events.\"process.exec\".needs = \"ask\"\nevents.\"file.open\".needs = \"ask\"\n\
             needs.content = true\n[limits]\nheartbeat_ms = 200\nhang_ms = 1000\n{limits}\n",
            env!("CARGO_PKG_VERSION"),
            program.display()
        ))
    }

    /// Writes a file of content.
    pub(crate) fn content(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join("content").join(name), text)?)
    }

    /// The path and the sum of the object of this number.
    pub(crate) fn known_good(&self, number: usize) -> (&str, [u8; 32]) {
        let (path, sum) = &self.objects[number];
        (path, *sum)
    }

    /// Removes so many objects, or changes them.
    pub(crate) fn lose_objects(&self, count: usize) -> Result<()> {
        for (number, (path, _)) in self.objects.iter().take(count).enumerate() {
            if number % 2 == 0 { fs::remove_file(path)? } else { fs::write(path, "other")? }
        }
        Ok(())
    }

    /// Tries it.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Tried> {
        let mut command = Command::new(binaries::path(binaries::TOOL)?);
        command.args(["--json", "preflight", "--engine"]).arg(&self.manifest);
        command.arg("--content-dir").arg(self.folder.path().join("content"));
        command.arg("--known-good").arg(self.corpus()).args(words);
        let output = command.output().context("the tool can be started")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let report: Value =
            serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {said}"))?;
        let text = format!("{report:#}\n{said}");
        Ok(Tried { status: output.status, report, text })
    }

    fn corpus(&self) -> PathBuf {
        self.folder.path().join("corpus")
    }

    /// Records opens and execs of the objects, which lie where they lay.
    fn record(&mut self) -> Result<()> {
        let mut events = Vec::new();
        for number in 0..OBJECTS {
            let path = self.folder.path().join("objects").join(number.to_string());
            let bytes = format!("known-good-{number}-");
            fs::write(&path, &bytes)?;
            self.objects.push((path.display().to_string(), Sha256::digest(&bytes).into()));
            events.push(([Event::ProcessExec, Event::FileOpen][number % 2], path));
        }
        corpus::write(&self.corpus(), Standing::default(), &events)
    }
}

impl Tried {
    /// The check of this name.
    pub(crate) fn check(&self, name: &str) -> Result<&Value> {
        let checks = self.report["checks"].as_array().context("checks")?;
        let found = checks.iter().find(|check| check["name"] == name);
        found.with_context(|| format!("no check {name}: {}", self.text))
    }
}
