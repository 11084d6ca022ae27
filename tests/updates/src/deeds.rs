//! What is done to releases that lie in their slots, step by step: into force, back, and what is said of them.
//!
//! Each deed leads from one standing to the next, and there is nothing in between.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use outrigger_api::release::{Part, State};
use outrigger_update::store::{Digest, Offer, Reader, Rejection, ReleaseId, Store};
use sha2::{Digest as _, Sha256};

use crate::Scenario;
use crate::install::{self, Manner, engine};

/// What is said before and after the step of this number.
const BEGUN: &str = "begun ";
const DONE: &str = "done ";

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Code and content in shadow go on probation, and stand it.
    Trial,
    /// Code and content on probation go back.
    RollBack,
    /// The same where there is nothing to go back to.
    RollBackFirst,
    /// Code and content on probation go, and what was before cannot come back.
    Withdraw,
    /// Code and content that are active go back by hand.
    SendBack,
    /// A release is approved, and another one's package is not known bad any more.
    Notes,
}

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// As the product does it.
    Right,
    /// Wrong on purpose: one part after the other.
    PartByPart,
    /// Wrong on purpose: it says that it is done, and does it then.
    Early,
}

const NEW_ON_PROBATION: &str = "code 2.0.0 probation, content 2.0.0 probation";
const NEW: &str = "code 2.0.0 active, content 2.0.0 active";
const OLD: &str = "code 1.0.0 active, content 1.0.0 active";
const OLD_AGAIN: &str = "code 1.0.0 active, content 1.0.0 active, bad 2.0.0";

impl Deed {
    /// All, by the name that the program takes.
    pub const ALL: [(&'static str, Self); 6] = [
        ("trial", Self::Trial),
        ("roll-back", Self::RollBack),
        ("roll-back-first", Self::RollBackFirst),
        ("withdraw", Self::Withdraw),
        ("send-back", Self::SendBack),
        ("notes", Self::Notes),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, deed)| *deed == self).map_or("", |(name, _)| name)
    }

    /// How things stand before it, and after each of its steps.
    fn standings(self) -> &'static [&'static str] {
        match self {
            Self::Trial => &[OLD, NEW_ON_PROBATION, NEW],
            Self::RollBack => &[NEW_ON_PROBATION, OLD_AGAIN],
            Self::RollBackFirst | Self::Withdraw => &[NEW_ON_PROBATION, "bad 2.0.0"],
            Self::SendBack => &[NEW, OLD_AGAIN],
            Self::Notes => &[
                "code 1.0.0 active, content 1.0.0 active, bad 2.0.0",
                "code 1.0.0 active, content 1.0.0 active, bad 2.0.0, approved 3.0.0",
                "code 1.0.0 active, content 1.0.0 active, approved 3.0.0",
            ],
        }
    }

    /// Whether it must be possible on a full disk.
    pub fn is_way_back(self) -> bool {
        !matches!(self, Self::Trial | Self::Notes)
    }

    fn prepare(self, state: &Path) -> Result<()> {
        let mut store = Store::open(state)?;
        if self != Self::RollBackFirst {
            let old = both(&mut store, "1.0.0")?;
            store.begin_probation(&old, "", now()?)?;
            store.confirm(&old, "", now()?)?;
        }
        if self == Self::Notes {
            let bad = bring(&mut store, Part::Content, "2.0.0")?;
            store.reject(bad, &crashed(), now()?)?;
            bring(&mut store, Part::Content, "3.0.0")?;
            return Ok(());
        }
        let new = both(&mut store, "2.0.0")?;
        if self != Self::Trial {
            store.begin_probation(&new, "", now()?)?;
        }
        if self == Self::SendBack {
            store.confirm(&new, "", now()?)?;
        }
        Ok(())
    }

    fn step(self, store: &mut Store, number: usize, care: Care) -> Result<()> {
        let (engine, now) = (engine()?, now()?);
        let apart = care == Care::PartByPart;
        match (self, number) {
            (Self::Trial, 0) => {
                let ready = store.shadowing(&engine)?;
                let ready: Vec<ReleaseId> = ready.iter().map(|(_, lies)| lies.release).collect();
                for some in ready.chunks(if apart { 1 } else { 2 }) {
                    store.begin_probation(some, "no difference", now)?;
                }
            }
            (Self::Trial, _) => {
                let stood = store.in_probation(&engine)?;
                let stood: Vec<ReleaseId> = stood.iter().map(|(_, one)| one.release).collect();
                store.confirm(&stood, "no bad sign", now)?;
            }
            (Self::RollBack | Self::SendBack, _) if apart => {
                for part in Part::ALL {
                    store.send_back(&engine, Some(part), &crashed(), now)?;
                }
            }
            (Self::RollBack | Self::RollBackFirst, _) => {
                store.roll_back(&engine, &crashed(), now)?;
            }
            (Self::Withdraw, _) => drop(store.withdraw(&engine, &crashed(), now)?),
            (Self::SendBack, _) => drop(store.send_back(&engine, None, &crashed(), now)?),
            (Self::Notes, 0) => {
                let waits = store.standby(&engine, Part::Content)?.context("nothing waits")?;
                store.approve(waits.release, "root", now)?;
            }
            (Self::Notes, _) => drop(store.forget_bad(&package("2.0.0"), "our own fault", now)?),
        }
        Ok(())
    }
}

impl Care {
    /// All, by the name that the program takes.
    pub const ALL: [(&'static str, Self); 3] =
        [("right", Self::Right), ("part-by-part", Self::PartByPart), ("early", Self::Early)];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, care)| *care == self).map_or("", |(name, _)| name)
    }
}

fn crashed() -> Rejection {
    Rejection::for_conduct("probation-crashed", "it crashed 3 times")
}

fn now() -> Result<Timestamp> {
    Ok(Timestamp::from_second(1_790_000_000)?)
}

fn package(version: &str) -> Digest {
    Digest(Sha256::digest(version).into())
}

fn both(store: &mut Store, version: &str) -> Result<Vec<ReleaseId>> {
    Part::ALL.into_iter().map(|part| bring(store, part, version)).collect()
}

/// Brings a release into shadow.
fn bring(store: &mut Store, part: Part, version: &str) -> Result<ReleaseId> {
    let offer = Offer {
        engine: engine()?,
        part,
        version: version.parse()?,
        package: package(version),
        repository: "the test's own".to_owned(),
    };
    let now = now()?;
    let id = store.offer(&offer, now)?;
    store.advance(id, State::Verified, "signed", now)?;
    store.stage(id, 10_000, now, |folder| {
        install::unpack(folder, version)?;
        Ok::<_, io::Error>(install::expected(version))
    })?;
    store.advance(id, State::Preflight, "", now)?;
    store.advance(id, State::Shadow, "", now)?;
    Ok(id)
}

/// How things stand: what is in force, what is known bad, what is approved. Every tree in force is whole.
fn standing(reader: &Reader) -> Result<String> {
    let engine = engine()?;
    let mut all = Vec::new();
    for part in Part::ALL {
        if let Some(active) = reader.active(&engine, part)? {
            install::whole(&active.dir, active.tree)
                .with_context(|| format!("{part} {}", active.version))?;
            all.push(format!("{part} {} {}", active.version, active.state));
        }
    }
    if reader.known_bad(&package("2.0.0"))?.is_some() {
        all.push("bad 2.0.0".to_owned());
    }
    for release in reader.history(Some(&engine))? {
        if reader.is_approved(release.id)? {
            all.push(format!("approved {}", release.version));
        }
    }
    Ok(all.join(", "))
}

/// Does what is left of a deed, and says what comes.
///
/// # Errors
///
/// The store's, or that things stand as they never may.
pub fn act(state: &Path, deed: Deed, care: Care, say: &dyn Fn(&str)) -> Result<()> {
    let mut store = Store::open(state)?;
    let (standings, found) = (deed.standings(), standing(&store)?);
    let at = standings.iter().position(|standing| *standing == found);
    let at = at.with_context(|| format!("it stands as it never may: {found}"))?;
    // The store is open, so what it says is on the disk.
    (0..at).for_each(|number| say(&format!("{DONE}{number}")));
    for number in at..standings.len() - 1 {
        say(&format!("{BEGUN}{number}"));
        if care == Care::Early {
            say(&format!("{DONE}{number}"));
        }
        deed.step(&mut store, number, care)?;
        if care != Care::Early {
            say(&format!("{DONE}{number}"));
        }
    }
    Ok(())
}

/// A deed by the program `outrigger-test-install`.
#[derive(Debug)]
pub struct ThroughDeed {
    /// The program.
    pub program: PathBuf,
    /// What it does.
    pub deed: Deed,
    /// How.
    pub care: Care,
}

impl ThroughDeed {
    /// Where things may stand, for whoever has heard `said`.
    fn allowed(&self, said: &str) -> Result<&'static [&'static str]> {
        let (mut first, mut last) = (0, 0);
        for line in said.lines() {
            if let Some(number) = line.strip_prefix(DONE) {
                first = first.max(number.parse::<usize>()? + 1);
            } else if let Some(number) = line.strip_prefix(BEGUN) {
                last = last.max(number.parse::<usize>()? + 1);
            } else {
                bail!("it said {line:?}");
            }
        }
        let allowed = self.deed.standings().get(first..=last.max(first));
        allowed.with_context(|| format!("it did more than there is: {said}"))
    }

    /// Whether the host that looks now finds one of what is allowed.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn looked_at(&self, root: &Path, said: &str) -> Result<String> {
        let found = standing(&Store::open_read(&root.join("state"))?)?;
        let allowed = self.allowed(said)?;
        let mut told = String::new();
        allowed.iter().try_for_each(|one| write!(told, " [{one}]"))?;
        ensure!(allowed.contains(&found.as_str()), "it stands [{found}], and not{told}");
        Ok(found)
    }
}

impl Scenario for ThroughDeed {
    fn prepare(&self, root: &Path) -> Result<()> {
        self.deed.prepare(&root.join("state"))
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(self.deed.name()).arg(self.care.name()).arg(root.join("state")).arg("-");
        command
    }

    fn check(&self, root: &Path, said: &str) -> Result<()> {
        let state = root.join("state");
        let found = self.looked_at(root, said).context("the host's look")?;
        let store = Store::open(&state).context("the next look")?;
        store.verify_chain().context("the journal")?;
        ensure!(standing(&store)? == found, "opening it changed how things stand");
        install::no_half_slots(&store, &state)?;
        drop(store);

        act(&state, self.deed, Care::Right, &|_| {}).context("the rest of it")?;
        let store = Store::open(&state)?;
        let last = self.deed.standings().last().context("a standing")?;
        ensure!(standing(&store)? == *last, "in the end it stands [{}]", standing(&store)?);
        store.verify_chain().context("the journal in the end")?;
        install::no_half_slots(&store, &state)?;
        drop(store);

        install::install(&state, Part::Content, "4.0.0", Manner::Right, &|_| {})
            .context("the next install")?;
        let store = Store::open(&state)?;
        store.verify_chain().context("the journal after the next install")?;
        install::no_half_slots(&store, &state)
    }
}
