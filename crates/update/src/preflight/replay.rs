//! Recorded events, put to the engine one after the other.

use std::time::Duration;

use outrigger_api::Verdict;
use outrigger_api::sample::Sample;

use crate::content::Content;
use crate::content::samples;
use crate::content::variants::{self, Expected};
use crate::preflight::course::{Course, shown, skip};
use crate::preflight::interpreter::{Asked, Broken, Evidence, Material, Object, Reply, RuleWord};
use crate::preflight::report::Check;
use crate::preflight::{Progress, Reason};

/// Late objects after which it is clear enough.
const SLOW_MAX: usize = 3;
/// Questions between two looks at the clock and the memory.
const LOOK_EVERY: u64 = 64;

/// How long answers took, and the most memory seen.
#[derive(Debug, Default)]
pub(super) struct Pace {
    latencies: Vec<Duration>,
    pub(super) memory_most: Option<u64>,
}

/// Answers' times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) answers: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) longest: Duration,
}

impl Pace {
    pub(super) fn times(&mut self) -> Option<Times> {
        self.latencies.sort_unstable();
        let len = self.latencies.len();
        let at = |percent: usize| self.latencies.get((len * percent).div_ceil(100).max(1) - 1);
        Some(Times {
            answers: u64::try_from(len).unwrap_or(u64::MAX),
            p50: *at(50)?,
            p99: *at(99)?,
            longest: *self.latencies.last()?,
        })
    }
}

/// What came of a corpus.
#[derive(Debug, Default)]
struct Tally {
    replayed: u64,
    allowed: u64,
    denied: u64,
    abstained: u64,
    gone: u64,
    unread: u64,
    changed: u64,
    /// Events that rules judged, denied, and could not judge by what is recorded.
    ruled: u64,
    rule_denied: u64,
    unruled: u64,
}

/// A verdict, and what the engine says of it.
pub(super) struct Word {
    pub(super) verdict: Verdict,
    pub(super) detail: String,
}

impl Course<'_, '_> {
    /// Puts one question. `None` if its answer is late.
    pub(super) fn ask(&mut self, question: &Asked<'_>) -> Result<Option<Word>, Broken> {
        let reply = self.interpreter.ask(question)?;
        let Reply::Answered { verdict, detail, latency } = reply else { return Ok(None) };
        self.pace.latencies.push(latency);
        Ok((latency <= self.limits.budget).then_some(Word { verdict, detail }))
    }

    /// Replays what `corpus` gives, until so many percent of the whole time are over; how many verdicts came.
    pub(super) fn replay(
        &mut self,
        corpus: &mut dyn Iterator<Item = Result<Evidence, String>>,
        until: u32,
        content: Option<&Content>,
        check: &mut Check,
    ) -> u64 {
        let until = self.limits.share(until);
        let mut tally = Tally::default();
        let mut slow = 0;
        for evidence in corpus {
            let evidence = match evidence {
                Ok(evidence) => evidence,
                Err(why) => {
                    // A corpus is read in order: after a bad place nothing more of it is to be had.
                    check.notes.push(format!("the corpus ends at an error: {}", shown(&why)));
                    tally.unread += 1;
                    break;
                }
            };
            let asked = self.candidate.code.manifest.asked().contains(evidence.sample.event);
            if !asked && !self.has_rules {
                continue;
            }
            let over = self.began.elapsed() > until;
            let done = tally.replayed.max(tally.ruled + tally.unruled);
            if done >= self.limits.samples_max || over {
                let which = if over { "its share of the time" } else { "the most events" };
                let text = format!("stopped at {done} events, {which}: the rest was NOT replayed");
                check.notes.push(text);
                break;
            }
            if self.has_rules {
                let word = self.interpreter.judge(&evidence.sample);
                tally.rule(&evidence.sample, word, check);
            }
            if !asked {
                continue;
            }
            let needs_bytes = self.candidate.code.manifest.content;
            let object = match &evidence.material {
                Material::Bytes(bytes) => Some(Object::Bytes(bytes)),
                Material::File(file) => Some(Object::File(file)),
                Material::NotGiven => None,
                Material::Gone(_) if needs_bytes => {
                    tally.gone += 1;
                    continue;
                }
                Material::Gone(_) => None,
            };
            tally.replayed += 1;
            if tally.replayed.is_multiple_of(LOOK_EVERY) {
                self.look(check.name, tally.replayed);
            }
            match self.ask(&Asked { sample: &evidence.sample, object }) {
                Ok(Some(word)) => tally.count(&evidence.sample, &word, check),
                Ok(None) => {
                    slow += 1;
                    let (path, budget) = (path(&evidence.sample), self.limits.budget.as_millis());
                    check.fail(Reason::Slow, format!("{path}: no answer within {budget} ms"));
                    if slow == SLOW_MAX {
                        break;
                    }
                }
                Err(broken) => {
                    let what = format!("{} {}", evidence.sample.event, path(&evidence.sample));
                    self.broke(&broken, &what, &evidence.sample, object, content, check);
                    break;
                }
            }
        }
        self.look(check.name, tally.replayed);
        tally.tell(check);
        match self.candidate.code.manifest.asked().is_empty() {
            // There is nobody else to judge.
            true => tally.ruled,
            false => tally.allowed + tally.denied,
        }
    }

    /// Puts the samples that the release brings along.
    pub(super) fn samples(&mut self, check: &mut Check) {
        let Some(content) = self.candidate.content else {
            return skip(check, "the engine has no content");
        };
        let shown_samples = match samples::read(content.folder) {
            Ok(samples) => samples,
            Err(errors) => {
                let told = errors.errors().iter().map(ToString::to_string);
                return told.for_each(|text| check.fail(Reason::Schema, text));
            }
        };
        if shown_samples.is_empty() {
            return skip(check, "the release brings no samples along");
        }
        let (mut tried, mut unread) = (0, 0);
        for sample in shown_samples {
            let Ok(file) = &sample.file else {
                unread += 1;
                continue;
            };
            let expected = if sample.denied { Expected::Denied } else { Expected::NotDenied };
            for event in self.candidate.code.manifest.asked().iter() {
                let Ok(made) = variants::of_file(event, file, &sample.name) else {
                    unread += 1;
                    break;
                };
                tried += 1;
                let question = Asked { sample: &made, object: Some(Object::File(file)) };
                match self.ask(&question) {
                    Ok(Some(word)) => judge(expected, &word, &sample.name, check),
                    Ok(None) => check.fail(Reason::Slow, format!("{}: too slow", sample.name)),
                    Err(broken) => {
                        let text = format!("{}: {}", sample.name, shown(&broken.to_string()));
                        check.fail(broken.reason(), text);
                        return;
                    }
                }
            }
        }
        check.figure("asked", tried);
        if unread > 0 {
            check.figure("unreadable", unread);
            let text = format!("{unread} samples could not be read, so they were NOT tried");
            check.notes.push(text);
        }
    }

    /// Reports that the engine broke on `sample`, and which instance of its content made it, where that
    /// can be found out.
    pub(super) fn broke(
        &mut self,
        broken: &Broken,
        what: &str,
        sample: &Sample,
        object: Option<Object<'_>>,
        content: Option<&Content>,
        check: &mut Check,
    ) {
        let told = format!("on {what}: {}", shown(&broken.to_string()));
        let blamed = match content {
            Some(content) => self.blame(content, &Asked { sample, object }),
            None => None,
        };
        match blamed {
            Some(place) => check.fail(broken.reason(), format!("{place}: {told}")),
            None => check.fail(broken.reason(), told),
        }
    }

    fn look(&mut self, check: crate::preflight::CheckName, done: u64) {
        self.pace.memory_most = self.pace.memory_most.max(self.interpreter.usage().memory_bytes);
        (self.progress)(Progress { check, done, of: None });
    }
}

impl Tally {
    fn count(&mut self, sample: &Sample, word: &Word, check: &mut Check) {
        match word.verdict {
            Verdict::Allow => self.allowed += 1,
            Verdict::Abstain => self.abstained += 1,
            Verdict::Deny => {
                self.denied += 1;
                self.deny(sample, &shown(&word.detail), check);
            }
        }
    }

    /// Counts what rules say.
    fn rule(&mut self, sample: &Sample, word: RuleWord, check: &mut Check) {
        match word {
            RuleWord::Silent => self.ruled += 1,
            RuleWord::Unknown => self.unruled += 1,
            RuleWord::Denies(rule) => {
                self.ruled += 1;
                self.rule_denied += 1;
                self.deny(sample, &format!("rule {}", shown(&rule)), check);
            }
        }
    }

    fn deny(&mut self, sample: &Sample, by: &str, check: &mut Check) {
        let told = format!("{} {}: {by}", sample.event, path(sample));
        if sample.standing.guarded {
            check.fail(Reason::DeniedGuarded, told);
        } else if sample.standing.known_good {
            check.fail(Reason::DeniedKnownGood, told);
        } else if sample.answer == Some(outrigger_api::Answer::Allow) {
            self.changed += 1;
        }
    }

    fn tell(&self, check: &mut Check) {
        check.figure("replayed", self.replayed);
        check.figure("allowed", self.allowed);
        check.figure("denied", self.denied);
        if self.ruled + self.unruled > 0 {
            check.figure("ruled", self.ruled);
            check.figure("denied_by_rules", self.rule_denied);
        }
        let some = [
            (
                self.unruled,
                "not_ruled",
                "events could not be judged by rules: recordings do not tell which program did it",
            ),
            (self.abstained, "abstained", "questions were abstained from: no evidence"),
            (
                self.gone,
                "gone",
                "objects are gone or changed since: their events were NOT replayed",
            ),
            (
                self.changed,
                "newly_denied",
                "events would be denied that were allowed when recorded",
            ),
            (self.unread, "errors", "places of the corpus could not be read"),
        ];
        for (count, figure, note) in some.into_iter().filter(|(count, ..)| *count > 0) {
            check.figure(figure, count);
            check.notes.push(format!("{count} {note}"));
        }
        if self.allowed + self.denied + self.ruled == 0 && !check.failed() {
            skip(check, "there was nothing to replay: no evidence");
        }
    }
}

/// Reports a verdict that is not the one that the content means.
pub(super) fn judge(expected: Expected, word: &Word, what: &str, check: &mut Check) {
    let denied = word.verdict == Verdict::Deny;
    let text = match expected {
        Expected::Denied if !denied => {
            let said = shown(&word.detail);
            format!("{what}: its content denies it, and the engine does not ({said})")
        }
        Expected::NotDenied if denied => {
            format!(
                "{what}: its content does not deny it, and the engine does: {}",
                shown(&word.detail)
            )
        }
        _ => return,
    };
    check.fail(Reason::WrongVerdict, text);
}

/// The path of an object, safe to print.
pub(super) fn path(sample: &Sample) -> String {
    sample.path.as_deref().map_or_else(
        || "an object without a path".to_owned(),
        |path| shown(&String::from_utf8_lossy(path)),
    )
}
