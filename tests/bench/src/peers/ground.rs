//! The files that are worked on, made before anybody watches them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use outrigger_testkit::bait;
use outrigger_testkit::volume::run;

/// Files that are opened in turn, by root and by another user.
pub(crate) const FILES: usize = 1000;
/// Bytes of each.
const FILE_BYTES: usize = 4096;
/// Headers that are unpacked and read.
const HEADERS: usize = 800;
/// Files that are compiled.
pub(crate) const SOURCES: usize = 8;
/// What each of them uses.
const INCLUDED: [&str; 6] =
    ["stdio.h", "stdlib.h", "string.h", "unistd.h", "sys/stat.h", "pthread.h"];

/// Where everything lies.
#[derive(Debug)]
pub(crate) struct Ground {
    /// The folder of all of it.
    pub(crate) folder: PathBuf,
    /// What a scanner must refuse.
    pub(crate) eicar: PathBuf,
    /// A program that nobody vouches for.
    pub(crate) untrusted: PathBuf,
}

impl Ground {
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Makes the files.
pub(crate) fn prepare() -> Result<Ground> {
    let folder = PathBuf::from("/srv/work");
    for name in ["", "root", "user", "headers", "sources", "objects", "bait"] {
        let path = folder.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    for owner in ["root", "user"] {
        for index in 0..FILES {
            let mut content = format!("file {index} of {owner}\n").into_bytes();
            content.resize(FILE_BYTES, b'.');
            fs::write(folder.join(owner).join(format!("f{index}")), content)?;
        }
    }
    headers(&folder)?;
    for index in 0..SOURCES {
        fs::write(folder.join(format!("sources/s{index}.c")), source(index)?)?;
    }
    let eicar = folder.join("bait/eicar.com");
    bait::put(&eicar, &bait::eicar())?;
    let untrusted = folder.join("bait/untrusted");
    bait::put(&untrusted, &[fs::read("/usr/bin/true")?, b"\n".to_vec()].concat())?;
    Ok(Ground { folder, eicar, untrusted })
}

/// Copies of the first headers of `/usr/include`, and an archive of them.
fn headers(folder: &Path) -> Result<()> {
    let mut found = Vec::new();
    collect(Path::new("/usr/include"), &mut found)?;
    found.sort();
    ensure!(found.len() >= HEADERS, "{} headers in /usr/include, not {HEADERS}", found.len());
    for header in &found[..HEADERS] {
        let path = folder.join("headers").join(header.strip_prefix("/usr/include")?);
        fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        fs::copy(header, path)?;
    }
    run(Command::new("tar").arg("--create").arg("--file").arg(folder.join("headers.tar")).args([
        "--directory",
        "/srv/work/headers",
        ".",
    ]))
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), found)?;
        } else if kind.is_file() && entry.path().extension().is_some_and(|end| end == "h") {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// A source of some functions.
fn source(index: usize) -> Result<String> {
    let mut text = String::new();
    for header in INCLUDED {
        writeln!(text, "#include <{header}>")?;
    }
    for function in 0..40 {
        writeln!(
            text,
            "int f{index}_{function}(const char *name, int count)\n{{\n    char line[64];\n    \
             snprintf(line, sizeof line, \"%s %d\", name, count + {function});\n    \
             return (int)strlen(line) + {function};\n}}"
        )?;
    }
    Ok(text)
}

/// Lets everybody write into a folder, and look.
pub(crate) fn open_to_all(path: &Path) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))
        .with_context(|| format!("cannot open {} to all", path.display()))
}
