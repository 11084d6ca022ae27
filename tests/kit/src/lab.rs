//! A world and what was started in it: what a test is given to work with.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::{Host, Setup, Volume, World};

/// What a test works with.
#[derive(Debug)]
pub struct Lab {
    world: World,
    hosts: Cell<usize>,
}

impl Lab {
    /// A lab in `world`.
    pub fn new(world: World) -> Self {
        Self { world, hosts: Cell::new(0) }
    }

    /// The world.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The path of a new thing `name` on the world's own, unprotected file system.
    pub fn path(&self, name: &str) -> PathBuf {
        self.world.folder().join(name)
    }

    /// A fresh tmpfs.
    ///
    /// # Errors
    ///
    /// If it cannot be mounted.
    pub fn tmpfs(&self, name: &str) -> Result<Volume> {
        Volume::tmpfs(&self.world, name)
    }

    /// Where the files of the platform will lie that is started next.
    pub fn next_folder(&self) -> PathBuf {
        self.path(&format!("platform-{}", self.hosts.get()))
    }

    /// Starts the platform with `setup`.
    ///
    /// # Errors
    ///
    /// As [`Host::start`].
    pub fn start(&self, setup: &Setup) -> Result<Host> {
        let folder = self.next_folder();
        self.hosts.set(self.hosts.get() + 1);
        Host::start(&folder, setup)
    }

    /// The last lines of every platform's output and journal, for a test that failed.
    pub fn logs(&self) -> String {
        let files =
            |number| ["log", "state/journal.jsonl"].map(|name| format!("platform-{number}/{name}"));
        (0..self.hosts.get()).flat_map(files).map(|file| tail(&self.path(&file))).collect()
    }
}

/// The file's end, without the denials, of which there are too many to find anything else.
fn tail(log: &Path) -> String {
    const LINES: usize = 40;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.contains(r#""kind":"denied""#)).collect();
    let from = lines.len().saturating_sub(LINES);
    format!("--- {}\n{}\n", log.display(), lines[from..].join("\n"))
}
