//! One side of the comparison: a table of 21 inputs for code that supplies 20, given to the interpreter in the kernel or
//! to the one that is docked, while the machine works.
//!
//! Both are sensors that decide every open of the machine by their table, refuse a program that it names, and get
//! the same bytes as an update.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::bait;
use outrigger_vm_tests::fact;
use rustix::system::finit_module;

use crate::report::say;
use crate::work::Work;

/// What the job puts into the guest.
pub(crate) const PLACE: &str = "/usr/lib/outrigger-tests";
pub(crate) const GOOD: &str = "good.table";
pub(crate) const BAD: &str = "bad.table";
/// As the bad one, but only the execution of [`LATE`] gets so far that field 21 is read.
pub(crate) const RARE: &str = "rare.table";
pub(crate) const LATE: &str = "/tmp/late";
/// What all tables refuse to execute.
const DROPPER: &str = "/tmp/dropper";
/// Before the update, and after it.
pub(crate) const WHILE: Duration = Duration::from_secs(3);
const AFTER: Duration = Duration::from_secs(8);

/// Where the module's vendor keeps its table; it lasts over a boot.
const HOME: &str = "/var/lib/vendor";
const PARAMETER: &str = "/sys/module/channel291/parameters/content";

/// The interpreter as a kernel module. On its first boot it works with the good table and is given the other one; on
/// any later boot the module loads what is on the disk, as such drivers do.
pub(crate) fn kernel() -> Result<()> {
    let table = Path::new(HOME).join("content.table");
    let boots_again = table.exists();
    fs::create_dir_all(HOME)?;
    if boots_again {
        say(fact("boots-again", "the module loads the table that is on the disk"));
        load()?;
        put_in_force(&table)?;
        let work = Work::start(&Path::new(HOME).join("work"))?;
        work.go_on(AFTER);
        work.end()?;
        return Ok(());
    }
    install(GOOD, &table)?;
    load()?;
    put_in_force(&table)?;
    prepare_dropper()?;
    expect_refused()?;
    let work = Work::start(&Path::new(HOME).join("work"))?;
    work.go_on(WHILE);
    install(BAD, &table)?;
    // The last line that is sure to be seen.
    say(fact("update", "the table with a value in field 21 is on the disk, and put in force"));
    put_in_force(&table)?;
    work.tell();
    work.go_on(AFTER);
    // Nobody but this process can be asked any more: it tries what an operator would.
    let removed =
        Command::new("/usr/lib/outrigger-vm/busybox").args(["rmmod", "channel291"]).status();
    let removed = removed.map_or_else(|error| error.to_string(), |status| status.to_string());
    say(fact("rmmod", &removed));
    work.end()?;
    Ok(())
}

/// Loads the module, which decides nothing before it has a table.
fn load() -> Result<()> {
    let module = File::open(Path::new(PLACE).join("channel291.ko"))?;
    finit_module(&module, c"", 0).context("the module is loaded")
}

fn put_in_force(table: &Path) -> Result<()> {
    let text = table.as_os_str().as_encoded_bytes();
    let mut parameter = fs::OpenOptions::new().write(true).open(PARAMETER)?;
    parameter.write_all(text).context("the module takes the table")
}

/// Puts a table where it lasts, as an updater does: written, on the disk, renamed.
fn install(name: &str, table: &Path) -> Result<()> {
    let new = table.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&fs::read(Path::new(PLACE).join(name))?)?;
    file.sync_all()?;
    fs::rename(&new, table)?;
    Ok(File::open(HOME)?.sync_all()?)
}

pub(crate) fn prepare_dropper() -> Result<()> {
    bait::put(Path::new(DROPPER), &bait::tiny_program(0))
}

/// That the sensor decides: what its table names is not executed, and something else is.
pub(crate) fn expect_refused() -> Result<()> {
    let other = Path::new("/tmp/other");
    bait::put(other, &bait::tiny_program(0))?;
    let ran = Command::new(other).status().context("another program is executed")?;
    ensure!(ran.success(), "another program ended with {ran}");
    let refused = Command::new(DROPPER).status();
    let is_refused =
        refused.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied);
    ensure!(is_refused, "{DROPPER}, which the table names, was executed: {refused:?}");
    Ok(())
}
