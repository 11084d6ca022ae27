//! Names, folders, links and mounts move round a denied folder. What lies in it all the time is never
//! opened, what lies outside all the time is always; and what was moved is judged where it lies now.

use std::fs::{self, hard_link, remove_file, rename};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use outrigger_api::Event;
use outrigger_decision::rules::Effect;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::mount::{UnmountFlags, mount_bind, unmount};

use crate::{Outcome, PLACE, Ruling, opens, rule, under};

/// What was looked at, and what was wrong.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    looks: AtomicU64,
    opened: AtomicU64,
    denied: AtomicU64,
}

impl Tally {
    /// Opens a file that must be refused, or must not.
    fn expect(&self, path: &str, allowed: bool) -> io::Result<()> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        match (opens(path)?, allowed) {
            (true, false) => self.opened.fetch_add(1, Ordering::Relaxed),
            (false, true) => self.denied.fetch_add(1, Ordering::Relaxed),
            _ => return Ok(()),
        };
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

type Mover = fn(&Tally) -> io::Result<()>;

/// Every way of moving things round, each with its own names.
const MOVERS: &[(&str, Mover)] = &[
    ("a file renamed in and out", renamed_file),
    ("a folder renamed in and out", renamed_folder),
    ("a link made, the first name removed", linked),
    ("two folders that change places", exchanged),
    ("bind mounts made and taken away", bound),
    ("what stays", what_stays),
];

pub(crate) fn run(mut ruling: Ruling, seconds: u64) -> Outcome {
    for folder in ["denied", "fine", "fine/folder", "left", "right", "bound", "bound-fine"] {
        fs::create_dir(at(folder))?;
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
        fs::write(at(file), "content")?;
    }
    ruling.enforce(&[rule("denied", Event::FileOpen, Effect::Deny, under(&at("denied/")))])?;

    let tally = Tally::default();
    let errors: Vec<(&str, io::Error)> = std::thread::scope(|scope| {
        let movers: Vec<_> = MOVERS
            .iter()
            .map(|(name, mover)| (*name, scope.spawn(|| until_over(&tally, *mover))))
            .collect();
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end && !tally.is_over() {
            std::thread::park_timeout(Duration::from_millis(100));
        }
        tally.stop.store(true, Ordering::Relaxed);
        movers
            .into_iter()
            .filter_map(|(name, mover)| Some((name, mover.join().ok()?.err()?)))
            .collect()
    });

    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (looks, opened, denied) = (count(&tally.looks), count(&tally.opened), count(&tally.denied));
    println!("{looks} opens while all moved: {opened} wrongly opened, {denied} wrongly denied");
    if let Some((name, error)) = errors.first() {
        return Err(format!("{name}: {error}").into());
    }
    match (opened, denied) {
        (0, 0) if looks > 100 => Ok(()),
        (0, 0) => Err("too few opens to say anything".into()),
        _ => Err("decided by a path that was not the file's".into()),
    }
}

fn until_over(tally: &Tally, mover: Mover) -> io::Result<()> {
    while !tally.is_over() {
        mover(tally).inspect_err(|_| tally.stop.store(true, Ordering::Relaxed))?;
    }
    Ok(())
}

fn at(name: &str) -> String {
    format!("{PLACE}/{name}")
}

/// Twice each, so that the second time what was kept decides.
fn look(tally: &Tally, path: &str, allowed: bool) -> io::Result<()> {
    (0..4).try_for_each(|_| tally.expect(path, allowed))
}

fn what_stays(tally: &Tally) -> io::Result<()> {
    look(tally, &at("denied/stays"), false)?;
    look(tally, &at("fine/stays"), true)
}

fn renamed_file(tally: &Tally) -> io::Result<()> {
    look(tally, &at("fine/file"), true)?;
    rename(at("fine/file"), at("denied/file"))?;
    look(tally, &at("denied/file"), false)?;
    rename(at("denied/file"), at("fine/file"))
}

fn renamed_folder(tally: &Tally) -> io::Result<()> {
    look(tally, &at("fine/folder/file"), true)?;
    rename(at("fine/folder"), at("denied/folder"))?;
    look(tally, &at("denied/folder/file"), false)?;
    rename(at("denied/folder"), at("fine/folder"))
}

fn linked(tally: &Tally) -> io::Result<()> {
    look(tally, &at("fine/linked"), true)?;
    hard_link(at("fine/linked"), at("denied/linked"))?;
    look(tally, &at("denied/linked"), false)?;
    look(tally, &at("fine/linked"), true)?;
    remove_file(at("fine/linked"))?;
    look(tally, &at("denied/linked"), false)?;
    hard_link(at("denied/linked"), at("fine/linked"))?;
    remove_file(at("denied/linked"))
}

fn exchanged(tally: &Tally) -> io::Result<()> {
    look(tally, &at("left/file"), true)?;
    renameat_with(CWD, at("left"), CWD, at("right"), RenameFlags::EXCHANGE)?;
    look(tally, &at("right/file"), true)
}

fn bound(tally: &Tally) -> io::Result<()> {
    mount_bind(at("denied"), at("bound"))?;
    mount_bind(at("fine"), at("bound-fine"))?;
    look(tally, &at("bound/stays"), false)?;
    look(tally, &at("bound-fine/stays"), true)?;
    unmount(at("bound"), UnmountFlags::DETACH)?;
    Ok(unmount(at("bound-fine"), UnmountFlags::DETACH)?)
}
