//! The journal: what an operator must be able to read afterwards, one JSON object per line.
//!
//! Denials, fallbacks, engines' lives, coverage lost, starts and ends of the platform's own processes.
//! A thread of its own writes, so that a disk that is full or slow holds nobody up: what does not fit
//! the bounded channel is counted and said in the next line that does. The file is rotated by size.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

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

#[derive(Debug, Default)]
struct State {
    lost: AtomicU64,
    failing: AtomicBool,
}

#[derive(Debug)]
enum Line {
    Entry { kind: &'static str, value: Value },
    Flush(SyncSender<()>),
}

impl Journal {
    /// Starts the writer for `folder/journal.jsonl`. A folder that cannot be written is no reason not
    /// to protect: it is a problem that [`Journal::is_failing`] tells.
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
        };
        std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&incoming))?;
        Ok(Self { lines, state })
    }

    /// Writes one line: `kind`, and the fields of `value`. Never waits.
    pub(crate) fn write(&self, kind: &'static str, value: Value) {
        if self.lines.try_send(Line::Entry { kind, value }).is_err() {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether the last line could not be written.
    pub(crate) fn is_failing(&self) -> bool {
        self.state.failing.load(Ordering::Relaxed)
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
}

impl Writer {
    fn run(mut self, incoming: &Receiver<Line>) {
        while let Ok(line) = incoming.recv() {
            match line {
                Line::Entry { kind, value } => self.entry(kind, value),
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
            self.put(kind, value);
        }
    }

    /// Says how much of each kind was not written in the second that ends, and what was lost.
    fn sum_up(&mut self) {
        for (kind, count) in std::mem::take(&mut self.written) {
            if let Some(beyond @ 1..) = count.checked_sub(LINES_PER_SECOND) {
                self.put("more", json!({ "of": kind, "count": beyond }));
            }
        }
        let lost = self.state.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            self.put("lost", json!({ "count": lost, "why": "the journal's disk was too slow" }));
        }
    }

    fn put(&mut self, kind: &str, mut value: Value) {
        if let Some(object) = value.as_object_mut() {
            object.insert("time_ms".into(), now_ms().into());
            object.insert("kind".into(), kind.into());
        }
        let mut bytes = value.to_string().into_bytes();
        bytes.push(b'\n');
        let result = self.append(&bytes);
        if let Err(error) = &result
            && !self.state.failing.load(Ordering::Relaxed)
        {
            tracing::error!(path = %self.path.display(), %error, "the journal cannot be written");
        }
        self.state.failing.store(result.is_err(), Ordering::Relaxed);
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.size > FILE_MAX {
            self.file = None;
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
        }
        if self.file.is_none() {
            if let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = file.metadata()?.len();
            self.file = Some(file);
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        match file.write_all(bytes) {
            Ok(()) => {
                self.size = self.size.saturating_add(bytes.len() as u64);
                Ok(())
            }
            Err(error) => {
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

        assert!(journal.is_failing());
    }
}
