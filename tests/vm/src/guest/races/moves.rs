//! Names, folders, links and mounts move round a denied folder. What lies in it all the time is never
//! opened, what lies outside all the time is always; and what was moved is judged where it lies now.

use std::fs::{self, hard_link, remove_file, rename};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_decision::rules::Effect;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::{Ruling, opens, rule, under};

/// Fewer opens say nothing.
const LOOKS_MIN: u64 = 100;

/// What was looked at, and what was wrong.
struct Tally<'a> {
    place: &'a str,
    stop: AtomicBool,
    looks: AtomicU64,
    opened: AtomicU64,
    denied: AtomicU64,
    /// What was wrong first, and how often that file had been looked at in its place.
    first: OnceLock<String>,
}

impl Tally<'_> {
    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.place)
    }

    /// Opens a file, for the so manieth time in its place, that must be refused, or must not.
    fn expect(&self, path: &str, allowed: bool, time: usize) -> io::Result<()> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        match (opens(path)?, allowed) {
            (true, false) => self.opened.fetch_add(1, Ordering::Relaxed),
            (false, true) => self.denied.fetch_add(1, Ordering::Relaxed),
            _ => return Ok(()),
        };
        let _ = self.first.set(format!("{path}, look {time}"));
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

type Mover = fn(&Tally<'_>) -> io::Result<()>;

/// Every way of moving things round, each with its own names.
const MOVERS: &[(&str, Mover)] = &[
    ("a file renamed in and out", renamed_file),
    ("a folder renamed in and out", renamed_folder),
    ("a link made, the first name removed", linked),
    ("two folders that change places", exchanged),
    ("bind mounts made and taken away", bound),
    ("what stays", what_stays),
];

/// Runs for `length`, below `place`.
pub(super) fn run(ruling: &mut Ruling, place: &str, length: Duration) -> Result<String> {
    let tally = Tally {
        place,
        stop: AtomicBool::default(),
        looks: AtomicU64::default(),
        opened: AtomicU64::default(),
        denied: AtomicU64::default(),
        first: OnceLock::new(),
    };
    for folder in ["denied", "fine", "fine/folder", "left", "right", "bound", "bound-fine"] {
        fs::create_dir(tally.at(folder))?;
    }
    for file in [
        "denied/stays",
        "fine/stays",
        "fine/file",
        "fine/folder/file",
        "fine/linked",
        "left/file",
        "right/file",
    ] {
        fs::write(tally.at(file), "content")?;
    }
    let denied = under(&tally.at("denied/"));
    ruling.enforce(&[rule("denied", Event::FileOpen, Effect::Deny, denied)])?;

    std::thread::scope(|scope| {
        let movers: Vec<_> = MOVERS
            .iter()
            .map(|(name, mover)| (*name, scope.spawn(|| until_over(&tally, *mover))))
            .collect();
        let end = Instant::now() + length;
        while Instant::now() < end && !tally.is_over() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        tally.stop.store(true, Ordering::Relaxed);
        let ended = movers.into_iter().map(|(name, mover)| {
            let moved = mover.join().map_err(|_| anyhow::anyhow!("{name}: it panicked"))?;
            moved.with_context(|| name.to_owned())
        });
        ended.collect::<Result<Vec<()>>>()
    })?;

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (looks, opened, denied) = (count(&tally.looks), count(&tally.opened), count(&tally.denied));
    let said = format!("{looks} opens: {opened} wrongly opened, {denied} wrongly denied");
    ensure!((opened, denied) == (0, 0), "{said}; first {:?}", tally.first.get());
    ensure!(looks > LOOKS_MIN, "{said}: too few to say anything");
    Ok(said)
}

fn until_over(tally: &Tally<'_>, mover: Mover) -> io::Result<()> {
    while !tally.is_over() {
        mover(tally).inspect_err(|_| tally.stop.store(true, Ordering::Relaxed))?;
    }
    Ok(())
}

/// Twice each, so that the second time what was kept decides.
fn look(tally: &Tally<'_>, path: &str, allowed: bool) -> io::Result<()> {
    (0..4).try_for_each(|time| tally.expect(path, allowed, time))
}

fn what_stays(tally: &Tally<'_>) -> io::Result<()> {
    look(tally, &tally.at("denied/stays"), false)?;
    look(tally, &tally.at("fine/stays"), true)
}

fn renamed_file(tally: &Tally<'_>) -> io::Result<()> {
    look(tally, &tally.at("fine/file"), true)?;
    rename(tally.at("fine/file"), tally.at("denied/file"))?;
    look(tally, &tally.at("denied/file"), false)?;
    rename(tally.at("denied/file"), tally.at("fine/file"))
}

fn renamed_folder(tally: &Tally<'_>) -> io::Result<()> {
    look(tally, &tally.at("fine/folder/file"), true)?;
    rename(tally.at("fine/folder"), tally.at("denied/folder"))?;
    look(tally, &tally.at("denied/folder/file"), false)?;
    rename(tally.at("denied/folder"), tally.at("fine/folder"))
}

fn linked(tally: &Tally<'_>) -> io::Result<()> {
    look(tally, &tally.at("fine/linked"), true)?;
    hard_link(tally.at("fine/linked"), tally.at("denied/linked"))?;
    look(tally, &tally.at("denied/linked"), false)?;
    look(tally, &tally.at("fine/linked"), true)?;
    remove_file(tally.at("fine/linked"))?;
    look(tally, &tally.at("denied/linked"), false)?;
    hard_link(tally.at("denied/linked"), tally.at("fine/linked"))?;
    remove_file(tally.at("denied/linked"))
}

fn exchanged(tally: &Tally<'_>) -> io::Result<()> {
    look(tally, &tally.at("left/file"), true)?;
    renameat_with(CWD, tally.at("left"), CWD, tally.at("right"), RenameFlags::EXCHANGE)?;
    look(tally, &tally.at("right/file"), true)
}

fn bound(tally: &Tally<'_>) -> io::Result<()> {
    mount_bind(tally.at("denied"), tally.at("bound"))?;
    mount_bind(tally.at("fine"), tally.at("bound-fine"))?;
    look(tally, &tally.at("bound/stays"), false)?;
    look(tally, &tally.at("bound-fine/stays"), true)?;
    unmount(tally.at("bound"), UnmountFlags::DETACH)?;
    Ok(unmount(tally.at("bound-fine"), UnmountFlags::DETACH)?)
}
