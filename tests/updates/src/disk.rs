//! What the disk holds after some of the changes of a log.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::log::{self, Kind, Log, NodeId, Op};

/// A sector: what is written as a whole or not at all, in bytes.
const SECTOR: u64 = 512;
/// What is found in a file that is rubbish after a cut, at least, in bytes.
const RUBBISH: usize = 32 << 10;

/// Which of the changes that may be lost are there.
pub trait Choice {
    /// Whether the change is there; of a write, whether its size is, if it made the file longer.
    fn op(&mut self, index: usize) -> bool;
    /// Whether a sector of a write is there.
    fn sector(&mut self, index: usize) -> bool;
}

/// The content of a disk.
#[derive(Debug, Clone)]
pub struct Disk<'log> {
    log: &'log Log,
    files: BTreeMap<NodeId, Arc<Vec<u8>>>,
    modes: Vec<u32>,
    entries: Vec<BTreeMap<OsString, NodeId>>,
}

/// Whether each of the changes before `cut` is durable by what came between.
pub fn durable(log: &Log, cut: usize) -> Vec<bool> {
    let (mut content, mut whole, mut all) =
        (vec![false; log.nodes.len()], vec![false; log.nodes.len()], false);
    let mut durable = vec![true; cut];
    for index in (0..cut).rev() {
        durable[index] = all
            || match &log.ops[index] {
                Op::Write { node, .. } | Op::Resize { node, .. } => content[*node],
                Op::Mode { node, .. } => whole[*node],
                Op::Enter { dir, .. } | Op::Leave { dir, .. } => content[*dir],
                Op::Rename { from_dir, to_dir, .. } => content[*from_dir] && content[*to_dir],
                Op::Sync { node } => {
                    content[*node] = true;
                    whole[*node] = true;
                    true
                }
                Op::DataSync { node } => {
                    content[*node] = true;
                    true
                }
                Op::SyncAll => {
                    all = true;
                    true
                }
                Op::Said(_) => true,
            };
    }
    durable
}

impl<'log> Disk<'log> {
    /// The disk before the program began.
    pub fn before(log: &'log Log) -> Self {
        let files = log.nodes.iter().enumerate().filter_map(|(id, node)| match &node.kind {
            Kind::File(content) => Some((id, Arc::clone(content))),
            _ => None,
        });
        let mut entries = vec![BTreeMap::new(); log.nodes.len()];
        for (dir, name, node) in &log.entries {
            entries[*dir].insert(name.clone(), *node);
        }
        let modes = log.nodes.iter().map(|node| node.mode).collect();
        Self { log, files: files.collect(), modes, entries }
    }

    /// Does those of the changes before `cut` that are durable, and of the others those that are chosen.
    pub fn apply(&mut self, durable: &[bool], choice: &mut dyn Choice) {
        for (index, &durable) in durable.iter().enumerate() {
            self.apply_one(index, durable, choice);
        }
    }

    fn apply_one(&mut self, index: usize, durable: bool, choice: &mut dyn Choice) {
        let op = &self.log.ops[index];
        if let Op::Write { node, at, data } = op {
            self.write(index, (*node, *at, data), durable, choice);
            return;
        }
        if !durable && !choice.op(index) {
            return;
        }
        match op {
            Op::Resize { node, to } => {
                let content = Arc::make_mut(self.files.entry(*node).or_default());
                content.resize(place(*to), 0);
            }
            Op::Mode { node, mode } => self.modes[*node] = *mode,
            Op::Enter { dir, name, node } => {
                self.entries[*dir].insert(name.clone(), *node);
            }
            Op::Leave { dir, name } => {
                self.entries[*dir].remove(name);
            }
            Op::Rename { from_dir, from, to_dir, to, node } => {
                self.entries[*from_dir].remove(from);
                self.entries[*to_dir].insert(to.clone(), *node);
            }
            Op::Write { .. }
            | Op::Sync { .. }
            | Op::DataSync { .. }
            | Op::SyncAll
            | Op::Said(_) => {}
        }
    }

    fn write(
        &mut self,
        index: usize,
        (node, at, data): (NodeId, u64, &[u8]),
        durable: bool,
        choice: &mut dyn Choice,
    ) {
        let content = Arc::make_mut(self.files.entry(node).or_default());
        let (start, end) = (at, at + data.len() as u64);
        let grows = durable || choice.op(index);
        if end > content.len() as u64 && grows {
            content.resize(place(end), 0);
        }
        let mut from = start;
        while from < end {
            let to = end.min((from / SECTOR + 1) * SECTOR);
            // What lies beyond the size is not there, whatever reached the disk.
            if (durable || choice.sector(index)) && from < content.len() as u64 {
                let to = to.min(content.len() as u64);
                let range = |a: u64, b: u64| place(a)..place(b);
                content[range(from, to)].copy_from_slice(&data[range(from - start, to - start)]);
            }
            from = to;
        }
    }

    /// What tells two disks apart, as far as it can be seen from the folder.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.visit(0, &mut |name, node| {
            name.hash(&mut hasher);
            self.modes[node].hash(&mut hasher);
            match &self.log.nodes[node].kind {
                Kind::File(_) if log::untrusted_by_name(&self.log.nodes[node].name) => {}
                Kind::File(_) => self.files.get(&node).hash(&mut hasher),
                Kind::Folder => self.entries[node].len().hash(&mut hasher),
                Kind::Link(to) => to.hash(&mut hasher),
            }
        });
        hasher.finish()
    }

    fn visit(&self, dir: NodeId, look: &mut dyn FnMut(&OsStr, NodeId)) {
        for (name, &node) in &self.entries[dir] {
            look(name, node);
            if matches!(self.log.nodes[node].kind, Kind::Folder) {
                self.visit(node, look);
            }
        }
    }

    /// Writes the disk into an empty folder.
    ///
    /// # Errors
    ///
    /// That of the file system.
    pub fn write_out(&self, root: &Path) -> Result<()> {
        self.write_folder(0, root).with_context(|| format!("cannot write {}", root.display()))
    }

    fn write_folder(&self, dir: NodeId, path: &Path) -> Result<()> {
        for (name, &node) in &self.entries[dir] {
            let at = path.join(name);
            match &self.log.nodes[node].kind {
                Kind::Folder => {
                    fs::create_dir(&at)?;
                    self.write_folder(node, &at)?;
                }
                Kind::Link(to) => symlink(to, &at)?,
                Kind::File(_) => {
                    let content = self.files.get(&node).map_or(&[][..], |content| content);
                    if log::untrusted_by_name(&self.log.nodes[node].name) {
                        fs::write(&at, vec![0xa5; content.len().max(RUBBISH)])?;
                    } else {
                        fs::write(&at, content)?;
                    }
                }
            }
            if !matches!(self.log.nodes[node].kind, Kind::Link(_)) {
                fs::set_permissions(&at, fs::Permissions::from_mode(self.modes[node]))?;
            }
        }
        Ok(())
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}
