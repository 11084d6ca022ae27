//! What rules decide, in cases that stand for what they are for.

use super::*;

fn rule(name: &str, effect: Effect, events: &[Event], when: Condition) -> Rule {
    Rule {
        name: name.to_owned(),
        source: Source::Administrator,
        mode: Mode::Enforce,
        effect,
        events: events.to_vec(),
        when,
    }
}

fn text(place: Text, is: Pattern) -> Condition {
    Condition::Text { place, is }
}

fn begins(place: Text, with: &str) -> Condition {
    text(place, Pattern::Begins(with.to_owned()))
}

fn number(place: Number, is: Comparison, value: u64) -> Condition {
    Condition::Number { place, is, value }
}

fn not(condition: Condition) -> Condition {
    Condition::Not(Box::new(condition))
}

fn descends(program: &str) -> Condition {
    Condition::Descends { process: Process::Subject, program: program.to_owned() }
}

fn mark(name: &str) -> Mark {
    Mark { name: name.to_owned(), object: false, inherited: false, seconds: None }
}

fn compiled(rules: &[Rule]) -> Compiled {
    compile(rules, &KEY, 1, &MarkNames::default()).expect("it compiles")
}

fn decide(rules: &[Rule], facts: &Facts<'_>) -> Decision {
    compiled(rules).image.decide(facts)
}

/// `/etc/shadow` opened by a process of which everything is known.
fn opened() -> Facts<'static> {
    let mut facts = Facts::new(Event::FileOpen);
    facts.set_number(Number::SubjectUid, 1000);
    facts.set_text(Text::Exe, b"/usr/bin/cat");
    facts.set_path(Some(b"/etc/shadow"));
    facts.lineage = Lineage::new(&[KEY.hash(b"/usr/sbin/sshd")], false);
    facts
}

const OPEN: &[Event] = &[Event::FileOpen];

#[test]
fn an_empty_set_decides_nothing() {
    let none = compiled(&[]);

    assert_eq!(none.image.decide(&opened()), Decision::default());
    assert!(!none.image.is_about(Event::FileOpen));
    assert_eq!(Image::check(none.image.bytes().to_vec()), Ok(none.image));
}

#[test]
fn a_deny_is_stronger_than_an_allow_wherever_it_stands() {
    let allow = rule("allow", Effect::Allow, OPEN, begins(Text::Path, "/etc/shadow"));
    let deny = rule("deny", Effect::Deny, OPEN, begins(Text::Path, "/etc/"));
    let marks = rule("marks", Effect::Mark(mark("seen")), OPEN, Condition::All(Vec::new()));

    for rules in [[&allow, &deny, &marks], [&deny, &marks, &allow]] {
        let rules = rules.map(Clone::clone);
        let decision = decide(&rules, &opened());
        let denies = rules.iter().position(|rule| rule.name == "deny");

        assert_eq!(decision.deny.map(usize::from), denies);
        assert_eq!((decision.allow, decision.subject_marks), (None, 0));
    }
}

#[test]
fn a_deny_in_monitor_mode_is_only_said() {
    let deny = rule("deny", Effect::Deny, OPEN, begins(Text::Path, "/etc/"));
    let allow = rule("allow", Effect::Allow, OPEN, begins(Text::Path, "/etc/"));

    let decision = decide(&[Rule { mode: Mode::Monitor, ..deny }, allow], &opened());

    let expected = Decision { would_deny: Some(0), allow: Some(1), ..Decision::default() };
    assert_eq!(decision, expected);
}

#[test]
fn filters_tell_the_engines_that_want_it_denied_or_not() {
    let tell = |engine, uid| {
        let when = number(Number::SubjectUid, Comparison::Is, uid);
        rule(&format!("tell{engine}"), Effect::Tell(engine), OPEN, when)
    };
    let deny = rule("deny", Effect::Deny, OPEN, Condition::All(Vec::new()));

    let decision = decide(&[tell(0, 1000), tell(63, 1000), tell(5, 1001), deny], &opened());

    assert_eq!(decision.tell, 1 | 1 << 63);
}

#[test]
fn a_rule_decides_about_its_own_events_only() {
    let rules = [rule("deny", Effect::Deny, OPEN, Condition::All(Vec::new()))];
    let image = compiled(&rules).image;

    assert!(image.is_about(Event::FileOpen) && image.decides(Event::FileOpen));
    assert!(!image.is_about(Event::FileRename));
    assert_eq!(image.decide(&Facts::new(Event::FileRename)), Decision::default());
}

#[test]
fn what_is_not_known_of_a_subject_counts_against_it() {
    let from_sshd = || descends("/usr/sbin/sshd");
    let from_else = || descends("/usr/bin/else");
    let cat = || text(Text::Exe, Pattern::Is("/usr/bin/cat".to_owned()));
    let mut unknown = Facts::new(Event::FileOpen);
    unknown.lineage = Lineage::new(&[KEY.hash(b"/usr/sbin/sshd")], true);
    let both = |when: Condition| {
        let deny = decide(&[rule("r", Effect::Deny, OPEN, when.clone())], &unknown).deny;
        let allow = decide(&[rule("r", Effect::Allow, OPEN, when)], &unknown).allow;
        (deny.is_some(), allow.is_some())
    };

    assert_eq!(both(cat()), (true, false));
    assert_eq!(both(not(cat())), (true, false));
    assert_eq!(both(from_else()), (true, false));
    assert_eq!(both(not(from_else())), (true, false));
    // That one was found is known, cut or not.
    assert_eq!(both(from_sshd()), (true, true));
    assert_eq!(both(not(from_sshd())), (false, false));
}

#[test]
fn a_path_that_cannot_be_had_is_empty_not_unknown() {
    let mut facts = opened();
    facts.set_path(None);
    let elsewhere = rule("elsewhere", Effect::Deny, OPEN, not(begins(Text::Path, "/etc/")));
    let there = rule("there", Effect::Deny, OPEN, begins(Text::Path, "/etc/"));
    let known = number(Number::PathKnown, Comparison::Is, 1);
    let known = rule(
        "known",
        Effect::Deny,
        OPEN,
        Condition::All(vec![known, not(begins(Text::Path, "/x"))]),
    );

    assert_eq!(decide(&[elsewhere], &facts).deny, Some(0));
    assert_eq!(decide(&[there], &facts).deny, None);
    assert_eq!(decide(&[known], &facts).deny, None);
}

#[test]
fn a_rule_that_names_a_number_does_not_apply_where_it_is_not() {
    let uid = number(Number::SubjectUid, Comparison::Is, 1000);
    let owner = number(Number::Owner, Comparison::Is, 0);
    let either = Condition::Any(vec![uid, owner]);

    assert_eq!(decide(&[rule("r", Effect::Deny, OPEN, either.clone())], &opened()).deny, None);
    let mut facts = opened();
    facts.set_number(Number::Owner, 5);
    assert_eq!(decide(&[rule("r", Effect::Deny, OPEN, either)], &facts).deny, Some(0));
}

#[test]
fn a_process_that_read_a_secret_may_not_connect() {
    let reads =
        rule("reads", Effect::Mark(mark("read-secret")), OPEN, begins(Text::Path, "/etc/shadow"));
    let marked = marked(Process::Subject, "read-secret");
    let connects = rule("connects", Effect::Deny, &[Event::NetConnect], marked);
    let Compiled { image, marks, rules } = compiled(&[reads, connects]);
    let mut connect = Facts::new(Event::NetConnect);

    assert_eq!(image.decide(&connect), Decision::default());
    let gets = image.decide(&opened()).subject_marks;
    assert_eq!(marks.names(gets).collect::<Vec<_>>(), ["read-secret"]);
    connect.marks = gets;
    let deny = image.decide(&connect).deny.expect("it is denied");
    assert_eq!(rules[usize::from(deny)], "connects");
}

/// One clause, however many constants stand in its sets.
#[test]
fn sets_of_constants_are_no_combinations() {
    let paths = (0..300).map(|at| begins(Text::Path, &format!("/srv/{at}/"))).collect();
    let programs = (0..300).map(|at| descends(&format!("/usr/bin/{at}"))).collect();
    let users = (0..300).map(|at| number(Number::SubjectUid, Comparison::Is, at * 3)).collect();
    let all = [paths, programs, users].map(Condition::Any);
    let rules = [rule("r", Effect::Deny, OPEN, Condition::All(all.to_vec()))];
    let image = compiled(&rules).image;
    let mut facts = opened();
    facts.set_path(Some(b"/srv/299/x"));
    facts.set_number(Number::SubjectUid, 297);
    facts.lineage.push(KEY.hash(b"/usr/bin/7"));

    assert_eq!(image.clauses(), 1);
    assert_eq!(image.decide(&facts).deny, Some(0));
    facts.set_number(Number::SubjectUid, 298);
    assert_eq!(image.decide(&facts).deny, None);
}

/// Of two sets on one text only one can stay a set.
#[test]
fn two_sets_on_one_text_become_clauses() {
    let begin = ["/a/", "/b/", "/c/"].map(|with| begins(Text::Path, with)).to_vec();
    let end = [".so", ".ko"].map(|with| text(Text::Path, Pattern::Ends(with.to_owned()))).to_vec();
    let both = Condition::All(vec![Condition::Any(begin), Condition::Any(end)]);
    let image = compiled(&[rule("r", Effect::Deny, OPEN, both)]).image;
    let denies = |path: &'static [u8]| {
        let mut facts = opened();
        facts.set_path(Some(path));
        image.decide(&facts).deny.is_some()
    };

    assert_eq!(image.clauses(), 2);
    assert!(denies(b"/a/x.so") && denies(b"/c/.ko"));
    assert!(!denies(b"/a/x.o") && !denies(b"/d/x.so"));
}

#[test]
fn a_condition_nested_as_deeply_as_may_be_passes_through_the_compilers_answer() {
    use super::super::reading::Answer;
    // What reads policies nests 48 deep, and the host puts what it excludes around it.
    let deep = (0..50).fold(begins(Text::Path, "/a"), |when, _| Condition::Any(vec![when]));
    let rules = vec![rule("deep", Effect::Deny, OPEN, deep)];
    let answer = Answer::Read { rules: rules.clone(), places: Vec::new() };

    assert_eq!(Answer::parse(&answer.to_json()), Ok(answer));
    assert!(compile(&rules, &KEY, 1, &MarkNames::default()).is_ok());
}
