//! From a system call to the changes that it makes to the watched folder.
//!
//! What a descriptor or a path means is asked from the kernel (`/proc/PID`) while the task is stopped, and files are
//! told apart by device and inode. So nothing has to be known of descriptor tables, threads, children or sandboxes.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use libc::{c_long, pid_t};

use crate::log::{self, Kind, Log, Node, NodeId, Op};

/// Longest path that is read from a task, in bytes.
const PATH_MAX: usize = 4096;

type Identity = (u64, u64);

/// A call that began, with what must be known from before it.
#[derive(Debug)]
pub(crate) enum Pending {
    Open {
        dir: NodeId,
        name: OsString,
    },
    Truncate {
        node: NodeId,
    },
    Write {
        node: NodeId,
        at: u64,
        from: From,
    },
    Say {
        from: From,
    },
    Resize {
        node: NodeId,
        to: u64,
    },
    Mode {
        node: NodeId,
        mode: u32,
    },
    Make {
        dir: NodeId,
        name: OsString,
        path: PathBuf,
    },
    Link {
        dir: NodeId,
        name: OsString,
        node: NodeId,
    },
    Leave {
        dir: NodeId,
        name: OsString,
    },
    Rename {
        from_dir: NodeId,
        from: OsString,
        to_dir: NodeId,
        to: OsString,
        node: NodeId,
    },
    Sync {
        node: NodeId,
    },
    DataSync {
        node: NodeId,
    },
    SyncAll,
    Map {
        node: NodeId,
    },
    /// It asks how much room the disk has; the answer comes to this place of its memory.
    RoomAsked {
        answer: u64,
    },
}

impl Pending {
    /// The file whose content or size it changes.
    fn node(&self) -> Option<NodeId> {
        match self {
            Self::Write { node, .. }
            | Self::Resize { node, .. }
            | Self::Truncate { node }
            | Self::Map { node } => Some(*node),
            _ => None,
        }
    }

    /// Whether it makes something durable.
    pub(crate) fn is_sync(&self) -> bool {
        matches!(self, Self::Sync { .. } | Self::DataSync { .. } | Self::SyncAll)
    }

    /// Whether a full disk refuses it.
    pub(crate) fn takes_room(&self) -> bool {
        match self {
            Self::Open { .. } | Self::Write { .. } | Self::Make { .. } | Self::Link { .. } => true,
            Self::Resize { to, .. } => *to > 0,
            _ => false,
        }
    }
}

/// Tells a task that has just asked that the disk has no room: no free block in its `struct statfs`.
pub(crate) fn no_room(pid: pid_t, answer: u64) -> Result<()> {
    const FREE: u64 = std::mem::offset_of!(libc::statfs, f_bfree) as u64;
    const AVAILABLE: u64 = std::mem::offset_of!(libc::statfs, f_bavail) as u64;
    let memory = File::options().write(true).open(Task { pid }.own("mem"))?;
    memory.write_all_at(&0u64.to_ne_bytes(), answer + FREE)?;
    memory.write_all_at(&0u64.to_ne_bytes(), answer + AVAILABLE)?;
    Ok(())
}

/// Where in a task's memory the bytes of a write are.
#[derive(Debug)]
pub(crate) enum From {
    One(u64),
    Many(u64, u64),
}

/// The folder that is watched, and what has happened to it.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) log: Log,
    known: HashMap<Identity, NodeId>,
    output: Option<Identity>,
}

fn identity(metadata: &Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

impl Watch {
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let mut watch = Self { log: Log::default(), known: HashMap::new(), output: None };
        let id = watch.add(root, OsString::from("the folder"))?;
        watch.add_below(id, root)?;
        Ok(watch)
    }

    pub(crate) fn listen_to(&mut self, output: &File) -> Result<()> {
        self.output = Some(identity(&output.metadata()?));
        Ok(())
    }

    fn add(&mut self, path: &Path, name: OsString) -> Result<NodeId> {
        let metadata = fs::symlink_metadata(path)?;
        let kind = if metadata.is_dir() {
            Kind::Folder
        } else if metadata.is_symlink() {
            Kind::Link(fs::read_link(path)?)
        } else {
            ensure!(metadata.is_file(), "{} is neither file, folder nor link", path.display());
            Kind::File(Arc::new(fs::read(path)?))
        };
        let id = self.log.nodes.len();
        self.known.insert(identity(&metadata), id);
        let mode = metadata.mode() & 0o7777;
        self.log.nodes.push(Node { kind, mode, name });
        Ok(id)
    }

    fn add_below(&mut self, dir: NodeId, path: &Path) -> Result<()> {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let metadata = fs::symlink_metadata(entry.path())?;
            let node = match self.known.get(&identity(&metadata)) {
                Some(&node) => node,
                None => self.add(&entry.path(), entry.file_name())?,
            };
            self.log.entries.push((dir, entry.file_name(), node));
            if metadata.is_dir() {
                self.add_below(node, &entry.path())?;
            }
        }
        Ok(())
    }

    /// What a call is about to do, if it is one that matters.
    pub(crate) fn begin(
        &self,
        pid: pid_t,
        number: u64,
        arguments: [u64; 6],
    ) -> Result<Option<Pending>> {
        let task = Task { pid };
        let [a, b, c, d, ..] = arguments;
        let number = c_long::try_from(number)?;
        let pending = match number {
            libc::SYS_write => self.writing(&task, a, From::One(b), None)?,
            libc::SYS_pwrite64 => self.writing(&task, a, From::One(b), Some(d))?,
            libc::SYS_writev => self.writing(&task, a, From::Many(b, c), None)?,
            libc::SYS_pwritev => self.writing(&task, a, From::Many(b, c), Some(d))?,
            libc::SYS_openat => self.opening(&task, a, b, c)?,
            libc::SYS_openat2 => self.opening(&task, a, b, task.word(c)?)?,
            libc::SYS_ftruncate => self.of(&task, a).map(|node| Pending::Resize { node, to: b }),
            libc::SYS_fchmod => self.of(&task, a).map(|node| Pending::Mode { node, mode: low(b) }),
            libc::SYS_fchmodat => self
                .at(&task, a, b)?
                .and_then(|place| place.node)
                .map(|node| Pending::Mode { node, mode: low(c) }),
            libc::SYS_mkdirat | libc::SYS_mknodat => self.making(&task, a, b)?,
            libc::SYS_symlinkat => self.making(&task, b, c)?,
            libc::SYS_unlinkat => self.leaving(&task, a, b)?,
            libc::SYS_linkat => self.linking(&task, (a, b), (c, d))?,
            libc::SYS_renameat => self.renaming(&task, (a, b), (c, d))?,
            libc::SYS_renameat2 => {
                let renaming = self.renaming(&task, (a, b), (c, d))?;
                let plain = arguments[4] & !u64::from(libc::RENAME_NOREPLACE) == 0;
                ensure!(plain || renaming.is_none(), "a rename that exchanges is not modelled");
                renaming
            }
            libc::SYS_fsync => self.of(&task, a).map(|node| Pending::Sync { node }),
            libc::SYS_fdatasync => self.of(&task, a).map(|node| Pending::DataSync { node }),
            libc::SYS_sync | libc::SYS_syncfs => Some(Pending::SyncAll),
            libc::SYS_statfs | libc::SYS_fstatfs => Some(Pending::RoomAsked { answer: b }),
            libc::SYS_mmap => {
                let shared = d & 0xf != libc::MAP_PRIVATE as u64;
                let stores = c & libc::PROT_WRITE as u64 != 0;
                let node = if shared && stores { self.of(&task, arguments[4]) } else { None };
                node.map(|node| Pending::Map { node })
            }
            // What would change a file past this model, if it was one of ours.
            libc::SYS_fallocate => self.allocating(&task, a, b, c + d)?,
            libc::SYS_pwritev2 | libc::SYS_sendfile => self.unmodelled(&task, number, a)?,
            libc::SYS_copy_file_range | libc::SYS_splice => self.unmodelled(&task, number, c)?,
            libc::SYS_io_uring_setup => bail!("io_uring is not modelled"),
            _ => self.begin_old(&task, number, arguments)?,
        };
        Ok(pending)
    }

    /// The calls that came before those with a folder's descriptor, where there are any.
    #[cfg(target_arch = "x86_64")]
    fn begin_old(
        &self,
        task: &Task,
        number: c_long,
        [a, b, ..]: [u64; 6],
    ) -> Result<Option<Pending>> {
        const HERE: u64 = libc::AT_FDCWD.cast_unsigned() as u64;
        Ok(match number {
            libc::SYS_open => self.opening(task, HERE, a, b)?,
            libc::SYS_creat => self.opening(
                task,
                HERE,
                a,
                (libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY) as u64,
            )?,
            libc::SYS_mkdir | libc::SYS_mknod => self.making(task, HERE, a)?,
            libc::SYS_symlink => self.making(task, HERE, b)?,
            libc::SYS_unlink | libc::SYS_rmdir => self.leaving(task, HERE, a)?,
            libc::SYS_link => self.linking(task, (HERE, a), (HERE, b))?,
            libc::SYS_rename => self.renaming(task, (HERE, a), (HERE, b))?,
            libc::SYS_chmod => self
                .at(task, HERE, a)?
                .and_then(|place| place.node)
                .map(|node| Pending::Mode { node, mode: low(b) }),
            libc::SYS_truncate => {
                let node = self.at(task, HERE, a)?.and_then(|place| place.node);
                node.map(|node| Pending::Resize { node, to: b })
            }
            _ => None,
        })
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn begin_old(&self, _: &Task, _: c_long, _: [u64; 6]) -> Result<Option<Pending>> {
        Ok(None)
    }

    /// What a call that began has done; `result` is what it returned, not negative.
    pub(crate) fn end(&mut self, pid: pid_t, pending: Pending, result: i64) -> Result<()> {
        let task = Task { pid };
        if pending.node().is_some_and(|node| log::untrusted_by_name(&self.log.nodes[node].name)) {
            // Whatever is done to it, it counts as rubbish after a cut.
            return Ok(());
        }
        let op = match pending {
            Pending::RoomAsked { .. } => return Ok(()),
            Pending::Open { dir, name } => {
                let node =
                    self.made(&task.descriptor(result.cast_unsigned()).canonicalize()?, &name)?;
                Op::Enter { dir, name, node }
            }
            Pending::Truncate { node } => Op::Resize { node, to: 0 },
            Pending::Write { node, at, from } => {
                Op::Write { node, at, data: task.bytes(&from, result)?.into() }
            }
            Pending::Say { from } => {
                Op::Said(String::from_utf8_lossy(&task.bytes(&from, result)?).into_owned())
            }
            Pending::Make { dir, name, path } => {
                let node = self.made(&path, &name)?;
                Op::Enter { dir, name, node }
            }
            Pending::Map { node } => {
                let name = self.log.nodes[node].name.display();
                bail!("storing into {name}, which is mapped, is not modelled");
            }
            Pending::Resize { node, to } => Op::Resize { node, to },
            Pending::Mode { node, mode } => Op::Mode { node, mode: mode & 0o7777 },
            Pending::Link { dir, name, node } => Op::Enter { dir, name, node },
            Pending::Leave { dir, name } => Op::Leave { dir, name },
            Pending::Rename { from_dir, from, to_dir, to, node } => {
                Op::Rename { from_dir, from, to_dir, to, node }
            }
            Pending::Sync { node } => Op::Sync { node },
            Pending::DataSync { node } => Op::DataSync { node },
            Pending::SyncAll => Op::SyncAll,
        };
        self.log.ops.push(op);
        Ok(())
    }

    fn made(&mut self, path: &Path, name: &OsStr) -> Result<NodeId> {
        let id = self.add(path, name.to_owned());
        id.with_context(|| format!("cannot look at {}, which was made just now", path.display()))
    }

    /// What a descriptor refers to, if it is ours.
    fn of(&self, task: &Task, descriptor: u64) -> Option<NodeId> {
        let metadata = fs::metadata(task.descriptor(descriptor)).ok()?;
        self.known.get(&identity(&metadata)).copied()
    }

    /// Where a path leads, if its folder is ours.
    fn at(&self, task: &Task, folder: u64, path: u64) -> Result<Option<Place>> {
        let path = task.path(folder, path)?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(None);
        };
        let Ok(metadata) = fs::metadata(parent) else { return Ok(None) };
        let Some(&dir) = self.known.get(&identity(&metadata)) else { return Ok(None) };
        let there = fs::symlink_metadata(&path).ok();
        let node = there.as_ref().and_then(|there| self.known.get(&identity(there)).copied());
        Ok(Some(Place { dir, name: name.to_owned(), exists: there.is_some(), node, path }))
    }

    fn opening(&self, task: &Task, folder: u64, path: u64, flags: u64) -> Result<Option<Pending>> {
        let has =
            |flag: i32| flags & u64::from(flag.cast_unsigned()) == u64::from(flag.cast_unsigned());
        if !has(libc::O_CREAT) && !has(libc::O_TRUNC) && !has(libc::O_TMPFILE) {
            return Ok(None);
        }
        let Some(place) = self.at(task, folder, path)? else { return Ok(None) };
        ensure!(!has(libc::O_TMPFILE), "a file without a name is not modelled");
        Ok(match place.node {
            Some(node) if has(libc::O_TRUNC) => Some(Pending::Truncate { node }),
            None if has(libc::O_CREAT) && !place.exists => {
                Some(Pending::Open { dir: place.dir, name: place.name })
            }
            _ => None,
        })
    }

    fn writing(
        &self,
        task: &Task,
        descriptor: u64,
        from: From,
        at: Option<u64>,
    ) -> Result<Option<Pending>> {
        let Ok(metadata) = fs::metadata(task.descriptor(descriptor)) else { return Ok(None) };
        let identity = identity(&metadata);
        if self.output == Some(identity) {
            return Ok(Some(Pending::Say { from }));
        }
        let Some(&node) = self.known.get(&identity) else { return Ok(None) };
        let at = match at {
            Some(at) => at,
            None => task.position(descriptor, metadata.len())?,
        };
        Ok(Some(Pending::Write { node, at, from }))
    }

    /// A file is given room up to `end`; what it had is kept, the rest is zeros.
    fn allocating(
        &self,
        task: &Task,
        descriptor: u64,
        mode: u64,
        end: u64,
    ) -> Result<Option<Pending>> {
        let Some(node) = self.of(task, descriptor) else { return Ok(None) };
        ensure!(mode == 0, "fallocate with mode {mode:#x} is not modelled");
        let len = fs::metadata(task.descriptor(descriptor))?.len();
        Ok(Some(Pending::Resize { node, to: end.max(len) }))
    }

    fn making(&self, task: &Task, folder: u64, path: u64) -> Result<Option<Pending>> {
        let place = self.at(task, folder, path)?;
        Ok(place.map(|Place { dir, name, path, .. }| Pending::Make { dir, name, path }))
    }

    fn leaving(&self, task: &Task, folder: u64, path: u64) -> Result<Option<Pending>> {
        let place = self.at(task, folder, path)?;
        Ok(place.map(|Place { dir, name, .. }| Pending::Leave { dir, name }))
    }

    fn linking(&self, task: &Task, from: (u64, u64), to: (u64, u64)) -> Result<Option<Pending>> {
        let Some(to) = self.at(task, to.0, to.1)? else { return Ok(None) };
        let from = self.at(task, from.0, from.1)?.and_then(|place| place.node);
        let node = from.context("a link to what lies outside of the folder is not modelled")?;
        Ok(Some(Pending::Link { dir: to.dir, name: to.name, node }))
    }

    fn renaming(&self, task: &Task, from: (u64, u64), to: (u64, u64)) -> Result<Option<Pending>> {
        let (from, to) = (self.at(task, from.0, from.1)?, self.at(task, to.0, to.1)?);
        match (from, to) {
            (None, None) => Ok(None),
            // It fails.
            (Some(from), Some(_)) if from.node.is_none() => Ok(None),
            (Some(Place { dir: from_dir, name: from, node: Some(node), .. }), Some(to)) => {
                let (to_dir, to) = (to.dir, to.name);
                Ok(Some(Pending::Rename { from_dir, from, to_dir, to, node }))
            }
            _ => bail!("a rename into or out of the folder is not modelled"),
        }
    }

    fn unmodelled(&self, task: &Task, number: c_long, descriptor: u64) -> Result<Option<Pending>> {
        match self.of(task, descriptor) {
            None => Ok(None),
            Some(node) => {
                let name = self.log.nodes[node].name.display();
                bail!("system call {number} on {name} is not modelled")
            }
        }
    }
}

/// The half of an argument that a call takes an `int` from.
const fn low(argument: u64) -> u32 {
    (argument & 0xffff_ffff) as u32
}

/// Where a path leads.
struct Place {
    dir: NodeId,
    name: OsString,
    exists: bool,
    node: Option<NodeId>,
    /// As we reach it.
    path: PathBuf,
}

/// A task that stands still.
struct Task {
    pid: pid_t,
}

impl Task {
    fn own(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.pid).into()
    }

    fn descriptor(&self, number: u64) -> PathBuf {
        self.own(&format!("fd/{}", low(number)))
    }

    fn read(&self, at: u64, bytes: &mut [u8]) -> Result<usize> {
        let memory = File::open(self.own("mem"))?;
        memory.read_at(bytes, at).with_context(|| format!("cannot read memory at {at:#x}"))
    }

    fn word(&self, at: u64) -> Result<u64> {
        let mut word = [0; 8];
        ensure!(self.read(at, &mut word)? == word.len(), "a number ends early");
        Ok(u64::from_ne_bytes(word))
    }

    /// A path as we reach it, through what the task holds.
    fn path(&self, folder: u64, at: u64) -> Result<PathBuf> {
        let mut bytes = vec![0; PATH_MAX];
        let read = self.read(at, &mut bytes)?;
        bytes.truncate(read);
        let end = bytes.iter().position(|&byte| byte == 0).context("a path without an end")?;
        bytes.truncate(end);
        let path = PathBuf::from(OsString::from_vec(bytes));
        Ok(if let Ok(from_root) = path.strip_prefix("/") {
            self.own("root").join(from_root)
        } else if low(folder).cast_signed() == libc::AT_FDCWD {
            self.own("cwd").join(path)
        } else {
            self.descriptor(folder).join(path)
        })
    }

    /// Where the next write of a descriptor goes, in a file of `len` bytes.
    fn position(&self, descriptor: u64, len: u64) -> Result<u64> {
        let info = fs::read_to_string(self.own(&format!("fdinfo/{}", low(descriptor))))?;
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            value.map(str::trim).with_context(|| format!("no {name} in {info:?}"))
        };
        let flags = i32::from_str_radix(field("flags:")?, 8)?;
        if flags & libc::O_APPEND != 0 { Ok(len) } else { Ok(field("pos:")?.parse()?) }
    }

    /// The bytes that a call has written, `len` of them.
    fn bytes(&self, from: &From, len: i64) -> Result<Vec<u8>> {
        let mut left = usize::try_from(len)?;
        let mut all = Vec::with_capacity(left);
        let pieces = match *from {
            From::One(at) => vec![(at, left)],
            From::Many(vector, count) => (0..count)
                .map(|index| {
                    let at = vector + index * 16;
                    Ok((self.word(at)?, usize::try_from(self.word(at + 8)?)?))
                })
                .collect::<Result<_>>()?,
        };
        for (at, len) in pieces {
            let mut piece = vec![0; len.min(left)];
            ensure!(self.read(at, &mut piece)? == piece.len(), "what was written cannot be read");
            left -= piece.len();
            all.append(&mut piece);
        }
        Ok(all)
    }
}
