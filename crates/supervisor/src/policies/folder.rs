//! The folder of policies, read whole or not at all.
//!
//! What decides over everybody's files must be root's alone: a folder or file that another user owns or may
//! write is refused, as is what is no plain file. The names count in the order of their bytes.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use outrigger_decision::rules::Source;
use outrigger_decision::rules::reading::{FILES_MAX, PolicyError, Question, TEXT_MAX};
use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

/// What the name of a file of policies ends with. Others are left alone.
const SUFFIX: &[u8] = b".cedar";
/// Who may write: nobody but the owner.
const WRITABLE: u32 = 0o022;

/// Why the folder is not read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The kernel said no.
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// In its words.
        why: io::Error,
    },
    /// It is another user's.
    #[error("{} belongs to user {uid}, not to root: chown it to root", path.display())]
    NotRoots {
        /// What.
        path: PathBuf,
        /// Whose.
        uid: u32,
    },
    /// Others could have written it.
    #[error("{} can be written by others than root (mode {mode:o}): chmod go-w it", path.display())]
    Writable {
        /// What.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A link, a pipe, a folder.
    #[error("{} is no plain file, so it is not read: put the file itself there", path.display())]
    NoFile {
        /// What.
        path: PathBuf,
    },
    /// There are too many.
    #[error("{} holds over {FILES_MAX} files of policies, the limit", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// The text itself.
    #[error("{0}")]
    Text(Box<PolicyError>),
}

/// The policies in `folder`; none if it is not there.
///
/// # Errors
///
/// [`FolderError`], by the first thing that is wrong.
pub fn read(folder: &Path, source: Source) -> Result<Question, FolderError> {
    let mut question = Question::new(source);
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |errno: Errno| FolderError::Unreadable { path, why: errno.into() }
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = match openat(CWD, folder, flags, Mode::empty()) {
        Ok(opened) => opened,
        Err(Errno::NOENT) => return Ok(question),
        Err(errno) => return Err(unreadable(folder)(errno)),
    };
    is_roots(opened.as_fd(), folder)?;
    for name in names(&opened, folder)? {
        let path = folder.join(&name);
        let file = open(opened.as_fd(), &name, &path)?;
        let stat = is_roots(file.as_fd(), &path)?;
        let shown = name.to_string_lossy();
        let length = usize::try_from(stat.st_size).unwrap_or(usize::MAX);
        if length > TEXT_MAX {
            return Err(FolderError::Text(Box::new(PolicyError::of_size(&shown, length))));
        }
        let bytes = take(&file, TEXT_MAX + 1).map_err(unreadable(&path))?;
        question.add(&shown, &bytes).map_err(|error| FolderError::Text(Box::new(error)))?;
    }
    Ok(question)
}

/// The names of the files of policies, sorted.
fn names(opened: &OwnedFd, folder: &Path) -> Result<Vec<OsString>, FolderError> {
    let unreadable =
        |errno: Errno| FolderError::Unreadable { path: folder.to_owned(), why: errno.into() };
    let mut names = Vec::new();
    for entry in Dir::read_from(opened).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_bytes();
        if !name.ends_with(SUFFIX) || name.starts_with(b".") {
            continue;
        }
        if names.len() == FILES_MAX {
            return Err(FolderError::TooMany { path: folder.to_owned() });
        }
        names.push(OsString::from_vec(name.to_owned()));
    }
    names.sort_unstable_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    Ok(names)
}

fn open(folder: BorrowedFd<'_>, name: &OsString, path: &Path) -> Result<OwnedFd, FolderError> {
    // Without waiting for anybody, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(folder, name.as_os_str(), flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::LOOP | Errno::NXIO) => {
            return Err(FolderError::NoFile { path: path.to_owned() });
        }
        Err(errno) => {
            return Err(FolderError::Unreadable { path: path.to_owned(), why: errno.into() });
        }
    };
    let stat = fstat(&file)
        .map_err(|errno| FolderError::Unreadable { path: path.to_owned(), why: errno.into() })?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(file),
        _ => Err(FolderError::NoFile { path: path.to_owned() }),
    }
}

/// Refuses what others than root could have written.
fn is_roots(opened: BorrowedFd<'_>, path: &Path) -> Result<rustix::fs::Stat, FolderError> {
    let stat = fstat(opened)
        .map_err(|errno| FolderError::Unreadable { path: path.to_owned(), why: errno.into() })?;
    if stat.st_uid != 0 {
        return Err(FolderError::NotRoots { path: path.to_owned(), uid: stat.st_uid });
    }
    if stat.st_mode & WRITABLE != 0 {
        let mode = stat.st_mode & 0o7777;
        return Err(FolderError::Writable { path: path.to_owned(), mode });
    }
    Ok(stat)
}

/// At most `max` bytes of a file.
fn take(file: &OwnedFd, max: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    while bytes.len() < max {
        let room = chunk.len().min(max - bytes.len());
        match rustix::io::read(file, &mut chunk[..room]) {
            Ok(0) => break,
            Ok(got) => bytes.extend_from_slice(&chunk[..got]),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A folder of root's with these files; `None` for who is not root.
    fn folder(files: &[(&str, &[u8])]) -> Option<tempfile::TempDir> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root to own a folder");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder can be made");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("it can be written");
            fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("it is ours");
        }
        Some(folder)
    }

    fn refused(folder: &Path) -> FolderError {
        read(folder, Source::Administrator).expect_err("it is refused")
    }

    #[test]
    fn the_files_of_policies_are_read_in_order_and_others_left_alone() {
        let files: &[(&str, &[u8])] =
            &[("b.cedar", b"2"), ("a.cedar", b"1"), ("a.cedar~", b"x"), (".c.cedar", b"x")];
        let Some(folder) = folder(files) else { return };

        let question = read(folder.path(), Source::Administrator).expect("it is well");

        let names: Vec<&str> = question.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["a.cedar", "b.cedar"]);
        assert_eq!(question.files[0].text, "1");
    }

    #[test]
    fn a_folder_that_is_not_there_holds_no_policy() {
        let read = read(Path::new("/nowhere/policy"), Source::Administrator);

        assert_eq!(read.expect("that is no error").files, []);
    }

    #[test]
    fn what_others_could_write_is_refused() {
        let Some(folder) = folder(&[("a.cedar", b"1")]) else { return };
        let file = folder.path().join("a.cedar");

        fs::set_permissions(&file, Permissions::from_mode(0o664)).expect("it is ours");
        let by_group = refused(folder.path());
        fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("it is ours");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("it is ours");
        let folder_by_all = refused(folder.path());
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("it is ours");
        std::os::unix::fs::chown(&file, Some(65_534), None).expect("root may");
        let of_nobody = refused(folder.path());

        assert!(matches!(by_group, FolderError::Writable { mode: 0o664, .. }), "{by_group}");
        assert!(matches!(folder_by_all, FolderError::Writable { .. }), "{folder_by_all}");
        assert!(matches!(of_nobody, FolderError::NotRoots { uid: 65_534, .. }), "{of_nobody}");
    }

    #[test]
    fn a_link_and_a_pipe_are_no_policies() {
        let Some(folder) = folder(&[]) else { return };
        let path = folder.path().join("a.cedar");

        std::os::unix::fs::symlink("/etc/passwd", &path).expect("a link can be made");
        let link = refused(folder.path());
        fs::remove_file(&path).expect("it is ours");
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .expect("a pipe can be made");
        let pipe = refused(folder.path());

        assert!(matches!(link, FolderError::NoFile { .. }), "{link}");
        assert!(matches!(pipe, FolderError::NoFile { .. }), "{pipe}");
    }

    #[test]
    fn ten_megabytes_are_refused_by_their_size() {
        let Some(folder) = folder(&[("a.cedar", &[])]) else { return };
        let file = fs::OpenOptions::new().write(true).open(folder.path().join("a.cedar"));
        file.and_then(|file| file.set_len(10 << 20)).expect("it can be stretched");

        let refused = refused(folder.path()).to_string();

        assert!(refused.contains("10485760 bytes"), "{refused}");
    }
}
