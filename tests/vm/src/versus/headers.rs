//! The module, built for the guest's kernel: by Debian's headers of that kernel, unpacked and not installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::figures::say;

use crate::kernel::Kernel;
use crate::store::{Store, output};

/// The module's source; `channel.c` and `channel.h` are the docked engine's as well.
const SOURCE: [(&str, &str); 4] = [
    ("Kbuild", include_str!("../../module/Kbuild")),
    ("hook.c", include_str!("../../module/hook.c")),
    ("channel.c", include_str!("../../module/channel.c")),
    ("channel.h", include_str!("../../module/channel.h")),
];
/// Where the packages think that they lie.
const INSTALLED: &str = "/usr/src/";
/// The same, said in a Makefile wherever it lies.
const UNPACKED: &str = "$(dir $(lastword $(MAKEFILE_LIST)))../";

/// The folder of what is needed to build modules for `kernel`; fetched if it is not there.
///
/// # Errors
///
/// If the packages of this very kernel are not to be had: mirrors keep the newest.
pub(super) fn get(store: &Store, kernel: &Kernel) -> Result<PathBuf> {
    let package = format!("linux-headers-{}", kernel.release);
    let folder = store.get(&format!("headers-{}", kernel.release), |workshop| {
        say(format_args!("fetching {package}, once"));
        fetch(workshop, &package)
    });
    let folder = folder.with_context(|| {
        format!("no {package} is to be had; a newer kernel is fetched once the old one is removed")
    })?;
    Ok(folder.join("usr/src").join(package))
}

fn fetch(workshop: &Path, package: &str) -> Result<PathBuf> {
    let depends = output(Command::new("apt-cache").args(["depends", package]))?;
    let depends = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let is_needed =
        |name: &&str| ["linux-headers-", "linux-kbuild-"].iter().any(|p| name.starts_with(p));
    let mut download = Command::new("apt-get");
    download.current_dir(workshop).args(["-qq", "download", package]);
    output(download.args(depends.filter(is_needed)))?;
    let folder = workshop.join("headers");
    for entry in fs::read_dir(workshop)? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "deb") {
            output(Command::new("dpkg").arg("-x").arg(file).arg(&folder))?;
        }
    }
    let makefile = folder.join("usr/src").join(package).join("Makefile");
    let text = fs::read_to_string(&makefile).context("the packages hold no Makefile")?;
    ensure!(text.contains(INSTALLED), "{} has no path of its own: {text}", makefile.display());
    fs::write(&makefile, text.replace(INSTALLED, UNPACKED))?;
    Ok(folder)
}

/// Builds it in `folder`; gives the module's file.
pub(super) fn build(headers: &Path, folder: &Path) -> Result<PathBuf> {
    let folder = folder.join("module");
    fs::create_dir(&folder)?;
    for (name, text) in SOURCE {
        fs::write(folder.join(name), text)?;
    }
    let mut make = Command::new("make");
    make.arg("-C").arg(headers).arg(format!("M={}", folder.display())).arg("modules");
    // What `make` above this one says of itself is not for this one.
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("MFLAGS");
    output(&mut make).context("the module is not built")?;
    Ok(folder.join("channel291.ko"))
}
