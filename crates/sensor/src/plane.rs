//! The second plane: every event that a BPF program of ours can see, and rules that decide in the kernel.
//!
//! The programs (`bpf/lsm/`) hang at the kernel's security hooks. Of what somebody wants they put the
//! facts together, evaluate the rules in force, and write a record for whoever is told; they wait for
//! nobody. Other programs, at the scheduler's tracepoints, keep who forked each process and what it has
//! run. They are loaded where the kernel takes no program at a security hook too.
//!
//! # What is found out
//!
//! [`probe`] loads every program, each alone if its family does not load as a whole, so that what the
//! kernel refuses costs one event. Whether programs at security hooks are called at all is found by
//! calling one.
//!
//! # Invariants
//!
//! - Only what somebody wants is attached, and an attached program does nothing for an event that nobody
//!   wants.
//! - Our own processes ([`Plane::set_own`]), and the kernel's, are never evaluated.
//! - Every record that is not told is counted, by event and processor, and said where it is missing.

mod kernel;
mod load;
mod record;
pub mod rules;
mod subject;
mod table;

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use libbpf_rs::{Iter, IterOpts, Link, MapCore, MapFlags, MapHandle};
use outrigger_api::coverage::Gap;
use outrigger_api::{Event, EventSet};

pub use self::record::{RecordError, parse};
pub use self::subject::{MARKS_TIMED, Marks, Subject};
pub use self::table::{gaps, hooks};
use crate::bpf::reader::{Counted, Reader, Record};
use crate::bpf::{RING, SensorError, call, check_ring};
use crate::notice::Seen;

/// Events that there is room for (`plane_record.h`: `PLANE_EVENTS`).
const KINDS: usize = 64;
/// Slots of counters (`plane_record.h`: `PLANE_SLOTS`).
const SLOTS: usize = 256;
/// `enum plane_want`.
const TELL: u32 = 1;
const RULE: u32 = 2;

/// What a plane is told before its programs are loaded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of the ring: a power of two, at least a page.
    pub ring: u32,
    /// The secret by which programs' paths are hashed in lineages; the one that rules are compiled with.
    pub lineage_key: [u8; 16],
    /// Process ids of our own processes, see [`Plane::set_own`].
    pub own: Vec<u32>,
}

impl Default for Settings {
    /// The usual ring, and a key that is no secret: for what compiles no rules.
    fn default() -> Self {
        Self { ring: RING, lineage_key: [0; 16], own: vec![std::process::id()] }
    }
}

/// Why an event is not told of or not decided here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refused {
    /// The event.
    pub event: Event,
    /// Why: what the kernel refused, or what it lacks.
    pub why: String,
}

/// What was found for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// The event.
    pub event: Event,
    /// What sees it, where something does: `lsm`, `cgroup` or `bpf`.
    pub sensor: &'static str,
    /// Whether it can be told of.
    pub told: Result<(), Refused>,
    /// Whether rules can decide it.
    pub ruled: Result<(), Refused>,
    /// What of it passes unseen all the same.
    pub gaps: Vec<Gap>,
}

/// What this kernel lets the plane do for each event of the catalogue, in its order. Needs root.
///
/// # Errors
///
/// If what every program needs is not to be had: the reason stands for all events.
pub fn probe() -> Result<Vec<Trial>, SensorError> {
    let base = load::Base::load(&Settings::default())?;
    Ok(load::try_all(&base).1)
}

/// The programs of the second plane, loaded; attached as far as somebody wants their events.
#[derive(Debug)]
pub struct Plane {
    // Dropped first: hooks before what remembers processes. Each with its place among the programs.
    attached: Vec<(usize, Link)>,
    _identity: Vec<Link>,
    _counting: Option<load::Counting>,
    programs: load::Loaded,
    trials: Vec<Trial>,
    reader: Reader<KINDS, SLOTS>,
    subjects: MapHandle,
    own: MapHandle,
    rules: rules::Rules,
    /// Where programs of control groups are attached; without one at the root.
    group: Option<OwnedFd>,
    /// Keeps the maps that all programs share.
    base: load::Base,
}

impl Plane {
    /// Loads what this kernel takes, and begins to remember processes, those that are there included.
    ///
    /// # Errors
    ///
    /// If processes cannot be remembered: without it the rest is of no use. That the kernel takes no
    /// program at a security hook is none; [`Self::trials`] says so.
    pub fn open(settings: &Settings) -> Result<Self, SensorError> {
        let mut plane = Self::begin(settings)?;
        plane.load();
        Ok(plane)
    }

    /// Begins to remember processes, those that are there included, and loads nothing else yet: it takes a
    /// fraction of the time of [`Self::open`].
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn begin(settings: &Settings) -> Result<Self, SensorError> {
        check_ring(settings.ring)?;
        let base = load::Base::load(settings)?;
        let map = |name: &'static str| {
            base.map(name).map_err(call("the BPF programs lack a map that they share"))
        };
        let (ring, shared) = (map("plane_ring")?, map("plane_shared")?);
        let reader = Reader::open(ring.as_fd(), settings.ring, shared.as_fd(), Event::ALL)
            .map_err(call("cannot map what the BPF programs write to"))?;
        let mut plane = Self {
            attached: Vec::new(),
            _identity: Vec::new(),
            _counting: None,
            programs: load::Loaded::default(),
            trials: Vec::new(),
            reader,
            subjects: map("subjects")?,
            own: map("own")?,
            rules: rules::Rules::new(map("rules")?, &map("plane_front")?)
                .map_err(call("cannot map what the BPF programs look at first"))?,
            group: None,
            base,
        };
        plane.set_own(&settings.own).map_err(call("cannot say which processes are our own"))?;
        plane.remember_processes()?;
        Ok(plane)
    }

    /// Attaches what remembers processes, then fills in those that were there before: whoever is forked
    /// in between gets its memory from a parent that is filled in then.
    fn remember_processes(&mut self) -> Result<(), SensorError> {
        let programs: Vec<_> = self.base.object().progs_mut().collect();
        let (seed, hooks): (Vec<_>, Vec<_>) =
            programs.into_iter().partition(|program| program.name() == load::SEED);
        for program in hooks {
            self._identity.push(program.attach().map_err(SensorError::Load)?);
        }
        for program in seed {
            let link = program.attach_iter_with_opts(IterOpts::None).map_err(SensorError::Load)?;
            let mut walk = Iter::new(&link).map_err(SensorError::Load)?;
            // It writes nothing: reading to the end is what makes it go.
            walk.read_to_end(&mut Vec::new()).map_err(call("cannot walk over the processes"))?;
        }
        Ok(())
    }

    /// Loads what this kernel takes of the rest; takes seconds. To be called once, after [`Self::begin`].
    pub fn load(&mut self) {
        (self.programs, self.trials) = load::try_all(&self.base);
    }

    /// What was found for each event; nothing before [`Self::load`].
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// Programs of control groups, of which there are some where none at security hooks are called, see
    /// what is done in this group (of cgroup v2) and below it, and not what is done in all. To be said
    /// before they are attached.
    pub fn set_group(&mut self, group: OwnedFd) {
        self.group = Some(group);
    }

    /// From now on tells of the events `tell`, and rules decide the events `rule`; as far as this kernel
    /// lets it.
    ///
    /// # Errors
    ///
    /// If a program that was loaded cannot be attached; what was wanted before and still is stays.
    pub fn attach(&mut self, tell: EventSet, rule: EventSet) -> io::Result<()> {
        let want = |event: Event| {
            let told = if tell.contains(event) { TELL } else { 0 };
            let ruled = if rule.contains(event) { RULE } else { 0 };
            told | ruled
        };
        for &event in Event::ALL {
            self.rules.set_want(event.index(), want(event));
        }
        let wanted: Vec<bool> = self.programs.events().map(|event| want(event) != 0).collect();
        self.attached.retain(|(place, _)| wanted.get(*place) == Some(&true));
        let group = self.group.as_ref().map(AsFd::as_fd);
        for (place, _) in wanted.iter().enumerate().filter(|(_, wanted)| **wanted) {
            if self.attached.iter().all(|(attached, _)| *attached != place) {
                self.attached.push((place, self.programs.attach(place, group)?));
            }
        }
        Ok(())
    }

    /// Whether a program that does nothing hangs at `file.open`'s hook, so that what the kernel takes for calling
    /// one can be measured.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn measure_the_call(&mut self, on: bool) -> Result<(), SensorError> {
        self._counting = match on {
            true => Some(load::Counting::attach(&self.base).map_err(SensorError::Load)?),
            false => None,
        };
        Ok(())
    }

    /// The events that a program is attached for.
    pub fn attached(&self) -> EventSet {
        let events: Vec<Event> = self.programs.events().collect();
        self.attached.iter().filter_map(|(place, _)| events.get(*place).copied()).collect()
    }

    /// These processes are our own, as long as they live: nothing that they do is evaluated or told.
    /// Those they fork are not.
    ///
    /// # Errors
    ///
    /// `ESRCH` if there is no such process.
    pub fn set_own(&self, pids: &[u32]) -> io::Result<()> {
        for &pid in pids {
            let pidfd = crate::identity::handle(pid)?;
            let key = pidfd.as_raw_fd().to_ne_bytes();
            self.own.update(&key, &1u32.to_ne_bytes(), MapFlags::ANY).map_err(io::Error::other)?;
        }
        Ok(())
    }

    /// What is remembered of a process, from its pidfd; `None` of one that has ended.
    pub fn subject(&self, pidfd: BorrowedFd<'_>) -> Option<Subject> {
        read_subject(&self.subjects, pidfd)
    }

    /// The memory of processes, for who asks about some while another drains.
    ///
    /// # Errors
    ///
    /// At the limit of descriptors.
    pub fn remembered(&self) -> io::Result<Remembered> {
        let subjects = MapHandle::try_from(&self.subjects).map_err(io::Error::other)?;
        Ok(Remembered { subjects })
    }

    /// Appends what has been seen since the last call to `seen`, in its order; never waits.
    ///
    /// To be called when [`AsFd::as_fd`] is readable, and once before it is waited for.
    ///
    /// # Errors
    ///
    /// `InvalidData` if the ring holds what the programs cannot have written: the plane is of no more
    /// use.
    pub fn drain(&mut self, seen: &mut Vec<Seen>) -> io::Result<()> {
        let parse = |bytes: &[u8]| {
            let parsed = record::read(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let record::Parsed { notice, cpu, lost } = parsed;
            let kind = notice.event.index();
            Ok(Record { notice, cpu, lost: Counted::One(kind, lost) })
        };
        self.reader.drain(seen, parse, |_| {})
    }

    /// Makes the set of rules in force that `image` is (`outrigger_decision::rules`), compiled with the
    /// key of [`Settings::lineage_key`]; see [`rules::replace`].
    ///
    /// # Errors
    ///
    /// As [`rules::replace`]; the set before is then in force still.
    pub fn set_rules(&mut self, image: &[u8]) -> io::Result<()> {
        self.rules.replace(image)
    }

    /// Takes the rules away. Of an event that somebody wants to be told of everybody is told then.
    ///
    /// # Errors
    ///
    /// Whatever the kernel says.
    pub fn clear_rules(&mut self) -> io::Result<()> {
        self.rules.clear()
    }
}

/// What a [`Plane`] remembers of processes, as long as it lives.
#[derive(Debug)]
pub struct Remembered {
    subjects: MapHandle,
}

impl Remembered {
    /// As [`Plane::subject`].
    pub fn subject(&self, pidfd: BorrowedFd<'_>) -> Option<Subject> {
        read_subject(&self.subjects, pidfd)
    }
}

/// What stands in `subjects` for a process. The kernel copies it while programs may write it, in whatever order, so
/// it counts once it has read the same twice: a process that was just beginning a program was seen, once in some
/// thousands of times, with its count of programs raised and the program missing from its lineage.
fn read_subject(subjects: &MapHandle, pidfd: BorrowedFd<'_>) -> Option<Subject> {
    /// More than a process begins programs meanwhile.
    const LOOKS_MAX: usize = 16;
    let key = pidfd.as_raw_fd().to_ne_bytes();
    let look = || Subject::parse(&subjects.lookup(&key, MapFlags::ANY).ok()??);
    let mut seen = look();
    for _ in 0..LOOKS_MAX {
        let now = look();
        if now == seen {
            break;
        }
        seen = now;
    }
    seen
}

impl AsFd for Plane {
    /// Readable when [`Plane::drain`] is due.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}
