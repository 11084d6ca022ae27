//! Rules decide in the kernel while everything round them moves: names, folders, links and mounts, on each kind of file
//! system; the sets themselves, under load; and the marks that processes and files come to and lose.

mod marks;
mod moves;
mod switch;

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_api::{Event, EventSet, Mode};
use outrigger_decision::rules::{
    Condition, Effect, LineageKey, MarkNames, Pattern, Rule, Source, Text, compile,
};
use outrigger_sensor::plane::{Plane, Settings};
use rustix::mount::{MountFlags, mount};

pub(crate) use self::marks::WORD as MARKED;
use crate::report::Report;

const KEY: [u8; 16] = [7; 16];
/// What is made on the disk itself, below [`PLACES`].
const DISK: &str = "ext4";
/// Where all happens: a folder per kind of file system.
const PLACES: &str = "/races";

/// Runs everything, `seconds` each.
pub(crate) fn run(seconds: &str, report: &mut Report) -> Result<()> {
    let length = Duration::from_secs(seconds.parse().context("how many seconds?")?);
    let mut ruling = Ruling::open()?;
    for kind in ["tmpfs", DISK, "overlay"] {
        report.test(&format!("races::names_that_move_on_{kind}"), || {
            moves::run(&mut ruling, &place(kind)?, length)
        });
    }
    let place = place("tmpfs-too")?;
    report.test("races::sets_that_are_switched", || switch::run(&mut ruling, &place, length));
    report.test("races::marks", || marks::run(&mut ruling, &place));
    Ok(())
}

/// What one process of [`marks`] does.
pub(crate) fn child(part: &str, place: &str) -> ExitCode {
    marks::child(part, place)
}

/// A folder on a file system of this kind.
fn place(kind: &str) -> Result<String> {
    let place = format!("{PLACES}/{kind}");
    fs::create_dir_all(&place)?;
    let made = |name: &str| -> Result<String> {
        let folder = format!("{PLACES}/for-{kind}/{name}");
        fs::create_dir_all(&folder)?;
        Ok(folder)
    };
    let wrong = || format!("cannot mount {kind}");
    match kind {
        DISK => {
            let about = fs::read_to_string("/proc/mounts")?;
            let is_it = about.lines().any(|line| line.contains(" / ext4 "));
            ensure!(is_it, "the guest's disk is none:\n{about}");
        }
        "overlay" => {
            mount("tmpfs", made("")?, "tmpfs", MountFlags::empty(), None).with_context(wrong)?;
            let (lower, upper, work) = (made("lower")?, made("upper")?, made("work")?);
            let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
            let options = std::ffi::CString::new(options)?;
            mount("overlay", &place, "overlay", MountFlags::empty(), options.as_c_str())
                .with_context(wrong)?;
        }
        _ => mount("tmpfs", &place, "tmpfs", MountFlags::empty(), None).with_context(wrong)?,
    }
    Ok(place)
}

/// Rules in the kernel.
struct Ruling {
    plane: Plane,
    generation: u64,
    names: MarkNames,
}

impl Ruling {
    fn open() -> Result<Self> {
        let settings = Settings { lineage_key: KEY, own: Vec::new(), ..Settings::default() };
        let plane = Plane::open(&settings).context("no plane")?;
        let opens = plane.trials().iter().find(|trial| trial.event == Event::FileOpen);
        match opens.map(|trial| &trial.ruled) {
            Some(Ok(())) => Ok(Self { plane, generation: 0, names: MarkNames::default() }),
            other => bail!("rules decide no opens here: {other:?}"),
        }
    }

    /// Puts a set in force, for the events that it is about.
    fn enforce(&mut self, rules: &[Rule]) -> Result<()> {
        self.replace(rules)?;
        let events: EventSet = rules.iter().flat_map(|rule| rule.events.iter().copied()).collect();
        Ok(self.plane.attach(EventSet::EMPTY, events)?)
    }

    /// Puts a set in force in place of the one before.
    fn replace(&mut self, rules: &[Rule]) -> Result<()> {
        self.generation += 1;
        let compiled = compile(rules, &LineageKey(KEY), self.generation, &self.names)?;
        self.plane.set_rules(compiled.image.bytes())?;
        self.names = compiled.marks;
        Ok(())
    }
}

/// A rule about one event.
fn rule(name: &str, event: Event, effect: Effect, when: Condition) -> Rule {
    Rule {
        name: name.to_owned(),
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect,
        events: vec![event],
        when,
    }
}

/// The object's path begins so.
fn under(folder: &str) -> Condition {
    Condition::Text { place: Text::Path, is: Pattern::Begins(folder.to_owned()) }
}

/// Whether a file can be opened. Another error than being refused is one.
fn opens(path: impl AsRef<Path>) -> io::Result<bool> {
    match File::open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(false),
        Err(error) => Err(error),
    }
}
