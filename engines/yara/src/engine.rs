//! The engine: reads a file, scans it, and says what came of it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use outrigger_sdk::{Content, Engine, Judgement, Judges, Loaded, Loader, Question, Shift};
use yara_x::{Rules, ScanError, Scanner};

use crate::options::{Options, OverSize};
use crate::rules::RuleSet;

/// Bytes that the buffer has at first, and at least grows by.
const BUFFER_BYTES: usize = 64 << 10;
/// Bytes read between two looks at the clock.
const PIECE_BYTES: usize = 1 << 20;

/// The engine and the rules that it judges by.
#[derive(Debug)]
pub struct Yara {
    options: Options,
    /// `None` while no rule is in force.
    rules: Option<Arc<Rules>>,
}

impl Yara {
    /// The engine, without rules.
    pub fn new(options: Options) -> Self {
        Self { options, rules: None }
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
        Some(Box::new(move |folder| {
            let set = RuleSet::compile(folder).map_err(|error| error.to_string())?;
            let description = set.description();
            let rules = (!set.is_empty()).then(|| Arc::new(set.into_rules()));
            Ok(Loaded::new(description, move |engine: &mut Self| engine.rules = rules))
        }))
    }

    /// YARA-X cannot be stopped, so a scan that is late is left to itself.
    fn judges(&self) -> Option<Judges> {
        let (options, rules) = (self.options, self.rules.clone());
        Some(Arc::new(move |shift| match &rules {
            Some(rules) => judge_by(rules, &options, shift),
            None => shift.judge(|question| wait(&options, question), |_| Judgement::allow()),
        }))
    }

    fn judge(&mut self, _question: &Question<'_>) -> Judgement {
        Judgement::abstain("judged by its judges alone")
    }
}

/// How long this question may take. A quarter of what is left stays with those behind it.
fn wait(options: &Options, question: &Question<'_>) -> Duration {
    let left = question.remaining().map_or(options.scan_time, |left| left / 4 * 3);
    options.scan_time.min(left)
}

/// Judges with a scanner that is warm before the first question, and a buffer, both used for every file.
fn judge_by(rules: &Rules, options: &Options, shift: &mut Shift) {
    let mut scanner = Scanner::new(rules);
    // YARA-X counts its looks at the clock, one each second. The first may come at once, so one more is
    // needed than seconds are waited. By then nobody waits: it is how a scan that is late comes to an end.
    let own_limit = Duration::from_secs(options.scan_time.as_secs() + 2);
    // One match of a pattern tells as much as a thousand of them, unless a rule counts them.
    scanner.set_timeout(own_limit).fast_scan(true);
    // What it finds in nothing is of no interest.
    let _ = scanner.scan(b"");
    let mut buffer = Vec::new();
    shift.judge(
        |question| wait(options, question),
        |question| judge(&mut scanner, &mut buffer, options, question),
    );
}

fn judge(
    scanner: &mut Scanner<'_>,
    buffer: &mut Vec<u8>,
    options: &Options,
    question: &Question<'_>,
) -> Judgement {
    let content = match question.content() {
        Ok(content) => content,
        Err(absent) => return Judgement::abstain(absent.to_string()),
    };
    let max = options.scan_bytes;
    match content.len() {
        Ok(len) if len > max as u64 && options.over_size == OverSize::Abstain => {
            return Judgement::abstain(format!("{len} bytes, over the limit of {max}"));
        }
        Ok(_) => {}
        Err(error) => return Judgement::abstain(format!("cannot read: {error}")),
    }
    let len = match read(content, buffer, max, question) {
        Ok(len) => len,
        Err(error) => return Judgement::abstain(format!("cannot read: {error}")),
    };
    match scanner.scan(&buffer[..len]) {
        Ok(results) => match results.matching_rules().next() {
            None => Judgement::allow(),
            Some(rule) => Judgement::deny(rule.identifier()),
        },
        Err(ScanError::Timeout) => Judgement::abstain("YARA-X ended the scan by its own limit"),
        Err(error) => Judgement::abstain(error.to_string()),
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
