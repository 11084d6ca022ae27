//! Kernels from Debian's archive, by apt, with apt's own checks of what is signed.
//!
//! A suite that is not among the machine's own is read by a source file made from the machine's, with lists in
//! the workshop: nothing of what apt knows on this machine is touched.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::Unfetched;
use crate::store::output;

/// The package that depends on the newest kernel of its suite.
const META: &str = "linux-image-cloud-amd64";
/// What the packages of one kernel begin with; one of them names the release after it.
const IMAGE: &str = "linux-image-";
/// The keys of Debian's archive, of the package debian-archive-keyring.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Downloads the packages of the newest kernel of `suite`, or of the machine's own sources.
pub(super) fn download(workshop: &Path, suite: Option<&str>) -> Result<Vec<PathBuf>> {
    let options = match suite {
        Some(suite) => options(workshop, suite)?,
        None => Vec::new(),
    };
    let image = || -> Result<Option<String>> {
        Ok(depends(&options, META)?.into_iter().find(|name| name.starts_with(IMAGE)))
    };
    let mut known = image();
    if suite.is_none() && !matches!(known, Ok(Some(_))) {
        // A machine may have no lists, or those of a kernel that is no longer there.
        output(Command::new("apt-get").args(["-qq", "update"])).context(Unfetched)?;
        known = image();
    }
    let image = known?;
    let image = image.with_context(|| format!("apt knows no {META}; run: apt-get update"))?;
    let release = image.strip_prefix(IMAGE).unwrap_or_default().to_owned();
    // Since 7.0 a kernel is split: linux-base-*, linux-binary-*, linux-modules-*, all of one release.
    let parts = depends(&options, &image)?;
    let mut wanted = vec![image];
    wanted.extend(parts.into_iter().filter(|name| name.ends_with(&format!("-{release}"))));
    let folder = workshop.join("packages");
    fs::create_dir(&folder)?;
    let mut command = Command::new("apt-get");
    command.current_dir(&folder).args(&options).args(["-qq", "download"]).args(&wanted);
    output(&mut command).context(Unfetched)?;
    let packages: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    ensure!(
        packages.len() == wanted.len(),
        "apt-get downloaded {} packages of {wanted:?}",
        packages.len()
    );
    Ok(packages)
}

/// What `package` depends on, by name.
fn depends(options: &[String], package: &str) -> Result<Vec<String>> {
    let said = output(Command::new("apt-cache").args(options).args(["depends", package]))?;
    let names = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    Ok(names.map(str::to_owned).collect())
}

/// Has apt read `suite` from where the machine gets its own packages; the options by which it then knows it.
fn options(workshop: &Path, suite: &str) -> Result<Vec<String>> {
    let apt = workshop.join("apt");
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(apt.join(folder))?;
    }
    // As the machine's own source names them; without that file apt has the keys in a folder of its own.
    let keys = match Path::new(KEYS).exists() {
        true => format!("[signed-by={KEYS}] "),
        false => String::new(),
    };
    fs::write(apt.join("sources.list"), format!("deb {keys}{} {suite} main\n", archive()?))?;
    let set = |name: &str, value: &str| ["-o".to_owned(), format!("{name}={value}")];
    let below = |name: &str| apt.join(name).display().to_string();
    let options: Vec<String> = [
        set("Dir::Etc::SourceList", &below("sources.list")),
        set("Dir::Etc::SourceParts", "/dev/null"),
        set("Dir::State::Lists", &below("lists")),
        set("Dir::Cache", &below("cache")),
        set("Acquire::Languages", "none"),
        set("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false"),
        // The workshop is this user's alone, and apt's own user could not write there.
        set("APT::Sandbox::User", "root"),
    ]
    .concat();
    output(Command::new("apt-get").args(&options).args(["-qq", "update"])).context(Unfetched)?;
    Ok(options)
}

/// Where the machine gets Debian itself from.
fn archive() -> Result<String> {
    let said = output(
        Command::new("apt-get")
            .args(["indextargets", "--format", "$(LABEL)|$(REPO_URI)"])
            .args(["Created-By: Packages", "Origin: Debian"]),
    )?;
    // Its security archive has a label of its own, and not these suites.
    let found = said.lines().find_map(|line| line.strip_prefix("Debian|"));
    found.map(str::to_owned).context("apt has no list of Debian's own archive; run: apt-get update")
}
