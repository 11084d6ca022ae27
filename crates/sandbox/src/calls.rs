//! Answers the calls that an engine's filter hands to the host, and reports those refused.
//!
//! One thread per process answers at once, so that a start or an `open` never waits for the host's
//! own work. It decides by the call's number and registers alone, which cannot change under it.
//!
//! **`open` is a log, not a barrier.** The path is in the process' memory and may change after it
//! was read. So an `open` for reading is always let go on: the kernel decides, and the root holds
//! nothing but what was granted. The path only tells whether a refusal is worth a line. Reading it
//! can fault on a page that the process mapped from a file whose server is stopped; that holds up
//! this thread, which serves this process alone.
//!
//! **Code.** A mapping to be executed is the loader's until [`Confined::refuse_code`], by its registers
//! alone: which file a descriptor's number means could be changed by a second thread meanwhile. So this
//! must be called before anything else than its own files is given to the process.
//!
//! [`Confined::refuse_code`]: crate::Confined::refuse_code
//!
//! **Bounded.** At most [`QUEUE`] reports wait, the rest are counted. After [`BURST`] calls the
//! answers are paced, so that a process that calls without pause slows itself and not the host.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use libc::seccomp_notif;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::seccomp::judge::{Judge, Ruling};
use crate::seccomp::names::call_name;
use crate::sys;

/// Reports that wait to be read; more are counted in [`Calls::lost`].
const QUEUE: usize = 256;

/// Calls that are answered without delay: enough to open a large content folder.
const BURST: u32 = 20_000;

/// What a call past the burst waits, and the time in which one more call is put back to the burst.
const PACE: Duration = Duration::from_millis(1);

/// A stack for a thread that keeps one path of at most 4 KiB.
const STACK_BYTES: usize = 64 << 10;

/// A call that a confined process made and did not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedCall {
    /// The calling thread, in the host's pid namespace.
    pub pid: u32,
    /// Its name, or `syscall <number>` for one that this build does not know.
    pub call: Cow<'static, str>,
    /// The path of an open, the command of a `fcntl`, ….
    pub detail: Option<String>,
}

/// The refused calls of one process. Dropping it does not end the answering thread: that ends with
/// the process.
#[derive(Debug)]
pub struct Calls {
    inbox: Arc<Inbox>,
}

#[derive(Debug)]
struct Inbox {
    /// Readable while reports wait. `None` before the process has a filter.
    signal: Option<OwnedFd>,
    reports: Mutex<Reports>,
    /// Whether it may map no more files to execute them.
    has_its_code: AtomicBool,
}

#[derive(Debug, Default)]
struct Reports {
    waiting: VecDeque<RefusedCall>,
    lost: u64,
}

impl RefusedCall {
    /// Whether it would have made another process: a `clone` that is no thread, or an older form of it.
    #[must_use]
    pub fn makes_process(&self) -> bool {
        matches!(&*self.call, "clone" | "fork" | "vfork")
    }
}

impl Calls {
    /// Of a process that has no filter yet.
    pub(crate) fn none() -> Self {
        Self { inbox: Arc::new(Inbox::new(None)) }
    }

    /// Starts the thread that answers `listener` until its process has ended.
    pub(crate) fn watch(name: &str, listener: OwnedFd, visible: Vec<PathBuf>) -> io::Result<Self> {
        let signal = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let inbox = Arc::new(Inbox::new(Some(signal)));
        let mut watch = Watch {
            listener,
            judge: Judge::new(visible),
            inbox: Arc::clone(&inbox),
            burst: Burst::full(Instant::now()),
        };
        thread::Builder::new()
            .name(format!("calls {name}"))
            .stack_size(STACK_BYTES)
            .spawn(move || watch.run())?;
        Ok(Self { inbox })
    }

    /// Readable (`poll(2)`) while [`next`](Self::next) has something.
    #[must_use]
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inbox.signal.as_ref().map(AsFd::as_fd)
    }

    /// The oldest refused call that was not read yet. Never waits.
    #[must_use]
    pub fn next(&self) -> Option<RefusedCall> {
        let mut reports = self.inbox.lock();
        let next = reports.waiting.pop_front();
        if reports.waiting.is_empty()
            && let Some(signal) = &self.inbox.signal
        {
            // Under the lock, so that a report that comes now sets it again.
            let _ = rustix::io::read(signal, &mut [0; 8]);
        }
        next
    }

    /// See [`Confined::refuse_code`](crate::Confined::refuse_code).
    pub(crate) fn refuse_code(&self) {
        self.inbox.has_its_code.store(true, Ordering::Release);
    }

    /// Refused calls that found the queue full, since the start.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inbox.lock().lost
    }
}

impl Inbox {
    fn new(signal: Option<OwnedFd>) -> Self {
        Self { signal, reports: Mutex::default(), has_its_code: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Reports> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, call: RefusedCall) {
        let mut reports = self.lock();
        if reports.waiting.len() >= QUEUE {
            reports.lost += 1;
            return;
        }
        reports.waiting.push_back(call);
        if let Some(signal) = &self.signal {
            let _ = rustix::io::write(signal, &1_u64.to_ne_bytes());
        }
    }
}

struct Watch {
    listener: OwnedFd,
    judge: Judge,
    inbox: Arc<Inbox>,
    burst: Burst,
}

impl Watch {
    fn run(&mut self) {
        while self.wait() {
            match sys::receive_call(self.listener.as_fd()) {
                Ok(Some(call)) => self.answer(&call),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }

    /// Waits for a call; false once the process is gone.
    fn wait(&mut self) -> bool {
        let mut listener = [PollFd::new(&self.listener, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut listener, None)).is_err() {
            return false;
        }
        listener[0].revents().contains(PollFlags::IN)
    }

    fn answer(&mut self, call: &seccomp_notif) {
        self.pace();
        let number = i64::from(call.data.nr);
        // Looked at with the call in hand: one that is made after the refusal finds it.
        if self.inbox.has_its_code.load(Ordering::Acquire) {
            self.judge.refuse_code();
        }
        let ruling = self.judge.rule(number, call.data.args, |address| {
            read_path(call.pid, address).filter(|_| sys::call_waits(self.listener.as_fd(), call.id))
        });
        // Reported first: who sees the refusal finds the report.
        let errno = match ruling {
            Ruling::GoOn => None,
            Ruling::Quiet(errno) => Some(errno),
            Ruling::Report { errno, detail } => {
                self.inbox.report(RefusedCall { pid: call.pid, call: call_name(number), detail });
                errno
            }
        };
        let _ = sys::answer_call(self.listener.as_fd(), call.id, errno);
    }

    /// Takes one call from the burst; waits first where none is left.
    fn pace(&mut self) {
        if self.burst.take(Instant::now()) {
            return;
        }
        thread::sleep(PACE);
    }
}

/// Calls that may still be answered without delay.
#[derive(Debug)]
struct Burst {
    left: u32,
    since: Instant,
}

impl Burst {
    fn full(now: Instant) -> Self {
        Self { left: BURST, since: now }
    }

    /// Puts back one call for each [`PACE`] that has passed, then takes one; false if none is left.
    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.since).as_millis() / PACE.as_millis();
        if let Ok(back @ 1..) = u32::try_from(passed) {
            self.left = self.left.saturating_add(back).min(BURST);
            self.since = now;
        }
        let taken = self.left > 0;
        self.left = self.left.saturating_sub(1);
        taken
    }
}

/// Reads the string at `address` in the memory of thread `pid`: at most one path's length.
fn read_path(pid: u32, address: u64) -> Option<Vec<u8>> {
    let memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut path = vec![0; 4096];
    let mut len = 0;
    while len < path.len() {
        // Page by page: the string may end right before one that is not mapped.
        let at = address.checked_add(u64::try_from(len).ok()?)?;
        let to_page_end = usize::try_from(4096 - at % 4096).ok()?.min(path.len() - len);
        let got = memory.read_at(&mut path[len..len + to_page_end], at).ok()?;
        if let Some(end) = path[len..len + got].iter().position(|byte| *byte == 0) {
            path.truncate(len + end);
            return Some(path);
        }
        if got == 0 {
            return None;
        }
        len += got;
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_burst_comes_back_with_time() {
        let start = Instant::now();
        let mut burst = Burst { left: 1, since: start };

        let first = burst.take(start);
        let spent = burst.take(start);
        let later = burst.take(start + PACE);

        assert_eq!((first, spent, later), (true, false, true));
    }

    #[test]
    fn a_burst_never_grows_over_its_size() {
        let start = Instant::now();
        let mut burst = Burst::full(start);

        burst.take(start + Duration::from_secs(3600));

        assert_eq!(burst.left, BURST - 1);
    }

    #[test]
    fn reports_beyond_the_queue_are_counted() {
        let calls = Calls::none();
        let call = RefusedCall { pid: 1, call: "kill".into(), detail: None };

        (0..=QUEUE).for_each(|_| calls.inbox.report(call.clone()));

        assert_eq!(calls.lost(), 1);
        assert_eq!(std::iter::from_fn(|| calls.next()).count(), QUEUE);
    }
}
