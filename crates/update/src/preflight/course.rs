//! The course of one preflight: the checks in their order.

use std::time::Instant;

use outrigger_api::ContentType;

use crate::content::{self, Body, Content};
use crate::preflight::interpreter::{Interpreter, RuleCount, RulesRefused, Started};
use crate::preflight::replay::Pace;
use crate::preflight::report::{Check, Outcome, Report, Versions};
use crate::preflight::{Candidate, CheckName, Corpora, Limits, Progress, Reason};

/// By when a corpus is left, in percent of the whole time.
const KNOWN_GOOD_UNTIL: u32 = 50;
const OWN_UNTIL: u32 = 70;
/// By when no further content is made up.
pub(super) const INSTANCES_UNTIL: u32 = 95;

pub(super) struct Course<'a, 'c> {
    pub(super) candidate: &'a Candidate<'c>,
    pub(super) interpreter: &'a mut dyn Interpreter,
    pub(super) limits: &'a Limits,
    pub(super) progress: &'a mut dyn FnMut(Progress),
    pub(super) pace: Pace,
    pub(super) began: Instant,
    /// Verdicts on recorded events.
    answers: u64,
    /// The content has rules, which judge what is recorded too.
    pub(super) has_rules: bool,
    checks: Vec<Check>,
    /// What ended it; nothing is tried after that.
    ended_by: Option<CheckName>,
}

impl<'a, 'c> Course<'a, 'c> {
    pub(super) fn new(
        candidate: &'a Candidate<'c>,
        interpreter: &'a mut dyn Interpreter,
        limits: &'a Limits,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            candidate,
            interpreter,
            limits,
            progress,
            pace: Pace::default(),
            began: Instant::now(),
            answers: 0,
            has_rules: false,
            checks: Vec::new(),
            ended_by: None,
        }
    }

    /// Makes every check.
    pub(super) fn run(&mut self, corpora: Corpora<'_>) {
        let Corpora { known_good, own } = corpora;
        self.check(CheckName::Compatibility, Self::compatibility);
        let content = self.check(CheckName::Schema, Self::schema).flatten();
        self.check(CheckName::Rules, Self::rules);
        self.check(CheckName::Start, |course, check| course.start(content.as_ref(), check));
        self.check(CheckName::KnownGood, |course, check| {
            course.answers += course.replay(known_good, KNOWN_GOOD_UNTIL, content.as_ref(), check);
        });
        self.check(CheckName::OwnEvents, |course, check| {
            course.answers += course.replay(own, OWN_UNTIL, content.as_ref(), check);
            course.enough(check);
        });
        // Before the made-up content, which other processes run: this one has what was asked so far in it.
        self.check(CheckName::Samples, Self::samples);
        self.check(CheckName::Latency, Self::latency);
        self.check(CheckName::Memory, Self::memory);
        self.check(CheckName::Instances, |course, check| {
            course.instances(content.as_ref(), check);
        });
    }

    /// What was found. The engine is ended.
    pub(super) fn finish(self) -> Report {
        self.interpreter.end();
        let Candidate { part, code, content, .. } = self.candidate;
        let mut checks = self.checks;
        checks.sort_by_key(|check| check.name);
        let first = self.ended_by.and_then(|name| checks.iter().find(|check| check.name == name));
        let reason = first.and_then(|check| check.findings.first()).map(|finding| finding.reason);
        Report {
            engine: code.manifest.name.to_string(),
            part: *part,
            versions: Versions {
                code: code.version.to_string(),
                content: content.and_then(|content| content.version).map(ToString::to_string),
            },
            passed: reason.is_none(),
            reason,
            checks,
            took_ms: ms(self.began),
        }
    }

    /// Makes one check, unless one before it has failed.
    fn check<T>(
        &mut self,
        name: CheckName,
        make: impl FnOnce(&mut Self, &mut Check) -> T,
    ) -> Option<T> {
        let mut check = Check::new(name);
        if let Some(before) = self.ended_by {
            check.notes.push(format!("not tried, since {before} failed"));
            self.checks.push(check);
            return None;
        }
        (self.progress)(Progress { check: name, done: 0, of: None });
        let began = Instant::now();
        check.outcome = Outcome::Passed;
        let made = make(self, &mut check);
        check.took_ms = ms(began);
        if check.failed() {
            self.ended_by = Some(name);
        }
        self.checks.push(check);
        Some(made)
    }

    fn compatibility(&mut self, check: &mut Check) {
        let Some(content) = self.candidate.content else {
            return skip(check, "the engine has no content");
        };
        let Some(declared) = content.declared else {
            return skip(check, "the content is no release: it says nothing of itself");
        };
        if let Err(error) = content::compatible(declared, self.candidate.code) {
            check.fail(Reason::Incompatible, error.to_string());
        }
    }

    fn schema(&mut self, check: &mut Check) -> Option<Content> {
        let code = self.candidate.code;
        let Some(offered) = self.candidate.content else {
            skip(check, "the engine has no content");
            return None;
        };
        let read = code.manifest.interprets.as_ref().map(|interprets| interprets.kind);
        let Some(kind) = offered.declared.map(|declared| declared.kind).or(read) else {
            let why =
                "the manifest does not say which content the engine reads, so it was not checked";
            skip(check, why);
            return None;
        };
        match content::check(offered.folder, kind, code) {
            Ok(content) => {
                describe(&content, check);
                Some(content)
            }
            Err(errors) => {
                for error in errors.errors() {
                    check.fail(Reason::Schema, error.to_string());
                }
                check.more_findings += u64::try_from(errors.more()).unwrap_or(u64::MAX);
                None
            }
        }
    }

    fn rules(&mut self, check: &mut Check) {
        let Some(offered) = self.candidate.content else {
            return skip(check, "the engine has no content");
        };
        let count = match self.interpreter.rules(offered.folder) {
            Ok(Some(count)) => count,
            Ok(None) => return skip(check, "the content has no rules for the platform"),
            Err(RulesRefused::Wrong(errors)) => {
                return errors.into_iter().for_each(|error| check.fail(Reason::Schema, error));
            }
            Err(RulesRefused::Host(why)) => return check.fail(Reason::NotTried, why),
        };
        self.has_rules = true;
        let RuleCount { rules, clauses, unrecorded } = count;
        check.figure("rules", u64::try_from(rules).unwrap_or(u64::MAX));
        check.figure("clauses", u64::try_from(clauses).unwrap_or(u64::MAX));
        if !unrecorded.is_empty() {
            let events = unrecorded.join(", ");
            check.notes.push(format!("not replayed, since it is never recorded: {events}"));
        }
    }

    fn start(&mut self, content: Option<&Content>, check: &mut Check) {
        let folder = self.candidate.content.map(|content| content.folder);
        match self.interpreter.start(folder) {
            Ok(Started { took, description, sandbox_missing }) => {
                check.figure("ms_to_dock", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
                check.notes.push(format!("the engine says: {}", shown(&description)));
                for what in sandbox_missing {
                    check.notes.push(format!("its sandbox is weaker here: {what}"));
                }
            }
            Err(broken) => check.fail(broken.reason(), shown(&broken.to_string())),
        }
        // What its own scanner could not tell, the engine has told now.
        if let Some(Body::Yara(rules)) = content.map(Content::body)
            && !check.failed()
            && !rules.unfinished.is_empty()
        {
            let files = rules.unfinished.join(", ");
            check
                .notes
                .push(format!("taken by the engine, though it seems to end too soon: {files}"));
        }
    }

    /// Whether there was enough to try it on.
    fn enough(&self, check: &mut Check) {
        let (answers, least) = (self.answers, self.limits.samples_min);
        if answers < least && !check.failed() {
            let text = format!(
                "{answers} answers on recorded events, and {least} are the least: build a corpus, record \
                 events on this machine, or lower the minimum"
            );
            check.fail(Reason::TooLittleEvidence, text);
        }
    }

    fn latency(&mut self, check: &mut Check) {
        let Some(times) = self.pace.times() else {
            return skip(check, "no question was put");
        };
        let us = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        check.figure("us_p50", us(times.p50));
        check.figure("us_p99", us(times.p99));
        check.figure("us_longest", us(times.longest));
        check.figure("answers", times.answers);
        if times.p99 > self.limits.p99 {
            let (found, limit) = (us(times.p99), us(self.limits.p99));
            let text = format!("p99 of {} answers is {found} us, over {limit} us", times.answers);
            check.fail(Reason::Slow, text);
        }
    }

    fn memory(&mut self, check: &mut Check) {
        let usage = self.interpreter.usage();
        if let Some(cpu) = usage.cpu {
            check.figure("ms_cpu", u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX));
        }
        let Some(most) = self.pace.memory_most.max(usage.memory_bytes) else {
            return skip(check, "this machine does not tell what the engine uses");
        };
        let limit = self.candidate.code.manifest.limits.memory_bytes;
        check.figure("bytes_most", most);
        check.figure("bytes_limit", limit);
        let allowed = limit / 100 * u64::from(self.limits.memory_percent);
        if most > allowed {
            let percent = self.limits.memory_percent;
            let text = format!(
                "it used {most} bytes, over {percent} % of the {limit} bytes that its manifest asks for; \
                 ask for more, or use less"
            );
            check.fail(Reason::Memory, text);
        }
    }
}

/// Counts what is in `content`.
fn describe(content: &Content, check: &mut Check) {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    check.figure("files", count(content.files()));
    let what = match content.kind() {
        ContentType::Hashlist => "entries",
        ContentType::Yara => "rules_named",
        ContentType::Rules => "rule_files",
        _ => "instances",
    };
    check.figure(what, count(content.instances()));
    if content.instances() == 0 {
        check.notes.push("nothing is in it: it denies nothing".to_owned());
    }
    if !content.ignored().is_empty() {
        let names = content.ignored().join(", ");
        check.notes.push(format!("no interpreter of this type reads these files: {names}"));
    }
}

/// Says that there is nothing to check.
pub(super) fn skip(check: &mut Check, why: &str) {
    check.outcome = Outcome::NotTried;
    check.notes.push(why.to_owned());
}

/// An engine's text, on one line, cut, and safe to print.
pub(super) fn shown(text: &str) -> String {
    const MAX: usize = 400;
    let mut out = String::new();
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        if out.len() > MAX {
            return out + "…";
        }
        match c {
            '\'' | '"' | '\\' => out.push(c),
            _ => out.extend(c.escape_debug()),
        }
    }
    out
}

fn ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}
