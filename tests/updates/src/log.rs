//! What a program did to a folder, in order.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// A file, folder or link, for as long as it exists, whatever its names are.
pub type NodeId = usize;

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A file and its content.
    File(Arc<Vec<u8>>),
    /// A folder; its entries stand apart.
    Folder,
    /// A symbolic link.
    Link(PathBuf),
}

/// A node as it was when the program began, or when the program made it.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// What it was called first, for messages.
    pub name: OsString,
}

/// One change, or one thing that the program said.
#[derive(Debug, Clone)]
pub enum Op {
    /// Content.
    Write {
        /// Of this file.
        node: NodeId,
        /// From this byte on.
        at: u64,
        /// What.
        data: Arc<[u8]>,
    },
    /// A file's size was set.
    Resize {
        /// Of this file.
        node: NodeId,
        /// To this, in bytes.
        to: u64,
    },
    /// Permission bits were set.
    Mode {
        /// Of this node.
        node: NodeId,
        /// To this.
        mode: u32,
    },
    /// A name was made.
    Enter {
        /// In this folder.
        dir: NodeId,
        /// The name.
        name: OsString,
        /// For this node.
        node: NodeId,
    },
    /// A name was removed.
    Leave {
        /// From this folder.
        dir: NodeId,
        /// The name.
        name: OsString,
    },
    /// A name was replaced by another one.
    Rename {
        /// In this folder.
        from_dir: NodeId,
        /// The old name.
        from: OsString,
        /// In this folder.
        to_dir: NodeId,
        /// The new name.
        to: OsString,
        /// For this node.
        node: NodeId,
    },
    /// A file's content, size and mode, or a folder's entries and mode, are durable.
    Sync {
        /// Of this node.
        node: NodeId,
    },
    /// A file's content and size, or a folder's entries, are durable.
    DataSync {
        /// Of this node.
        node: NodeId,
    },
    /// Everything is durable.
    SyncAll,
    /// The program wrote to its standard output.
    Said(String),
}

/// Everything that a program did to a folder, from a state of it that was durable.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Every node that was there or was made; the first is the folder itself.
    pub nodes: Vec<Node>,
    /// The names at the beginning: folder, name, node.
    pub entries: Vec<(NodeId, OsString, NodeId)>,
    /// What was done.
    pub ops: Vec<Op>,
}

impl Log {
    /// What the program had said before the change number `cut`.
    pub fn said(&self, cut: usize) -> String {
        let before = self.ops.iter().take(cut);
        before
            .filter_map(|op| if let Op::Said(text) = op { Some(text.as_str()) } else { None })
            .collect()
    }

    /// How many changes make something durable before the program first says `line`.
    pub fn syncs_before(&self, line: &str) -> usize {
        let before = self.ops.iter().take_while(
            |op| !matches!(op, Op::Said(text) if text.lines().any(|said| said == line)),
        );
        before
            .filter(|op| matches!(op, Op::Sync { .. } | Op::DataSync { .. } | Op::SyncAll))
            .count()
    }

    /// A change, for people.
    pub fn describe(&self, index: usize) -> String {
        let name = |node: NodeId| self.nodes[node].name.display().to_string();
        let text = match &self.ops[index] {
            Op::Write { node, at, data } => {
                format!("write {} bytes at {at} of {}", data.len(), name(*node))
            }
            Op::Resize { node, to } => format!("set the size of {} to {to}", name(*node)),
            Op::Mode { node, mode } => format!("set the mode of {} to {mode:o}", name(*node)),
            Op::Enter { dir, name: entry, .. } => {
                format!("make {} in {}", entry.display(), name(*dir))
            }
            Op::Leave { dir, name: entry } => {
                format!("remove {} from {}", entry.display(), name(*dir))
            }
            Op::Rename { from_dir, from, to_dir, to, .. } => format!(
                "rename {} in {} to {} in {}",
                from.display(),
                name(*from_dir),
                to.display(),
                name(*to_dir)
            ),
            Op::Sync { node } => format!("fsync {}", name(*node)),
            Op::DataSync { node } => format!("fdatasync {}", name(*node)),
            Op::SyncAll => "sync".to_owned(),
            Op::Said(text) => format!("say {:?}", text.trim_end()),
        };
        format!("{index}: {text}")
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.ops.len()).try_for_each(|index| writeln!(f, "{}", self.describe(index)))
    }
}

/// Whether a file of this name is rubbish after a cut, and its owner knows that: SQLite's index of its log, which
/// lives in shared memory and is made anew by the first one who opens the database.
pub(crate) fn untrusted_by_name(name: &OsStr) -> bool {
    name.as_bytes().ends_with(b"-shm")
}
