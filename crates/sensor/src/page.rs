//! The page that keeper, gate and host share: what must survive the death of each.
//!
//! One anonymous mapping, made by the keeper before it clones anyone, all atomics. Its heart is the
//! *slot table*: one slot per number of the shared descriptor table, saying what the number is. The
//! rules by which nobody closes or answers a number that became somebody else's:
//!
//! - the host alone moves a slot out of `Free`, and back after answering a question;
//! - a cached file (`Cached`) is closed by whoever moves its slot out of that state: the host to
//!   [`SlotState::Dropping`] when it evicts, the gate to [`SlotState::Breaking`] when the kernel
//!   announces a writer. The loser of that exchange leaves the number alone;
//! - ignore marks are added and removed, and leases let go of, under one lock ([`Page::lock_marks`]): a
//!   mark added beside a removal, or while a writer is let in, outlives what it was true for. The gate
//!   only tries the lock, and ends a host that holds it for long;
//! - the gate touches a question only when the host is dead, or was killed for being hung.
//!
//! No memory is unsafe to read at any time: a reader may see a state that is about to change, never
//! half of one.

use std::io;
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};

use outrigger_api::verdict::Fallback;
use outrigger_api::{Event, FailureReason};

use crate::sys;

/// Most groups: one for ordinary file systems, the others for file systems that can block.
pub const GROUPS_MAX: usize = 16;
/// Largest number of descriptors tracked; the process lowers its limit to it.
pub const SLOTS_MAX: usize = 1 << 16;
/// Room for one entry per event of the catalogue.
const EVENTS_MAX: usize = 64;
/// Set in the event of a question about a file system on which nothing is refused.
const MONITORED: u8 = 0x80;
const REASONS_MAX: usize = 64;

/// What a number of the descriptor table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SlotState {
    /// Not tracked: closed, or one of the host's own descriptors.
    Free = 0,
    /// A question waits for its answer.
    Question = 1,
    /// A question waits, and its object is leased already.
    LeasedQuestion = 2,
    /// No question waits; the object's verdict is cached under a lease.
    Cached = 3,
    /// The host is dropping a cached verdict.
    Dropping = 4,
    /// The gate is dropping a cached verdict because somebody opens the file for writing.
    Breaking = 5,
    /// Belongs to the keeper and the gate: never closed by a sweep.
    Fixed = 6,
    /// Answered after its host died, on a file system where closing may block: the next host closes it.
    Orphan = 7,
}

impl SlotState {
    const fn from_bits(bits: u32) -> Self {
        match bits & 0xff {
            1 => Self::Question,
            2 => Self::LeasedQuestion,
            3 => Self::Cached,
            4 => Self::Dropping,
            5 => Self::Breaking,
            6 => Self::Fixed,
            7 => Self::Orphan,
            _ => Self::Free,
        }
    }
}

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotView {
    /// What the number is.
    pub state: SlotState,
    /// What [`Header::fallback`] takes, where it is a question.
    pub event: u8,
    /// Index of the group it came from.
    pub group: u8,
}

impl SlotView {
    const fn bits(self) -> u32 {
        self.state as u32 | (self.event as u32) << 8 | (self.group as u32) << 16
    }

    const fn from_bits(bits: u32) -> Self {
        let [state, event, group, _] = bits.to_le_bytes();
        Self { state: SlotState::from_bits(state as u32), event, group }
    }
}

/// One number of the descriptor table.
#[derive(Debug)]
pub struct Slot {
    word: AtomicU32,
    /// When the host promised the answer, in milliseconds of the monotonic clock (wraps).
    deadline_ms: AtomicU32,
    /// A number for the file that is leased through this descriptor.
    file: AtomicU64,
}

impl Slot {
    /// What the slot says now.
    pub fn view(&self) -> SlotView {
        SlotView::from_bits(self.word.load(Ordering::Acquire))
    }

    /// The host wrote down a question it read; `deadline` in ns of the monotonic clock. On a file system
    /// that is `monitored` nothing is refused, by the gate neither.
    pub fn question(&self, event: Event, monitored: bool, group: u8, deadline: u64) {
        self.deadline_ms.store(wrapped_ms(deadline), Ordering::Relaxed);
        let event = u8::try_from(event.index()).unwrap_or(!MONITORED);
        let event = if monitored { event | MONITORED } else { event };
        let view = SlotView { state: SlotState::Question, event, group };
        self.word.store(view.bits(), Ordering::Release);
    }

    /// Moves to `to` whatever the slot says.
    pub fn set(&self, to: SlotState) {
        let now = self.view();
        self.word.store(SlotView { state: to, ..now }.bits(), Ordering::Release);
    }

    /// Moves from `from` to `to`; false if the slot says something else.
    pub fn exchange(&self, from: SlotState, to: SlotState) -> bool {
        let now = self.word.load(Ordering::Acquire);
        let view = SlotView::from_bits(now);
        view.state == from
            && self
                .word
                .compare_exchange(
                    now,
                    SlotView { state: to, ..view }.bits(),
                    Ordering::AcqRel,
                    Ordering::Acquire,
                )
                .is_ok()
    }

    /// The host is about to lease the file that it knows by this number.
    pub fn name_file(&self, file: u64) {
        self.file.store(file, Ordering::Release);
    }

    /// Whether this descriptor leases, or is about to, the file that the host knows by this number.
    pub fn leases(&self, file: u64) -> bool {
        self.file.load(Ordering::Acquire) == file
            && matches!(
                self.view().state,
                SlotState::LeasedQuestion
                    | SlotState::Cached
                    | SlotState::Dropping
                    | SlotState::Breaking
            )
    }

    /// How long a question is past its deadline, ms; negative before it.
    pub fn overdue_ms(&self, now: u64) -> i32 {
        wrapped_ms(now).wrapping_sub(self.deadline_ms.load(Ordering::Relaxed)).cast_signed()
    }
}

fn wrapped_ms(ns: u64) -> u32 {
    let [a, b, c, d, ..] = (ns / 1_000_000).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Who may read the groups. Never two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reader {
    /// Nobody: questions wait in the kernel, the gate watches the time.
    Nobody = 0,
    /// The host.
    Host = 1,
    /// The gate, with fallbacks, because no host came up within the budget.
    Gate = 2,
    /// The host, which reads nothing new because a new build takes over.
    Draining = 3,
}

impl Reader {
    const fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Host,
            2 => Self::Gate,
            3 => Self::Draining,
            _ => Self::Nobody,
        }
    }
}

/// Who changes ignore marks and lets go of leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum MarkOwner {
    /// The host.
    Host = 1,
    /// The gate.
    Gate = 2,
}

/// The right to change ignore marks, given back when dropped.
#[derive(Debug)]
pub struct MarkLock {
    header: &'static Header,
    owner: MarkOwner,
}

impl Drop for MarkLock {
    fn drop(&mut self) {
        self.header.free_marks(self.owner);
    }
}

/// Whether an end was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Ending {
    /// No.
    Not = 0,
    /// Protection ends: marks are taken away, what waits is allowed.
    Stop = 1,
    /// A new build has taken over the groups: whoever is left of this one touches nothing and ends.
    HandedOver = 2,
}

impl Ending {
    const fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Stop,
            2 => Self::HandedOver,
            _ => Self::Not,
        }
    }
}

/// The fixed part of the page. Fields say who writes them.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Header {
    /// Host: questions read calls made, counted per group; a standing counter shows a hung host.
    pub reads: [AtomicU64; GROUPS_MAX],
    /// Keeper (0) and host (others): number of each group plus one; 0 for none.
    groups: [AtomicI32; GROUPS_MAX],
    /// Host: device of the one file system of a group whose reader can block; 0 for the first group.
    pub devices: [AtomicU64; GROUPS_MAX],
    /// Host: the fallback per event, 0 open, 1 closed.
    fallbacks: [AtomicU8; EVENTS_MAX],
    /// Gate: fallbacks given, by reason.
    pub gate_fallbacks: [AtomicU64; REASONS_MAX],
    /// Host: fallbacks given, by reason.
    pub host_fallbacks: [AtomicU64; REASONS_MAX],
    /// Host, and gate for the host's own end: faults that no question waited for, by reason.
    pub faults: [AtomicU64; REASONS_MAX],
    /// Host: questions asked, by event.
    pub asked: [AtomicU64; EVENTS_MAX],
    /// Host: answers and cache effects, see [`Tally`].
    pub tallies: [AtomicU64; 16],
    /// Keeper.
    pub keeper_pid: AtomicU32,
    /// Keeper.
    pub gate_pid: AtomicU32,
    /// Keeper.
    pub host_pid: AtomicU32,
    /// Keeper: number of the host's pidfd in the table, plus one.
    host_pidfd: AtomicI32,
    /// Keeper: since when the host is stopped by a signal, ns of the monotonic clock; 0 while it is not.
    pub stopped_since: AtomicU64,
    /// Gate: counts its turns; one that stands still shows a stopped gate.
    pub gate_turns: AtomicU64,
    /// Keeper: counts hosts; the gate cleans up once per host.
    pub host_starts: AtomicU64,
    /// Keeper.
    pub gate_starts: AtomicU64,
    /// Gate: the last of `host_starts` that it cleaned up after.
    pub cleaned: AtomicU64,
    /// Gate: the last of `host_starts` that became ready.
    pub served: AtomicU64,
    /// Gate and host: see [`Reader`].
    reader: AtomicU32,
    /// Host: 1 once a host of this keeper had its engines docked and the file systems marked.
    pub marked: AtomicU32,
    /// Host: 1 when it is ready to read.
    pub host_ready: AtomicU32,
    /// Gate: since when nobody serves, ns of the monotonic clock; 0 while the host does.
    pub unattended_since: AtomicU64,
    /// Host: the budget that a hung host is judged by, ns.
    pub budget: AtomicU64,
    /// Host: one more than the largest number that was ever tracked.
    pub high_water: AtomicU32,
    /// Keeper: slots there are.
    slots: AtomicU32,
    /// Host and gate: who changes ignore marks now, 0 for nobody; see [`MarkLock`].
    marks: AtomicU32,
    /// Host and keeper: see [`Ending`].
    ending: AtomicU32,
    /// Host: the `host_starts` of one that ends by itself to be started anew; that is no fault.
    planned_end: AtomicU64,
    /// Gate: why the last host ended, an index plus one; 0 for none, or once the next host has told it.
    host_end: AtomicU32,
    /// Keeper: 1 if the last host died by a fault of its own, until the next one has asked.
    host_crash: AtomicU32,
}

/// Counters of [`Header::tallies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Tally {
    /// Answers Allow.
    Allowed,
    /// Answers Deny.
    Denied,
    /// Denials not enforced by Monitor mode.
    WouldDeny,
    /// Denials not enforced by a guard rail.
    Conflicts,
    /// Verdicts put into the cache.
    Cached,
    /// Cached verdicts dropped for a writer.
    LeaseBreaks,
    /// Cached verdicts dropped to make room.
    Evicted,
    /// Leases held now.
    Leases,
    /// Questions about empty files that no engine was asked, since all had allowed empty content before.
    Empty,
}

/// The page, mapped in keeper, gate and host at once and never unmapped.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    header: &'static Header,
    slots: &'static [Slot],
}

impl Page {
    /// Makes the page with `slots` slots, at most [`SLOTS_MAX`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn create(slots: usize) -> io::Result<Self> {
        let slots = slots.min(SLOTS_MAX);
        let (header, table) = sys::map_page(slots)?;
        header.slots.store(u32::try_from(slots).unwrap_or(u32::MAX), Ordering::Relaxed);
        Ok(Self { header, slots: table })
    }

    /// The fixed part.
    pub fn header(&self) -> &'static Header {
        self.header
    }

    /// The slot of a number; `None` beyond the table.
    pub fn slot(&self, number: i32) -> Option<&'static Slot> {
        self.slots.get(usize::try_from(number).ok()?)
    }

    /// The slots that were ever used, with their numbers.
    pub fn used_slots(&self) -> impl Iterator<Item = (i32, &'static Slot)> + use<> {
        let end = self.header.high_water.load(Ordering::Acquire) as usize;
        let slots = self.slots;
        (0..).zip(&slots[..end.min(slots.len())])
    }

    /// Makes sure that [`Page::used_slots`] goes up to `number`.
    pub fn note_used(&self, number: i32) {
        let end = u32::try_from(number).unwrap_or(0).saturating_add(1);
        if self.header.high_water.load(Ordering::Relaxed) < end {
            self.header.high_water.fetch_max(end, Ordering::AcqRel);
        }
    }

    /// Takes the right to change ignore marks; waits for the other side, which keeps it for a few calls.
    pub fn lock_marks(&self, owner: MarkOwner) -> MarkLock {
        loop {
            if let Some(lock) = self.try_lock_marks(owner) {
                return lock;
            }
            std::thread::yield_now();
        }
    }

    /// Takes the right to change ignore marks if nobody has it.
    pub fn try_lock_marks(&self, owner: MarkOwner) -> Option<MarkLock> {
        let marks = &self.header.marks;
        marks
            .compare_exchange(0, owner as u32, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
            .then_some(MarkLock { header: self.header, owner })
    }

    /// Number of slots.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether the page has no slot; it always has.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl Header {
    /// The group at `index`, by its number.
    pub fn group(&self, index: usize) -> Option<crate::Group> {
        let stored = self.groups.get(index)?.load(Ordering::Acquire);
        (stored > 0).then(|| crate::Group::from_number(stored - 1))
    }

    /// Every group, with its index.
    pub fn groups(&self) -> impl Iterator<Item = (usize, crate::Group)> + '_ {
        (0..GROUPS_MAX).filter_map(|index| Some((index, self.group(index)?)))
    }

    /// Publishes a group.
    pub fn set_group(&self, index: usize, group: Option<crate::Group>) {
        let stored = group.map_or(0, |group| group.number() + 1);
        self.groups[index].store(stored, Ordering::Release);
    }

    /// Number of the host's pidfd in the table.
    pub fn host_pidfd(&self) -> Option<i32> {
        let stored = self.host_pidfd.load(Ordering::Acquire);
        (stored > 0).then(|| stored - 1)
    }

    /// Publishes the host's pidfd.
    pub fn set_host_pidfd(&self, number: Option<i32>) {
        self.host_pidfd.store(number.map_or(0, |number| number + 1), Ordering::Release);
    }

    /// Whether the process is the keeper, the gate or the host, of which the caller says that it lives. A
    /// question of theirs is nobody's to decide.
    pub fn is_own(&self, pid: u32, host_lives: bool) -> bool {
        let is = |own: &AtomicU32| own.load(Ordering::Acquire) == pid;
        pid != 0
            && (is(&self.keeper_pid) || is(&self.gate_pid) || (host_lives && is(&self.host_pid)))
    }

    /// Who reads.
    pub fn reader(&self) -> Reader {
        Reader::from_bits(self.reader.load(Ordering::Acquire))
    }

    /// Says who reads from now on.
    pub fn set_reader(&self, reader: Reader) {
        self.reader.store(reader as u32, Ordering::Release);
    }

    /// Moves the right to read; false if it stood elsewhere.
    pub fn pass_reader(&self, from: Reader, to: Reader) -> bool {
        self.reader
            .compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// The fallback for what a slot says of a question's event; the strictest of all where nobody wrote
    /// it down.
    pub fn fallback(&self, event: Option<u8>) -> Fallback {
        let closed = match event {
            Some(index) if index & MONITORED != 0 => false,
            Some(index) if usize::from(index) < Event::ALL.len() => {
                self.fallbacks[usize::from(index)].load(Ordering::Acquire) != 0
            }
            _ => (0..Event::ALL.len()).any(|i| self.fallbacks[i].load(Ordering::Acquire) != 0),
        };
        if closed { Fallback::Closed } else { Fallback::Open }
    }

    /// Publishes the fallback for an event.
    pub fn set_fallback(&self, event: Event, fallback: Fallback) {
        let bits = u8::from(fallback == Fallback::Closed);
        self.fallbacks[event.index()].store(bits, Ordering::Release);
    }

    /// Takes the right to change ignore marks from one who died with it.
    pub fn free_marks(&self, owner: MarkOwner) {
        // Of somebody else's right nothing is taken.
        let _ = self.marks.compare_exchange(owner as u32, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Whether an end was asked for.
    pub fn ending(&self) -> Ending {
        Ending::from_bits(self.ending.load(Ordering::Acquire))
    }

    /// Asks for an end.
    pub fn set_ending(&self, ending: Ending) {
        self.ending.store(ending as u32, Ordering::Release);
    }

    /// Counts a fallback that the gate gave.
    pub fn count_gate_fallback(&self, reason: FailureReason) {
        self.gate_fallbacks[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a fault that no question waited for.
    pub fn count_fault(&self, reason: FailureReason) {
        self.faults[reason.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// The running host ends by itself, to be started anew.
    pub fn plan_host_end(&self) {
        let own = self.host_starts.load(Ordering::Acquire);
        self.planned_end.store(own, Ordering::Release);
    }

    /// Counts the end of host number `starts` and leaves a note of it for the next one, unless it was
    /// planned.
    pub fn note_host_end(&self, starts: u64, reason: FailureReason) {
        if self.planned_end.load(Ordering::Acquire) == starts {
            return;
        }
        self.count_fault(reason);
        let index = u32::try_from(reason.index()).unwrap_or(0);
        self.host_end.store(index.saturating_add(1), Ordering::Release);
    }

    /// Why the host before this one ended, if that was not planned and was not asked before.
    pub fn take_host_end(&self) -> Option<FailureReason> {
        let index = self.host_end.swap(0, Ordering::AcqRel).checked_sub(1)?;
        FailureReason::ALL.get(usize::try_from(index).ok()?).copied()
    }

    /// Whether the gate ended the last host because it hung, which the next one has not told yet.
    pub fn host_hung(&self) -> bool {
        let hung = u32::try_from(FailureReason::HostHung.index()).unwrap_or(0).saturating_add(1);
        self.host_end.load(Ordering::Acquire) == hung
    }

    /// The host died by a fault of its own, and nobody ended it.
    pub fn note_host_crash(&self) {
        self.host_crash.store(1, Ordering::Release);
    }

    /// Whether the host before this one did, if that was not asked before.
    pub fn take_host_crash(&self) -> bool {
        self.host_crash.swap(0, Ordering::AcqRel) != 0
    }

    /// Adds to a tally.
    pub fn add(&self, tally: Tally, count: u64) {
        self.tallies[tally as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Takes one from a tally that counts what is held now.
    pub fn take(&self, tally: Tally) {
        self.tallies[tally as usize].fetch_sub(1, Ordering::Relaxed);
    }

    /// Reads a tally.
    pub fn tally(&self, tally: Tally) -> u64 {
        self.tallies[tally as usize].load(Ordering::Relaxed)
    }
}

const _: () = assert!(Event::ALL.len() <= EVENTS_MAX && FailureReason::ALL.len() <= REASONS_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Page {
        Page::create(64).expect("anonymous memory can be mapped")
    }

    #[test]
    fn one_of_two_droppers_wins_a_cached_slot() {
        let page = page();
        let slot = page.slot(9).expect("slot 9 exists");
        slot.question(Event::FileOpen, false, 0, 0);
        slot.set(SlotState::Cached);

        let gate = slot.exchange(SlotState::Cached, SlotState::Breaking);
        let host = slot.exchange(SlotState::Cached, SlotState::Dropping);

        assert!(gate);
        assert!(!host);
    }

    #[test]
    fn a_question_is_overdue_after_its_deadline() {
        let page = page();
        let slot = page.slot(3).expect("slot 3 exists");

        slot.question(Event::ProcessExec, false, 2, 5_000_000_000);

        assert_eq!(slot.overdue_ms(4_990_000_000), -10);
        assert_eq!(slot.overdue_ms(5_020_000_000), 20);
        assert_eq!(slot.view().group, 2);
    }

    #[test]
    fn an_unknown_event_gets_the_strictest_fallback() {
        let page = page();
        page.header().set_fallback(Event::ProcessExec, Fallback::Closed);

        let open = u8::try_from(Event::FileOpen.index()).expect("few events");

        assert_eq!(page.header().fallback(Some(open)), Fallback::Open);
        assert_eq!(page.header().fallback(None), Fallback::Closed);
    }

    #[test]
    fn nothing_is_refused_on_a_monitored_file_system() {
        let page = Page::create(8).expect("memory for eight slots");
        page.header().set_fallback(Event::ProcessExec, Fallback::Closed);
        let slot = page.slot(3).expect("there are eight");

        slot.question(Event::ProcessExec, true, 0, 0);
        let monitored = page.header().fallback(Some(slot.view().event));
        slot.question(Event::ProcessExec, false, 0, 0);
        let enforced = page.header().fallback(Some(slot.view().event));

        assert_eq!((monitored, enforced), (Fallback::Open, Fallback::Closed));
    }

    #[test]
    fn a_hosts_end_is_told_once_to_the_next_and_a_planned_one_never() {
        let page = page();
        let header = page.header();
        header.host_starts.store(1, Ordering::Release);

        header.note_host_end(1, FailureReason::HostHung);
        assert!(header.host_hung());
        let told = [header.take_host_end(), header.take_host_end()];
        header.host_starts.store(2, Ordering::Release);
        header.plan_host_end();
        header.note_host_end(2, FailureReason::HostDead);

        assert_eq!(told, [Some(FailureReason::HostHung), None]);
        assert_eq!(header.take_host_end(), None);
        header.note_host_crash();
        assert_eq!([header.take_host_crash(), header.take_host_crash()], [true, false]);
        let counted = |reason: FailureReason| header.faults[reason.index()].load(Ordering::Relaxed);
        assert_eq!(counted(FailureReason::HostHung), 1);
        assert_eq!(counted(FailureReason::HostDead), 0);
    }

    #[test]
    fn numbers_beyond_the_table_have_no_slot() {
        assert!(page().slot(64).is_none());
        assert!(page().slot(-1).is_none());
    }
}
