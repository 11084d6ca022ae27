//! Builds a package: the same files give the same bytes, whoever builds, when and where.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use outrigger_api::sample::Digest;
use outrigger_api::settings::{
    PathFault, RELEASE_FILE, RELEASE_FILES_MAX, Release, ReleaseFile, check_path,
};
use sha2::{Digest as _, Sha256};

use crate::package::archive::{BLOCK, END_BLOCKS, header};
use crate::package::{Package, PackageLimits, Progress, Refusal};

/// The number of an unknown system, so that the header of the compressed bytes tells nothing of the builder.
const NO_SYSTEM: u8 = 255;
/// Bytes that are compressed between two reports of progress.
const STEP: usize = 1 << 20;

/// A package that is being put together.
#[derive(Debug)]
pub struct Builder {
    head: Release,
    files: BTreeMap<String, (Vec<u8>, bool)>,
}

/// Why no package was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A file or folder could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds something that a package cannot.
    #[error("{} is {what}; a package holds plain files and their folders", path.display())]
    Kind {
        /// Where it lies.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// A path that no package may have.
    #[error("{path:?} {fault}")]
    Path {
        /// The path.
        path: String,
        /// Which rule it breaks.
        fault: PathFault,
    },
    /// A path was added twice, or is `release.toml`, which the builder writes.
    #[error("{0:?} is there already")]
    Taken(String),
    /// More files than a package may have.
    #[error("the folder holds more than {max} files, the limit of a package")]
    TooManyFiles {
        /// The limit.
        max: usize,
    },
    /// The files make more than a package may have.
    #[error("the files have more than {max} bytes, the limit of a package")]
    TooLong {
        /// The limit, in bytes.
        max: u64,
    },
    /// What was built is none that a machine would take.
    #[error("what these files make is no package")]
    Refused(#[from] Refusal),
}

impl Builder {
    /// A package of what `head` says; its list of files is not looked at.
    pub fn new(head: Release) -> Self {
        Self { head, files: BTreeMap::new() }
    }

    /// Adds a file.
    ///
    /// # Errors
    ///
    /// [`BuildError::Path`] and [`BuildError::Taken`].
    pub fn add(&mut self, path: &str, bytes: Vec<u8>, executable: bool) -> Result<(), BuildError> {
        check_path(path).map_err(|fault| BuildError::Path { path: path.to_owned(), fault })?;
        if path == RELEASE_FILE || self.files.contains_key(path) {
            return Err(BuildError::Taken(path.to_owned()));
        }
        self.files.insert(path.to_owned(), (bytes, executable));
        Ok(())
    }

    /// The package's bytes, which [`Package::read`] takes with the limits that machines have.
    ///
    /// # Errors
    ///
    /// [`BuildError::Refused`] with what it would refuse.
    pub fn build(mut self, progress: Progress<'_>) -> Result<Vec<u8>, BuildError> {
        let listed = self.files.iter().map(|(path, (bytes, executable))| {
            let digest = Digest { size: bytes.len() as u64, sha256: Sha256::digest(bytes).into() };
            ReleaseFile { path: path.clone(), digest, executable: *executable }
        });
        self.head.files = listed.collect();
        let packed = pack(&self.head.to_toml(), &self.files, progress);
        Package::read(&packed, &PackageLimits::default())?;
        Ok(packed)
    }
}

/// Builds a package of what `head` says from all that lies in `folder`. A file is executable in it if
/// its owner may run it there. A `release.toml` at the top is left out: the builder writes its own.
///
/// # Errors
///
/// As [`Builder`]'s, and if something cannot be read or is no plain file.
pub fn build_folder(
    folder: &Path,
    head: Release,
    progress: Progress<'_>,
) -> Result<Vec<u8>, BuildError> {
    let mut builder = Builder::new(head);
    let mut walk = Walk { builder: &mut builder, left: PackageLimits::default().unpacked };
    walk.folder(folder, "")?;
    builder.build(progress)
}

struct Walk<'b> {
    builder: &'b mut Builder,
    /// Bytes that the package may still grow by.
    left: u64,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<(), BuildError> {
        let unreadable =
            |path: &Path, source| BuildError::Unreadable { path: path.to_owned(), source };
        for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, error))? {
            let entry = entry.map_err(|error| unreadable(folder, error))?;
            let at = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            let facts = entry.metadata().map_err(|error| unreadable(&at, error))?;
            let kind = facts.file_type();
            if path == RELEASE_FILE && kind.is_file() {
                continue;
            }
            if kind.is_dir() {
                // A path that is too deep ends the walk before the stack does.
                check_path(&path)
                    .map_err(|fault| BuildError::Path { path: path.clone(), fault })?;
                self.folder(&at, &path)?;
                continue;
            }
            if !kind.is_file() {
                let what = if kind.is_symlink() { "a symlink" } else { "a device, pipe or socket" };
                return Err(BuildError::Kind { path: at, what });
            }
            if self.builder.files.len() == RELEASE_FILES_MAX {
                return Err(BuildError::TooManyFiles { max: RELEASE_FILES_MAX });
            }
            let mut bytes = Vec::new();
            File::open(&at)
                .and_then(|file| file.take(self.left + 1).read_to_end(&mut bytes))
                .map_err(|error| unreadable(&at, error))?;
            self.left = self
                .left
                .checked_sub(bytes.len() as u64)
                .ok_or_else(|| BuildError::TooLong { max: PackageLimits::default().unpacked })?;
            self.builder.add(&path, bytes, facts.permissions().mode() & 0o100 != 0)?;
        }
        Ok(())
    }
}

/// The compressed archive of `description` and `files`.
fn pack(
    description: &str,
    files: &BTreeMap<String, (Vec<u8>, bool)>,
    progress: Progress<'_>,
) -> Vec<u8> {
    let own = (RELEASE_FILE, description.as_bytes(), false);
    let listed = files
        .iter()
        .map(|(path, (bytes, executable))| (path.as_str(), bytes.as_slice(), *executable));
    let members: Vec<(&str, &[u8], bool)> = std::iter::once(own).chain(listed).collect();
    let total = members.iter().map(|(_, bytes, _)| bytes.len() as u64).sum();
    let mut done = 0;
    let mut out = GzBuilder::new()
        .mtime(0)
        .operating_system(NO_SYSTEM)
        .write(Vec::new(), Compression::default());
    let mut write = |bytes: &[u8]| out.write_all(bytes).expect("a Vec takes all");
    for (path, bytes, executable) in members {
        let size = bytes.len() as u64;
        write(&header(path, size, executable).expect("checked paths and sizes have a header"));
        for step in bytes.chunks(STEP) {
            write(step);
            done += step.len() as u64;
            progress(done, total);
        }
        write(&[0; BLOCK][..bytes.len().next_multiple_of(BLOCK) - bytes.len()]);
    }
    write(&[0; BLOCK * END_BLOCKS]);
    out.finish().expect("a Vec takes all")
}
