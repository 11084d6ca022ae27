//! Gets the plane's programs into the kernel: together where that goes, else each alone.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::btf::Btf;
use libbpf_rs::{
    Error, Link, MapCore, MapFlags, MapHandle, Object, ObjectBuilder, OpenObject, PrintLevel,
    set_print,
};
use outrigger_api::Event;

use super::kernel::{Locks, arguments};
use super::table::{Hook, ROWS, Row, gaps};
use super::{Refused, Settings, Trial};
use crate::bpf::load::Settings as Identities;
use crate::bpf::sys::WithoutSignals;
use crate::bpf::{SensorError, call};
use crate::mounts::MountTable;

#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

/// The compiled families by their names, placed as the ELF reader wants them.
static OBJECTS: &[(&str, &Aligned<[u8]>)] = include!(concat!(env!("OUT_DIR"), "/lsm.rs"));

/// The section with the settings, as far as the kernel keeps its name.
const SETTINGS: &str = ".rodata.set";
/// The family that keeps what is known of processes, and whose maps all others use.
const IDENTITY: &str = "identity";
/// Its program that fills in the processes that are there.
pub(super) const SEED: &str = "identity_seed";
/// The family that finds out whether programs at security hooks are called.
const TRIAL: &str = "trial";

/// What every family needs: the settings, and the object that has the shared maps.
#[derive(Debug)]
pub(super) struct Base {
    object: Object,
    settings: Vec<u8>,
}

impl Base {
    /// Loads the family that all others need.
    pub(super) fn load(settings: &Settings) -> Result<Self, SensorError> {
        let bytes = settings_bytes(settings).map_err(call("cannot find out the own namespaces"))?;
        let load = || {
            let mut object = open(IDENTITY)?;
            tell(&mut object, &bytes, Some(settings.ring))?;
            load_quietly(object)
        };
        Ok(Self { object: load().map_err(SensorError::Load)?, settings: bytes })
    }

    pub(super) const fn object(&self) -> &Object {
        &self.object
    }

    /// A map that all families share.
    pub(super) fn map(&self, name: &str) -> io::Result<MapHandle> {
        let map = self.object.maps().find(|map| map.name() == name);
        let map = map.ok_or(io::ErrorKind::NotFound)?;
        MapHandle::try_from(&map).map_err(io::Error::other)
    }

    /// Loads `programs` of a family, with the shared maps.
    fn load_family(&self, family: &str, programs: &[&str]) -> Result<Object, Error> {
        let mut object = open(family)?;
        for mut program in object.progs_mut() {
            let wanted = programs.iter().any(|&name| program.name() == name);
            program.set_autoload(wanted);
        }
        for mut map in object.maps_mut() {
            if let Some(shared) = self.object.maps().find(|shared| shared.name() == map.name()) {
                // The settings are of each object by themselves.
                if !map.name().to_string_lossy().contains('.') {
                    map.reuse_fd(shared.as_fd())?;
                }
            }
        }
        tell(&mut object, &self.settings, None)?;
        load_quietly(object)
    }
}

/// The programs that are in the kernel.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    objects: Vec<Object>,
    /// Each with its object's place.
    rows: Vec<(Row, usize)>,
}

impl Loaded {
    /// The programs' events, in the order in which they are attached.
    pub(super) fn events(&self) -> impl Iterator<Item = Event> {
        self.rows.iter().map(|(row, _)| row.event)
    }

    /// Attaches the program at a place among [`Self::events`]; one of control groups at `group`, or
    /// without one at the root of them.
    pub(super) fn attach(&self, place: usize, group: Option<BorrowedFd<'_>>) -> io::Result<Link> {
        let (row, object) = self.rows.get(place).ok_or(io::ErrorKind::NotFound)?;
        let object = self.objects.get(*object).ok_or(io::ErrorKind::NotFound)?;
        let program = object.progs_mut().find(|program| program.name() == row.program);
        let program = program.ok_or(io::ErrorKind::NotFound)?;
        let link = match (row.hook, group) {
            (Hook::Lsm(..) | Hook::Exit(..), _) => program.attach(),
            (Hook::Group, Some(group)) => program.attach_cgroup(group.as_raw_fd()),
            (Hook::Group, None) => program.attach_cgroup(root_group()?.as_raw_fd()),
        };
        link.map_err(io::Error::other)
    }

    fn push(&mut self, object: Object, rows: &[Row]) {
        self.rows.extend(rows.iter().map(|&row| (row, self.objects.len())));
        self.objects.push(object);
    }
}

/// Tries every program; gives those that are loaded, and what that means for each event.
pub(super) fn try_all(base: &Base) -> (Loaded, Vec<Trial>) {
    let kernel = Btf::from_vmlinux().ok();
    let security = hooks_are_called(base);
    let (mut loaded, mut refused) = (Loaded::default(), Vec::new());
    for (family, _) in OBJECTS {
        let mut possible = Vec::new();
        for row in ROWS.iter().copied().filter(|row| row.family == *family) {
            match is_possible(row, kernel.as_ref(), &security) {
                Ok(true) => possible.push(row),
                Ok(false) => {}
                Err(why) => refused.push((row, why)),
            }
        }
        load_rows(base, family, &possible, &mut loaded, &mut refused);
    }
    let trials = Event::ALL.iter().map(|&event| trial(event, &loaded, &refused)).collect();
    (loaded, trials)
}

/// Whether a program is one for this kernel; `false` if its hook has other arguments here.
fn is_possible(
    row: Row,
    kernel: Option<&Btf<'_>>,
    security: &Result<(), String>,
) -> Result<bool, String> {
    let kernel = || kernel.ok_or("the kernel has no type information (CONFIG_DEBUG_INFO_BTF)");
    match row.hook {
        Hook::Lsm(..) if security.is_err() && has_group(row.event) => Ok(false),
        Hook::Lsm(hook, wanted) => {
            security.clone()?;
            Ok(arguments(kernel()?, &format!("bpf_lsm_{hook}")) == Some(wanted))
        }
        Hook::Exit(function, wanted) => Ok(arguments(kernel()?, function) == Some(wanted)),
        Hook::Group => Ok(security.is_err()),
    }
}

/// Whether programs of control groups see the event too.
fn has_group(event: Event) -> bool {
    ROWS.iter().any(|row| row.event == event && row.hook == Hook::Group)
}

fn load_rows(
    base: &Base,
    family: &str,
    rows: &[Row],
    loaded: &mut Loaded,
    refused: &mut Vec<(Row, String)>,
) {
    let names: Vec<&str> = rows.iter().map(|row| row.program).collect();
    if names.is_empty() {
        return;
    }
    if let Ok(object) = base.load_family(family, &names) {
        return loaded.push(object, rows);
    }
    // A kernel that may load no program of this kind says so of the first: each try takes a good part of a
    // second, and there is a reason for each of the others.
    let mut none: Option<String> = None;
    for &row in rows {
        if let Some(why) = none.as_ref().filter(|_| matches!(row.hook, Hook::Exit(..))) {
            refused.push((row, why.clone()));
            continue;
        }
        match base.load_family(family, &[row.program]) {
            Ok(object) => loaded.push(object, &[row]),
            Err(error) => {
                let denied = error.kind() == libbpf_rs::ErrorKind::PermissionDenied;
                let exit = matches!(row.hook, Hook::Exit(..));
                none = (denied && exit).then(|| {
                    format!(
                        "the kernel refused the BPF program {} and its kind: {error}",
                        row.program
                    )
                });
                let why = format!("the kernel refused the BPF program {}: {error}", row.program);
                refused.push((row, why));
            }
        }
    }
}

/// What was found for an event.
fn trial(event: Event, loaded: &Loaded, refused: &[(Row, String)]) -> Trial {
    let of = |event| ROWS.iter().filter(move |row| row.event == event);
    let why = |rules: bool| -> Option<String> {
        let fits = |row: &Row| row.event == event && (!rules || row.hook.decides());
        if let Some((_, why)) = refused.iter().find(|(row, _)| fits(row)) {
            return Some(why.clone());
        }
        if loaded.rows.iter().any(|(row, _)| fits(row)) {
            return None;
        }
        let hooks: Vec<&str> = of(event)
            .filter_map(|row| match row.hook {
                Hook::Lsm(hook, _) => Some(hook),
                Hook::Exit(..) | Hook::Group => None,
            })
            .collect();
        Some(match hooks.first() {
            None if rules => "no program that evaluates rules for it is built in".to_owned(),
            None => "no program for it is built in".to_owned(),
            Some(hook) => format!("the kernel has no security hook {hook} that is known"),
        })
    };
    let result = |why: Option<String>| why.map_or(Ok(()), |why| Err(Refused { event, why }));
    let told = result(why(false));
    let ruled = result(why(true));
    let here = |kind: fn(Hook) -> bool| {
        loaded.rows.iter().any(|(row, _)| row.event == event && kind(row.hook))
    };
    let by_group = here(|hook| hook == Hook::Group);
    let gaps = if told.is_ok() { gaps(event, by_group) } else { Vec::new() };
    let sensor = match (here(|hook| matches!(hook, Hook::Lsm(..))), by_group) {
        (true, _) => "lsm",
        (false, true) => "cgroup",
        (false, false) => "bpf",
    };
    Trial { event, sensor, told, ruled, gaps }
}

/// A program at the hook of `file.open` that counts its calls, and does nothing else.
#[derive(Debug)]
pub(super) struct Counting {
    // Dropped first.
    _link: Link,
    object: Object,
}

impl Counting {
    pub(super) fn attach(base: &Base) -> Result<Self, Error> {
        let object = base.load_family(TRIAL, &[TRIAL])?;
        let program = object.progs_mut().find(|program| program.name() == TRIAL);
        let none = || Error::from(io::Error::other("no program to try is built in"));
        let _link = program.ok_or_else(none)?.attach()?;
        Ok(Self { _link, object })
    }

    fn was_called(&self) -> bool {
        let calls = self.object.maps().find(|map| map.name() == "trial_calls");
        let calls = calls.and_then(|map| map.lookup(&[0; 4], MapFlags::ANY).ok().flatten());
        calls.is_some_and(|calls| calls.iter().any(|&byte| byte != 0))
    }
}

/// Whether programs at security hooks are taken and called, or why not.
fn hooks_are_called(base: &Base) -> Result<(), String> {
    let refused =
        |error: Error| format!("the kernel refused a BPF program at a security hook: {error}");
    let counting = Counting::attach(base).map_err(refused)?;
    if std::fs::File::open("/proc/self/stat").is_ok() && counting.was_called() {
        return Ok(());
    }
    Err("the kernel loads BPF programs at security hooks and calls none: \"bpf\" is not among its \
         security modules (boot with lsm=...,bpf)"
        .to_owned())
}

/// The root of the control groups (cgroup v2).
fn root_group() -> io::Result<OwnedFd> {
    let mounts = MountTable::of_this_namespace()?.read()?;
    let point =
        mounts.into_iter().find(|mount| mount.fs_type == "cgroup2").map(|mount| mount.point);
    let point = point.ok_or_else(|| io::Error::other("no cgroup v2 is mounted here"))?;
    Ok(std::fs::File::open(point)?.into())
}

fn open(family: &str) -> Result<OpenObject, Error> {
    // What it would print is in the error, or is the verifier's log, which is long.
    set_print(None::<(PrintLevel, _)>);
    let (_, bytes) = OBJECTS
        .iter()
        .find(|(name, _)| *name == family)
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    ObjectBuilder::default().name("outrigger")?.open_memory(&bytes.0)
}

fn tell(object: &mut OpenObject, settings: &[u8], ring: Option<u32>) -> Result<(), Error> {
    for mut map in object.maps_mut() {
        if let Some(ring) = ring
            && map.name() == OsStr::new("plane_ring")
        {
            map.set_max_entries(ring)?;
        } else if map.name().to_string_lossy().starts_with(SETTINGS) {
            map.set_initial_value(settings)?;
        }
    }
    Ok(())
}

fn load_quietly(object: OpenObject) -> Result<Object, Error> {
    // The kernel gives a load up (EAGAIN) when a signal comes, also one that is then ignored, as that of
    // a child's end may be. libbpf tries five times, which many children use up.
    let _quiet = WithoutSignals::begin();
    object.load()
}

/// As `struct plane_settings` has them.
fn settings_bytes(settings: &Settings) -> io::Result<Vec<u8>> {
    let identities = Identities::of_this_process(settings.ring)?.bytes();
    // A sensor that may not look at process 1 is in a container: what it sees itself is then the machine.
    let mounts = rustix::fs::stat("/proc/1/ns/mnt")
        .or_else(|_| rustix::fs::stat("/proc/self/ns/mnt"))?
        .st_ino;
    let mounts = u32::try_from(mounts).map_err(|_| io::ErrorKind::InvalidData)?;
    let locks = Locks::find();
    let mut bytes = identities.to_vec();
    bytes.extend(mounts.to_ne_bytes());
    bytes.extend([0; 4]);
    bytes.extend(locks.renames.to_ne_bytes());
    bytes.extend(locks.mounts.to_ne_bytes());
    for half in settings.lineage_key.chunks_exact(8) {
        let half = <[u8; 8]>::try_from(half).map_err(|_| io::ErrorKind::InvalidData)?;
        bytes.extend(u64::from_le_bytes(half).to_ne_bytes());
    }
    Ok(bytes)
}
