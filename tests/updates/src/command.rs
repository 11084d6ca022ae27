//! The real thing: `outrigger update apply` from a signed repository, cut off.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::release::Part;
use outrigger_testkit::publisher::{Publisher, ReleaseFile, Typed};
use outrigger_testkit::releases::end_trials;
use outrigger_testkit::{bait, binaries};
use outrigger_update::package::{PackageLimits, tree_digest};
use outrigger_update::store::{Digest, Reader, Store};
use rustix::fs::{Mode, OFlags};

use crate::{Scenario, tree};

const ENGINE: &str = "hashlist";
const OLD: &str = "1.0.0";
const NEW: &str = "1.1.0";
/// What the command prints when the release stands in shadow, where no host runs to go on.
const AFTER: &str = "\"step\":\"shadow\"";

/// An update of a hash list from `OLD` to `NEW` by the command that operators use, with no host at work.
#[derive(Debug)]
pub struct ThroughCommand {
    vendor: Publisher,
    /// A machine's folder with the old release in force.
    before: PathBuf,
}

impl ThroughCommand {
    /// A vendor with both releases, and a machine that took the first, below `folder`.
    ///
    /// # Errors
    ///
    /// If the programs are not built, or one of them refuses.
    pub fn new(folder: &Path) -> Result<Self> {
        let vendor = Publisher::new(&folder.join("vendor"))?;
        let typed = Some(Typed { kind: "hashlist", interpreter: ">=0.1" });
        let list = |name: &str, also: &[u8]| -> Vec<ReleaseFile> {
            let text = format!("{}\n{}\n", bait::sha256(&bait::eicar()), bait::sha256(also));
            vec![(name.to_owned(), text.into_bytes(), false)]
        };
        let manifest =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../engines/hashlist/manifest.toml");
        let program = binaries::path(binaries::HASHLIST)?;
        let code = [
            ("manifest.toml".to_owned(), fs::read(manifest)?, false),
            (binaries::HASHLIST.to_owned(), fs::read(program)?, true),
        ];
        vendor.release(ENGINE, Part::Code, "0.1.0", None, &code)?;
        vendor.release(ENGINE, Part::Content, OLD, typed, &list("old.deny", b"old"))?;
        let this = Self { vendor, before: folder.join("machine") };
        this.apply(&this.before)?;
        end_trials(&this.before.join("state"), ENGINE)?;
        this.vendor.release(ENGINE, Part::Content, NEW, typed, &list("new.deny", b"new"))?;
        Ok(this)
    }

    fn update(&self, root: &Path) -> Result<Command> {
        let state = root.join("state");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&state)?;
        let socket = root.join("no-host");
        let text = self.vendor.updates_text(&state, &socket, &[ENGINE], "samples_min = 0\n");
        let own = root.join("updates.toml");
        fs::write(&own, text)?;
        let mut command = Command::new(binaries::path(binaries::TOOL)?);
        command.args(["update", "apply", "--json", "--config"]).arg(own).stdin(Stdio::null());
        Ok(command)
    }

    fn apply(&self, root: &Path) -> Result<()> {
        fs::create_dir_all(root)?;
        let output = self.update(root)?.output()?;
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.success(),
            "outrigger update apply: {}\n{said}\n{errors}",
            output.status
        );
        Ok(())
    }
}

impl Scenario for ThroughCommand {
    fn prepare(&self, root: &Path) -> Result<()> {
        tree::copy(&self.before, root)
    }

    fn command(&self, root: &Path) -> Command {
        self.update(root).unwrap_or_else(|error| panic!("no command: {error:?}"))
    }

    fn check(&self, root: &Path, said: &str) -> Result<()> {
        let state = root.join("state");
        let seen = in_force(&state)?;
        ensure!(seen == OLD, "in force is {seen}, and nobody put anything else in force");
        if said.contains(AFTER) {
            in_shadow(&state).context("what the command said of it")?;
        }
        {
            let store = Store::open(&state).context("the next update's look")?;
            store.verify_chain().context("the journal")?;
        }
        self.apply(root).context("the next update")?;
        in_shadow(&state).context("after the next update")?;
        // What a host does with it.
        end_trials(&state, ENGINE)?;
        let now = in_force(&state)?;
        ensure!(now == NEW, "after the next update {now} came into force");
        Ok(())
    }
}

/// The new content stands in shadow, and is whole.
fn in_shadow(state: &Path) -> Result<()> {
    let reader = Store::open_read(state)?;
    let tried = reader.shadowing(&ENGINE.parse()?)?;
    let [(Part::Content, one)] = tried.as_slice() else { bail!("in shadow is {tried:?}") };
    ensure!(one.version.to_string() == NEW, "in shadow is {}", one.version);
    unchanged(&one.dir, one.tree)
}

/// The version of the content in force; its files and those of the code must be whole.
fn in_force(state: &Path) -> Result<String> {
    let reader = Store::open_read(state).context("the host's look")?;
    whole(&reader, Part::Code)?;
    whole(&reader, Part::Content)
}

fn whole(reader: &Reader, part: Part) -> Result<String> {
    let active = reader.active(&ENGINE.parse()?, part)?.with_context(|| format!("no {part}"))?;
    unchanged(&active.dir, active.tree)?;
    Ok(active.version.to_string())
}

fn unchanged(dir: &Path, tree: Digest) -> Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(dir, flags, Mode::empty())
        .with_context(|| format!("no {}", dir.display()))?;
    let found = tree_digest(folder.as_fd(), &PackageLimits::default())?;
    ensure!(found.0 == tree.0, "{} is {found}, and {tree} was staged", dir.display());
    Ok(())
}
