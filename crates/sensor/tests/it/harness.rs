//! File systems of one test's own, and a sensor on them.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use outrigger_api::settings::ProtectMode;
use outrigger_api::{Event, EventSet};
use outrigger_sensor::changes::{EVENTS, FileSensor, MarkError};
use outrigger_sensor::notice::{Notice, Seen};
use outrigger_sensor::process::enter_new_mount_namespace;
use outrigger_sensor::volumes::Volume;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};

/// A folder in this thread's own mount namespace, with a file system of the test's own on it.
pub(crate) struct Scene {
    folder: tempfile::TempDir,
    mounted: Vec<PathBuf>,
}

impl Scene {
    /// A tmpfs on `folder/files`; `None` without root, and said so.
    pub(crate) fn tmpfs() -> Option<Self> {
        let mut scene = Self::empty()?;
        let files = scene.place("files");
        let options = Some(c"mode=0777,size=256m");
        mount("files", &files, "tmpfs", MountFlags::empty(), options).expect("a tmpfs");
        scene.mounted.push(files);
        Some(scene)
    }

    /// An ext4 on `folder/files`; `None` without root or a loop device, and said so.
    pub(crate) fn ext4() -> Option<Self> {
        let mut scene = Self::empty()?;
        let image = scene.folder.path().join("image");
        let file = fs::File::create(&image).expect("an image");
        file.set_len(32 << 20).expect("its size");
        if !done(Command::new("mkfs.ext4").arg("-qF").arg(&image)) || !scene.mount_image("image") {
            eprintln!("SKIPPED: needs mkfs.ext4 and a loop device");
            return None;
        }
        Some(scene)
    }

    /// Mounts a copy of the image of [`Scene::ext4`] beside it, from now on [`Scene::files`].
    pub(crate) fn mount_copy(&mut self) {
        let folder = self.folder.path();
        fs::copy(folder.join("image"), folder.join("copy")).expect("a copy");
        assert!(self.mount_image("copy"), "a second loop device");
    }

    fn mount_image(&mut self, image: &str) -> bool {
        let place = self.place(&format!("{image}-files"));
        let image = self.folder.path().join(image);
        let mounted = done(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&place));
        if mounted {
            self.mounted.push(place);
        }
        mounted
    }

    /// An overlay over a tmpfs, as a container has it; `None` without root, and said so.
    pub(crate) fn overlay() -> Option<Self> {
        let mut scene = Self::tmpfs()?;
        let layer = |name| {
            let layer = scene.at(name);
            fs::create_dir(&layer).expect("a layer");
            layer.display().to_string()
        };
        let (lower, upper, work) = (layer("lower"), layer("upper"), layer("work"));
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let options = std::ffi::CString::new(options).expect("no zero byte");
        let place = scene.place("overlay");
        let flags = MountFlags::empty();
        mount("overlay", &place, "overlay", flags, Some(options.as_c_str())).expect("an overlay");
        scene.mounted.push(place);
        Some(scene)
    }

    fn empty() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: needs root");
            return None;
        }
        enter_new_mount_namespace().expect("a mount namespace");
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).expect("private mounts");
        let folder = tempfile::tempdir().expect("a folder");
        Some(Self { folder, mounted: Vec::new() })
    }

    fn place(&self, name: &str) -> PathBuf {
        let place = self.folder.path().join(name);
        fs::create_dir(&place).expect("a mount point");
        place
    }

    /// Where the file system is mounted.
    pub(crate) fn files(&self) -> &Path {
        self.mounted.last().expect("one is mounted")
    }

    /// The file or folder `name` in it.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.files().join(name)
    }

    /// Mounts the folder `name` of the file system on a place of its own, from now on [`Scene::files`].
    pub(crate) fn bind(&mut self, name: &str) {
        let place = self.place("bound");
        mount_bind(self.at(name), &place).expect("a bind mount");
        self.mounted.push(place);
    }

    /// A sensor that tells of every change to it.
    pub(crate) fn sensor(&self) -> FileSensor {
        self.sensor_for(EVENTS)
    }

    /// A sensor that tells of these events.
    pub(crate) fn sensor_for(&self, events: EventSet) -> FileSensor {
        let mut sensor = FileSensor::open(events).expect("a sensor");
        mark(&mut sensor, self.files(), "tmpfs").expect("a mark");
        sensor
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What is not unmounted goes with the namespace, a moment after its last thread.
        for place in self.mounted.iter().rev() {
            let _ = unmount(place, UnmountFlags::DETACH);
        }
    }
}

fn done(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// Marks the file system mounted at `point`.
pub(crate) fn mark(sensor: &mut FileSensor, point: &Path, fs_type: &str) -> Result<(), MarkError> {
    let fd = openat(CWD, point, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).expect("its point");
    sensor.mark(&volume(point, fs_type), fd.as_fd())
}

/// A volume as [`outrigger_sensor::volumes`] finds it.
pub(crate) fn volume(point: &Path, fs_type: &str) -> Volume {
    Volume {
        device: 0,
        point: point.to_owned(),
        fs_type: fs_type.to_owned(),
        group: Some(0),
        mode: ProtectMode::Enforce,
        cacheable: false,
        reason: None,
    }
}

/// All that waits in `sensor`.
pub(crate) fn drain(sensor: &mut FileSensor) -> Vec<Seen> {
    let mut seen = Vec::new();
    while sensor.drain(&mut seen).expect("readable") {}
    seen
}

/// All that waits in `sensor`, of which nothing may be lost.
pub(crate) fn notices(sensor: &mut FileSensor) -> Vec<Notice> {
    drain(sensor)
        .into_iter()
        .map(|seen| match seen {
            Seen::Notice(notice) => notice,
            Seen::Loss(loss) => panic!("{loss:?}"),
        })
        .collect()
}

/// Event and path, below the file system's place, of each notice.
pub(crate) fn told<'a>(scene: &Scene, notices: &'a [Notice]) -> Vec<(Event, Option<&'a str>)> {
    notices.iter().map(|notice| (notice.event, below(scene, notice.path.as_deref()))).collect()
}

/// A path as it continues below the file system's place, which must lead to it.
pub(crate) fn below<'a>(scene: &Scene, path: Option<&'a [u8]>) -> Option<&'a str> {
    let path = Path::new(str::from_utf8(path?).expect("text"));
    Some(path.strip_prefix(scene.files()).expect("of the file system").to_str().expect("text"))
}
