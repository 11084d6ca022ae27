//! What is left out of a recording that leaves its machine.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use outrigger_api::record::ContentAbsent;
use outrigger_api::sample::Sample;

/// What is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Redaction {
    /// Of what lies under these paths, everything but that there was such an event, and its answer.
    pub paths: Vec<PathBuf>,
    /// Who asked.
    pub credentials: bool,
}

impl Redaction {
    /// Leaves out of `sample` what is to be left out; whether that was anything.
    pub fn apply(&self, sample: &mut Sample) -> bool {
        let mut left_out = self.credentials && sample.credentials.take().is_some();
        if sample.path.as_deref().is_some_and(|path| self.covers(path)) {
            // Size, time and sum tell which file it was to who knows the file.
            (sample.path, sample.attributes) = (None, None);
            sample.content = Err(ContentAbsent::NotGranted);
            left_out = true;
        }
        left_out
    }

    /// Whether what lies at `path` is left out.
    pub fn covers(&self, path: &[u8]) -> bool {
        let path = Path::new(OsStr::from_bytes(path));
        self.paths.iter().any(|prefix| path.starts_with(prefix))
    }

    /// This redaction and `other`.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        let new = other.paths.iter().filter(|path| !self.paths.contains(path));
        let new: Vec<_> = new.cloned().collect();
        self.paths.extend(new);
        self.credentials |= other.credentials;
        self
    }
}
