//! A whole install through the store, small enough to be cut off everywhere, and what must hold then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use outrigger_update::store::{Digest, Offer, Slot, Store};
use rustix::fs::{AtFlags, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::{Scenario, tree};

/// What is said before a release is staged.
pub const STAGING: &str = "staging";
/// What is said before a release is put in force.
pub const BEFORE: &str = "putting it in force";
/// What is said when it is.
pub const AFTER: &str = "in force";
/// What is said when it is in force for good.
pub const CONFIRMED: &str = "confirmed";

/// How an install is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// As the product does it.
    Right,
    /// Wrong on purpose: the files come into the slot after it was made durable, and before the commit.
    LateFiles,
    /// Wrong on purpose: the files come into the slot after the commit.
    FilesAfterCommit,
}

impl Manner {
    /// All, by the name that the program takes.
    pub const ALL: [(&'static str, Self); 3] = [
        ("right", Self::Right),
        ("late-files", Self::LateFiles),
        ("files-after-commit", Self::FilesAfterCommit),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, manner)| *manner == self).map_or("", |(name, _)| name)
    }
}

/// The engine that is installed.
///
/// # Errors
///
/// None: the name is one.
pub fn engine() -> Result<EngineName> {
    Ok("hashlist".parse()?)
}

/// Installs a release of `part` into the store in `state`, and says what comes. One that was under way already goes on
/// from where it stands.
///
/// # Errors
///
/// The store's.
pub fn install(
    state: &Path,
    part: Part,
    version: &str,
    manner: Manner,
    say: &dyn Fn(&str),
) -> Result<()> {
    let now = Timestamp::from_second(1_790_000_000)?;
    let mut store = Store::open(state)?;
    let offer = Offer {
        engine: engine()?,
        part,
        version: version.parse()?,
        package: Digest(Sha256::digest(version).into()),
        repository: "the test's own".to_owned(),
    };
    let id = store.offer(&offer, now)?;
    let mut state = store.release(id)?.state;
    if state == State::Active {
        say(AFTER);
        say(CONFIRMED);
        return Ok(());
    }
    if state == State::Offered {
        store.advance(id, State::Verified, "signed", now)?;
        state = State::Verified;
    }
    let slot = std::cell::OnceCell::new();
    if state == State::Verified {
        say(STAGING);
        store.stage(id, 10_000, now, |folder| {
            let _ = slot.set(folder.try_clone_to_owned()?);
            if manner == Manner::Right {
                unpack(folder, version)?;
            }
            Ok::<_, io::Error>(expected(version))
        })?;
        state = State::Staged;
    }
    if state == State::Staged {
        store.advance(id, State::Preflight, "", now)?;
        state = State::Preflight;
    }
    if state == State::Preflight {
        store.advance(id, State::Shadow, "", now)?;
        state = State::Shadow;
    }
    let late = || -> Result<()> {
        let folder = slot.get().context("the folder of the slot")?;
        Ok(unpack(folder.as_fd(), version)?)
    };
    if manner == Manner::LateFiles {
        late()?;
    }
    if state == State::Shadow {
        say(BEFORE);
        store.begin_probation(&[id], "no difference", now)?;
    }
    if manner == Manner::FilesAfterCommit {
        late()?;
    }
    say(AFTER);
    store.confirm(&[id], "no bad sign", now)?;
    say(CONFIRMED);
    let active = store.active(&engine()?, part)?.context("nothing is in force")?;
    ensure!(active.release == id, "{} is in force, and not {id}", active.release);
    ensure!(active.state == State::Active, "{id} is {}", active.state);
    Ok(())
}

/// The files of a version: their paths, and contents of several sectors that no other version has.
fn files(version: &str) -> [(&'static str, Vec<u8>); 3] {
    let text = |len: usize| version.bytes().chain([b'\n']).cycle().take(len).collect();
    [("release.toml", text(100)), ("rules/list", text(1800)), ("rules/more", text(700))]
}

/// Writes the files, as an unpacker does that leaves durability to the store.
pub(crate) fn unpack(folder: BorrowedFd<'_>, version: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    rustix::fs::mkdirat(folder, "rules", Mode::from_raw_mode(0o700))?;
    rustix::fs::chmodat(folder, "rules", Mode::from_raw_mode(FOLDER_MODE), AtFlags::empty())?;
    for (path, content) in files(version) {
        let file = rustix::fs::openat(folder, path, flags, Mode::from_raw_mode(0o600))?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(FILE_MODE))?;
        File::from(file).write_all(&content)?;
    }
    Ok(())
}

const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// The digest of a version's tree, wherever it lies.
pub(crate) fn expected(version: &str) -> Digest {
    let files = files(version).into_iter();
    let mut entries: BTreeMap<PathBuf, tree::Entry> =
        files.map(|(path, content)| (path.into(), (FILE_MODE, Some(content)))).collect();
    entries.insert("rules".into(), (FOLDER_MODE, None));
    Digest(tree::digest_of(&entries))
}

/// An install of content 2.0.0 through the store, by the program `outrigger-test-install`.
#[derive(Debug)]
pub struct ThroughStore {
    /// The program.
    pub program: PathBuf,
    /// How it installs.
    pub manner: Manner,
    /// Whether there is something in force before, and something older in the other slot.
    pub from_scratch: bool,
}

impl ThroughStore {
    fn before(&self) -> Option<&'static str> {
        if self.from_scratch { None } else { Some("1.0.0") }
    }
}

impl Scenario for ThroughStore {
    fn prepare(&self, root: &Path) -> Result<()> {
        if self.from_scratch {
            return Ok(());
        }
        let state = root.join("state");
        let quiet = |_: &str| {};
        install(&state, Part::Code, "1.0.0", Manner::Right, &quiet)?;
        install(&state, Part::Content, "0.9.0", Manner::Right, &quiet)?;
        install(&state, Part::Content, "1.0.0", Manner::Right, &quiet)
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("store").arg(self.manner.name()).arg(root.join("state")).arg("2.0.0");
        command
    }

    fn check(&self, root: &Path, said: &str) -> Result<()> {
        let state = root.join("state");
        let old = self.before();
        let allowed: &[Option<&str>] =
            match (said.contains(BEFORE), said.lines().any(|line| line == AFTER)) {
                (_, true) => &[Some("2.0.0")],
                (true, false) => &[old, Some("2.0.0")],
                (false, false) => &[old],
            };
        // The host looks first: at its start, before any update.
        let seen = in_force(&state, Part::Content).context("the host's look")?;
        ensure!(allowed.contains(&seen.as_deref()), "in force is {seen:?}, not one of {allowed:?}");
        ensure!(in_force(&state, Part::Code)?.as_deref() == old, "the code changed as well");

        let store = Store::open(&state).context("the next update's look")?;
        store.verify_chain().context("the journal")?;
        ensure!(in_force(&state, Part::Content)? == seen, "opening it changed what is in force");
        no_half_slots(&store, &state)?;
        drop(store);

        if said.lines().any(|line| line == CONFIRMED) {
            ensure!(on_probation(&state)?.is_none(), "its end of probation is lost");
        }
        if let Some(version) = on_probation(&state)? {
            // A release of the same part would take the way back.
            install(&state, Part::Content, &version, Manner::Right, &|_| {})
                .context("the rest of the probation")?;
        }
        install(&state, Part::Content, "3.0.0", Manner::Right, &|_| {})
            .context("the next install")?;
        let now = in_force(&state, Part::Content)?;
        ensure!(now.as_deref() == Some("3.0.0"), "after the next install {now:?} is in force");
        ensure!(in_force(&state, Part::Code)?.as_deref() == old, "the code changed as well");
        let store = Store::open(&state)?;
        store.verify_chain().context("the journal after the next install")?;
        let kept = store.standby(&engine()?, Part::Content)?.map(|kept| kept.version.to_string());
        ensure!(kept == seen, "{kept:?} is kept, and {seen:?} was in force before");
        no_half_slots(&store, &state)
    }
}

/// The version in force, whose files must be whole.
///
/// # Errors
///
/// The store's, or that they are not.
pub fn in_force(state: &Path, part: Part) -> Result<Option<String>> {
    let reader = Store::open_read(state)?;
    let Some(active) = reader.active(&engine()?, part)? else { return Ok(None) };
    whole(&active.dir, active.tree).with_context(|| format!("{part} {}", active.version))?;
    Ok(Some(active.version.to_string()))
}

/// The version of the content that is on probation.
fn on_probation(state: &Path) -> Result<Option<String>> {
    let all = Store::open_read(state)?.in_probation(&engine()?)?;
    let content = all.into_iter().find(|(part, _)| *part == Part::Content);
    Ok(content.map(|(_, active)| active.version.to_string()))
}

pub(crate) fn whole(dir: &Path, tree: Digest) -> Result<()> {
    let found = Digest(tree::digest(dir)?);
    ensure!(found == tree, "{} is {found}, and {tree} was staged", dir.display());
    Ok(())
}

/// Every slot folder is spoken of by the journal, and what is there is whole.
///
/// # Errors
///
/// The store's, or that it is not so.
pub fn no_half_slots(store: &Store, state: &Path) -> Result<()> {
    for part in Part::ALL {
        let mut spoken_of = BTreeSet::new();
        for lies in store.lying(&engine()?, part)? {
            whole(&lies.dir, lies.tree)?;
            spoken_of.insert(lies.slot);
        }
        for slot in Slot::ALL {
            let dir = state.join(format!("engines/{}/{part}/{slot}", engine()?));
            if dir.symlink_metadata().is_ok() && !spoken_of.contains(&slot) {
                bail!("{} is there, and no row speaks of it", dir.display());
            }
        }
    }
    Ok(())
}
