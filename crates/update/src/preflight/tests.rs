//! Every reason of a preflight, caused by an interpreter that is none.

mod rules;

use std::path::Path;
use std::time::Duration;

use outrigger_api::release::Part;
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::settings::Manifest;
use outrigger_api::{Answer, ContentType, Event, EventInput, Verdict};
use semver::Version;
use tempfile::TempDir;

use super::*;
use crate::content::error::ContentErrors;
use crate::content::tests::{HASH, folder, manifest, table_manifest};
use crate::content::{Cell, Table, input, table};

const BUDGET: Duration = Duration::from_millis(50);
const LIMITS: Limits = Limits {
    budget: BUDGET,
    p99: Duration::from_millis(25),
    memory_percent: 90,
    total: Duration::from_secs(600),
    samples_max: 1000,
    samples_min: 100,
    trials_max: 512,
};
const QUICK: Duration = Duration::from_micros(20);

/// Answers in place of comparing.
type Judge<'a> = Box<dyn FnMut(&Asked<'_>) -> Result<Reply, Broken> + 'a>;

/// Interprets tables as an engine would: compares cell after cell, and reads past the inputs that it has
/// where a table has more columns.
struct Fake<'a> {
    manifest: &'a Manifest,
    /// How many inputs its code really supplies.
    supplies: usize,
    tables: Vec<Table>,
    starts: u32,
    start: Result<(), Broken>,
    answer: Option<Judge<'a>>,
    usage: Usage,
    ended: bool,
    rules: Result<Option<RuleCount>, RulesRefused>,
    /// Beginnings of paths.
    denied_by_rules: Vec<&'static str>,
}

impl<'a> Fake<'a> {
    fn new(manifest: &'a Manifest) -> Self {
        let supplies = manifest.interprets.as_ref().map_or(0, |it| it.inputs.len());
        Self {
            manifest,
            supplies,
            tables: Vec::new(),
            starts: 0,
            start: Ok(()),
            answer: None,
            usage: Usage::default(),
            ended: false,
            rules: Ok(None),
            denied_by_rules: Vec::new(),
        }
    }

    fn answering(
        manifest: &'a Manifest,
        answer: impl FnMut(&Asked<'_>) -> Result<Reply, Broken> + 'a,
    ) -> Self {
        Self { answer: Some(Box::new(answer)), ..Self::new(manifest) }
    }

    fn matches(&self, sample: &Sample) -> Result<bool, Broken> {
        let inputs = &self.manifest.interprets.as_ref().expect("it reads tables").inputs;
        for table in &self.tables {
            for instance in &table.instances {
                let mut holds = true;
                for (column, cell) in table.columns.iter().zip(&instance.cells) {
                    let Cell::Value(want) = cell else { continue };
                    let at = inputs.iter().position(|input| input == column);
                    if at.is_none_or(|at| at >= self.supplies) {
                        return Err(Broken::Crashed("signal 6".to_owned()));
                    }
                    let have = EventInput::of(column).and_then(|it| input::value(it, sample));
                    if have.as_deref() != Some(want.as_bytes()) {
                        holds = false;
                        break;
                    }
                }
                if holds {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

impl Interpreter for Fake<'_> {
    fn start(&mut self, content: Option<&Path>) -> Result<Started, Broken> {
        self.starts += 1;
        self.ended = false;
        self.start.clone()?;
        self.tables.clear();
        let Some(content) = content else { return Ok(started()) };
        for entry in content.read_dir().expect("a folder") {
            let file = entry.expect("an entry").path();
            if file.extension().is_some_and(|extension| extension == "table") {
                let text = std::fs::read_to_string(&file).expect("text");
                let mut room = table::Room::default();
                let read = table::parse("t", &text, &mut room, &mut ContentErrors::default());
                self.tables.push(read.expect("a table"));
            }
        }
        Ok(started())
    }

    fn ask(&mut self, question: &Asked<'_>) -> Result<Reply, Broken> {
        assert!(!self.ended, "an engine that has ended is asked");
        let result = match &mut self.answer {
            Some(answer) => answer(question),
            None => {
                self.matches(question.sample).map(|denied| if denied { deny() } else { allow() })
            }
        };
        self.ended = result.is_err();
        result
    }

    fn usage(&mut self) -> Usage {
        self.usage
    }

    fn rules(&mut self, _: &Path) -> Result<Option<RuleCount>, RulesRefused> {
        self.rules.clone()
    }

    fn judge(&mut self, sample: &Sample) -> RuleWord {
        let path = String::from_utf8_lossy(sample.path.as_deref().unwrap_or_default()).into_owned();
        match self.denied_by_rules.iter().find(|denied| path.starts_with(**denied)) {
            Some(denied) => RuleWord::Denies((*denied).to_owned()),
            None => RuleWord::Silent,
        }
    }

    fn end(&mut self) {
        self.ended = true;
    }
}

fn started() -> Started {
    let took = Duration::from_millis(3);
    Started { took, description: "2 tables".to_owned(), sandbox_missing: Vec::new() }
}

fn allow() -> Reply {
    Reply::Answered { verdict: Verdict::Allow, detail: String::new(), latency: QUICK }
}

fn deny() -> Reply {
    let detail = "deny list: eicar".to_owned();
    Reply::Answered { verdict: Verdict::Deny, detail, latency: QUICK }
}

fn evidence(path: &str, standing: Standing) -> Evidence {
    let sample = Sample {
        event: Event::ProcessExec,
        credentials: Some((0, 0)),
        path: Some(path.as_bytes().to_vec()),
        attributes: Some((4, 0)),
        content: Ok(Digest { size: 4, sha256: [0; 32] }),
        standing,
        answer: Some(Answer::Allow),
    };
    Evidence { sample, material: Material::Bytes(b"good".to_vec()) }
}

const GOOD: Standing = Standing { known_good: true, guarded: false };

/// So many known-good programs.
fn good(count: usize) -> Vec<Result<Evidence, String>> {
    (0..count).map(|at| Ok(evidence(&format!("/usr/bin/p{at}"), GOOD))).collect()
}

struct Case {
    manifest: Manifest,
    content: Option<TempDir>,
    declared: Option<Declaration>,
    known_good: Vec<Result<Evidence, String>>,
    own: Vec<Result<Evidence, String>>,
    limits: Limits,
}

impl Case {
    fn new(manifest: Manifest, content: &[(&str, &[u8])]) -> Self {
        let kind = manifest.interprets.as_ref().map_or(ContentType::Table, |it| it.kind);
        let interpreter = "^1.4".parse().expect("a requirement");
        Self {
            manifest,
            content: Some(folder(content)),
            declared: Some(Declaration { kind, schema: 1, interpreter }),
            known_good: good(100),
            own: Vec::new(),
            limits: LIMITS,
        }
    }

    /// An engine whose content nothing can be made up for, and which answers what a test says.
    fn plain() -> Self {
        let manifest = manifest("[content]\ntype = \"yara\"\nschema = \"1\"\n");
        Self::new(manifest, &[("a.yar", b"rule one { condition: false }")])
    }

    fn run(self, fake: impl FnOnce(&Manifest) -> Fake<'_>) -> Report {
        let scratch = folder(&[]);
        let version = Version::new(1, 4, 0);
        let release = Version::new(1, 2, 0);
        let offered = self.content.as_ref().map(|content| Offered {
            version: Some(&release),
            folder: content.path(),
            declared: self.declared.as_ref(),
        });
        let candidate = Candidate {
            part: Part::Content,
            code: Code { version: &version, manifest: &self.manifest },
            content: offered,
            scratch: scratch.path(),
        };
        let mut fake = fake(&self.manifest);
        let corpora = Corpora {
            known_good: &mut self.known_good.into_iter(),
            own: &mut self.own.into_iter(),
        };
        let report = run(&candidate, corpora, &mut fake, &self.limits, &mut |_| {});
        assert!(fake.ended, "the engine runs on");
        report
    }
}

fn finding(report: &Report) -> (Option<Reason>, String) {
    let text = report.first_finding().map_or_else(String::new, |finding| finding.text.clone());
    assert_eq!(report.passed, report.reason.is_none(), "{report}");
    (report.reason, text)
}

fn outcome(report: &Report, name: CheckName) -> Outcome {
    report.check(name).expect("every check is in the report").outcome
}

const TABLE: &str = "columns\tpath\tuid\tpipe\none\t/srv/x\t*\t*\ntwo\t*\t33\t*\n";

#[test]
fn content_that_nothing_speaks_against_passes_every_check() {
    let case =
        Case::new(table_manifest(&["path", "uid", "pipe"]), &[("a.table", TABLE.as_bytes())]);

    let report = case.run(|manifest| Fake::new(manifest));

    assert_eq!(finding(&report), (None, String::new()));
    assert_eq!(outcome(&report, CheckName::Instances), Outcome::Passed, "{report}");
    let known_good = report.check(CheckName::KnownGood).expect("a check");
    assert_eq!(known_good.figures["allowed"], 100);
    assert_eq!(outcome(&report, CheckName::OwnEvents), Outcome::NotTried, "{report}");
    let names: Vec<CheckName> = report.checks.iter().map(|check| check.name).collect();
    assert_eq!(names, CheckName::ALL);
}

#[test]
fn a_field_that_the_code_does_not_supply_ends_it_before_anything_starts() {
    let text = "columns\tpath\tipc_name\none\t*\tspooler\n";
    let case = Case::new(table_manifest(&["path"]), &[("a.table", text.as_bytes())]);

    let report = case.run(|manifest| Fake::new(manifest));

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::Schema));
    let want = "a.table:2: instance \"one\", field 2 `ipc_name` is not supplied";
    assert!(text.starts_with(want), "{text}");
    assert_eq!(outcome(&report, CheckName::Start), Outcome::NotTried);
    let note = &report.check(CheckName::Start).expect("a check").notes[0];
    assert_eq!(note, "not tried, since schema failed");
}

#[test]
fn a_manifest_that_lies_is_caught_by_the_replay_and_the_field_is_named() {
    let text = "columns\tpath\tuid\tipc_name\nfirst\t/srv/x\t*\t*\nsecond\t*\t0\tspooler\n";
    let manifest = table_manifest(&["path", "uid", "ipc_name"]);

    let report = Case::new(manifest, &[("a.table", text.as_bytes())])
        .run(|manifest| Fake { supplies: 2, ..Fake::new(manifest) });

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::Crashed));
    let want = "a.table:3: instance \"second\", field 3 `ipc_name`: on process.exec /usr/bin/p0: \
                it crashed: signal 6";
    assert_eq!(text, want);
    assert_eq!(outcome(&report, CheckName::Schema), Outcome::Passed);
    assert_eq!(outcome(&report, CheckName::KnownGood), Outcome::Failed);
}

#[test]
fn a_field_of_wildcards_that_would_crash_is_caught_before_anybody_fills_it() {
    let text = "columns\tpath\tuid\tipc_name\nfirst\t/srv/x\t*\t*\n";
    let manifest = table_manifest(&["path", "uid", "ipc_name"]);

    let report = Case::new(manifest, &[("a.table", text.as_bytes())])
        .run(|manifest| Fake { supplies: 2, ..Fake::new(manifest) });

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::Crashed));
    assert_eq!(outcome(&report, CheckName::KnownGood), Outcome::Passed);
    let want = "field 3 `ipc_name`, with a value: it crashed: signal 6";
    assert!(text.ends_with(want), "{text}");
}

#[test]
fn content_for_other_code_is_not_even_read() {
    let mut case = Case::plain();
    case.declared.as_mut().expect("a release").interpreter = "^2".parse().expect("a requirement");

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::Incompatible));
    assert_eq!(text, "the content is for pipes ^2, and the code is pipes 1.4.0");
    assert_eq!(outcome(&report, CheckName::Schema), Outcome::NotTried);
}

fn start_fails(broken: Broken) -> (Option<Reason>, String) {
    finding(&Case::plain().run(|manifest| Fake { start: Err(broken), ..Fake::new(manifest) }))
}

#[test]
fn an_engine_that_does_not_start_is_told_by_its_reason() {
    let refused = "a.yar:3: syntax error: \u{1b}[31munexpected".to_owned();

    assert_eq!(start_fails(Broken::Crashed("signal 6".to_owned())).0, Some(Reason::Crashed));
    assert_eq!(start_fails(Broken::StartTimeout(BUDGET)).0, Some(Reason::StartTimeout));
    assert_eq!(
        start_fails(Broken::OutOfMemory { limit_bytes: 16 << 20 }),
        (
            Some(Reason::OutOfMemory),
            "it was ended at its memory limit of 16777216 bytes".to_owned()
        )
    );
    assert_eq!(
        start_fails(Broken::Refused(refused)),
        (
            Some(Reason::ContentRefused),
            "it refused its content: a.yar:3: syntax error: \\u{1b}[31munexpected".to_owned()
        )
    );
}

#[test]
fn what_cannot_be_tried_is_not_the_releases_fault() {
    let (reason, _) = start_fails(Broken::Host("no cgroup".to_owned()));

    assert_eq!(reason, Some(Reason::NotTried));
    assert!(!Reason::NotTried.is_the_releases() && !Reason::TooLittleEvidence.is_the_releases());
}

#[test]
fn garbage_and_hanging_name_the_object() {
    let breaks = |broken: Broken| {
        finding(
            &Case::plain().run(|manifest| Fake::answering(manifest, move |_| Err(broken.clone()))),
        )
    };

    let (reason, text) = breaks(Broken::Garbage("verdict number 9".to_owned()));
    assert_eq!(reason, Some(Reason::Garbage));
    assert_eq!(text, "on process.exec /usr/bin/p0: it sent garbage: verdict number 9");
    assert_eq!(breaks(Broken::Hung(BUDGET)).0, Some(Reason::Hung));
}

#[test]
fn a_denial_of_a_known_good_object_fails_with_path_and_detail() {
    let report = Case::plain().run(|manifest| {
        Fake::answering(manifest, |asked| {
            let bad = asked.sample.path.as_deref() == Some(b"/usr/bin/p7");
            Ok(if bad { deny() } else { allow() })
        })
    });

    let text = "process.exec /usr/bin/p7: deny list: eicar".to_owned();
    assert_eq!(finding(&report), (Some(Reason::DeniedKnownGood), text));
    let check = report.check(CheckName::KnownGood).expect("a check");
    assert_eq!((check.figures["allowed"], check.figures["denied"]), (99, 1));
}

#[test]
fn a_denial_of_a_guarded_object_of_this_machine_fails_and_of_another_is_told() {
    let mut case = Case::plain();
    let guarded = Standing { known_good: false, guarded: true };
    case.own = vec![
        Ok(evidence("/home/a/tool", Standing::default())),
        Ok(evidence("/usr/lib/systemd/systemd", guarded)),
    ];

    let report = case.run(|manifest| {
        Fake::answering(manifest, |asked| {
            let own = !asked.sample.standing.known_good;
            Ok(if own { deny() } else { allow() })
        })
    });

    let text = "process.exec /usr/lib/systemd/systemd: deny list: eicar".to_owned();
    assert_eq!(finding(&report), (Some(Reason::DeniedGuarded), text));
    let check = report.check(CheckName::OwnEvents).expect("a check");
    assert_eq!(check.figures["newly_denied"], 1);
}

#[test]
fn an_object_without_an_answer_in_time_fails_and_is_named() {
    let late = |reply: Reply| {
        let report = Case::plain().run(move |manifest| {
            Fake::answering(manifest, move |asked| {
                let late = asked.sample.path.as_deref() == Some(b"/usr/bin/p7");
                Ok(if late { reply.clone() } else { allow() })
            })
        });
        finding(&report)
    };
    let after = BUDGET + Duration::from_nanos(1);
    let (verdict, detail) = (Verdict::Allow, String::new());

    let want = (Some(Reason::Slow), "/usr/bin/p7: no answer within 50 ms".to_owned());
    assert_eq!(late(Reply::Missed), want);
    assert_eq!(late(Reply::Answered { verdict, detail, latency: after }), want);
}

#[test]
fn an_engine_that_never_answers_is_not_asked_about_everything() {
    let report = Case::plain().run(|manifest| Fake::answering(manifest, |_| Ok(Reply::Missed)));

    assert_eq!(finding(&report).0, Some(Reason::Slow));
    assert_eq!(report.check(CheckName::KnownGood).expect("a check").figures["replayed"], 3);
}

#[test]
fn no_time_is_left_for_what_comes_after_it_is_over() {
    let mut case = Case::plain();
    case.limits.total = Duration::ZERO;
    case.limits.samples_min = 0;

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    let check = report.check(CheckName::KnownGood).expect("a check");
    assert_eq!(check.outcome, Outcome::NotTried);
    let want = "stopped at 0 events, its share of the time: the rest was NOT replayed";
    assert_eq!(check.notes[0], want);
}

#[test]
fn answers_that_take_too_long_as_a_rule_fail() {
    let report = Case::plain().run(|manifest| {
        Fake::answering(manifest, |_| {
            let (verdict, detail) = (Verdict::Allow, String::new());
            Ok(Reply::Answered { verdict, detail, latency: Duration::from_millis(30) })
        })
    });

    let text = "p99 of 100 answers is 30000 us, over 25000 us".to_owned();
    assert_eq!(finding(&report), (Some(Reason::Slow), text));
    assert_eq!(outcome(&report, CheckName::KnownGood), Outcome::Passed);
}

#[test]
fn memory_near_its_limit_fails() {
    let memory_bytes = Some(250 << 20);
    let report = Case::plain().run(|manifest| Fake {
        usage: Usage { memory_bytes, cpu: None },
        ..Fake::answering(manifest, |_| Ok(allow()))
    });

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::Memory));
    assert!(
        text.starts_with("it used 262144000 bytes, over 90 % of the 268435456 bytes"),
        "{text}"
    );
}

#[test]
fn too_little_evidence_fails_with_what_to_do() {
    let mut case = Case::plain();
    case.known_good = good(99);

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    let text = "99 answers on recorded events, and 100 are the least: build a corpus, record events on this \
                machine, or lower the minimum";
    assert_eq!(finding(&report), (Some(Reason::TooLittleEvidence), text.to_owned()));
}

#[test]
fn this_machines_own_events_are_evidence_too() {
    let mut case = Case::plain();
    case.known_good = Vec::new();
    case.own = good(100);

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    assert_eq!(finding(&report), (None, String::new()));
    assert_eq!(outcome(&report, CheckName::KnownGood), Outcome::NotTried);
}

#[test]
fn an_abstention_is_no_evidence() {
    let report = Case::plain().run(|manifest| {
        Fake::answering(manifest, |_| {
            let (verdict, detail) = (Verdict::Abstain, "not granted".to_owned());
            Ok(Reply::Answered { verdict, detail, latency: QUICK })
        })
    });

    assert_eq!(finding(&report).0, Some(Reason::TooLittleEvidence));
    let check = report.check(CheckName::KnownGood).expect("a check");
    assert_eq!(check.notes[0], "100 questions were abstained from: no evidence");
}

#[test]
fn objects_that_are_gone_are_counted_and_told_and_are_no_evidence() {
    let mut case = Case::plain();
    for at in 0..3 {
        let gone = evidence(&format!("/gone/{at}"), GOOD);
        case.known_good.push(Ok(Evidence { material: Material::Gone("no file"), ..gone }));
    }
    case.known_good.push(Err("corpus: torn at byte 7".to_owned()));

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    let check = report.check(CheckName::KnownGood).expect("a check");
    assert_eq!((check.figures["replayed"], check.figures["gone"]), (100, 3));
    assert_eq!(
        check.notes,
        [
            "the corpus ends at an error: corpus: torn at byte 7",
            "3 objects are gone or changed since: their events were NOT replayed",
            "1 places of the corpus could not be read"
        ]
    );
}

#[test]
fn a_list_that_does_not_deny_what_is_listed_fails() {
    let manifest = manifest("[content]\ntype = \"hashlist\"\nschema = \"1\"\n");
    let case = Case::new(manifest, &[("a.deny", HASH.as_bytes())]);

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::WrongVerdict));
    assert!(text.contains("its content denies it, and the engine does not"), "{text}");
}

#[test]
fn samples_are_held_against_what_their_release_says_of_them() {
    let mut case = Case::plain();
    let folder = case.content.as_ref().expect("content").path().join("samples/deny");
    std::fs::create_dir_all(&folder).expect("made");
    std::fs::write(folder.join("dropper"), b"bad").expect("written");
    case.known_good = good(100);

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::WrongVerdict));
    let want = "samples/deny/dropper: its content denies it, and the engine does not ()";
    assert_eq!(text, want);
}

#[test]
fn replay_ends_at_its_limit_and_says_so() {
    let mut case = Case::plain();
    case.known_good = good(300);
    case.limits.samples_max = 120;

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(allow())));

    let check = report.check(CheckName::KnownGood).expect("a check");
    assert_eq!(check.figures["replayed"], 120);
    assert!(check.notes[0].ends_with("the rest was NOT replayed"), "{report}");
}

#[test]
fn what_was_not_tried_after_a_failure_is_said_in_one_line() {
    let case = Case::plain();

    let report = case.run(|manifest| Fake {
        start: Err(Broken::Crashed("signal 6".to_owned())),
        ..Fake::new(manifest)
    });

    let text = report.to_string();
    let want = "note: known-good, own-events, instances, samples, latency, memory: not tried, since start \
                failed\n";
    assert!(text.ends_with(want), "{text}");
}

#[test]
fn a_report_fits_a_screen_and_reads_the_same_from_json() {
    let mut case = Case::plain();
    case.known_good = good(100);

    let report = case.run(|manifest| Fake::answering(manifest, |_| Ok(deny())));

    let text = report.to_string();
    assert!(text.lines().count() <= 24, "{text}");
    assert!(text.contains("known-good: and 95 more"), "{text}");
    let json = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&json).expect("the same"), report);
    assert!(json.contains("\"reason\":\"denied-known-good\""), "{json}");
}
