//! What dpkg knows of a system: its packages, what they need, their files and the sums of these.
//!
//! Only the few fields that are needed are read of `/var/lib/dpkg/status`, which is root's own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

/// Longest file of dpkg's that is read, in bytes.
const FILE_MAX: u64 = 256 << 20;
/// Packages besides those that dpkg calls needed, by the beginnings of their names: what boots, starts,
/// commands and updates a machine.
const BESIDES: &[&str] = &[
    "apt",
    "bash",
    "busybox",
    "dash",
    "dpkg",
    "grub",
    "init",
    "initramfs-tools",
    "kmod",
    "libc6",
    "libpam",
    "linux-image",
    "login",
    "mount",
    "openssh-server",
    "passwd",
    "sudo",
    "systemd",
    "udev",
    "util-linux",
];

/// One installed package.
#[derive(Debug, Default)]
pub(super) struct Package {
    architecture: String,
    is_base: bool,
    provides: Vec<String>,
    depends: Vec<String>,
}

/// Reads the installed packages of the system below `root`, by their names.
///
/// # Errors
///
/// If this is no Debian system.
pub(super) fn installed(root: &Path) -> Result<BTreeMap<String, Package>> {
    let file = root.join("var/lib/dpkg/status");
    let text = read(&file).with_context(|| {
        format!("{}: this is no Debian system, or not its root", file.display())
    })?;
    Ok(text.split("\n\n").filter_map(parse).collect())
}

/// The packages that boot and run the system, and all that they need.
pub(super) fn base(packages: &BTreeMap<String, Package>) -> BTreeSet<&str> {
    let mut providers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, package) in packages {
        for provided in &package.provides {
            providers.entry(provided).or_default().push(name);
        }
    }
    let begins = |name: &str| BESIDES.iter().any(|besides| name.starts_with(besides));
    let mut wanted: Vec<&str> = packages
        .iter()
        .filter(|(name, package)| package.is_base || begins(name))
        .map(|(name, _)| name.as_str())
        .collect();
    let mut chosen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        match packages.get_key_value(name) {
            Some((name, package)) if chosen.insert(name.as_str()) => {
                wanted.extend(package.depends.iter().map(String::as_str));
            }
            Some(_) => {}
            None => wanted.extend(
                providers.get(name).into_iter().flatten().filter(|name| !chosen.contains(*name)),
            ),
        }
    }
    chosen
}

/// The files of a package, from the root on, with their MD5.
///
/// # Errors
///
/// If the list cannot be read. A package without files has none.
pub(super) fn files(
    root: &Path,
    name: &str,
    package: &Package,
) -> Result<Vec<(PathBuf, [u8; 16])>> {
    let folder = root.join("var/lib/dpkg/info");
    let names = [format!("{name}.md5sums"), format!("{name}:{}.md5sums", package.architecture)];
    let Some(file) = names.iter().map(|name| folder.join(name)).find(|file| file.is_file()) else {
        return Ok(Vec::new());
    };
    let text = read(&file).with_context(|| file.display().to_string())?;
    Ok(text.lines().filter_map(sum).collect())
}

fn read(file: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let read = File::open(file)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(read as u64 <= FILE_MAX, "{} is over {FILE_MAX} bytes", file.display());
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A line of a list of sums: 32 digits, two spaces, a path without its first slash.
fn sum(line: &str) -> Option<(PathBuf, [u8; 16])> {
    let (digits, path) = line.split_once("  ")?;
    let mut md5 = [0; 16];
    hex::decode_to_slice(digits, &mut md5).ok()?;
    let path = Path::new(path);
    let plain = |part| matches!(part, std::path::Component::Normal(_));
    path.components().all(plain).then(|| (path.to_owned(), md5))
}

/// One paragraph of the status file, if the package is installed.
fn parse(paragraph: &str) -> Option<(String, Package)> {
    let mut name = None;
    let mut package = Package::default();
    let mut is_installed = false;
    for line in paragraph.lines() {
        let Some((key, value)) = line.split_once(": ") else { continue };
        match key {
            "Package" => name = Some(value.to_owned()),
            "Architecture" => value.clone_into(&mut package.architecture),
            "Status" => {
                is_installed = value == "install ok installed" || value == "hold ok installed"
            }
            "Essential" => package.is_base |= value == "yes",
            "Priority" => package.is_base |= matches!(value, "required" | "important"),
            "Provides" => package.provides = names(value),
            "Depends" | "Pre-Depends" => package.depends.extend(names(value)),
            _ => {}
        }
    }
    name.filter(|_| is_installed).map(|name| (name, package))
}

/// The names in a list of relations, alternatives and all: `libc6 (>= 2.36), default | other:any`.
fn names(list: &str) -> Vec<String> {
    list.split([',', '|'])
        .filter_map(|part| part.trim().split([' ', '(', ':']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: sh
Essential: yes
Status: install ok installed
Architecture: amd64
Pre-Depends: libc6 (>= 2.36), default-awk | awk:any

Package: libc6
Status: install ok installed
Architecture: amd64
Description: the library
 Package: not-one

Package: mawk
Status: install ok installed
Provides: awk

Package: game
Status: install ok installed
Depends: libc6

Package: gone
Essential: yes
Status: deinstall ok config-files
";

    #[test]
    fn the_base_is_what_is_essential_and_what_that_needs() {
        let packages: BTreeMap<_, _> = STATUS.split("\n\n").filter_map(parse).collect();

        let chosen = base(&packages);

        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), ["libc6", "mawk", "sh"]);
    }

    #[test]
    fn a_sum_names_a_file_below_the_root_and_nothing_else() {
        let digits = "7210080490f9fd139c1b44fa0f730988";

        let good = sum(&format!("{digits}  bin/bash"));

        assert_eq!(good.map(|(path, _)| path), Some(PathBuf::from("bin/bash")));
        for bad in ["", "x", &format!("{digits}  ../etc/shadow"), &format!("{digits}  /etc/x")] {
            assert_eq!(sum(bad), None, "{bad:?} was taken");
        }
    }
}
