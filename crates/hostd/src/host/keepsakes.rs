//! The few small files in the state folder by which a host knows what was before it.
//!
//! A file that cannot be written holds nobody up: the one before stays as it was, the operator is told,
//! and it is tried again every second until it is written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::journal::Trouble;
use super::private;
use crate::shared::SECOND;

/// The copy of the last configuration that was in force.
pub(crate) const LAST_GOOD: &str = "last-good.toml";
/// The kernel that coverage was last probed on.
pub(crate) const KERNEL: &str = "kernel";
/// The most that was found of each event.
pub(crate) const COVERAGE: &str = "coverage.json";
/// What engines crashed or hung on.
pub(crate) const POISONED: &str = "poisoned.jsonl";
/// What releases on trial are held to.
pub(crate) const TRIALS: &str = "trials.json";
/// Longest file that is read, in bytes.
pub(crate) const KEPT_MAX: usize = 16 << 20;

/// The files, and what of them waits to be written.
#[derive(Debug)]
pub(crate) struct Keepsakes {
    folder: PathBuf,
    unwritten: BTreeMap<&'static str, Vec<u8>>,
    /// What the last write met.
    trouble: Option<(Trouble, String)>,
    /// When the next try is due, ns.
    due: u64,
}

impl Keepsakes {
    /// The files in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), unwritten: BTreeMap::new(), trouble: None, due: 0 }
    }

    /// What was kept under `name`, if anything that can be read was.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        self.look(name).ok().flatten()
    }

    /// The same, where it matters that something was kept and cannot be read; `None` if nothing was.
    ///
    /// # Errors
    ///
    /// Whatever the kernel says; `InvalidData` if it is no text.
    pub(crate) fn look(&self, name: &str) -> std::io::Result<Option<String>> {
        let file = match File::open(self.folder.join(name)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut text = String::new();
        file.take(KEPT_MAX as u64).read_to_string(&mut text)?;
        Ok(Some(text))
    }

    /// Keeps `content` under `name`, now or as soon as it can be written.
    pub(crate) fn keep(&mut self, name: &'static str, content: Vec<u8>, now: u64) {
        self.unwritten.insert(name, content);
        self.write(now);
    }

    /// Tries again what could not be written, if it is time for it.
    pub(crate) fn retry(&mut self, now: u64) {
        if !self.unwritten.is_empty() && now >= self.due {
            self.write(now);
        }
    }

    /// Why something could not be written, and in the kernel's words; `None` if everything is.
    pub(crate) fn trouble(&self) -> Option<(Trouble, &str)> {
        self.trouble.as_ref().map(|(trouble, why)| (*trouble, why.as_str()))
    }

    fn write(&mut self, now: u64) {
        let before = self.trouble.take().map(|(trouble, _)| trouble);
        while let Some(entry) = self.unwritten.first_entry() {
            let target = self.folder.join(entry.key());
            match replace(&target, entry.get()) {
                Ok(()) => drop(entry.remove()),
                Err(error) => {
                    let trouble = Trouble::from(&error);
                    if before != Some(trouble) {
                        tracing::error!(path = %target.display(), %error, "cannot be written");
                    }
                    self.trouble = Some((trouble, format!("{}: {error}", target.display())));
                    self.due = now.saturating_add(SECOND);
                    return;
                }
            }
        }
    }
}

/// Puts a file with `content` in the place of `target`, or leaves that as it is.
fn replace(target: &Path, content: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = target.parent() {
        private::make_folder(folder)?;
    }
    let fresh = target.with_extension("new");
    let write = || private::replace(&fresh)?.write_all(content);
    write().and_then(|()| std::fs::rename(&fresh, target)).inspect_err(|_| {
        // The room that it takes is missing elsewhere.
        let _ = std::fs::remove_file(&fresh);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_for_the_next_host() {
        let folder = tempfile::tempdir().expect("a folder can be made");

        Keepsakes::new(folder.path()).keep(KERNEL, b"6.1".to_vec(), 0);

        assert_eq!(Keepsakes::new(folder.path()).read(KERNEL).as_deref(), Some("6.1"));
    }

    #[test]
    fn what_meets_a_full_disk_is_told_and_written_once_there_is_room() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut keepsakes = Keepsakes::new(folder.path());
        keepsakes.keep(KERNEL, b"6.1".to_vec(), 0);
        // A disk without room for the file that takes the old one's place.
        let fresh = folder.path().join("kernel.new");
        std::os::unix::fs::symlink("/dev/full", &fresh).expect("a link can be made");

        keepsakes.keep(KERNEL, b"6.12".to_vec(), SECOND);
        let full = keepsakes.trouble().map(|(trouble, _)| trouble);
        let before = keepsakes.read(KERNEL);
        keepsakes.retry(2 * SECOND - 1);
        let too_soon = keepsakes.read(KERNEL);
        keepsakes.retry(2 * SECOND);

        assert_eq!(full, Some(Trouble::Full));
        assert_eq!((before.as_deref(), too_soon.as_deref()), (Some("6.1"), Some("6.1")));
        assert_eq!(keepsakes.read(KERNEL).as_deref(), Some("6.12"));
        assert_eq!(keepsakes.trouble(), None);
    }
}
