//! The journal: what an operator must be able to read afterwards, one JSON object per line.
//!
//! Denials, fallbacks, engines' lives, coverage lost, starts and ends of the platform's own processes.
//! A thread of its own writes, so that a disk that is full or slow holds nobody up: what does not fit
//! the bounded channel, and what the disk did not take, is counted and said in the next line that is
//! written. The file is rotated by size.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outrigger_api::FailureReason;
use serde_json::{Value, json};

use super::private;

/// Lines that may wait for the disk.
const WAITING_MAX: usize = 4096;
/// Size after which the file is set aside, bytes. One older file is kept.
const FILE_MAX: u64 = 16 << 20;
/// Lines of one kind per second; what is beyond is summed up.
const LINES_PER_SECOND: u32 = 50;

/// Where lines go in. Clones share one writer.
#[derive(Debug, Clone)]
pub(crate) struct Journal {
    lines: SyncSender<Line>,
    state: Arc<State>,
}

/// Why something could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Trouble {
    /// The disk, or what we may have of it, is full.
    Full = 1,
    /// Something else, which the log names.
    Other = 2,
}

impl From<&std::io::Error> for Trouble {
    fn from(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Other,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// Lines that found the channel full and of which that was not written yet.
    overflowed: AtomicU64,
    /// Lines that the disk did not take and of which that was not written yet.
    unwritten: AtomicU64,
    /// What the last write met, as a [`Trouble`]; 0 for nothing.
    trouble: AtomicU8,
}

#[derive(Debug)]
enum Line {
    Entry { kind: &'static str, value: Value },
    Retry,
    Flush(SyncSender<()>),
}

impl Journal {
    /// Starts the writer for `folder/journal.jsonl`. A folder that cannot be written is no reason not
    /// to protect: it is a problem that [`Journal::trouble`] tells.
    pub(crate) fn start(folder: &Path) -> std::io::Result<Self> {
        let (lines, incoming) = sync_channel(WAITING_MAX);
        let state = Arc::new(State::default());
        let writer = Writer {
            path: folder.join("journal.jsonl"),
            file: None,
            size: 0,
            state: Arc::clone(&state),
            second: 0,
            written: std::collections::BTreeMap::new(),
            trouble: None,
        };
        std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&incoming))?;
        Ok(Self { lines, state })
    }

    /// Writes one line: `kind`, and the fields of `value`. Never waits.
    pub(crate) fn write(&self, kind: &'static str, value: Value) {
        if self.lines.try_send(Line::Entry { kind, value }).is_err() {
            self.state.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Why the last line could not be written; `None` if it was.
    pub(crate) fn trouble(&self) -> Option<Trouble> {
        let trouble = self.state.trouble.load(Ordering::Relaxed);
        [Trouble::Full, Trouble::Other].into_iter().find(|known| *known as u8 == trouble)
    }

    /// Lines that were not written and of which that was not said in the journal yet.
    pub(crate) fn lost(&self) -> u64 {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        count(&self.state.overflowed).saturating_add(count(&self.state.unwritten))
    }

    /// Has what could not be said be tried again: there may be nothing new to write for long. Never waits.
    pub(crate) fn retry(&self) {
        // A channel that is full holds lines, and each is a try.
        let _ = self.lines.try_send(Line::Retry);
    }

    /// Waits until what was written so far is on disk, at most `limit`.
    pub(crate) fn flush(&self, limit: Duration) {
        let (done, finished) = sync_channel(1);
        if self.lines.try_send(Line::Flush(done)).is_ok() {
            // At the limit the disk is stuck; ending is more important.
            let _ = finished.recv_timeout(limit);
        }
    }
}

struct Writer {
    path: PathBuf,
    file: Option<File>,
    size: u64,
    state: Arc<State>,
    second: u64,
    written: std::collections::BTreeMap<&'static str, u32>,
    /// What was last in the way of a line, and in the kernel's words.
    trouble: Option<(Trouble, String)>,
}

impl Writer {
    fn run(mut self, incoming: &Receiver<Line>) {
        while let Ok(line) = incoming.recv() {
            match line {
                Line::Entry { kind, value } => self.entry(kind, value),
                Line::Retry => self.tell_lost(),
                Line::Flush(done) => {
                    self.sum_up();
                    if let Some(file) = &self.file {
                        // A failure shows at the next line.
                        let _ = file.sync_data();
                    }
                    let _ = done.send(());
                }
            }
        }
    }

    fn entry(&mut self, kind: &'static str, value: Value) {
        let second = now_ms() / 1000;
        if second != self.second {
            self.sum_up();
            self.second = second;
        }
        let written = self.written.entry(kind).or_insert(0);
        *written = written.saturating_add(1);
        if *written <= LINES_PER_SECOND {
            // Where they are missing, not after what came later.
            self.tell_lost();
            if !self.put(kind, value) {
                self.state.unwritten.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says how much of each kind was not written in the second that ends, and what was lost.
    fn sum_up(&mut self) {
        for (kind, count) in std::mem::take(&mut self.written) {
            if let Some(beyond @ 1..) = count.checked_sub(LINES_PER_SECOND)
                && !self.put("more", json!({ "of": kind, "count": beyond }))
            {
                self.state.unwritten.fetch_add(beyond.into(), Ordering::Relaxed);
            }
        }
        self.tell_lost();
    }

    /// Says what was lost, if anything was. What cannot be said now is said later.
    fn tell_lost(&mut self) {
        let overflowed = self.state.overflowed.load(Ordering::Relaxed);
        let why = "the journal's disk was too slow";
        if overflowed > 0 && self.put("lost", json!({ "count": overflowed, "why": why })) {
            self.state.overflowed.fetch_sub(overflowed, Ordering::Relaxed);
        }
        let unwritten = self.state.unwritten.load(Ordering::Relaxed);
        if unwritten == 0 {
            return;
        }
        let reason = self.trouble.as_ref().filter(|(trouble, _)| *trouble == Trouble::Full);
        let value = json!({
            "count": unwritten,
            "reason": reason.map(|_| FailureReason::DiskFull),
            "why": self.trouble.as_ref().map(|(_, why)| why),
        });
        if self.put("lost", value) {
            self.state.unwritten.fetch_sub(unwritten, Ordering::Relaxed);
        }
    }

    /// Writes one line; whether the disk took it.
    fn put(&mut self, kind: &str, mut value: Value) -> bool {
        if let Some(object) = value.as_object_mut() {
            object.insert("time_ms".into(), now_ms().into());
            object.insert("kind".into(), kind.into());
        }
        let mut bytes = value.to_string().into_bytes();
        bytes.push(b'\n');
        let before = self.state.trouble.load(Ordering::Relaxed);
        let trouble = match self.append(&bytes) {
            Ok(()) => 0,
            Err(error) => {
                let trouble = Trouble::from(&error);
                if before != trouble as u8 {
                    let path = self.path.display();
                    tracing::error!(%path, %error, "the journal cannot be written");
                }
                self.trouble = Some((trouble, error.to_string()));
                trouble as u8
            }
        };
        self.state.trouble.store(trouble, Ordering::Relaxed);
        if trouble == 0 && before != 0 {
            tracing::info!(path = %self.path.display(), "the journal is written again");
        }
        trouble == 0
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.size > FILE_MAX {
            self.file = None;
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                private::make_folder(folder)?;
            }
            let file = private::append_to(&self.path)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let before = file.metadata()?.len();
        match file.write_all(bytes) {
            Ok(()) => {
                self.size = self.size.saturating_add(bytes.len() as u64);
                Ok(())
            }
            Err(error) => {
                // Half a line would spoil the next one; at worst it does.
                let _ = file.set_len(before);
                // Opened anew at the next line: the folder may have been replaced.
                self.file = None;
                Err(error)
            }
        }
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(folder.join("journal.jsonl")).expect("it was written");
        text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
    }

    #[test]
    fn a_line_has_its_kind_and_time() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let journal = Journal::start(folder.path()).expect("a thread can be started");

        journal.write("denied", json!({ "case": 7 }));
        journal.flush(Duration::from_secs(5));

        let lines = lines(folder.path());
        assert_eq!(lines[0]["kind"], "denied");
        assert_eq!(lines[0]["case"], 7);
        assert!(lines[0]["time_ms"].is_u64());
    }

    #[test]
    fn a_flood_of_one_kind_is_summed_up_and_another_kind_still_written() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let journal = Journal::start(folder.path()).expect("a thread can be started");

        for _ in 0..1000 {
            journal.write("flood", json!({}));
        }
        journal.write("other", json!({}));
        journal.flush(Duration::from_secs(5));

        let lines = lines(folder.path());
        let written = lines.iter().filter(|line| line["kind"] == "flood").count() as u64;
        let summed: u64 = lines
            .iter()
            .filter(|line| line["of"] == "flood")
            .filter_map(|l| l["count"].as_u64())
            .sum();
        assert_eq!(written + summed, 1000);
        assert!(lines.iter().any(|line| line["kind"] == "other"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let journal = Journal::start(Path::new("/dev/null/x")).expect("a thread can be started");

        journal.write("denied", json!({}));
        journal.flush(Duration::from_secs(5));

        assert_eq!(journal.trouble(), Some(Trouble::Other));
    }

    #[test]
    fn lines_that_a_full_disk_did_not_take_are_counted_and_told_once_there_is_room() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = folder.path().join("journal.jsonl");
        // A disk without room: what is written there fails as it does on a full one.
        std::os::unix::fs::symlink("/dev/full", &file).expect("a link can be made");
        let journal = Journal::start(folder.path()).expect("a thread can be started");

        (0..3).for_each(|_| journal.write("denied", json!({})));
        journal.flush(Duration::from_secs(5));
        let full = (journal.trouble(), journal.lost());
        std::fs::remove_file(&file).expect("the link can be removed");
        journal.retry();
        journal.flush(Duration::from_secs(5));

        assert_eq!(full, (Some(Trouble::Full), 3));
        assert_eq!((journal.trouble(), journal.lost()), (None, 0));
        let lines = lines(folder.path());
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["kind"], "lost");
        assert_eq!(lines[0]["count"], 3);
        assert_eq!(lines[0]["reason"], "disk-full");
    }
}
