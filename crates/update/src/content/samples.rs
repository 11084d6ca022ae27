//! Samples that a release of content brings along: objects that it must deny, and some that it must not.
//!
//! From a rule nobody can tell an object that it matches, so its vendor shows some: files in the folders
//! `samples/deny` and `samples/allow` of the content. No interpreter reads them as content; preflight
//! asks about each.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::content::error::{ContentError, ContentErrors, Fault, quoted};
use crate::content::folder::{NAME_RULE, is_name, open_file, shown};

/// The folder's name.
pub(super) const FOLDER: &str = "samples";
/// Most samples of each kind.
pub const SAMPLES_MAX: usize = 1024;
/// Longest sample, in bytes.
pub const BYTES_MAX: u64 = 32 << 20;

/// A sample.
#[derive(Debug)]
pub struct Shown {
    /// Its path in the content's folder.
    pub name: String,
    /// Whether it must be denied; if not, it must not be.
    pub denied: bool,
    /// Its bytes, or why they cannot be had: an engine in force may refuse them.
    pub file: Result<File, String>,
}

/// The samples in `content`, in the order of their names; none if it has no such folder.
///
/// # Errors
///
/// If a folder cannot be read, holds too much, or something that is no file.
pub fn read(content: &Path) -> Result<Vec<Shown>, ContentErrors> {
    let mut all = Vec::new();
    for (kind, denied) in [("allow", false), ("deny", true)] {
        let folder = format!("{FOLDER}/{kind}");
        let Some((handle, names)) = list(content, &folder)? else { continue };
        for name in names {
            let label = shown(&folder, &name);
            let file = match open_file(&handle, &name) {
                Ok(file) => Ok(file),
                Err(Fault::Unreadable(why)) => Err(why),
                Err(fault) => return Err(ContentError::whole(&label, fault).into()),
            };
            let len = file.as_ref().ok().and_then(|file| file.metadata().ok());
            if len.is_some_and(|it| it.len() > BYTES_MAX) {
                let max = usize::try_from(BYTES_MAX).unwrap_or(usize::MAX);
                let fault = Fault::TooLong { what: "a sample", max };
                return Err(ContentError::whole(&label, fault).into());
            }
            all.push(Shown { name: label, denied, file });
        }
    }
    Ok(all)
}

/// The folder `name` below `content` and the names in it; `None` if it is not there.
fn list(content: &Path, name: &str) -> Result<Option<(OwnedFd, Vec<String>)>, ContentErrors> {
    let whole = |fault| ContentError::whole(name, fault);
    let unreadable = |error: Errno| whole(Fault::Unreadable(error.to_string()));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = match rustix::fs::openat(CWD, content.join(name), flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        Err(Errno::LOOP | Errno::NOTDIR) => return Err(whole(Fault::NotRegular).into()),
        other => other.map_err(unreadable)?,
    };
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(&handle).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let entry = entry.file_name().to_string_lossy();
        if matches!(&*entry, "." | "..") {
            continue;
        }
        if !is_name(&entry) {
            let (found, what, rule) = (quoted(&entry), "a sample", NAME_RULE);
            return Err(whole(Fault::Name { found, what, rule }).into());
        }
        if names.len() == SAMPLES_MAX {
            let fault = Fault::TooMany { what: "samples of a kind", max: SAMPLES_MAX };
            return Err(whole(fault).into());
        }
        names.push(entry.into_owned());
    }
    names.sort_unstable();
    Ok(Some((handle, names)))
}
