//! Files that are never cached, because their writers do not wait.
//!
//! A writer who opens a leased file waits for the lease's end, which takes a moment. One who opens it with
//! `O_NONBLOCK` is told to try again (`EAGAIN`), and a program that does not expect that of a file fails:
//! `useradd` cannot add a user. The programs that do so are few, and known by what they write.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use outrigger_sensor::identity::Object;

/// What the tools of the user database write (shadow-utils, `lib/commonio.c`).
const USERS: &[&str] =
    &["/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/etc/subuid", "/etc/subgid"];
/// What journald writes (systemd, `journal_file_open`).
const JOURNAL: &[u8] = b".journal";

/// Whether the object is such a file. The name is a claim, and a false one costs its maker a question per
/// open. `path` is asked for only where nothing else tells.
pub(crate) fn is_written_so(object: &Object, path: impl FnOnce() -> Option<PathBuf>) -> bool {
    const EXECUTE: u32 = 0o111;
    object.owner == 0 && object.mode & EXECUTE == 0 && path().is_some_and(|path| is_listed(&path))
}

fn is_listed(path: &Path) -> bool {
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    name.ends_with(JOURNAL) || USERS.iter().any(|known| Path::new(known) == path)
}

#[cfg(test)]
mod tests {
    use outrigger_api::FileKey;

    use super::*;

    fn object(mode: u32, owner: u32) -> Object {
        let key = FileKey([1; 32]);
        Object { key, device: 1, size: 1, changed: 1, mode: 0o100_000 | mode, owner }
    }

    #[test]
    fn the_user_database_and_journals_are_never_cached() {
        let is = |path: &str| is_written_so(&object(0o644, 0), || Some(path.into()));

        assert!(is("/etc/passwd"));
        assert!(is("/var/log/journal/1/system.journal"));
        assert!(!is("/etc/passwd-"));
        assert!(!is("/home/a/etc/passwd"));
    }

    #[test]
    fn a_program_or_a_users_file_is_not_looked_at() {
        let never = || -> Option<PathBuf> { panic!("nothing is to be looked up") };

        assert!(!is_written_so(&object(0o755, 0), never));
        assert!(!is_written_so(&object(0o644, 1000), never));
    }
}
