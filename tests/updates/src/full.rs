//! Fills the disk as each of a program's system calls begins.

use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::deeds::ThroughDeed;
use crate::small::{self, Kind, Small};
use crate::trace::{Fate, Run, Tracer};
use crate::{Effort, Scenario, tree, turns};

/// What a program says, in whatever sentence, when there is no room.
pub const MESSAGE: &str = "the disk is full";

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// System calls that the program makes.
    pub calls: u64,
    /// At how many of them the disk became full.
    pub tried: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk full from {} of {} system calls on", self.tried, self.calls)
    }
}

/// From each of its system calls on, refuses the scenario's program whatever takes room in the folder. It must end well
/// or say that the disk is full; and there is room again when the folder is checked.
///
/// # Errors
///
/// The first time that this does not hold, with its number.
pub fn everywhere(scenario: &dyn Scenario, effort: &Effort) -> Result<Report> {
    let prepared = tree::scratch()?;
    scenario.prepare(prepared.path()).context("cannot prepare the folder")?;
    let calls = from(scenario, &prepared, Fate::Spared)?.calls;
    let fill = |number| from(scenario, &prepared, Fate::FullFrom(number)).map(drop);
    Ok(Report { calls, tried: turns::each(calls, effort, &fill)? })
}

/// Fills a disk of `kind` as each of the program's system calls begins, for real, and leaves it full until the program has
/// ended. It must end well, and what it did must be there to be seen on the full disk.
///
/// # Errors
///
/// The first time that this does not hold, with its number; without root.
pub fn for_real(scenario: &ThroughDeed, kind: Kind, effort: &Effort) -> Result<Report> {
    let turn = |fate| -> Result<Run> {
        let small = Small::new(kind)?;
        let root = small.root();
        scenario.prepare(&root).context("cannot prepare the folder")?;
        let filler = small.filler();
        let run = Tracer::filling(filler.clone()).run(&mut scenario.command(&root), fate)?;
        let (room, names) = small::free(&root)?;
        ensure!(
            run.code == Some(0),
            "{fate:?}: it ended with {:?}, with {room} bytes and {names} names left, and said: {}",
            run.code,
            run.complained
        );
        scenario.looked_at(&root, &run.said).with_context(|| format!("{fate:?}"))?;
        let kept = reserve(&root)?;
        ensure!(kept >= RESERVE / 2, "{fate:?}: of the reserve {kept} bytes are left");
        filler.empty()?;
        scenario.check(&root, &run.said).with_context(|| format!("{fate:?}"))?;
        Ok(run)
    };
    small::with_own_mounts(|| {
        let calls = turn(Fate::Spared)?.calls;
        let fill = |number| turn(Fate::FilledAt(number)).map(drop);
        Ok(Report { calls, tried: turns::each(calls, effort, &fill)? })
    })
}

/// Lets the program find a disk that is full, for real. It must say so and change nothing, and the reserve must be there
/// as it was.
///
/// # Errors
///
/// If this does not hold; without root.
pub fn refused_for_real(scenario: &ThroughDeed) -> Result<()> {
    small::with_own_mounts(|| {
        let small = Small::new(Kind::Tmpfs)?;
        let root = small.root();
        scenario.prepare(&root).context("cannot prepare the folder")?;
        let before = scenario.looked_at(&root, "")?;
        let filler = small.filler();
        filler.fill()?;
        let run = Tracer::counting().run(&mut scenario.command(&root), Fate::Spared)?;
        ensure!(run.code == Some(1) && run.complained.contains(MESSAGE), "{run:?}");
        let after = scenario.looked_at(&root, &run.said)?;
        ensure!(after == before, "it stands [{after}], and stood [{before}]");
        let kept = reserve(&root)?;
        ensure!(kept == RESERVE, "of the reserve {kept} bytes are left");
        filler.empty()?;
        scenario.check(&root, &run.said)
    })
}

/// The reserve, in bytes, while there is room.
const RESERVE: u64 = 512 << 10;

/// How much room the store of `root` keeps for a way back, on the disk.
fn reserve(root: &Path) -> Result<u64> {
    let state = root.join("state");
    fs::metadata(state.join("updates.reserve-2")).context("the second name is not kept")?;
    let kept = fs::metadata(state.join("updates.reserve")).context("no reserve is kept")?;
    Ok(kept.len().min(kept.blocks() * 512))
}

fn from(scenario: &dyn Scenario, prepared: &TempDir, fate: Fate) -> Result<Run> {
    let place = tree::scratch()?;
    tree::copy(prepared.path(), place.path())?;
    let mut tracer = Tracer::noting(place.path())?;
    let run = tracer.run(&mut scenario.command(place.path()), fate)?;
    let told = run.refused > 0 && run.complained.contains(MESSAGE);
    ensure!(
        run.code == Some(0) || told,
        "{fate:?}: it ended with {:?}, {} calls were refused, and it said: {}",
        run.code,
        run.refused,
        run.complained
    );
    scenario.check(place.path(), &run.said).with_context(|| format!("{fate:?}"))?;
    Ok(run)
}
