//! Where questions wait for a file system that can keep its readers waiting, beside the judging thread.
//!
//! The content of such a file comes from a process (FUSE) or from another machine, which may take its
//! time or never answer. Whoever reads it, or closes its descriptor, then stands still and cannot be
//! called back. So at most [`READERS_MAX`] threads do nothing else, and the judging thread is handed
//! what they have read.
//!
//! The lane belongs to the judging thread, and nothing of it waits. What holds:
//!
//! 1. A question comes out exactly once: with its content, or given up a moment before its deadline,
//!    early enough to abstain from it.
//! 2. No descriptor that came in is closed by the judging thread.
//! 3. At most [`QUEUE_MAX`] questions wait for a thread, and at most one file per thread is in memory.
//!
//! A thread is *stuck* when the question that it reads for was given up. A slow file system keeps
//! threads busy, and then questions queue; if all threads are stuck there is no hope for the next one,
//! and none is let in.

mod reader;

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};

use outrigger_api::record::EventRecord;
use outrigger_dock::Doorbell;

use crate::content::{ContentAbsent, ReadAhead};
use reader::{Errand, Extent, News, Pread};

/// Most threads.
const READERS_MAX: usize = 4;
/// Most questions that wait for a thread: as many as the host has in the engines' hands at a time.
const QUEUE_MAX: usize = 16;
/// A question is given up so long before its deadline, ns, or an eighth of its time if that is less. The
/// engine has yet to wake up, which takes its time on a busy machine, and the host to take the verdict.
const MARGIN: u64 = 100_000_000;
/// A thread is not taken for stuck before it has been at work for so long, ns.
const AT_WORK: u64 = 50_000_000;

/// The threads, what they do, and what waits for them.
#[derive(Debug)]
pub(crate) struct Lane {
    readers: Vec<Reader>,
    queue: VecDeque<Queued>,
    news: Receiver<(usize, News)>,
    tell: Sender<(usize, News)>,
    bell: Doorbell,
    pread: Pread,
}

/// A question that waits for its content.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) record: EventRecord,
    /// When the engine took it, ns of `CLOCK_MONOTONIC`.
    pub(crate) begun: u64,
    /// When it is given up, ns of `CLOCK_MONOTONIC`.
    until: u64,
}

/// How a question comes out.
#[derive(Debug)]
pub(crate) enum Out {
    /// With what was read.
    Back(Waiting, Result<ReadAhead, ContentAbsent>),
    /// Its file system did not answer.
    GivenUp(Waiting),
}

#[derive(Debug)]
struct Reader {
    errands: Sender<Errand>,
    work: Option<Work>,
}

/// What a thread has in hand.
#[derive(Debug)]
struct Work {
    /// `None` if the question came out, or the file is only to be closed.
    waiting: Option<Waiting>,
    /// When the thread is stuck, ns of `CLOCK_MONOTONIC`.
    stuck_at: u64,
}

#[derive(Debug)]
struct Queued {
    file: OwnedFd,
    waiting: Option<Waiting>,
}

impl Lane {
    /// A lane without threads, which rings `bell` when [`Self::next`] has something.
    pub(crate) fn new(bell: Doorbell) -> Self {
        Self::reading_by(bell, |file, buf, offset| rustix::io::pread(file, buf, offset))
    }

    fn reading_by(bell: Doorbell, pread: Pread) -> Self {
        let (tell, news) = channel();
        Self { readers: Vec::new(), queue: VecDeque::new(), news, tell, bell, pread }
    }

    /// Whether a question has a chance here now; may start a thread for it.
    pub(crate) fn admits(&mut self, now: u64) -> bool {
        self.has_free_reader()
            || !self.is_full() && self.readers.iter().any(|reader| !reader.is_stuck(now))
    }

    /// Whether no more files should be brought.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= QUEUE_MAX
    }

    /// Has `file` read for the question of `record`. Only after [`Self::admits`].
    pub(crate) fn read(&mut self, record: EventRecord, file: OwnedFd, now: u64) {
        let deadline = record.deadline;
        let until = deadline - (deadline.saturating_sub(now) / 8).min(MARGIN);
        let waiting = Some(Waiting { record, begun: now, until });
        self.queue.push_back(Queued { file, waiting });
        self.send_readers(now);
    }

    /// Has a file closed that may be of such a file system.
    pub(crate) fn close(&mut self, file: OwnedFd, now: u64) {
        // An engine that may have no thread more cannot do better than to close it here.
        if self.has_free_reader() || !self.readers.is_empty() {
            self.queue.push_back(Queued { file, waiting: None });
            self.send_readers(now);
        }
    }

    /// The next question that comes out.
    pub(crate) fn next(&mut self, now: u64) -> Option<Out> {
        while let Ok((place, news)) = self.news.try_recv() {
            let work = &mut self.readers[place].work;
            match news {
                News::Read(read) => {
                    if let Some(waiting) = work.as_mut().and_then(|work| work.waiting.take()) {
                        return Some(Out::Back(waiting, read));
                    }
                }
                News::Free => {
                    *work = None;
                    self.send_readers(now);
                }
            }
        }
        let over = self.waiting_mut().find(|slot| slot.as_ref().is_some_and(|w| w.until <= now));
        over.and_then(Option::take).map(Out::GivenUp)
    }

    /// When to look again even if nobody rang, ns of `CLOCK_MONOTONIC`.
    pub(crate) fn wake_at(&mut self) -> Option<u64> {
        self.waiting_mut().filter_map(|slot| slot.as_ref().map(|waiting| waiting.until)).min()
    }

    /// Whether nothing is in the lane, and so nothing can come out.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.readers.iter().all(|reader| reader.work.is_none())
    }

    fn waiting_mut(&mut self) -> impl Iterator<Item = &mut Option<Waiting>> {
        let read = self.readers.iter_mut().filter_map(|reader| reader.work.as_mut());
        let queued = self.queue.iter_mut().map(|queued| &mut queued.waiting);
        read.map(|work| &mut work.waiting).chain(queued)
    }

    /// Whether a thread has nothing to do; starts one if there may be more.
    fn has_free_reader(&mut self) -> bool {
        if self.readers.iter().any(|reader| reader.work.is_none()) {
            return true;
        }
        let place = self.readers.len();
        if place == READERS_MAX {
            return false;
        }
        // It fails at the limit of threads; the engine then does with those that it has.
        let started = reader::start(place, self.tell.clone(), self.bell.clone(), self.pread);
        self.readers.extend(started.map(|errands| Reader { errands, work: None }));
        self.readers.len() > place
    }

    /// Gives free threads what is queued.
    fn send_readers(&mut self, now: u64) {
        let Self { readers, queue, .. } = self;
        for reader in readers.iter_mut().filter(|reader| reader.work.is_none()) {
            let Some(Queued { file, waiting }) = queue.pop_front() else { return };
            let extent = |waiting: &Waiting| Extent {
                deadline: waiting.record.deadline,
                size: waiting.record.attributes.map(|(size, _)| size),
            };
            let errand = Errand { file, read: waiting.as_ref().map(extent) };
            reader.errands.send(errand).expect("a thread lives as long as its errands' sender");
            let until = waiting.as_ref().map_or(0, |waiting| waiting.until);
            let stuck_at = until.max(now.saturating_add(AT_WORK));
            reader.work = Some(Work { waiting, stuck_at });
        }
    }
}

impl Drop for Lane {
    /// Leaves the files that were queued to the threads, which end when they have closed them.
    fn drop(&mut self) {
        let Self { readers, queue, .. } = self;
        for (Queued { file, .. }, reader) in queue.drain(..).zip(readers.iter().cycle()) {
            let errand = Errand { file, read: None };
            reader.errands.send(errand).expect("a thread lives as long as its errands' sender");
        }
    }
}

impl Reader {
    fn is_stuck(&self, now: u64) -> bool {
        self.work.as_ref().is_some_and(|work| work.stuck_at <= now)
    }
}

#[cfg(test)]
mod tests;
