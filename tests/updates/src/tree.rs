//! Trees of files: named by a digest, copied, and a place for them that is fast.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// A file's mode and content, or a folder's mode and none.
pub type Entry = (u32, Option<Vec<u8>>);

/// A digest over paths, modes and contents of everything below `path`.
///
/// # Errors
///
/// If something in it cannot be read.
pub fn digest(path: &Path) -> Result<[u8; 32]> {
    let mut entries = BTreeMap::new();
    add(&mut entries, path, path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(digest_of(&entries))
}

/// The digest of a tree with these entries, by their paths from its root.
pub fn digest_of(entries: &BTreeMap<PathBuf, Entry>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (path, (mode, content)) in entries {
        hash.update(format!("{path:?} {mode:o} {:?}\n", content.as_ref().map(Vec::len)));
        hash.update(content.as_deref().unwrap_or_default());
    }
    hash.finalize().into()
}

fn add(entries: &mut BTreeMap<PathBuf, Entry>, root: &Path, folder: &Path) -> Result<()> {
    for path in sorted(folder)? {
        let metadata = fs::symlink_metadata(&path)?;
        let content = if metadata.is_dir() { None } else { Some(fs::read(&path)?) };
        let name = path.strip_prefix(root)?.to_owned();
        entries.insert(name, (metadata.mode() & 0o7777, content));
        if metadata.is_dir() {
            add(entries, root, &path)?;
        }
    }
    Ok(())
}

fn sorted(path: &Path) -> Result<Vec<PathBuf>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Copies everything below `from` into the empty folder `to`, with its modes.
///
/// # Errors
///
/// That of the file system.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    for path in sorted(from)? {
        let at = to.join(path.file_name().unwrap_or_default());
        let metadata = fs::symlink_metadata(&path)?;
        if metadata.is_symlink() {
            symlink(fs::read_link(&path)?, &at)?;
            continue;
        }
        if metadata.is_dir() {
            fs::create_dir(&at)?;
            copy(&path, &at)?;
        } else {
            fs::copy(&path, &at)?;
        }
        fs::set_permissions(&at, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
    }
    Ok(())
}

/// An empty folder on a file system in memory, where nothing waits for a disk, if there is one.
///
/// # Errors
///
/// If none can be made.
pub fn scratch() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let builder = tempfile::Builder::new().prefix("outrigger-cut-").tempdir_in(memory);
    builder.or_else(|_| tempfile::tempdir()).context("cannot make a folder for the disk")
}
