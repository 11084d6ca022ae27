//! Sets that are not compiled: each error, with what is in the way and how soon it is found.

use std::fs;
use std::time::Duration;

use super::super::normal::DEPTH_MAX;
use super::*;

const OPEN: &[Event] = &[Event::FileOpen];

fn rule(name: &str, when: Condition) -> Rule {
    Rule {
        name: name.to_owned(),
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect: Effect::Deny,
        events: OPEN.to_vec(),
        when,
    }
}

fn path(is: Pattern) -> Condition {
    Condition::Text { place: Text::Path, is }
}

fn begins(with: impl Into<String>) -> Condition {
    path(Pattern::Begins(with.into()))
}

fn contains(part: impl Into<String>) -> Condition {
    path(Pattern::Contains(part.into()))
}

fn uid(is: Comparison, value: u64) -> Condition {
    Condition::Number { place: Number::SubjectUid, is, value }
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

/// How long this thread has run: what others do on a busy machine is not compiling.
fn worked() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts it");
    let ns = stat.split(' ').next().expect("a first field");
    Duration::from_nanos(ns.parse().expect("a number"))
}

/// The error of a set, found within the second that a refusal may take.
fn refused(rules: &[Rule]) -> CompileError {
    let begin = worked();
    let error = compile(rules, &KEY, 1, &MarkNames::default()).expect_err("it is refused");
    let time = worked() - begin;
    assert!(time < Duration::from_secs(1), "{error} took {time:?}");
    let message = error.to_string();
    assert!(message.len() < 400 && !message.contains('\n'), "{message}");
    error
}

fn name(name: &str) -> String {
    name.to_owned()
}

#[test]
fn contradictions_are_refused() {
    let impossible = [
        Condition::Any(Vec::new()),
        not(Condition::All(Vec::new())),
        Condition::All(vec![uid(Comparison::Is, 1), uid(Comparison::Is, 2)]),
        Condition::All(vec![uid(Comparison::Less, 5), not(uid(Comparison::AtMost, 5))]),
        uid(Comparison::Less, 0),
        Condition::All(vec![begins("/etc/"), begins("/usr/")]),
        Condition::All(vec![begins("/etc/"), not(begins("/etc"))]),
        Condition::All(vec![path(Pattern::Is(name("/a"))), contains("b")]),
        Condition::All(vec![path(Pattern::Is(name("/a"))), path(Pattern::AtLeast(3))]),
        path(Pattern::AtLeast(4097)),
        Condition::All(vec![marked(Process::Subject, "m"), not(marked(Process::Subject, "m"))]),
        Condition::Any(vec![
            Condition::All(vec![uid(Comparison::Is, 1), uid(Comparison::Is, 2)]),
            Condition::All(vec![begins("/b"), begins("/c")]),
        ]),
    ];
    for when in impossible {
        let error = refused(&[rule("never", when.clone())]);
        assert_eq!(error, CompileError::Impossible { rule: name("never") }, "{when:?}");
    }
}

#[test]
fn what_only_seems_to_contradict_itself_is_not_refused() {
    let possible = [
        Condition::All(vec![begins("/etc"), begins("/etc/")]),
        Condition::All(vec![begins("/etc/"), not(path(Pattern::Is(name("/etc/"))))]),
        Condition::All(vec![
            begins("/ab"),
            path(Pattern::Ends(name("bc"))),
            path(Pattern::AtLeast(4)),
        ]),
        Condition::All(vec![contains("a"), not(contains("ab"))]),
        Condition::All(vec![uid(Comparison::AtMost, 5), not(uid(Comparison::Less, 5))]),
        Condition::Any(vec![Condition::Any(Vec::new()), begins("/x")]),
        path(Pattern::AtLeast(4096)),
    ];
    for when in possible {
        let set = [rule("may", when.clone())];
        assert!(compile(&set, &KEY, 1, &MarkNames::default()).is_ok(), "{when:?}");
    }
}

#[test]
fn what_no_event_of_a_rule_has_is_refused() {
    let port = Condition::Number { place: Number::Port, is: Comparison::Is, value: 22 };
    let connects =
        Rule { events: vec![Event::FileOpen, Event::NetConnect], ..rule("two", port.clone()) };

    assert_eq!(refused(&[rule("port", port)]), CompileError::Nowhere { rule: name("port") });
    assert!(compile(&[connects], &KEY, 1, &MarkNames::default()).is_ok());
    let none = Rule { events: Vec::new(), ..rule("none", begins("/")) };
    assert_eq!(refused(&[none]), CompileError::NoEvent { rule: name("none") });
}

#[test]
fn rules_are_told_apart_by_their_names() {
    let twice = [rule("a", begins("/a")), rule("b", begins("/b")), rule("a", begins("/c"))];

    assert_eq!(refused(&twice), CompileError::NameTwice { rule: name("a") });
}

#[test]
fn names_are_short_and_there() {
    let long = |len: usize| rule(&"n".repeat(len), begins("/a"));
    let name = |what, len, max| CompileError::Name { number: 1, what, len, max };

    assert_eq!(refused(&[long(512), long(513)]), name("a name", 513, 512));
    assert_eq!(refused(&[long(1), long(0)]), name("a name", 0, 512));
    let marks = |len: usize| rule("m", marked(Process::Subject, &"m".repeat(len)));
    assert!(compile(&[marks(64)], &KEY, 1, &MarkNames::default()).is_ok());
    assert_eq!(refused(&[long(1), marks(65)]), name("a mark", 65, 64));
    assert_eq!(refused(&[long(1), sets("", None, false)]), name("a mark", 0, 64));
}

#[test]
fn an_engines_rules_only_deny_and_filter() {
    let source = || Source::Engine("scan".parse().expect("a name"));
    let of = |effect| Rule { effect, source: source(), ..rule("e", begins("/a")) };
    let mark = Mark { name: name("m"), object: false, inherited: false, seconds: None };

    for effect in [Effect::Allow, Effect::Mark(mark)] {
        assert_eq!(refused(&[of(effect)]), CompileError::EngineMayOnlyDeny { rule: name("e") });
    }
    for effect in [Effect::Deny, Effect::Tell(63)] {
        assert!(compile(&[of(effect)], &KEY, 1, &MarkNames::default()).is_ok());
    }
    let tell = refused(&[of(Effect::Tell(64))]);
    assert_eq!(tell, CompileError::NoSuchEngine { rule: name("e"), engine: 64 });
}

#[test]
fn a_condition_nested_too_deeply_is_refused() {
    let deep = |depth| (1..depth).fold(begins("/a"), |when, _| not(when));

    assert!(compile(&[rule("deep", deep(DEPTH_MAX))], &KEY, 1, &MarkNames::default()).is_ok());
    let error = refused(&[rule("deep", deep(DEPTH_MAX + 1))]);
    assert_eq!(error, CompileError::Nested { rule: name("deep") });
}

#[test]
fn more_combinations_than_there_may_be_are_refused() {
    // Twelve choices between two texts of two places: 4096 combinations, and 2^40 of forty.
    let choice = |at: u32| {
        let cgroup =
            Condition::Text { place: Text::Cgroup, is: Pattern::Contains(format!("c{at}")) };
        Condition::Any(vec![contains(format!("p{at}")), cgroup])
    };
    for choices in [12, 40] {
        let when = Condition::All((0..choices).map(choice).collect());
        assert_eq!(refused(&[rule("many", when)]), CompileError::Clauses { rule: name("many") });
    }
    let rules: Vec<Rule> =
        (0..=CLAUSES).map(|at| rule(&at.to_string(), begins(format!("/{at}")))).collect();
    assert_eq!(refused(&rules), CompileError::Clauses { rule: CLAUSES.to_string() });
    assert!(compile(&rules[..CLAUSES], &KEY, 1, &MarkNames::default()).is_ok());
}

/// Each step stays within the number of clauses, but there are too many of them.
#[test]
fn work_without_end_is_refused() {
    let choice = |at: u32| {
        let cgroup =
            Condition::Text { place: Text::Cgroup, is: Pattern::Contains(format!("c{at}")) };
        Condition::Any(vec![contains(format!("p{at}")), cgroup])
    };
    let nested = |when, at| Condition::All(vec![when, contains(format!("q{at}"))]);
    let when = (0..50).fold(Condition::All((0..10).map(choice).collect()), nested);

    assert_eq!(refused(&[rule("long", when)]), CompileError::Work { rule: name("long") });
}

#[test]
fn constants_that_are_too_long_too_many_or_none_are_refused() {
    let exe = |len| Condition::Text { place: Text::Exe, is: Pattern::Begins("a".repeat(len)) };
    let long = CompileError::Long { rule: name("long"), place: Text::Exe, len: 257, max: 256 };
    assert_eq!(refused(&[rule("long", exe(257))]), long);
    assert!(compile(&[rule("fits", exe(256))], &KEY, 1, &MarkNames::default()).is_ok());

    let many =
        |count: usize| Condition::Any((0..count).map(|at| begins(format!("/{at}"))).collect());
    assert!(compile(&[rule("all", many(ATOMS))], &KEY, 1, &MarkNames::default()).is_ok());
    let what = "the object's path";
    assert_eq!(refused(&[rule("all", many(ATOMS + 1))]), CompileError::Atoms { what });

    let letters = (b'a'..=b'z').map(|letter| contains(char::from(letter).to_string().repeat(4000)));
    assert_eq!(
        refused(&[rule("long", Condition::Any(letters.collect()))]),
        CompileError::States { what }
    );

    let users =
        |count: u64| Condition::Any((0..count).map(|at| uid(Comparison::Is, at * 2)).collect());
    assert!(compile(&[rule("u", users(2000))], &KEY, 1, &MarkNames::default()).is_ok());
    let place = Some(Number::SubjectUid);
    assert_eq!(refused(&[rule("u", users(3000))]), CompileError::Bounds { place });
    assert_eq!(refused(&[rule("u", users(50_000))]), CompileError::Bounds { place });

    let cidr = Cidr { address: IpAddr::from([10, 0, 0, 0]), prefix: 33 };
    let connects = Rule { events: vec![Event::NetConnect], ..rule("net", Condition::Within(cidr)) };
    assert_eq!(refused(&[connects]), CompileError::Network { rule: name("net"), prefix: 33 });
}

/// Fewer states than may be, but wide ones.
#[test]
fn an_image_that_would_be_too_large_is_refused() {
    let wide: String = (0x80_u32..0x800).step_by(7).filter_map(char::from_u32).collect();
    let rows = (0..30_u32).map(|at| contains(format!("{at:02}{}{wide}", "q".repeat(1000))));
    let all = Condition::Any(
        rows.chain((b'!'..=b'~').map(|byte| contains(char::from(byte).to_string()))).collect(),
    );
    let exe = |at: u32| Condition::Text {
        place: Text::NewPath,
        is: Pattern::Contains(format!("{at:02}{}{wide}", "q".repeat(1500))),
    };
    let also = Condition::Any((0..20).map(exe).collect());
    let renames = |name, when| Rule { events: vec![Event::FileRename], ..rule(name, when) };

    assert_eq!(refused(&[renames("p", all), renames("n", also)]), CompileError::Bytes);
}

fn sets(mark_name: &str, seconds: Option<u32>, inherited: bool) -> Rule {
    let mark = Mark { name: name(mark_name), object: false, inherited, seconds };
    Rule { effect: Effect::Mark(mark), ..rule(&format!("sets {mark_name}"), begins("/a")) }
}

#[test]
fn marks_beyond_their_bits_are_refused() {
    let marks = |count: usize, seconds| -> Vec<Rule> {
        (0..count).map(|at| sets(&format!("m{at}"), seconds, false)).collect()
    };
    let plain = MARKS - TIMED;

    assert!(compile(&marks(plain, None), &KEY, 1, &MarkNames::default()).is_ok());
    let mark = format!("m{plain}");
    let error = CompileError::Marks { rule: format!("sets {mark}"), mark };
    assert_eq!(refused(&marks(plain + 1, None)), error);
    assert!(compile(&marks(TIMED, Some(5)), &KEY, 1, &MarkNames::default()).is_ok());
    let error = CompileError::Timed { rule: name("sets m8"), mark: name("m8") };
    assert_eq!(refused(&marks(TIMED + 1, Some(5))), error);
}

#[test]
fn rules_that_set_a_mark_differently_are_refused() {
    let again = |seconds, inherited| Rule { name: name("again"), ..sets("m", seconds, inherited) };
    let differs = CompileError::MarkDiffers { rule: name("again"), mark: name("m") };

    for other in [again(None, false), again(Some(6), false), again(Some(5), true)] {
        assert_eq!(refused(&[sets("m", Some(5), false), other]), differs);
    }
    assert_eq!(refused(&[again(Some(0), false)]), differs);
    let same = [sets("m", Some(5), false), again(Some(5), false)];
    assert!(compile(&same, &KEY, 1, &MarkNames::default()).is_ok());
}

/// Sets that are as much work as may be, whatever becomes of them.
#[test]
fn no_set_takes_longer_than_a_second() {
    let cgroup =
        |at: u32| Condition::Text { place: Text::Cgroup, is: Pattern::Contains(format!("c{at}")) };
    let choice = |at: u32| Condition::Any(vec![contains(format!("p{at}")), cgroup(at)]);
    let choices = |count: u32| (0..count).map(choice);
    let folders =
        |count: u32| Condition::Any((0..count).map(|at| begins(format!("/{at}"))).collect());
    let users = Condition::Any((0..2000).map(|at| uid(Comparison::Is, at * 2)).collect());
    let all = |more: Vec<Condition>, count| {
        Condition::All(more.into_iter().chain(choices(count)).collect())
    };
    let excluded = Condition::All((0..1500).map(|at| not(begins(format!("/{at}/{at}")))).collect());
    let sets = [
        // As many clauses as may be, each with many constants.
        all(vec![folders(4096)], 11),
        all(vec![users.clone()], 11),
        // Many constants in a condition of many clauses, though not in them.
        Condition::Any(vec![all(Vec::new(), 10), folders(4000), users]),
        Condition::All(vec![folders(4000), excluded]),
        Condition::Any(
            (0..60_000).map(|at| Condition::All(vec![cgroup(at % 9), begins("/")])).collect(),
        ),
        Condition::All((0..60_000).map(|at| not(contains(format!("x{}", at % 900)))).collect()),
    ];
    for (at, when) in sets.into_iter().enumerate() {
        let set = [rule("large", when)];
        let begin = worked();
        let _ = compile(&set, &KEY, 1, &MarkNames::default());
        let time = worked() - begin;
        assert!(time < Duration::from_secs(1), "set {at} took {time:?}");
    }
}
