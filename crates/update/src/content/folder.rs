//! A folder of content, listed and opened with limits.

use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use outrigger_api::settings::RELEASE_FILE;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::content::error::{ContentError, ContentErrors, Fault, quoted};

/// Most names in a folder.
const NAMES_MAX: usize = 8192;
/// Most names that are kept of files that nobody reads.
const IGNORED_MAX: usize = 8;
/// Longest name of a file, in bytes.
pub(super) const NAME_MAX: usize = 128;
pub(super) const NAME_RULE: &str = "1 to 128 of a-z, A-Z, 0-9, '.', '_', '-' and '+', no '.' first";

/// What lies in a folder of content.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    /// The files that an interpreter reads, in the order of their names.
    pub(super) files: Vec<String>,
    /// The files of rules for the platform, in the order of their names.
    pub(super) rules: Vec<String>,
    /// Some of the others.
    pub(super) ignored: Vec<String>,
}

impl Folder {
    /// Lists `path`; the files whose names end with one of `extensions` are those to be read.
    pub(super) fn list(path: &Path, extensions: &[&str]) -> Result<Self, ContentErrors> {
        let unreadable =
            |error: Errno| ContentError::whole(".", Fault::Unreadable(error.to_string()));
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(unreadable)?;
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&handle).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy();
            if matches!(&*name, "." | "..") {
                continue;
            }
            if names.len() == NAMES_MAX {
                let fault = Fault::TooMany { what: "files in a folder", max: NAMES_MAX };
                return Err(ContentError::whole(".", fault).into());
            }
            names.push(name.into_owned());
        }
        names.sort_unstable();
        let ends = |name: &String, with: &[&str]| {
            let extension = Path::new(name).extension();
            extension.is_some_and(|extension| with.iter().any(|known| extension == *known))
        };
        let (rules, others): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| ends(name, &[super::rules::EXTENSION]));
        let (files, others): (Vec<String>, Vec<String>) =
            others.into_iter().partition(|name| ends(name, extensions));
        if let Some(name) = files.iter().chain(&rules).find(|name| !is_name(name)) {
            let (what, rule) = ("a file of content", NAME_RULE);
            let fault = Fault::Name { found: quoted(name), what, rule };
            return Err(ContentError::whole(".", fault).into());
        }
        let known = [super::samples::FOLDER, RELEASE_FILE];
        let ignored = others.iter().filter(|name| !known.contains(&name.as_str()));
        let ignored = ignored.take(IGNORED_MAX).map(|name| quoted(name)).collect();
        Ok(Self { handle, files, rules, ignored })
    }

    /// Opens the file `name`.
    pub(super) fn open(&self, name: &str) -> Result<BufReader<File>, Fault> {
        open_file(&self.handle, name).map(BufReader::new)
    }

    /// The whole file `name`, as text of at most `max` bytes without a zero byte; or what is wrong with it,
    /// and in which line.
    pub(super) fn text(&self, name: &str, max: usize) -> Result<String, (Option<usize>, Fault)> {
        let mut bytes = Vec::new();
        // One more than fits, so that too long a file shows.
        let mut piece = self.open(name).map_err(|fault| (None, fault))?.take(max as u64 + 1);
        piece
            .read_to_end(&mut bytes)
            .map_err(|error| (None, Fault::Unreadable(error.to_string())))?;
        if bytes.len() > max {
            return Err((None, Fault::TooLong { what: "a file", max }));
        }
        let line_of = |at: usize| 1 + bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
        if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
            return Err((
                Some(line_of(at)),
                Fault::NotText("holds a zero byte, which no text has"),
            ));
        }
        let bad_line = str::from_utf8(&bytes).err().map(|error| line_of(error.valid_up_to()));
        String::from_utf8(bytes).map_err(|_| (bad_line, Fault::NotText("is no UTF-8")))
    }
}

/// Opens the regular file `name` of `folder`, and waits for nothing.
pub(super) fn open_file(folder: impl AsFd, name: &str) -> Result<File, Fault> {
    let unreadable = |error: Errno| Fault::Unreadable(error.to_string());
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Err(Fault::NotRegular),
        other => other.map_err(unreadable)?,
    };
    let status = rustix::fs::fstat(&file).map_err(unreadable)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Fault::NotRegular);
    }
    Ok(File::from(file))
}

/// Whether `name` is one that content's files may have.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with('.')
}

/// The path of `name` in `folder`, to show.
pub(super) fn shown(folder: &str, name: &str) -> String {
    PathBuf::from(folder).join(name).display().to_string()
}
