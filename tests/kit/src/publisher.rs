//! A vendor with keys and a repository, and the machine's side of it: `outrigger package` and `outrigger update`, as
//! people call them.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_api::release::Part;
use serde_json::Value;

use crate::binaries;

/// The root metadata that machines trust first, in the vendor's folder.
const ROOT: &str = "root.json";

/// A file of a release: its path, its bytes, whether it may be run.
pub type ReleaseFile = (String, Vec<u8>, bool);

/// A vendor.
#[derive(Debug)]
pub struct Publisher {
    folder: PathBuf,
}

/// What a content release says of itself.
#[derive(Debug, Clone, Copy)]
pub struct Typed<'a> {
    /// The content's type.
    pub kind: &'a str,
    /// The versions of the code that it is for.
    pub interpreter: &'a str,
}

/// How an `outrigger update` ended.
#[derive(Debug)]
pub struct Told {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its lines of JSON.
    pub lines: Vec<Value>,
    /// What it said besides.
    pub errors: String,
    /// How long it took.
    pub took: Duration,
}

/// The files of a release of the code of one of this repository's engines, as `manifest` in its folder has it, in
/// another version.
///
/// # Errors
///
/// If the engine is not built, or has no such manifest.
pub fn shipped(
    engine: &str,
    manifest: &str,
    program: &str,
    version: &str,
) -> Result<Vec<ReleaseFile>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines").join(engine);
    let file = folder.join(manifest);
    let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let lines = text.lines().map(|line| match line.starts_with("version = ") {
        true => format!("version = \"{version}\"\n"),
        false => format!("{line}\n"),
    });
    let manifest = lines.collect::<String>().into_bytes();
    Ok(vec![
        ("manifest.toml".to_owned(), manifest, false),
        (program.to_owned(), fs::read(binaries::path(program)?)?, true),
    ])
}

impl Publisher {
    /// Keys and an empty repository below `folder`, which is made.
    ///
    /// # Errors
    ///
    /// If `outrigger` is not built or refuses.
    pub fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let publisher = Self { folder: folder.to_owned() };
        for key in ["root", "release", "online"] {
            publisher.outrigger(&["package", "new-key", &format!("{key}.key")])?;
        }
        publisher.outrigger(&[
            "package",
            "root",
            "repository",
            "--add",
            "root=root.key.pub",
            "--add",
            "targets=release.key.pub",
            "--add",
            "snapshot,timestamp=online.key.pub",
            "--key",
            "root.key",
        ])?;
        // What a vendor gives out by another way than its repository.
        fs::copy(publisher.repository().join("metadata/1.root.json"), folder.join(ROOT))?;
        Ok(publisher)
    }

    /// Where its keys, its releases and its repository lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The package of a release that it has built.
    pub fn package(&self, engine: &str, part: Part, version: &str) -> PathBuf {
        self.folder.join(format!("{engine}-{part}-{version}.tar.gz"))
    }

    /// The repository's folder.
    pub fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// Builds, signs and publishes a release of `part` of `engine`; content says its type.
    ///
    /// # Errors
    ///
    /// If a command refuses.
    pub fn release(
        &self,
        engine: &str,
        part: Part,
        version: &str,
        typed: Option<Typed<'_>>,
        files: &[ReleaseFile],
    ) -> Result<()> {
        let name = format!("{engine}-{part}-{version}");
        let folder = self.folder.join(&name);
        for (path, bytes, program) in files {
            let file = folder.join(path);
            fs::create_dir_all(file.parent().unwrap_or(&folder))?;
            fs::write(&file, bytes)?;
            let mode = if *program { 0o755 } else { 0o644 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        }
        let mut build = vec!["package", "build", &name, "--engine", engine];
        build.extend(["--part", part.name(), "--version", version]);
        if let Some(Typed { kind, interpreter }) = typed {
            build.extend(["--type", kind, "--schema", "1", "--interpreter", interpreter]);
        }
        self.outrigger(&build)?;
        let package = format!("{name}.tar.gz");
        self.outrigger(&["package", "sign", "repository", &package, "--key", "release.key"])?;
        self.outrigger(&["package", "publish", "repository", "--key", "online.key"])?;
        Ok(())
    }

    /// Writes an `updates.toml` by which a machine with `state_dir` and the host at `socket` takes `engines` from
    /// here; `preflight` goes below its `[preflight]`.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn updates(
        &self,
        state_dir: &Path,
        socket: &Path,
        engines: &[&str],
        preflight: &str,
    ) -> Result<PathBuf> {
        if !state_dir.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
        }
        let file = self.folder.join("updates.toml");
        fs::write(&file, self.updates_text(state_dir, socket, engines, preflight))?;
        Ok(file)
    }

    /// The text of that file.
    pub fn updates_text(
        &self,
        state_dir: &Path,
        socket: &Path,
        engines: &[&str],
        preflight: &str,
    ) -> String {
        let repository = self.repository();
        format!(
            "state_dir = {state_dir:?}\ncontrol_socket = {socket:?}\n\n[[repository]]\nname = \"vendor\"\n\
             url = {repository:?}\nroot = {root:?}\nengines = {engines:?}\n\n[preflight]\n{preflight}",
            root = self.folder.join(ROOT),
        )
    }

    /// Runs `outrigger` with `arguments` where its keys and its repository lie.
    ///
    /// # Errors
    ///
    /// If it refuses.
    pub fn outrigger(&self, arguments: &[&str]) -> Result<()> {
        let output = Command::new(binaries::path(binaries::TOOL)?)
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "outrigger {}: {said}", arguments.join(" "));
        Ok(())
    }
}

/// Runs `outrigger update` with `arguments` by `config`.
///
/// # Errors
///
/// If it cannot be started, or a line of it is no JSON.
pub fn update(config: &Path, arguments: &[&str]) -> Result<Told> {
    update_watched(config, arguments, |_| Ok(()))
}

/// As [`update`], and shows each of its lines as soon as it comes.
///
/// # Errors
///
/// As [`update`], and what `seen` gives.
pub fn update_watched(
    config: &Path,
    arguments: &[&str],
    mut seen: impl FnMut(&Value) -> Result<()>,
) -> Result<Told> {
    let began = Instant::now();
    let mut command = Command::new(binaries::path(binaries::TOOL)?);
    command.arg("update").args(arguments).arg("--json").arg("--config").arg(config);
    // A file, since nobody reads the errors before the end and a pipe of them could fill.
    let mut errors = tempfile::tempfile()?;
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors.try_clone()?).spawn()?;
    let out = child.stdout.take().context("its output is a pipe")?;
    let read = || -> Result<Vec<Value>> {
        let mut lines = Vec::new();
        for line in BufReader::new(out).lines() {
            let line = line?;
            let line = serde_json::from_str(&line).with_context(|| format!("no JSON: {line}"))?;
            seen(&line)?;
            lines.push(line);
        }
        Ok(lines)
    };
    let lines = read();
    if lines.is_err() {
        // It may be waiting for this reader, which does not read any more.
        let _ = child.kill();
    }
    let code = child.wait()?.code();
    let (lines, took) = (lines?, began.elapsed());
    errors.rewind()?;
    let mut said = String::new();
    errors.read_to_string(&mut said)?;
    Ok(Told { code, lines, errors: said, took })
}

impl Told {
    /// The details of the steps called `name`, in their order.
    pub fn steps(&self, name: &str) -> Vec<&str> {
        let of = |line: &&Value| line["step"] == name;
        self.lines.iter().filter(of).filter_map(|line| line["detail"].as_str()).collect()
    }

    /// The last report of a preflight.
    pub fn report(&self) -> Option<&Value> {
        self.lines.iter().rev().find(|line| line.get("checks").is_some())
    }

    /// Whether it ended with `code`; all that it said, if not.
    ///
    /// # Errors
    ///
    /// If it ended otherwise.
    pub fn expect(&self, code: i32) -> Result<()> {
        let lines: Vec<String> = self.lines.iter().map(Value::to_string).collect();
        ensure!(
            self.code == Some(code),
            "ended with {:?} and not {code}\n{}\n{}",
            self.code,
            lines.join("\n"),
            self.errors
        );
        Ok(())
    }
}
