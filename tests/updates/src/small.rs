//! Small file systems of one's own, which can be filled for real.
//!
//! They are mounted where nobody but the thread that asked for them sees them, and go with it.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use tempfile::TempDir;

use crate::{sys, tree};

/// What kind of disk, and what it has too little of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// In memory, of 8 MiB.
    Tmpfs,
    /// In memory, with room for 64 files.
    TmpfsNames,
    /// ext4 with a journal, in an image of 16 MiB.
    Ext4,
    /// The same with room for 64 files.
    Ext4Names,
}

/// How many files fit where they are few.
const NAMES: u32 = 64;

/// Does `work` in a thread that sees mounts of its own.
///
/// # Errors
///
/// Its own, or without root.
pub fn with_own_mounts<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let apart = || {
        sys::own_mounts().context("cannot have mounts of one's own")?;
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        work()
    };
    std::thread::scope(|scope| match scope.spawn(apart).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

/// A file system, mounted until it is dropped.
#[derive(Debug)]
pub struct Small {
    kind: Kind,
    place: TempDir,
}

impl Small {
    /// Makes and mounts one.
    ///
    /// # Errors
    ///
    /// If it cannot be mounted.
    pub fn new(kind: Kind) -> Result<Self> {
        let place = tree::scratch()?;
        let small = Self { kind, place };
        let at = small.disk();
        fs::create_dir(&at)?;
        match kind {
            Kind::Tmpfs | Kind::TmpfsNames => {
                let names = if kind == Kind::Tmpfs { 0 } else { NAMES };
                let options = format!("mode=0755,size=8m,nr_inodes={names}");
                let options = std::ffi::CString::new(options)?;
                mount("small", &at, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))?;
            }
            Kind::Ext4 | Kind::Ext4Names => {
                let image = small.place.path().join("image");
                File::create(&image)?.set_len(16 << 20)?;
                let mut format = Command::new("mkfs.ext4");
                format.args(["-qF", "-m", "0", "-O", "^resize_inode"]);
                if kind == Kind::Ext4Names {
                    format.args(["-N", &NAMES.to_string()]);
                }
                run(format.arg(&image))?;
                run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at))?;
            }
        }
        fs::create_dir(small.root())?;
        Ok(small)
    }

    /// A folder in it.
    pub fn root(&self) -> PathBuf {
        self.disk().join("root")
    }

    fn disk(&self) -> PathBuf {
        self.place.path().join("disk")
    }

    /// What fills it, for whoever is to do that later.
    pub fn filler(&self) -> Filler {
        let names = matches!(self.kind, Kind::TmpfsNames | Kind::Ext4Names);
        Filler { folder: self.disk().join("filler"), names }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // Where it was not mounted there is nothing to do, and else the thread's end does it.
        let _ = unmount(self.disk(), UnmountFlags::DETACH);
    }
}

/// Takes all the room of a file system, or all its names.
#[derive(Debug, Clone)]
pub struct Filler {
    folder: PathBuf,
    names: bool,
}

impl Filler {
    /// Takes them.
    ///
    /// # Errors
    ///
    /// If it stops for another reason than that there is none left.
    pub fn fill(&self) -> Result<()> {
        match fs::create_dir(&self.folder) {
            Ok(()) => {}
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(error).context("cannot fill the disk"),
        }
        if self.names {
            self.take_names()?;
        } else {
            self.take_room()?;
        }
        let (room, names) = free(&self.folder)?;
        let left = if self.names { names } else { room };
        ensure!(left == 0, "the disk is not full: {room} bytes and {names} names are free");
        Ok(())
    }

    /// Gives them back.
    ///
    /// # Errors
    ///
    /// If that cannot be done.
    pub fn empty(&self) -> Result<()> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in entries {
            // A child that another thread has just begun may have it open, and would keep the room of a removed file.
            File::options().write(true).open(entry?.path())?.set_len(0)?;
        }
        Ok(fs::remove_dir_all(&self.folder)?)
    }

    fn take_names(&self) -> Result<()> {
        for number in 0.. {
            ensure!(number < 10 * NAMES, "names without end");
            match File::create(self.folder.join(number.to_string())) {
                Ok(_) => {}
                Err(error) if is_full(&error) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn take_room(&self) -> Result<()> {
        let mut file = match File::create(self.folder.join("room")) {
            Ok(file) => file,
            Err(error) if is_full(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (mut at, mut step) = (0, 1 << 20);
        while step >= 1024 {
            match fallocate(&file, FallocateFlags::KEEP_SIZE, at, step) {
                Ok(()) => at += step,
                Err(Errno::NOSPC) => step /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        // Some take the last block only from whoever writes.
        let mut rest = File::create(self.folder.join("rest")).map_err(anyhow::Error::from);
        if let Ok(rest) = &mut rest {
            while rest.write_all(&[0; 512]).is_ok() {}
        }
        match file.write_all(&[0; 512]) {
            Ok(()) => Ok(()),
            Err(error) => bail!("what was given to the filler is not its own: {error}"),
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::StorageFull
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
    Ok(())
}

/// How many bytes and how many files there is room for on the disk of `path`.
///
/// # Errors
///
/// If nobody can say.
pub fn free(path: &Path) -> Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_bavail * stat.f_frsize, stat.f_favail))
}
