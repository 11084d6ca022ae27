//! Gets the programs into the kernel, each tried alone first.

use std::io;

use libbpf_rs::{Error, Object, ObjectBuilder, OpenObject, PrintLevel, set_print};
use outrigger_api::Event;

use super::record::{EVENTS, KINDS};
use super::sys::WithoutSignals;
use crate::identity::Subjects;

/// The compiled programs, placed as the ELF reader wants them.
static OBJECT: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/process.bpf.o")));

#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

/// The programs' names, in the order of [`EVENTS`].
const PROGRAMS: [&str; KINDS] = ["process_fork", "process_exec", "process_exit"];

/// Inode number of the initial pid namespace (`linux/proc_ns.h`: `PROC_PID_INIT_INO`).
const INITIAL_NAMESPACE: u64 = 0xefff_fffc;

/// Why the kernel did not take the program of an event.
#[derive(Debug, thiserror::Error)]
#[error("the kernel refused the BPF program of {event}{}", hint(*kind))]
pub struct Refused {
    /// Whose program it is.
    pub event: Event,
    kind: libbpf_rs::ErrorKind,
    source: Error,
}

fn hint(kind: libbpf_rs::ErrorKind) -> &'static str {
    match kind {
        libbpf_rs::ErrorKind::PermissionDenied => {
            " (it needs root or CAP_BPF and CAP_PERFMON, and a kernel that is not locked down)"
        }
        libbpf_rs::ErrorKind::NotFound => {
            " (it needs a kernel with type information: CONFIG_DEBUG_INFO_BTF)"
        }
        _ => "",
    }
}

/// What the programs are told before they are loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Size of the ring in bytes: a power of two, at least a page.
    pub(super) ring: u32,
    pidfs_keys: bool,
    /// The host's pid namespace; 0 if it is the initial one.
    namespace: u32,
}

impl Settings {
    /// For this process, whose numbers and keys questions carry too.
    pub(crate) fn of_this_process(ring: u32) -> io::Result<Self> {
        let inode = rustix::fs::stat("/proc/self/ns/pid")?.st_ino;
        let namespace = if inode == INITIAL_NAMESPACE { 0 } else { inode };
        let namespace = u32::try_from(namespace).map_err(|_| io::ErrorKind::InvalidData)?;
        Ok(Self { ring, pidfs_keys: Subjects::probe().by_pidfd(), namespace })
    }

    /// As `process.h` has them.
    pub(crate) fn bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&u32::from(self.pidfs_keys).to_ne_bytes());
        bytes[4..].copy_from_slice(&self.namespace.to_ne_bytes());
        bytes
    }
}

/// Tries the program of one event, and keeps nothing.
pub(super) fn trial(event: Event, settings: Settings) -> Result<(), Refused> {
    load(&[event], settings).map(drop).map_err(|error| refused(event, error))
}

/// An [`Error`] as what it means for `event`.
pub(super) fn refused(event: Event, source: Error) -> Refused {
    Refused { event, kind: source.kind(), source }
}

/// The program's name of an event.
pub(super) fn program(event: Event) -> Option<&'static str> {
    EVENTS.iter().position(|&other| other == event).map(|kind| PROGRAMS[kind])
}

/// Loads the programs of `events`, and the maps.
pub(super) fn load(events: &[Event], settings: Settings) -> Result<Object, Error> {
    // What it would print is in the error, or is the verifier's log, which is long.
    set_print(None::<(PrintLevel, _)>);
    let mut object = ObjectBuilder::default().name("outrigger")?.open_memory(&OBJECT.0)?;
    let wanted: Vec<&str> = events.iter().copied().filter_map(program).collect();
    for mut program in object.progs_mut() {
        let load = wanted.iter().any(|&name| program.name() == name);
        program.set_autoload(load);
    }
    tell(&mut object, settings)?;
    // The kernel gives a load up (EAGAIN) when a signal comes, also one that is then ignored, as that of
    // a child's end may be. libbpf tries five times, which many children use up.
    let _quiet = WithoutSignals::begin();
    object.load()
}

fn tell(object: &mut OpenObject, settings: Settings) -> Result<(), Error> {
    for mut map in object.maps_mut() {
        if map.name() == "ring" {
            map.set_max_entries(settings.ring)?;
        } else if map.name().to_string_lossy().ends_with(".rodata") {
            map.set_initial_value(&settings.bytes())?;
        }
    }
    Ok(())
}
