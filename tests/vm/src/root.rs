//! The guest's root file system: Debian 12 on ext4, made once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use outrigger_testkit::figures::say;

use crate::store::{Store, output};

/// What it holds besides what every Debian has: what the tests run, and libraries that the platform is
/// linked with. Whoever changes it changes [`NAME`].
const PACKAGES: &str = "cron,libelf1,logrotate,python3-minimal,sqlite3,systemd-sysv,udev";
/// Its suite: that of the machines on which what runs in it is built, so that its C library is the same.
const SUITE: &str = "bookworm";
/// The C library of that suite.
const GLIBC: (u32, u32) = (2, 36);
/// Size of the file system, of which only what is used takes room on the disk.
const SIZE: &str = "2G";
/// The name of its file, by what it is made of.
const NAME: &str = "debian-12-2.ext4";

/// The file that holds it.
///
/// # Errors
///
/// Without root, which alone may own the files of root; if a package cannot be fetched.
pub(crate) fn image(store: &Store) -> Result<PathBuf> {
    let own = own_glibc()?;
    ensure!(
        own <= GLIBC,
        "this machine has glibc {}.{}, the guest {}.{}: what is built here does not run there\n\
         build on Debian 12",
        own.0,
        own.1,
        GLIBC.0,
        GLIBC.1
    );
    store.get(NAME, make)
}

fn make(workshop: &Path) -> Result<PathBuf> {
    ensure!(rustix::process::geteuid().is_root(), "to make it needs root, once; run: sudo make vm");
    say("making the guest's root file system, once; it takes about 2 minutes");
    let folder = workshop.join("root");
    output(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase"])
            .arg(format!("--include={PACKAGES}"))
            .arg(SUITE)
            .arg(&folder),
    )?;
    // Downloaded packages: nobody installs from them again.
    let archives = folder.join("var/cache/apt/archives");
    for entry in fs::read_dir(archives).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
    let image = workshop.join("image");
    File::create(&image)?;
    output(
        Command::new("mkfs.ext4")
            .args(["-q", "-F", "-L", "outrigger-vm", "-d"])
            .arg(&folder)
            .arg(&image)
            .arg(SIZE),
    )?;
    Ok(image)
}

/// The version of this machine's C library.
fn own_glibc() -> Result<(u32, u32)> {
    let said = output(Command::new("getconf").arg("GNU_LIBC_VERSION"))?;
    let version = said.trim().rsplit(' ').next().unwrap_or_default();
    let parsed = version.split_once('.').and_then(|(major, minor)| {
        Some((major.parse::<u32>().ok()?, minor.split('.').next()?.parse::<u32>().ok()?))
    });
    parsed.ok_or_else(|| anyhow::anyhow!("getconf said {said:?} of this machine's glibc"))
}
