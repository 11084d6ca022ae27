//! A few numbers that several processes see and change at the same time.

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use anyhow::{Context, Result};

use crate::sys::Mapping;

const BYTES: usize = 4096;

/// Numbers in a file that every process maps by its name.
#[derive(Debug)]
pub struct Shared {
    mapping: Mapping,
}

impl Shared {
    /// Maps `path`, which is made with zeroes if it is not there.
    ///
    /// # Errors
    ///
    /// If the file cannot be made or mapped.
    pub fn open(path: &Path) -> Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        file.set_len(BYTES as u64)?;
        Ok(Self { mapping: Mapping::new(&file, BYTES)? })
    }

    /// The number at `place`, of 512.
    pub fn at(&self, place: usize) -> &AtomicU64 {
        &self.mapping.words()[place]
    }

    /// What the number at `place` is now.
    pub fn get(&self, place: usize) -> u64 {
        self.at(place).load(SeqCst)
    }

    /// Makes the number at `place` `value`.
    pub fn set(&self, place: usize, value: u64) {
        self.at(place).store(value, SeqCst);
    }
}
