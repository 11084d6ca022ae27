//! What no engine may deny, because the machine needs it to live.
//!
//! A false positive on init, the dynamic loader or the package manager would do what a bad driver does.
//! So a Deny on one of these files (by an engine or by a fallback) is not enforced but raised as a
//! [`Conflict`], unless the administrator lifted the guard from that path.
//!
//! **A path is a claim.** An ordinary user can mount any file over `/bin/sh` in a mount namespace of his
//! own, and the kernel then gives that path for it. So [`GuardRails::check`] believes a path only if the
//! file found under it in the host's own namespace is the one that the question is about;
//! [`GuardRails::covers`] alone never decides anything. The look-up costs a system call, and only for a
//! Deny on a listed path.
//!
//! Paths are bytes as the kernel gives them, canonical: absolute, links resolved. With merged `/usr`,
//! `/bin/x` and `/usr/bin/x` are one path here, and so are `/sbin/x` and `/bin/x`.

mod room;
mod spare;

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;

use outrigger_api::{Answer, FileKey};

pub use room::{ENGINE_CLAUSES_MAX, ENGINE_RULES_MAX, RoomError, placed};
pub use spare::{CONFLICT, Layout, Spare, Spared};

/// How an entry of [`ALWAYS`] names files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guarded {
    /// This file.
    File(&'static str),
    /// Everything below this folder.
    Tree(&'static str),
    /// The shared libraries whose name starts like this, in the system's library folders or one folder
    /// below them (`/usr/lib/x86_64-linux-gnu`).
    Library(&'static str),
}

use Guarded::{File, Library, Tree};

/// What is guarded on every machine, besides the paths given to [`GuardRails::new`] (the host's own
/// binary and state, the engines' programs, the administrator's additions).
///
/// Every place here can be written by root alone: a folder that others can write to would be a way
/// around the engines.
#[rustfmt::skip]
pub const ALWAYS: &[Guarded] = &[
    // Process 1. Denied, the machine does not boot.
    File("/sbin/init"), Tree("/lib/systemd"), File("/bin/systemctl"), File("/bin/udevadm"),
    File("/bin/busybox"), File("/sbin/openrc"), File("/sbin/openrc-init"), File("/sbin/runit"),
    // The loader and what every program is linked with; file names of glibc before and after 2.34.
    Library("ld-linux"), Library("ld-2."), Library("ld64.so."), Library("ld-musl-"),
    Library("libc.so."), Library("libc-2."), Library("libc.musl-"), Library("libm.so."), Library("libm-2."),
    Library("libpthread"), Library("libdl"), Library("librt"), Library("libresolv"), Library("libgcc_s.so."),
    Library("libnss_"), File("/etc/ld.so.cache"), File("/etc/ld.so.preload"),
    // What process 1, logging in, sshd and the package managers are linked with.
    Library("libsystemd"), Library("libudev"), Library("libselinux"), Library("libaudit"), Library("libcap"),
    Library("libpam"), Library("libcrypt"), Library("libssl"), Library("libz.so."), Library("libzstd"),
    Library("liblzma"), Library("liblz4"), Library("libbz2"), Library("libpcre2"), Library("libmount"),
    Library("libblkid"), Library("libseccomp"), Library("libkmod"), Library("libacl"), Library("libattr"),
    Library("libapt-"), Library("librpm"), Library("libdnf"), Library("libstdc++"), Library("libtinfo"),
    Tree("/lib/security"), Tree("/lib64/security"),
    // A shell: boot scripts, maintainer scripts and the one who repairs the machine need it.
    File("/bin/sh"), File("/bin/dash"), File("/bin/bash"), File("/bin/ash"),
    // Coming in, and becoming root.
    File("/bin/login"), File("/sbin/agetty"), File("/sbin/sulogin"), File("/bin/su"), File("/bin/sudo"),
    File("/sbin/unix_chkpwd"), File("/sbin/sshd"), File("/lib/openssh/sshd-session"),
    File("/lib/openssh/sshd-auth"), File("/usr/libexec/openssh/sshd-session"),
    File("/usr/libexec/openssh/sshd-auth"), File("/usr/libexec/sudo/sudoers.so"),
    File("/lib/sudo/sudoers.so"), File("/etc/passwd"), File("/etc/group"), File("/etc/nsswitch.conf"),
    Tree("/etc/pam.d"), File("/etc/login.defs"),
    // No engine is given these to read, so none can allow them: with fail closed nobody would come in.
    File("/etc/shadow"), File("/etc/shadow-"), File("/etc/gshadow"), File("/etc/gshadow-"),
    File("/etc/security/opasswd"), Tree("/etc/ssh"),
    // The package managers, so that a bad release can be replaced.
    File("/bin/dpkg"), File("/bin/dpkg-deb"), File("/bin/dpkg-query"), File("/bin/dpkg-split"),
    File("/bin/dpkg-trigger"), File("/bin/apt"), File("/bin/apt-get"), File("/bin/apt-cache"),
    File("/bin/apt-key"), File("/bin/gpgv"), Tree("/lib/apt"), Tree("/lib/dpkg"), Tree("/etc/apt"),
    Tree("/var/lib/dpkg"), Tree("/var/lib/apt"), File("/bin/unattended-upgrade"),
    File("/bin/rpm"), File("/bin/dnf"), File("/bin/dnf5"), File("/bin/yum"), File("/bin/zypper"),
    Tree("/lib/rpm"), Tree("/lib/sysimage/rpm"), Tree("/var/lib/rpm"), Tree("/var/lib/dnf"),
    Tree("/etc/yum.repos.d"), File("/bin/pacman"), Tree("/var/lib/pacman"), File("/sbin/apk"),
    Tree("/lib/apk"),
    // Mounting and checking file systems, loading drivers: without them the next boot stops half-way.
    File("/bin/mount"), File("/bin/umount"), File("/sbin/fsck"), File("/sbin/e2fsck"), File("/sbin/fsck.ext4"),
    File("/bin/kmod"), File("/sbin/ldconfig"), File("/sbin/ldconfig.real"),
];

/// A Deny that was not enforced because the machine needs the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conflict;

/// The paths that are guarded on this machine.
#[derive(Debug)]
pub struct GuardRails {
    files: HashSet<Vec<u8>>,
    trees: Vec<Vec<u8>>,
    libraries: Vec<&'static [u8]>,
    /// These and everything below them are not guarded.
    lifted: Vec<Vec<u8>>,
}

impl GuardRails {
    /// The guard over [`ALWAYS`] and over `paths` (each a file, or a folder with everything below it), but
    /// not over `lifted` and what is below it. A relative path is never met, so it does nothing.
    pub fn new<P: AsRef<Path>, L: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        lifted: impl IntoIterator<Item = L>,
    ) -> Self {
        let mut rails = Self {
            files: HashSet::new(),
            trees: paths.into_iter().filter_map(|path| folder(path.as_ref())).collect(),
            libraries: Vec::new(),
            lifted: lifted.into_iter().filter_map(|path| folder(path.as_ref())).collect(),
        };
        for entry in ALWAYS {
            match entry {
                File(path) => drop(rails.files.insert(merged(path.as_bytes()).into_owned())),
                Tree(path) => rails.trees.push(merged(path.as_bytes()).into_owned()),
                Library(name) => rails.libraries.push(name.as_bytes()),
            }
        }
        rails
    }

    /// Whether a file that is called `path` (canonical, as the kernel gives it) would be guarded.
    pub fn covers(&self, path: &[u8]) -> bool {
        if !is_canonical(path) {
            return false;
        }
        let path = merged(path);
        let listed = self.files.contains(path.as_ref())
            || self.trees.iter().any(|tree| is_at_or_below(&path, tree))
            || self.is_library(&path);
        listed && !self.lifted.iter().any(|lifted| is_at_or_below(&path, lifted))
    }

    /// Whether `file`, for which the kernel gave `path`, is guarded: whether it is listed and found there.
    ///
    /// `file_at` says which file is under a path in the host's own mount namespace. It is called at most
    /// once, and must not block.
    pub fn check(
        &self,
        path: &[u8],
        file: FileKey,
        file_at: impl FnOnce(&[u8]) -> Option<FileKey>,
    ) -> bool {
        self.covers(path) && file_at(path) == Some(file)
    }

    fn is_library(&self, path: &[u8]) -> bool {
        let mut parts = path.split(|&byte| byte == b'/').skip(1);
        let folder = parts.next().unwrap_or_default();
        if !LIBRARY_FOLDERS.contains(&folder) {
            return false;
        }
        let name = match (parts.next(), parts.next(), parts.next()) {
            (Some(name), None, _) | (Some(_), Some(name), None) => name,
            _ => return false,
        };
        self.libraries.iter().any(|library| name.starts_with(library))
            && name.windows(3).any(|part| part == b".so")
    }
}

/// What is answered in place of `answer`, where `covered` is what [`GuardRails::check`] said.
pub const fn apply(answer: Answer, covered: bool) -> (Answer, Option<Conflict>) {
    match answer {
        Answer::Deny if covered => (Answer::Allow, Some(Conflict)),
        Answer::Deny => (Answer::Deny, None),
        Answer::Allow => (Answer::Allow, None),
    }
}

const LIBRARY_FOLDERS: [&[u8]; 4] = [b"lib", b"lib32", b"lib64", b"libx32"];

/// `path` as it is without `/usr` where the two are merged, and with `/sbin` as `/bin`.
fn merged(path: &[u8]) -> Cow<'_, [u8]> {
    let short = path.strip_prefix(b"/usr").filter(|rest| {
        let folder = rest.split(|&byte| byte == b'/').nth(1).unwrap_or_default();
        folder == b"bin" || folder == b"sbin" || LIBRARY_FOLDERS.contains(&folder)
    });
    let path = short.unwrap_or(path);
    match path.strip_prefix(b"/sbin/") {
        Some(name) => Cow::Owned([b"/bin/", name].concat()),
        None => Cow::Borrowed(path),
    }
}

/// An absolute path given by a person, in the form that others are compared with.
fn folder(path: &Path) -> Option<Vec<u8>> {
    let path = path.as_os_str().as_encoded_bytes();
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    is_canonical(trimmed).then(|| merged(trimmed).into_owned())
}

fn is_canonical(path: &[u8]) -> bool {
    let Some(path) = path.strip_prefix(b"/") else { return false };
    path.split(|&byte| byte == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

fn is_at_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [&str; 0] = [];
    const SHELL: FileKey = FileKey([1; 32]);
    const EVIL: FileKey = FileKey([2; 32]);

    fn rails() -> GuardRails {
        GuardRails::new(["/opt/engine/bin/judge", "/var/lib/outrigger/"], NONE)
    }

    #[test]
    fn what_the_machine_needs_is_covered_by_either_name() {
        let rails = rails();

        for path in [
            "/sbin/init",
            "/usr/sbin/init",
            "/usr/bin/init",
            "/usr/lib/systemd/systemd",
            "/lib/systemd/systemd",
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
            "/lib/x86_64-linux-gnu/ld-2.31.so",
            "/usr/bin/dpkg",
            "/var/lib/dpkg/status",
            "/bin/dash",
            "/usr/sbin/sshd",
        ] {
            assert!(rails.covers(path.as_bytes()), "{path} is not covered");
        }
    }

    #[test]
    fn nothing_else_is_covered() {
        let rails = rails();

        for path in [
            "",
            "/",
            "init",
            "sbin/init",
            "/tmp/sbin/init",
            "/sbin/init (deleted)",
            "/sbin/init2",
            "/sbin/../tmp/evil",
            "/lib/systemd/../../tmp/evil",
            "//sbin/init",
            "/lib/systemdx/evil",
            "/usr/lib/evil/deep/libc.so.6",
            "/usr/lib/libc.so.6/evil",
            "/home/u/lib/libc.so.6",
            "/usr/local/bin/sh",
            "/usr/lib/libcold",
        ] {
            assert!(!rails.covers(path.as_bytes()), "{path} is covered");
        }
    }

    #[test]
    fn given_paths_are_covered_with_what_is_below_them() {
        let rails = rails();

        assert!(rails.covers(b"/opt/engine/bin/judge"));
        assert!(rails.covers(b"/var/lib/outrigger/journal/1"));
        assert!(!rails.covers(b"/var/lib/outrigger2"));
    }

    #[test]
    fn a_lifted_path_is_not_covered_and_its_neighbours_are() {
        let rails = GuardRails::new(NONE, ["/usr/bin/apt-get", "/etc/apt"]);

        assert!(!rails.covers(b"/bin/apt-get"));
        assert!(!rails.covers(b"/etc/apt/sources.list"));
        assert!(rails.covers(b"/bin/apt"));
    }

    #[test]
    fn no_entry_of_the_list_is_out_of_reach() {
        let rails = GuardRails::new(NONE, NONE);

        for entry in ALWAYS {
            let path = match entry {
                File(path) => (*path).to_owned(),
                Tree(path) => format!("{path}/x"),
                Library(name) => format!("/lib/{name}.so"),
            };
            assert!(rails.covers(path.as_bytes()), "{path} is not covered");
        }
    }

    #[test]
    fn another_file_under_a_guarded_name_is_not_guarded() {
        let rails = rails();

        let in_own_namespace = rails.check(b"/bin/sh", EVIL, |_| Some(SHELL));

        assert!(!in_own_namespace);
        assert!(rails.check(b"/bin/sh", SHELL, |_| Some(SHELL)));
        assert!(!rails.check(b"/bin/sh", SHELL, |_| None));
    }

    #[test]
    fn only_a_deny_on_what_is_covered_conflicts() {
        assert_eq!(apply(Answer::Deny, true), (Answer::Allow, Some(Conflict)));
        assert_eq!(apply(Answer::Deny, false), (Answer::Deny, None));
        assert_eq!(apply(Answer::Allow, true), (Answer::Allow, None));
    }
}
