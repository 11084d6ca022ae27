//! File systems made for one world: the only ones that anything here may protect.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount};

use crate::World;
use crate::bait;

/// A fresh file system, mounted below the world's folder; it goes with the world.
#[derive(Debug)]
pub struct Volume {
    path: PathBuf,
    upper: Option<PathBuf>,
}

impl Volume {
    /// A tmpfs.
    ///
    /// # Errors
    ///
    /// If it cannot be mounted.
    pub fn tmpfs(world: &World, name: &str) -> Result<Self> {
        let path = folder(world, name)?;
        mount(name, &path, "tmpfs", MountFlags::empty(), Some(c"mode=0777,size=1g"))
            .with_context(|| format!("cannot mount a tmpfs on {}", path.display()))?;
        Ok(Self { path, upper: None })
    }

    /// A tmpfs that holds no more than `size` (`256k`), on the folder `path`, which is made.
    ///
    /// # Errors
    ///
    /// If it cannot be mounted.
    pub fn small_tmpfs(path: &Path, size: &str) -> Result<Self> {
        fs::create_dir_all(path)?;
        let options = std::ffi::CString::new(format!("mode=0755,size={size}"))?;
        mount("small", path, "tmpfs", MountFlags::empty(), Some(options.as_c_str()))
            .with_context(|| format!("cannot mount a tmpfs on {}", path.display()))?;
        Ok(Self { path: path.to_owned(), upper: None })
    }

    /// An ext4 in an image of 128 MiB on a loop device.
    ///
    /// # Errors
    ///
    /// If `mkfs.ext4` or a loop device is missing.
    pub fn ext4(world: &World, name: &str) -> Result<Self> {
        let path = folder(world, name)?;
        let image = world.folder().join(format!("{name}.img"));
        fs::File::create(&image)?.set_len(128 << 20)?;
        run(Command::new("mkfs.ext4").arg("-qF").arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&path))?;
        open_to_all(&path)?;
        Ok(Self { path, upper: None })
    }

    /// An overlay whose layers lie on a tmpfs of their own.
    ///
    /// # Errors
    ///
    /// If it cannot be mounted.
    pub fn overlay(world: &World, name: &str) -> Result<Self> {
        let layers = Self::tmpfs(world, &format!("{name}-layers"))?;
        let layer = |part: &str| -> Result<PathBuf> {
            let path = layers.path.join(part);
            fs::create_dir(&path)?;
            open_to_all(&path)?;
            Ok(path)
        };
        let (lower, upper, work) = (layer("lower")?, layer("upper")?, layer("work")?);
        let path = folder(world, name)?;
        mount_overlay(&lower, Some((&upper, &work)), &path)?;
        Ok(Self { path, upper: Some(upper) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file `name` in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The folder in which an overlay keeps what is changed; `None` for other kinds.
    pub fn upper(&self) -> Option<&Path> {
        self.upper.as_deref()
    }

    /// Writes `content` to its file `name`; see [`bait::put`].
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn put(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.join(name);
        bait::put(&path, content)?;
        Ok(path)
    }

    /// Writes `count` files `f0`, `f1`, … of `size` bytes, each different from the others.
    ///
    /// # Errors
    ///
    /// If one cannot be written.
    pub fn fill(&self, count: usize, size: usize) -> Result<Vec<PathBuf>> {
        let file = |index: usize| {
            let mut content = format!("file {index}\n").into_bytes();
            content.resize(size, b'.');
            self.put(&format!("f{index}"), &content)
        };
        (0..count).map(file).collect()
    }
}

/// Mounts an overlay of `lower` at `path`, writable if an upper and a work folder are given.
///
/// # Errors
///
/// If it cannot be mounted.
pub fn mount_overlay(lower: &Path, writable: Option<(&Path, &Path)>, path: &Path) -> Result<()> {
    let mut options = format!("lowerdir={}", lower.display());
    if let Some((upper, work)) = writable {
        options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
    }
    let options = std::ffi::CString::new(options)?;
    mount("overlay", path, "overlay", MountFlags::empty(), Some(options.as_c_str()))
        .with_context(|| format!("cannot mount an overlay on {}", path.display()))
}

/// Runs `command` to its end.
///
/// # Errors
///
/// If it cannot be started or fails; holds what it said.
pub fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed: {}", said.trim());
    Ok(())
}

fn folder(world: &World, name: &str) -> Result<PathBuf> {
    let path = world.folder().join(name);
    fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

fn open_to_all(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(0o777))?)
}
