//! What is remembered of a process, read from the kernel's memory of it.

use outrigger_api::ProcessKey;
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::bpf::record::Id;

/// Programs of a lineage (`plane.h`: `FACTS_LINEAGE`).
const LINEAGE_MAX: usize = 32;
/// Longest path of a program (`plane.h`: `FACTS_SHORT`).
const SHORT_MAX: usize = 256;
/// Marks that can have a lifetime (`outcome.h`: `MARKS_TIMED`).
pub const MARKS_TIMED: usize = 8;

/// `enum subject_ready`, `enum subject_flags`.
const READY: u32 = 2;
const HAS_EXE: u32 = 1;

/// As `outcome.h` has it.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct RawMarks {
    pub(super) bits: u64,
    pub(super) until: [u64; MARKS_TIMED],
    pub(super) put: [u64; 64],
}

/// As `plane.h` has it.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct RawLineage {
    pub(super) programs: [u64; LINEAGE_MAX],
    pub(super) len: u32,
    pub(super) cut: u32,
}

/// As `plane_record.h` has it, up to what rules keep there.
#[derive(Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Raw {
    pub(super) parent: Id,
    pub(super) inherited: u64,
    pub(super) marks: RawMarks,
    pub(super) ready: u32,
    pub(super) execs: u32,
    pub(super) flags: u32,
    pub(super) exe_len: u32,
    pub(super) lineage: RawLineage,
    pub(super) exe: [u8; SHORT_MAX],
}

/// What is remembered of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Who forked it.
    pub parent: Option<ProcessKey>,
    /// Path of the program that it runs; `None` where it is too long or was not to be found out.
    pub exe: Option<Vec<u8>>,
    /// The programs that it and its ancestors have run, by the hashes of their paths.
    pub lineage: Vec<u64>,
    /// Whether there were more.
    pub lineage_is_cut: bool,
    /// Programs that it has run since it is known: with its key this names what it does.
    pub execs: u32,
    /// Its marks.
    pub marks: Marks,
}

/// The marks of a process, as the kernel has them: which of them count now is for the rules to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// A bit each.
    pub bits: u64,
    /// When the lowest end, ns of `CLOCK_MONOTONIC`; 0: never.
    pub until: [u64; MARKS_TIMED],
    /// The generation of the rules that set each.
    pub put: [u64; 64],
}

impl Subject {
    /// Reads it; `None` if it is not there yet, or of another form than the programs write.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = Raw::read_from_prefix(bytes).ok()?;
        if raw.ready != READY {
            return None;
        }
        let exe = raw.exe.get(..raw.exe_len as usize).filter(|_| raw.flags & HAS_EXE != 0);
        Some(Self {
            parent: raw.parent.key(),
            exe: exe.map(<[u8]>::to_vec),
            lineage: raw.lineage.programs.get(..raw.lineage.len as usize)?.to_vec(),
            lineage_is_cut: raw.lineage.cut != 0,
            execs: raw.execs,
            marks: Marks { bits: raw.marks.bits, until: raw.marks.until, put: raw.marks.put },
        })
    }
}
