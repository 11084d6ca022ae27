//! What the engine answers, and when.

use std::fs::{File, OpenOptions};
use std::process::Command;
use std::time::{Duration, Instant};

use outrigger_engine_yara::{Options, OverSize};
use outrigger_sdk::kit::v1::{Heartbeat, Reload, to_engine, to_host};
use outrigger_sdk::kit::{Ask, ContentAbsent};
use outrigger_sdk::{Event, LATE_MAX, Verdict};

use crate::{RULE, allowed, denied, dock, folder, patient, write};

/// Minutes of work on a file that begins with `slow`, none on others.
const SLOW_RULE: &str = "
rule slow {
    condition:
        uint32be(0) == 0x736c6f77 and
        for all i in (0..1000000000) : (
            for all j in (0..1000000000) : ( uint8((i + j) % 4) != 0 )
        )
}
";

#[test]
fn what_a_rule_matches_is_denied_by_its_name_and_the_rest_allowed() {
    let folder = folder(RULE);
    let mut host = dock(patient(), folder.path());

    assert_eq!(host.loaded(), "1 rule of 1 file");
    assert_eq!(host.judged(Ask::open(b"BAD file")), denied("begins_bad"));
    assert_eq!(host.judged(Ask::open(b"good file")), allowed());
    assert_eq!(host.judged(Ask::open(b"")), allowed());
}

#[test]
fn a_file_is_searched_to_its_end() {
    let folder = folder("rule late { strings: $a = \"at the very end\" condition: $a }");
    let mut host = dock(patient(), folder.path());
    let mut large = vec![b'.'; 3_000_000];
    large.extend_from_slice(b"at the very end");

    assert_eq!(host.judged(Ask::open(&large)), denied("late"));
    assert_eq!(host.judged(Ask::open(&large[..large.len() - 1])), allowed());
}

#[test]
fn a_file_over_the_limit_is_judged_by_its_beginning() {
    let folder = folder("rule marked { strings: $a = \"MARK\" condition: $a }");
    let mut host = dock(Options { scan_bytes: 1000, ..patient() }, folder.path());
    let beginning = [&[b'.'; 996], b"MARK".as_slice(), &[b'.'; 5000]].concat();
    let behind = [&[b'.'; 997], b"MARK".as_slice(), &[b'.'; 5000]].concat();

    assert_eq!(host.judged(Ask::open(&beginning)), denied("marked"));
    assert_eq!(host.judged(Ask::open(&behind)), allowed());
}

#[test]
fn a_file_over_the_limit_is_abstained_from_where_that_is_wanted() {
    let folder = folder(RULE);
    let options = Options { scan_bytes: 1000, over_size: OverSize::Abstain, ..patient() };
    let mut host = dock(options, folder.path());

    let over = host.judged(Ask::open(&[b"BAD".as_slice(), &[b'.'; 998]].concat()));
    let just = host.judged(Ask::open(&[b"BAD".as_slice(), &[b'.'; 997]].concat()));

    assert_eq!(over, (Verdict::Abstain, "1001 bytes, over the limit of 1000".to_owned()));
    assert_eq!(just, denied("begins_bad"));
}

#[test]
fn a_slow_scan_is_abstained_from_in_time_and_those_behind_it_are_judged() {
    const BUDGET: Duration = Duration::from_millis(800);
    let folder = folder(&[SLOW_RULE, RULE].concat());
    let options = Options { scan_time: Duration::from_millis(50), ..Options::default() };
    let mut host = dock(options, folder.path());
    assert_eq!(host.judged(Ask::open(b"BAD")), denied("begins_bad"));

    let begun = Instant::now();
    let asks = [b"slow".as_slice(), b"BAD one", b"good", b"BAD two"];
    let cases = host.ask_all(asks.map(|content| Ask::open(content).within(BUDGET)));
    let verdicts: Vec<_> = asks.map(|_| host.verdict()).into();
    let took = begun.elapsed();

    let told: Vec<_> = verdicts.iter().map(|v| (v.verdict, v.detail.as_str())).collect();
    assert_eq!(verdicts.iter().map(|verdict| verdict.case).collect::<Vec<_>>(), cases);
    assert_eq!(
        told,
        [
            (Verdict::Abstain, "took longer than 50 ms"),
            (Verdict::Deny, "begins_bad"),
            (Verdict::Allow, ""),
            (Verdict::Deny, "begins_bad"),
        ]
    );
    assert!(took < BUDGET, "all four took {took:?}");
}

#[test]
fn a_slow_scan_leaves_a_quarter_of_its_questions_time() {
    let folder = folder(&[SLOW_RULE, RULE].concat());
    let options = Options { scan_time: Duration::from_secs(1), ..Options::default() };
    let mut host = dock(options, folder.path());

    // No verdict is sent once the time is over.
    let slow = host.judged(Ask::open(b"slow").within(Duration::from_millis(400)));

    assert_eq!(slow.0, Verdict::Abstain);
    assert!(slow.1.starts_with("took longer than "), "{}", slow.1);
}

#[test]
fn while_too_many_scans_are_late_the_rest_is_abstained_from_at_once() {
    let folder = folder(&[SLOW_RULE, RULE].concat());
    let options = Options { scan_time: Duration::from_millis(20), ..Options::default() };
    let mut host = dock(options, folder.path());

    for _ in 0..LATE_MAX {
        assert_eq!(host.judged(Ask::open(b"slow")).0, Verdict::Abstain);
    }
    let over = host.judged(Ask::open(b"BAD"));
    // YARA-X ends the late ones by itself.
    let begun = Instant::now();
    let mut after = over.clone();
    while after.0 == Verdict::Abstain && begun.elapsed() < Duration::from_secs(20) {
        after = host.judged(Ask::open(b"BAD"));
    }

    let busy = "every judge is held up by a question that is late".to_owned();
    assert_eq!(over, (Verdict::Abstain, busy));
    assert_eq!(after, denied("begins_bad"));
}

#[test]
fn what_cannot_be_read_is_abstained_from() {
    let folder = folder(RULE);
    let mut host = dock(patient(), folder.path());

    let absent = host.judged(Ask::new(Event::FileOpen).absent(ContentAbsent::KeyMaterial));
    let unreadable = File::open(folder.path()).expect("a folder is no content");
    let failed = host.judged(Ask::new(Event::FileOpen).file_of(unreadable));

    assert_eq!(absent, (Verdict::Abstain, "content is key material".to_owned()));
    assert_eq!(failed.0, Verdict::Abstain);
    assert!(failed.1.starts_with("cannot read: Is a directory"), "{}", failed.1);
}

#[test]
fn without_rules_everything_is_allowed() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut host = dock(patient(), folder.path());

    assert_eq!(host.loaded(), "0 rules of 0 files");
    assert_eq!(host.judged(Ask::open(b"BAD")), allowed());
}

#[test]
fn a_reload_brings_new_rules_into_force() {
    let folder = folder(RULE);
    let mut host = dock(patient(), folder.path());
    assert_eq!(host.judged(Ask::open(b"BAD")), denied("begins_bad"));

    write(&folder, "test.yar", "rule other { strings: $a = \"WORSE\" condition: $a }");

    assert_eq!(host.reload(), Ok("1 rule of 1 file".to_owned()));
    assert_eq!(host.judged(Ask::open(b"BAD")), allowed());
    assert_eq!(host.judged(Ask::open(b"WORSE")), denied("other"));
}

#[test]
fn new_rules_are_in_force_while_a_scan_by_the_old_ones_is_late() {
    let folder = folder(&[SLOW_RULE, RULE].concat());
    let options = Options { scan_time: Duration::from_millis(50), ..Options::default() };
    let mut host = dock(options, folder.path());
    assert_eq!(host.judged(Ask::open(b"slow")).0, Verdict::Abstain);

    write(&folder, "test.yar", "rule other { strings: $a = \"WORSE\" condition: $a }");

    assert_eq!(host.reload(), Ok("1 rule of 1 file".to_owned()));
    assert_eq!(host.judged(Ask::open(b"slow")), allowed());
    assert_eq!(host.judged(Ask::open(b"BAD")), allowed());
    assert_eq!(host.judged(Ask::open(b"WORSE")), denied("other"));
}

/// The compiler's last file is a pipe, which nobody writes to before the questions are answered: it cannot
/// have ended by then.
#[test]
fn a_long_compile_holds_up_no_question() {
    const RULES: usize = 3000;
    let folder = folder(RULE);
    let mut host = dock(patient(), folder.path());
    assert_eq!(host.judged(Ask::open(b"BAD")), denied("begins_bad"));
    let rule = |n| format!("rule r{n} {{ strings: $a = \"text of rule {n}\" condition: $a }}\n");
    write(&folder, "many.yar", &(0..RULES).map(rule).collect::<String>());
    write(&folder, "test.yar", "");
    let last = folder.path().join("z.yar");
    let made = Command::new("mkfifo").arg(&last).status().expect("mkfifo starts");
    assert!(made.success());

    host.send(to_engine::Message::Reload(Reload {}));
    host.ping(1);
    assert_eq!(host.message(), to_host::Message::Heartbeat(Heartbeat { nonce: 1 }));
    let meanwhile = [b"BAD".as_slice(), b"text of rule 7", b"BAD"]
        .map(|content| host.judged(Ask::open(content)));
    // Opens when the compiler does, and is empty.
    std::thread::spawn(move || OpenOptions::new().write(true).open(last).map(drop));
    // Without optimisation, on a busy machine, thousands of rules take longer than the kit waits.
    assert!(!host.silent_for(Duration::from_secs(300)), "the compiler has not ended");
    let to_host::Message::ContentLoaded(loaded) = host.message() else {
        panic!("the rules were not told of");
    };

    assert_eq!(meanwhile, [denied("begins_bad"), allowed(), denied("begins_bad")]);
    assert_eq!(loaded.content, format!("{RULES} rules of 3 files"));
    assert_eq!(host.judged(Ask::open(b"text of rule 7")), denied("r7"));
    assert_eq!(host.judged(Ask::open(b"BAD")), allowed());
}

#[test]
fn rules_that_are_taken_away_deny_nothing() {
    let folder = folder(RULE);
    let mut host = dock(patient(), folder.path());
    write(&folder, "test.yar", "");

    assert_eq!(host.reload(), Ok("0 rules of 1 file".to_owned()));
    assert_eq!(host.judged(Ask::open(b"BAD")), allowed());
}

#[test]
fn a_bad_file_leaves_the_old_rules_in_force_and_is_told_with_its_line() {
    let folder = folder(RULE);
    let mut host = dock(patient(), folder.path());
    write(&folder, "broken.yar", "// fine\n\nrule broken { condition: }\n");
    write(&folder, "test.yar", "");

    let why = host.reload().expect_err("refused");

    assert!(why.contains("/broken.yar:3: syntax error"), "{why}");
    assert_eq!(host.judged(Ask::open(b"BAD")), denied("begins_bad"));
}
