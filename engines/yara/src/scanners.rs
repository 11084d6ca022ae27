//! Scans that end in time: a scanner on a thread of its own, and others for when it is late.
//!
//! YARA-X cannot be stopped from outside, and looks at its own time limit once a second. So nobody waits for
//! a scan that is late: its thread is left to itself, and the next scan gets another one. At most
//! [`LATE_MAX`] threads are left at a time. YARA-X ends their scans by its own limit, and the threads end
//! then. A thread is kept for as long as its scans are in time, so its scanner is warm.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use yara_x::{Rules, ScanError, Scanner};

/// Most scans that may be late at a time.
pub const LATE_MAX: usize = 4;

/// What came of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// No rule matched.
    Clean,
    /// This rule matched, the first of several.
    Rule(String),
    /// Nobody knows: it took too long.
    Late,
    /// Nobody looked: too many scans are late.
    Busy,
    /// Nobody knows, for this reason.
    Failed(String),
}

/// The scanners of one set of rules.
pub(crate) struct Scanners {
    by: Terms,
    ready: Option<Worker>,
    /// Those whose scans took too long, whatever rules they scan by.
    late: Vec<Worker>,
}

/// What is scanned by.
#[derive(Clone)]
struct Terms {
    rules: Arc<Rules>,
    /// When YARA-X ends a scan by itself.
    own_limit: Duration,
}

/// Rules, and a scanner that is warm before the first question needs it. Made where nobody waits.
pub(crate) struct Ready {
    by: Terms,
    /// `None` if it could not be started; the first scan then says why.
    worker: Option<Worker>,
}

/// A thread with a scanner. Dropped, it ends, once its scan has.
struct Worker {
    jobs: Sender<Job>,
    done: Receiver<Done>,
}

struct Job {
    bytes: Vec<u8>,
    len: usize,
}

struct Done {
    /// The bytes of the job.
    bytes: Vec<u8>,
    found: Result<Option<String>, ScanError>,
}

impl Ready {
    /// Scanners by `rules` that are waited for no longer than `longest`.
    pub(crate) fn new(rules: Rules, longest: Duration) -> Self {
        // YARA-X counts its looks at the clock, one each second. The first may come at once, so one more is
        // needed than seconds are waited.
        let own_limit = Duration::from_secs(longest.as_secs() + 2);
        let by = Terms { rules: Arc::new(rules), own_limit };
        let worker = Worker::start(by.clone()).ok();
        if let Some(worker) = &worker {
            worker.wait_until_warm();
        }
        Self { by, worker }
    }
}

impl Scanners {
    /// Scans by these rules.
    pub(crate) fn new(Ready { by, worker }: Ready) -> Self {
        Self { by, ready: worker, late: Vec::new() }
    }

    /// Scans by other rules from now on.
    pub(crate) fn replace(&mut self, Ready { by, worker }: Ready) {
        // The old ones go with the last thread that scans by them: to free thousands takes its time.
        self.by = by;
        self.ready = worker;
    }

    /// Scans the first `len` bytes of `bytes`, and waits no longer than `wait` for it. `bytes` are as before,
    /// or empty if the scan still has them.
    pub(crate) fn scan(&mut self, bytes: &mut Vec<u8>, len: usize, wait: Duration) -> Outcome {
        let worker = match self.worker() {
            Ok(Some(worker)) => worker,
            Ok(None) => return Outcome::Busy,
            Err(error) => return Outcome::Failed(format!("cannot start a scanner: {error}")),
        };
        let job = Job { bytes: mem::take(bytes), len };
        if worker.jobs.send(job).is_err() {
            return Outcome::Failed("the scanner has ended".to_owned());
        }
        match worker.done.recv_timeout(wait) {
            Ok(done) => {
                self.ready = Some(worker);
                *bytes = done.bytes;
                match done.found {
                    Ok(None) => Outcome::Clean,
                    Ok(Some(rule)) => Outcome::Rule(rule),
                    Err(ScanError::Timeout) => Outcome::Late,
                    Err(error) => Outcome::Failed(error.to_string()),
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                self.late.push(worker);
                Outcome::Late
            }
            Err(RecvTimeoutError::Disconnected) => {
                Outcome::Failed("the scanner has ended".to_owned())
            }
        }
    }

    /// The scanner that is ready, or a new one; `None` while too many are late.
    fn worker(&mut self) -> io::Result<Option<Worker>> {
        self.late.retain(Worker::is_busy);
        match self.ready.take() {
            Some(worker) => Ok(Some(worker)),
            None if self.late.len() >= LATE_MAX => Ok(None),
            None => Worker::start(self.by.clone()).map(Some),
        }
    }
}

impl fmt::Debug for Scanners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanners")
            .field("ready", &self.ready.is_some())
            .field("late", &self.late.len())
            .finish_non_exhaustive()
    }
}

impl Worker {
    fn start(by: Terms) -> io::Result<Self> {
        let (jobs, queue) = channel();
        let (report, done) = channel();
        let thread = std::thread::Builder::new().name("scanner".to_owned());
        thread.spawn(move || work(&by, &queue, &report))?;
        Ok(Self { jobs, done })
    }

    /// Waits until a scan of nothing has ended.
    fn wait_until_warm(&self) {
        if self.jobs.send(Job { bytes: Vec::new(), len: 0 }).is_ok() {
            // What it finds in nothing is of no interest, and its end shows at the first scan.
            let _ = self.done.recv();
        }
    }

    /// Whether its scan has not ended.
    fn is_busy(&self) -> bool {
        matches!(self.done.try_recv(), Err(TryRecvError::Empty))
    }
}

fn work(by: &Terms, jobs: &Receiver<Job>, report: &Sender<Done>) {
    let mut scanner = Scanner::new(&by.rules);
    // One match of a pattern tells as much as a thousand of them, unless a rule counts them.
    scanner.set_timeout(by.own_limit).fast_scan(true);
    while let Ok(Job { bytes, len }) = jobs.recv() {
        let found = scanner.scan(&bytes[..len.min(bytes.len())]).map(|results| {
            results.matching_rules().next().map(|rule| rule.identifier().to_owned())
        });
        if report.send(Done { bytes, found }).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Longer than any scan that ends, even on a busy machine.
    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(20);

    /// Minutes of work on bytes that begin with `slow`, none on others.
    const SLOW_RULE: &str = "
        rule slow {
            condition:
                uint32be(0) == 0x736c6f77 and
                for all i in (0..1000000000) : (
                    for all j in (0..1000000000) : ( uint8((i + j) % 4) != 0 )
                )
        }
        rule bad { strings: $bad = \"evil\" condition: $bad }";

    fn ready(source: &str) -> Ready {
        Ready::new(yara_x::compile(source).expect("rules"), SHORT)
    }

    fn scan(scanners: &mut Scanners, bytes: &[u8], wait: Duration) -> Outcome {
        scanners.scan(&mut bytes.to_vec(), bytes.len(), wait)
    }

    #[test]
    fn a_match_is_told_by_its_rules_name() {
        let mut scanners = Scanners::new(ready(SLOW_RULE));

        assert_eq!(scan(&mut scanners, b"good", LONG), Outcome::Clean);
        assert_eq!(scan(&mut scanners, b"so evil", LONG), Outcome::Rule("bad".to_owned()));
        assert_eq!(scan(&mut scanners, b"", LONG), Outcome::Clean);
    }

    #[test]
    fn what_lies_behind_the_length_is_not_scanned() {
        let mut scanners = Scanners::new(ready(SLOW_RULE));

        let mut bytes = b"good, evil".to_vec();

        assert_eq!(scanners.scan(&mut bytes, 4, LONG), Outcome::Clean);
        assert_eq!(bytes, b"good, evil");
    }

    #[test]
    fn a_late_scan_is_left_and_the_next_one_told() {
        let mut scanners = Scanners::new(ready(SLOW_RULE));

        let begun = Instant::now();
        let late = scan(&mut scanners, b"slow", SHORT);
        let waited = begun.elapsed();
        let next = scan(&mut scanners, b"evil", LONG);

        assert_eq!(late, Outcome::Late);
        assert!(waited < Duration::from_secs(1), "waited {waited:?}, longer than YARA-X looks up");
        assert_eq!(next, Outcome::Rule("bad".to_owned()));
    }

    #[test]
    fn too_many_late_scans_hold_nobody_up_and_come_to_an_end() {
        let mut scanners = Scanners::new(ready(SLOW_RULE));

        let late: Vec<_> = (0..LATE_MAX).map(|_| scan(&mut scanners, b"slow", SHORT)).collect();
        let over = scan(&mut scanners, b"evil", LONG);
        let begun = Instant::now();
        while scan(&mut scanners, b"evil", LONG) == Outcome::Busy && begun.elapsed() < LONG {
            std::thread::yield_now();
        }

        assert_eq!(late, vec![Outcome::Late; LATE_MAX]);
        assert_eq!(over, Outcome::Busy);
        assert_eq!(scan(&mut scanners, b"evil", LONG), Outcome::Rule("bad".to_owned()));
    }

    #[test]
    fn new_rules_hold_from_the_next_scan_on() {
        let mut scanners = Scanners::new(ready(SLOW_RULE));
        assert_eq!(scan(&mut scanners, b"slow", SHORT), Outcome::Late);

        scanners.replace(ready("rule other { strings: $a = \"good\" condition: $a }"));

        assert_eq!(scan(&mut scanners, b"evil", LONG), Outcome::Clean);
        assert_eq!(scan(&mut scanners, b"good", LONG), Outcome::Rule("other".to_owned()));
    }
}
