//! The gate: sees that every question ends, whatever the host does, and that every writer goes on.
//!
//! Single-threaded and small. It holds one deadline per question, the host's promise in the slot table,
//! plus a grace; and a budget and the grace for what the host does not even read. When the host is dead
//! or hung the gate answers with the fallback, ends it and clears up after it. It owns the signals by
//! which the kernel says that somebody opens a cached file for writing.
//!
//! While serving it opens nothing, takes no lock and allocates nothing (its seccomp list has no call
//! by which a heap could grow). It sees no byte of any engine.
//!
//! Flow: `Host` serves → (dead or hung) → clean up → `Nobody` reads while the keeper starts a host →
//! the host says ready → `Host`; or, if none is ready within the budget, the gate reads and answers
//! with fallbacks itself until one is.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use outrigger_api::{Answer, EventSet, FailureReason};
use outrigger_sensor::group::Mask;
use outrigger_sensor::page::{Ending, GROUPS_MAX, MarkOwner, Page, Reader, Slot, SlotState, Tally};
use outrigger_sensor::process::{Signal, borrow_number, close_number};
use outrigger_sensor::{Batch, Group, clock, lease};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal as Kill, pidfd_send_signal};

use crate::shared::{SECOND, Shared, hear, signal};

/// How often the gate looks while questions flow, ns.
const TICK: u64 = clock::ms(10);
/// How long a question may be past the host's own deadline, or wait unread beyond a budget, before the
/// host counts as hung, ms. Above what a busy machine's scheduler takes to run a thread of raised
/// priority, and above the usual pauses of a virtual processor.
const GRACE_MS: i32 = 40;
/// The same in ns.
const GRACE: u64 = clock::ms(GRACE_MS.unsigned_abs() as u64);
/// Ticks without a question after which the gate looks less often, and sleeps until one comes or the
/// time is up.
const IDLE_TICKS: u32 = 50;
/// How often it looks then, ns. It must look: a question that the host reads at once shows nothing to who
/// sleeps on the group, and the host can stop with it in hand.
const IDLE_TICK: u64 = clock::ms(40);
/// How soon the gate looks again at a break that it left to the host, ns.
const DEFER_TICK: u64 = 50_000;
/// How long a host may take over putting a file into the cache or out of it while a writer waits, ns.
const DEFER_LIMIT: u64 = clock::ms(30);
/// How long a new host may take until it is ready, ns; one that takes longer is ended.
const START_LIMIT: u64 = 10 * SECOND;
/// How long the gate waits for a killed host to be gone before it clears up all the same, ns: a thread
/// can be stuck in the kernel waiting for a file system's server.
const DEATH_LIMIT: u64 = clock::ms(200);

/// Ticks in a row in which a host must look hung.
const TICKS_MIN: u32 = 6;

/// How long a group has been readable without being read.
#[derive(Debug, Clone, Copy, Default)]
struct Still {
    reads: u64,
    since: u64,
    ticks: u32,
}

/// Runs the gate; ends with the process.
pub(crate) fn run(shared: &'static Shared) -> ! {
    let mut gate = Gate::new(shared);
    // A gate without them is weaker, not none.
    if let Err(error) = outrigger_sandbox::lock_memory() {
        tracing::warn!("the gate's memory is not locked: {error}");
    }
    let refused = outrigger_sandbox::Otherwise::Errno(rustix::io::Errno::PERM.raw_os_error());
    if let Err(error) = outrigger_sandbox::confine_self(&outrigger_sandbox::GATE, refused) {
        tracing::warn!("the gate has no seccomp filter: {error}");
    }
    gate.take_over();
    loop {
        gate.turn();
    }
}

#[expect(clippy::exit, reason = "a clone must not return into the keeper's stack")]
fn end(code: i32) -> ! {
    std::process::exit(code)
}

struct Gate {
    shared: &'static Shared,
    page: Page,
    mask: Mask,
    batch: Batch,
    /// Per group: the host's read counter when last seen, since when it stands still, ns, and for how
    /// many ticks in a row.
    still: [Still; GROUPS_MAX],
    /// Ticks in a row in which a question was past its deadline and the grace.
    overdue_ticks: u32,
    /// Ticks in a row in which the host had been stopped for a budget and the grace.
    stopped_ticks: u32,
    quiet_ticks: u32,
    /// Which host was seen last, and since when.
    host: (u64, u64),
    /// Since when a break is left to the host.
    deferred: Option<u64>,
    /// Since when the host is being ended, and why.
    killed: Option<(u64, FailureReason)>,
}

impl Gate {
    fn new(shared: &'static Shared) -> Self {
        let mask = Mask::of(outrigger_api::Event::askable().collect::<EventSet>());
        Self {
            shared,
            page: shared.page,
            mask,
            batch: Batch::new(),
            still: [Still::default(); GROUPS_MAX],
            overdue_ticks: 0,
            stopped_ticks: 0,
            quiet_ticks: 0,
            host: (0, clock::now()),
            deferred: None,
            killed: None,
        }
    }

    /// Takes over from a gate that died: hears the lease breaks, and answers what it had read.
    fn take_over(&mut self) {
        self.page.header().free_marks(MarkOwner::Gate);
        let own = rustix::process::getpid().as_raw_pid().unsigned_abs();
        for (number, slot) in self.page.used_slots() {
            if matches!(slot.view().state, SlotState::Cached | SlotState::LeasedQuestion) {
                // A number that was closed meanwhile has no lease to hear of.
                let _ = lease::adopt(number, own);
            }
        }
        self.check_all_leases();
        if self.page.header().reader() == Reader::Gate {
            self.sweep(FailureReason::HostDead, Closing::No);
        }
    }

    fn turn(&mut self) {
        let header = self.page.header();
        header.gate_turns.fetch_add(1, Ordering::Release);
        if header.ending() == Ending::HandedOver {
            end(0);
        }
        self.sleep();
        self.hear_signals();
        let now = clock::now();
        let starts = header.host_starts.load(Ordering::Acquire);
        if starts == header.cleaned.load(Ordering::Acquire) {
            self.attend_without_host(now);
            return;
        }
        if self.host.0 != starts {
            self.host = (starts, now);
            self.killed = None;
            self.still = [Still::default(); GROUPS_MAX];
        }
        if let Some((since, reason)) = self.killed {
            if self.host_is_gone() || now.saturating_sub(since) > DEATH_LIMIT {
                self.clean_up(starts, reason, now);
            }
        } else if self.host_is_gone() {
            if header.ending() == Ending::Not {
                self.clean_up(starts, FailureReason::HostDead, now);
            }
        } else {
            match header.reader() {
                Reader::Host | Reader::Draining => {
                    if self.is_hung(now) || !self.deferred_breaks_go_on(now) {
                        self.end_host(FailureReason::HostHung, now);
                    }
                }
                Reader::Nobody | Reader::Gate => {
                    self.attend_without_host(now);
                    if now.saturating_sub(self.host.1) > START_LIMIT
                        && header.reader() != Reader::Host
                        && self.shared.predecessor.is_none()
                    {
                        self.end_host(FailureReason::HostHung, now);
                    }
                }
            }
        }
    }

    /// Waits for a signal, a death, the next tick, or where nothing happens for the next question.
    fn sleep(&mut self) {
        let header = self.page.header();
        let reading = header.reader() == Reader::Gate;
        let idle = self.quiet_ticks >= IDLE_TICKS && header.reader() == Reader::Host;
        let signals = &self.shared.signals;
        let keeper = &self.shared.keeper;
        let host = header.host_pidfd().and_then(borrow_number);
        let host = host.unwrap_or_else(|| rustix::fd::AsFd::as_fd(keeper));
        let group = header.group(0).unwrap_or(Group::from_number(0));
        let mut polled = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(keeper, PollFlags::IN),
            PollFd::new(&host, PollFlags::IN),
            PollFd::new(&group, PollFlags::IN),
        ];
        // A host that is gone, or about to be, stays readable: then only time counts.
        let watched = match (self.killed.is_some() || self.host_is_gone(), idle || reading) {
            (true, _) => &mut polled[..2],
            (false, false) => &mut polled[..3],
            (false, true) => &mut polled[..],
        };
        let nanos = match (self.deferred.is_some(), idle) {
            (true, _) => DEFER_TICK,
            (false, true) => IDLE_TICK,
            (false, false) => TICK,
        };
        let limit = Timespec {
            tv_sec: i64::try_from(nanos / SECOND).unwrap_or(1),
            tv_nsec: i64::try_from(nanos % SECOND).unwrap_or(0),
        };
        // An interruption is as good as a tick.
        let _ = poll(watched, Some(&limit));
        let keeper_died = polled[1].revents().contains(PollFlags::IN);
        if keeper_died {
            self.end_with_keeper();
        }
    }

    /// The keeper died: the groups close when host and gate are gone, and the kernel allows.
    fn end_with_keeper(&self) -> ! {
        // The host says so in the journal first, and ends by itself.
        if let Some(host) = self.host_handle() {
            let limit = Timespec { tv_sec: 0, tv_nsec: 500_000_000 };
            let _ = poll(&mut [PollFd::new(&host, PollFlags::IN)], Some(&limit));
            let _ = pidfd_send_signal(host, Kill::KILL);
        }
        end(1)
    }

    fn hear_signals(&mut self) {
        let mut overflow = false;
        loop {
            let mut broken: [i32; 16] = [-1; 16];
            let mut count = 0;
            let read = self.shared.signals.read(|Signal { number, descriptor }| {
                if number == lease::BREAK_SIGNAL.unsigned_abs() {
                    broken[count] = descriptor;
                    count += 1;
                } else if number == rustix::process::Signal::IO.as_raw().unsigned_abs() {
                    overflow = true;
                }
            });
            broken[..count].iter().for_each(|&number| self.break_lease(number));
            if !read.is_ok_and(|read| read > 0) {
                break;
            }
        }
        if overflow {
            self.check_all_leases();
        }
    }

    fn check_all_leases(&mut self) {
        for (number, _) in self.page.used_slots() {
            self.break_lease(number);
        }
    }

    /// Lets a writer go on: the mark first, then the lease. A signal about a number that is something
    /// else by now changes nothing.
    fn break_lease(&mut self, number: i32) {
        let Some(slot) = self.page.slot(number) else { return };
        let state = slot.view().state;
        let leased =
            matches!(state, SlotState::Cached | SlotState::LeasedQuestion | SlotState::Dropping);
        if !leased || lease::holds(number) {
            return;
        }
        let Some(_lock) = self.page.try_lock_marks(MarkOwner::Gate) else {
            // The host is at it, and done in a moment; unless it is stopped just there.
            self.deferred.get_or_insert_with(clock::now);
            return;
        };
        // What was seen without the lock may have changed before it was taken.
        match slot.view().state {
            SlotState::Cached
                if !lease::holds(number)
                    && slot.exchange(SlotState::Cached, SlotState::Breaking) =>
            {
                self.drop_cached(number, slot);
                self.page.header().add(Tally::LeaseBreaks, 1);
            }
            // The host is still judging it: it sees that the lease is gone and will not cache.
            SlotState::LeasedQuestion if !lease::holds(number) => lease::release(number),
            _ => {}
        }
    }

    /// Looks again at the breaks that were left to the host; false once that takes too long.
    fn deferred_breaks_go_on(&mut self, now: u64) -> bool {
        let Some(since) = self.deferred.take() else { return true };
        self.check_all_leases();
        if self.deferred.is_none() {
            return true;
        }
        self.deferred = Some(since);
        now.saturating_sub(since) < DEFER_LIMIT
    }

    /// Forgets and closes a cached file whose slot this process has taken out of `Cached`.
    fn drop_cached(&self, number: i32, slot: &Slot) {
        if let Some(group) = self.page.header().group(0) {
            lease::forget(group, number, self.mask);
        }
        // Free before closed: once closed, the number can be a new question's.
        slot.set(SlotState::Free);
        self.page.header().take(Tally::Leases);
        close_number(number);
    }

    fn host_handle(&self) -> Option<BorrowedFd<'static>> {
        self.page.header().host_pidfd().and_then(borrow_number)
    }

    fn host_is_gone(&self) -> bool {
        let Some(host) = self.host_handle() else { return true };
        let mut polled = [PollFd::new(&host, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// A question past its deadline and the grace, or a group that stays readable while the host's
    /// read counter stands still for a budget and the grace, or a host that is stopped for as long. Each must be
    /// seen in several ticks in a row: a machine whose processors stood still for a while shows them to whoever
    /// runs first.
    fn is_hung(&mut self, now: u64) -> bool {
        let header = self.page.header();
        let budget = header.budget.load(Ordering::Acquire);
        let mut quiet = true;
        for (index, group) in header.groups() {
            let reads = header.reads[index].load(Ordering::Acquire);
            let still = &mut self.still[index];
            quiet &= reads == still.reads;
            if reads != still.reads || !group.wait(Some(0)).unwrap_or(false) {
                *still = Still { reads, since: now, ticks: 0 };
                continue;
            }
            quiet = false;
            if still.ticks == 0 {
                still.since = now;
            }
            still.ticks = still.ticks.saturating_add(1);
            // The reader of a file system that can block may well be waiting for its server.
            if index == 0
                && still.ticks >= TICKS_MIN
                && now.saturating_sub(still.since) >= budget.saturating_add(GRACE)
            {
                return true;
            }
        }
        let stopped = header.stopped_since.load(Ordering::Acquire);
        if stopped != 0 && now.saturating_sub(stopped) >= budget.saturating_add(GRACE) {
            self.stopped_ticks = self.stopped_ticks.saturating_add(1);
        } else {
            self.stopped_ticks = 0;
        }
        quiet &= stopped == 0 && self.questions().next().is_none();
        self.quiet_ticks = if quiet { self.quiet_ticks.saturating_add(1) } else { 0 };
        let overdue = self.questions().any(|(_, slot)| slot.overdue_ms(now) > GRACE_MS);
        self.overdue_ticks = if overdue { self.overdue_ticks.saturating_add(1) } else { 0 };
        self.overdue_ticks >= TICKS_MIN || self.stopped_ticks >= TICKS_MIN
    }

    fn questions(&self) -> impl Iterator<Item = (i32, &'static Slot)> + use<> {
        self.page.used_slots().filter(|(_, slot)| {
            matches!(slot.view().state, SlotState::Question | SlotState::LeasedQuestion)
        })
    }

    /// Ends a hung host. Its questions are answered at once, by number; nothing is closed before the
    /// host is gone, since it could still answer a number that became another question's.
    fn end_host(&mut self, reason: FailureReason, now: u64) {
        if let Some(host) = self.host_handle() {
            let _ = pidfd_send_signal(host, Kill::KILL);
        }
        self.killed = Some((now, reason));
        self.answer_all(reason);
    }

    fn answer_all(&self, reason: FailureReason) {
        for (number, slot) in self.questions() {
            let view = slot.view();
            self.answer(number, Some(view.event), usize::from(view.group), reason);
        }
    }

    /// Answers one number of one group with the fallback; true if a question waited for it.
    fn answer(&self, number: i32, event: Option<u8>, group: usize, reason: FailureReason) -> bool {
        let header = self.page.header();
        let Some(group) = header.group(group) else { return false };
        let answered = group.answer(number, header.fallback(event).answer()).is_ok();
        if answered {
            header.count_gate_fallback(reason);
        }
        answered
    }

    /// The host is gone: ends its questions, lets every writer go on, closes what it left open.
    fn clean_up(&mut self, starts: u64, reason: FailureReason, now: u64) {
        let header = self.page.header();
        header.set_reader(Reader::Nobody);
        header.host_ready.store(0, Ordering::Release);
        let budget = header.budget.load(Ordering::Acquire);
        // Behind a hung host questions have waited for a budget already.
        let since =
            if reason == FailureReason::HostHung { now.saturating_sub(budget) } else { now };
        header.unattended_since.store(since.max(1), Ordering::Release);
        header.note_host_end(starts, reason);
        // It may have died with it.
        header.free_marks(MarkOwner::Host);
        // Whoever waits comes before all the files to close.
        self.answer_all(reason);
        self.sweep(reason, Closing::Yes);
        header.tallies[Tally::Leases as usize].store(0, Ordering::Relaxed);
        header.cleaned.store(starts, Ordering::Release);
        self.killed = None;
        self.deferred = None;
        signal(&self.shared.to_keeper);
    }

    /// Goes through the whole descriptor table: answers every number that a question waits for,
    /// whether the host had written it down or not, and closes what is not the keeper's.
    fn sweep(&self, reason: FailureReason, closing: Closing) {
        let header = self.page.header();
        let _ = rustix::fs::seek(&self.shared.table, rustix::fs::SeekFrom::Start(0));
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut entries = rustix::fs::RawDir::new(&self.shared.table, &mut buffer);
        while let Some(Ok(entry)) = entries.next() {
            let name = entry.file_name().to_str().unwrap_or("");
            let Ok(number) = name.parse::<i32>() else { continue };
            let Some(slot) = self.page.slot(number) else { continue };
            let view = slot.view();
            let known = matches!(view.state, SlotState::Question | SlotState::LeasedQuestion);
            if matches!(view.state, SlotState::Fixed | SlotState::Orphan) {
                continue;
            }
            let mut may_block = known && view.group != 0;
            if known {
                self.answer(number, Some(view.event), usize::from(view.group), reason);
            } else if view.state == SlotState::Free {
                let asked =
                    header.groups().find(|&(index, _)| self.answer(number, None, index, reason));
                may_block = asked.is_some_and(|(index, _)| index != 0);
            }
            if closing == Closing::No {
                continue;
            }
            if may_block {
                slot.set(SlotState::Orphan);
                continue;
            }
            if view.state != SlotState::Free {
                // In whatever step of putting it in or out the host died.
                match header.group(0) {
                    Some(group) => lease::forget(group, number, self.mask),
                    None => lease::release(number),
                }
                slot.set(SlotState::Free);
            }
            close_number(number);
        }
    }

    /// No host serves: hands over to one that is ready, or answers what waits too long.
    fn attend_without_host(&mut self, now: u64) {
        let header = self.page.header();
        if header.ending() != Ending::Not {
            return;
        }
        let alive =
            header.host_starts.load(Ordering::Acquire) != header.cleaned.load(Ordering::Acquire);
        if alive && header.host_ready.load(Ordering::Acquire) != 0 {
            self.still = [Still::default(); GROUPS_MAX];
            self.quiet_ticks = 0;
            header.served.store(header.host_starts.load(Ordering::Acquire), Ordering::Release);
            header.set_reader(Reader::Host);
            signal(&self.shared.to_host);
            return;
        }
        let Some(group) = header.group(0) else { return };
        let since = header.unattended_since.load(Ordering::Acquire);
        let budget = header.budget.load(Ordering::Acquire);
        let late = since != 0 && now.saturating_sub(since) >= budget;
        if header.reader() == Reader::Nobody && !late {
            return;
        }
        header.set_reader(Reader::Gate);
        let host_lives = alive && !self.host_is_gone();
        while group.wait(Some(0)).unwrap_or(false) && group.read(&mut self.batch).unwrap_or(false) {
            for question in self.batch.questions() {
                if header.is_own(question.pid, host_lives) {
                    // A host that starts must not wait for itself, nor be refused its own files.
                    let _ = group.answer(question.file, Answer::Allow);
                } else {
                    let event = u8::try_from(question.event.index()).ok();
                    self.answer(question.file, event, 0, FailureReason::HostDead);
                }
                close_number(question.file);
                if question.pidfd >= 0 {
                    close_number(question.pidfd);
                }
            }
        }
    }
}

/// Whether a sweep closes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Yes,
    No,
}

/// Empties the wake-up that the gate sends when the host may read.
pub(crate) fn wait_for_turn(shared: &Shared) {
    while shared.page.header().reader() != Reader::Host {
        let mut polled = [PollFd::new(&shared.to_host, PollFlags::IN)];
        let limit = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let _ = poll(&mut polled, Some(&limit));
        hear(&shared.to_host);
    }
}
