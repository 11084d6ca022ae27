//! Rules for the platform, which judge what is recorded beside the engine.

use super::*;

fn ruled<'a>(manifest: &'a Manifest, denied: &'static str) -> Fake<'a> {
    let count = RuleCount { rules: 2, clauses: 5, unrecorded: vec!["net.connect"] };
    Fake {
        rules: Ok(Some(count)),
        denied_by_rules: vec![denied],
        ..Fake::answering(manifest, |_| Ok(allow()))
    }
}

#[test]
fn rules_that_deny_nothing_pass_and_are_counted() {
    let report = Case::plain().run(|manifest| ruled(manifest, "/home"));

    assert_eq!(finding(&report), (None, String::new()));
    let rules = report.check(CheckName::Rules).expect("a check");
    assert_eq!((rules.figures["rules"], rules.figures["clauses"]), (2, 5));
    assert!(rules.notes[0].contains("net.connect"), "{rules:?}");
    let known_good = report.check(CheckName::KnownGood).expect("a check");
    let figures = (known_good.figures["ruled"], known_good.figures["denied_by_rules"]);
    assert_eq!(figures, (100, 0));
}

#[test]
fn a_rule_that_denies_what_is_known_to_be_good_fails_with_its_name() {
    let report = Case::plain().run(|manifest| ruled(manifest, "/usr/bin/p7"));

    let (reason, text) = finding(&report);
    assert_eq!(reason, Some(Reason::DeniedKnownGood));
    assert_eq!(text, "process.exec /usr/bin/p7: rule /usr/bin/p7");
}

#[test]
fn a_rule_that_denies_what_the_machine_needs_fails() {
    let mut case = Case::plain();
    let guarded = Standing { known_good: false, guarded: true };
    case.own = vec![Ok(evidence("/usr/lib/systemd/systemd", guarded))];

    let report = case.run(|manifest| ruled(manifest, "/usr/lib/systemd"));

    assert_eq!(finding(&report).0, Some(Reason::DeniedGuarded));
}

#[test]
fn rules_that_are_refused_are_told_with_their_places() {
    let errors = vec!["r.cedar:3:1: no".to_owned(), "r.cedar:9:1: nor that".to_owned()];
    let report = Case::plain().run(|manifest| Fake {
        rules: Err(RulesRefused::Wrong(errors)),
        // It is not started any more.
        ended: true,
        ..Fake::new(manifest)
    });

    assert_eq!(finding(&report), (Some(Reason::Schema), "r.cedar:3:1: no".to_owned()));
    let check = report.check(CheckName::Rules).expect("a check");
    assert_eq!(check.findings.len(), 2);
}

#[test]
fn rules_that_cannot_be_read_here_are_not_held_against_the_release() {
    let report = Case::plain().run(|manifest| Fake {
        rules: Err(RulesRefused::Host("no such program".to_owned())),
        ended: true,
        ..Fake::new(manifest)
    });

    assert_eq!(finding(&report).0, Some(Reason::NotTried));
    assert!(!Reason::NotTried.is_the_releases());
}
