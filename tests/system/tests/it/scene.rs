//! What most tests begin with: a file system with bad and clean files, and looking at one open.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use outrigger_testkit::clock::as_ms;
use outrigger_testkit::figures::say;
use outrigger_testkit::openers::{Tally, Target};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{Lab, Volume, bait, suite};

/// The budget that tests give unless they say another, in milliseconds.
pub(crate) const BUDGET_MS: u32 = 50;
/// What an opener may wait beyond its budget, in milliseconds.
pub(crate) const SLACK_MS: f64 = 5.0;

/// A tmpfs with one bad file, one bad program and some clean files.
pub(crate) struct Scene {
    pub(crate) volume: Volume,
    pub(crate) eicar: PathBuf,
    pub(crate) program: PathBuf,
    pub(crate) clean: Vec<PathBuf>,
}

impl Scene {
    /// Makes it, and shows that without protection the bad file is read and the bad program runs.
    pub(crate) fn new(lab: &Lab, clean: usize) -> Result<Self> {
        let volume = lab.tmpfs("protected")?;
        let eicar = volume.put("eicar.com", &bait::eicar())?;
        let program = volume.put("bad-program", &bait::bad_program())?;
        let clean = volume.fill(clean, 256)?;
        expect("reading the bad file unprotected", ways::open(&eicar), Outcome::Through)?;
        expect("running the bad program unprotected", ways::exec(&program), Outcome::Through)?;
        Ok(Self { volume, eicar, program, clean })
    }

    pub(crate) fn path(&self) -> &Path {
        self.volume.path()
    }

    /// The clean files, and `bad` more files of bad content, one after every few clean ones.
    pub(crate) fn mixed_targets(&self, bad: usize) -> Result<Vec<Target>> {
        let mut targets: Vec<Target> = self.clean.iter().map(Target::clean).collect();
        let gap = targets.len() / bad.max(1) + 1;
        for index in 0..bad {
            let path = self.volume.put(&format!("bad{index}"), &bait::eicar())?;
            targets.insert((index * (gap + 1)).min(targets.len()), Target::bad(path));
        }
        Ok(targets)
    }
}

/// An error unless `outcome` is the one that is `wanted`.
pub(crate) fn expect(what: &str, outcome: Outcome, wanted: Outcome) -> Result<()> {
    ensure!(outcome == wanted, "{what}: {outcome:?}, should be {wanted:?}");
    Ok(())
}

/// Opens a clean file once; how long that took in ms, and whether it was served.
pub(crate) fn timed_open(path: &Path) -> (f64, bool) {
    let mut tally = Tally::default();
    tally.open(&Target::clean(path));
    (as_ms(tally.waits.max()), tally.served == 1)
}

/// `short`, or `long` where the tests are to take their full time.
pub(crate) fn short_or_full(short: u64, long: u64) -> u64 {
    if suite::full() { long } else { short }
}

/// Prints what several opens saw.
pub(crate) fn show(what: &str, tally: &Tally) {
    say(format_args!(
        "{what}: {}; served {}, refused {}, slipped {}, wrongly refused {}, failed {}",
        tally.waits.summary(),
        tally.served,
        tally.refused,
        tally.slipped,
        tally.wrongly_refused,
        tally.failed
    ));
}
