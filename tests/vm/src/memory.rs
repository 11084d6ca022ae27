//! The root in memory: what a job's files need to run, taken from this machine, and nothing else.
//!
//! For jobs that want a kernel and no system: nothing is downloaded or made for it. It is laid out as Debian's, with
//! everything below `/usr`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::archive::Archive;
use crate::job::File;
use crate::store::output;

/// The first script of the guest looks for it.
const SIGN: &str = "in-memory";
/// Where the guest's files stand in the archive.
const JOB: &str = "job";
/// Programs that tests run, each of which has to be a file of its own.
const PROGRAMS: [&str; 4] = ["/usr/bin/env", "/usr/bin/sleep", "/usr/bin/sh", "/usr/bin/true"];
/// What scripts use besides, by the tool box.
const TOOLS: [&str; 6] = ["cat", "cut", "mkdir", "mount", "stty", "umount"];
const FOLDERS: [&str; 8] = ["dev", "proc", "root", "run", "sys", "tmp", "usr/sbin", "var/lib"];
/// What is a link to the folder of that name below `/usr`.
const LINKS: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Adds to `archive` what a root has besides `files`: programs, libraries, folders.
///
/// # Errors
///
/// If this machine lacks a program or library.
pub(crate) fn furnish(archive: &mut Archive, files: &[File]) -> Result<()> {
    archive.file(SIGN, 0o644, b"");
    FOLDERS.iter().for_each(|folder| archive.folder(&format!("{JOB}/{folder}")));
    LINKS.iter().for_each(|name| archive.link(&format!("{JOB}/{name}"), &format!("usr/{name}")));
    for tool in TOOLS {
        archive.link(&format!("{JOB}/usr/bin/{tool}"), "/usr/lib/outrigger-vm/busybox");
    }
    archive.file(&format!("{JOB}/etc/passwd"), 0o644, b"root:x:0:0:root:/root:/bin/sh\n");
    archive.file(&format!("{JOB}/etc/group"), 0o644, b"root:x:0:\n");
    let own = PROGRAMS.iter().map(Path::new);
    let mut libraries = BTreeSet::new();
    for program in own.clone().chain(files.iter().map(File::source)) {
        libraries.extend(needs(program)?);
    }
    for path in own.chain(libraries.iter().map(Path::new)) {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        archive.file(&format!("{JOB}/{}", below_usr(path)?), 0o755, &content);
    }
    Ok(())
}

/// The libraries that a program is loaded with, and the loader.
fn needs(program: &Path) -> Result<Vec<String>> {
    let said = output(Command::new("ldd").arg(program))?;
    let found: Vec<String> = said.lines().filter_map(library).collect();
    ensure!(!found.is_empty(), "ldd says of {}:\n{said}", program.display());
    Ok(found)
}

/// The path in a line of ldd: `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the loader's alone.
fn library(line: &str) -> Option<String> {
    let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
    Some(path.to_owned())
}

/// Where a file lies, without a slash before it, if what is linked to is below `/usr`.
fn below_usr(path: &Path) -> Result<String> {
    let path = path.strip_prefix("/").context("it has a whole path")?;
    let is_linked = LINKS.iter().any(|name| path.starts_with(name));
    Ok(format!("{}{}", if is_linked { "usr/" } else { "" }, path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_what_ldd_says_with_a_path() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";

        let found: Vec<String> = said.lines().filter_map(library).collect();

        assert_eq!(found, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn what_debian_links_to_lies_below_usr() {
        let place = |path: &str| below_usr(Path::new(path)).expect("it is whole");

        assert_eq!(place("/lib64/ld-linux-x86-64.so.2"), "usr/lib64/ld-linux-x86-64.so.2");
        assert_eq!(place("/usr/bin/env"), "usr/bin/env");
    }
}
