//! The engine: reads a file, has it scanned, and says what came of it.

use std::io;
use std::time::Duration;

use outrigger_sdk::{Content, Engine, Judgement, Loaded, Loader, Question};

use crate::options::{Options, OverSize};
use crate::rules::RuleSet;
use crate::scanners::{Outcome, Ready, Scanners};

/// Bytes that the buffer has at first, and at least grows by.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes read between two looks at the clock.
const PIECE_BYTES: usize = 1 << 20;

/// The engine and the rules that it judges by.
#[derive(Debug)]
pub struct Yara {
    options: Options,
    /// `None` while no rule is in force.
    scanners: Option<Scanners>,
    /// Used for every file, so that only a larger one than before costs an allocation.
    buffer: Vec<u8>,
}

impl Yara {
    /// The engine, without rules.
    pub fn new(options: Options) -> Self {
        Self { options, scanners: None, buffer: Vec::new() }
    }

    /// Judges by these rules from now on, or by none.
    fn take(&mut self, ready: Option<Ready>) {
        match (&mut self.scanners, ready) {
            (Some(scanners), Some(ready)) => scanners.replace(ready),
            (scanners, ready) => *scanners = ready.map(Scanners::new),
        }
    }

    /// How long this question may wait for its scan. A quarter of what is left stays with those behind it.
    fn wait(&self, question: &Question<'_>) -> Duration {
        let left = question.remaining().map_or(self.options.scan_time, |left| left / 4 * 3);
        self.options.scan_time.min(left)
    }
}

impl Engine for Yara {
    fn name(&self) -> &str {
        "yara"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    /// Thousands of rules take seconds to compile, so that is not done where questions wait.
    fn loader(&self) -> Option<Loader<Self>> {
        let longest = self.options.scan_time;
        Some(Box::new(move |folder| {
            let set = RuleSet::compile(folder).map_err(|error| error.to_string())?;
            let description = set.description();
            let ready = (!set.is_empty()).then(|| Ready::new(set.into_rules(), longest));
            Ok(Loaded::new(description, move |engine: &mut Self| engine.take(ready)))
        }))
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        if self.scanners.is_none() {
            return Judgement::allow();
        }
        let content = match question.content() {
            Ok(content) => content,
            Err(absent) => return Judgement::abstain(absent.to_string()),
        };
        let max = self.options.scan_bytes;
        match content.len() {
            Ok(len) if len > max as u64 && self.options.over_size == OverSize::Abstain => {
                return Judgement::abstain(format!("{len} bytes, over the limit of {max}"));
            }
            Ok(_) => {}
            Err(error) => return Judgement::abstain(format!("cannot read: {error}")),
        }
        let len = match read(content, &mut self.buffer, max, question) {
            Ok(len) => len,
            Err(error) => return Judgement::abstain(format!("cannot read: {error}")),
        };
        let wait = self.wait(question);
        let Some(scanners) = &mut self.scanners else { return Judgement::allow() };
        match scanners.scan(&mut self.buffer, len, wait) {
            Outcome::Clean => Judgement::allow(),
            Outcome::Rule(name) => Judgement::deny(name),
            Outcome::Late => {
                Judgement::abstain(format!("the scan took longer than {} ms", wait.as_millis()))
            }
            Outcome::Busy => Judgement::abstain("every scanner is held by a scan that is late"),
            Outcome::Failed(why) => Judgement::abstain(why),
        }
    }
}

/// Reads the file into `buffer`, at most `max` bytes of it; how many there are.
fn read(
    content: &Content,
    buffer: &mut Vec<u8>,
    max: usize,
    question: &Question<'_>,
) -> io::Result<usize> {
    let mut len = 0;
    while len < max {
        if question.remaining().is_some_and(|left| left.is_zero()) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("deadline passed after {len} bytes"),
            ));
        }
        if len == buffer.len() {
            let grown = buffer.len().saturating_mul(2).max(BUFFER_BYTES);
            buffer.resize(grown.min(max), 0);
        }
        // A buffer that a larger limit made may be longer than what may be read.
        let end = buffer.len().min(max).min(len + PIECE_BYTES);
        let got = content.read_at(&mut buffer[len..end], len as u64)?;
        if got == 0 {
            break;
        }
        len += got;
    }
    Ok(len)
}
