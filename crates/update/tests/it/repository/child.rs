//! A hostile child: what it says is bounded, and it is killed. The honest one is in `crates/fetch/tests`.
//!
//! The children are scripts, named by what they do: `crates/update/tests/children`.

use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_update::repository::{ChildTransport, Place, Refusal, Transport, Wanted};

/// What comes of asking this child for a file of at most 16 bytes.
fn ask(child: &str) -> Result<Option<Vec<u8>>, Refusal> {
    let children = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/children");
    let mut transport =
        ChildTransport::new(&children.join(child), "/nowhere", "/nowhere").expect("a folder");
    let wanted = Wanted {
        place: Place::Metadata,
        path: "timestamp.json",
        limit: 16,
        limit_of: "a test's",
        until: Instant::now() + Duration::from_secs(5),
        silence: Duration::from_millis(200),
        least_rate: 1024,
    };
    transport.fetch(&wanted, &mut |_| ())
}

fn refusal(child: &str) -> Refusal {
    ask(child).expect_err("it must be refused")
}

#[test]
fn a_child_that_keeps_to_the_protocol_is_believed() {
    assert_eq!(ask("honest").unwrap().as_deref(), Some(b"hi".as_slice()));
    assert_eq!(ask("missing").unwrap(), None);
}

#[test]
fn a_child_that_sends_more_than_the_limit_is_ended() {
    assert_eq!(refusal("over-the-limit").name(), "too-long");
}

#[test]
fn a_child_that_announces_more_than_the_limit_is_ended_before_the_first_byte() {
    assert_eq!(refusal("announces-too-much").name(), "too-long");
}

#[test]
fn a_child_that_sends_without_end_is_ended() {
    assert_eq!(refusal("endless").name(), "too-long");
}

#[test]
fn nonsense_is_told_as_the_childs() {
    let all = ["no-frame", "unknown-kind", "not-ready", "ends-before-it-begins", "begins-twice"];

    let refusals = all.map(refusal);

    assert_eq!(refusals.each_ref().map(Refusal::name), ["child"; 5], "{refusals:?}");
    assert!(refusals[0].to_string().contains("a frame has 1 to"), "{}", refusals[0]);
}

#[test]
fn a_silent_child_is_ended() {
    let begun = Instant::now();

    let refusal = refusal("silent");

    assert_eq!(refusal.name(), "too-slow", "{refusal}");
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_child_that_never_says_that_it_is_confined_is_asked_for_nothing() {
    let refusal = refusal("mute");

    assert_eq!(refusal.name(), "child");
    assert!(refusal.to_string().contains("does not say that it is confined"), "{refusal}");
}

#[test]
fn a_child_that_ends_is_told() {
    assert_eq!(refusal("ends").name(), "child");
}

#[test]
fn a_child_that_is_not_there_is_told_by_its_path() {
    let refusal = refusal("/nowhere/outrigger-fetch");

    assert_eq!(refusal.name(), "child");
    assert!(refusal.to_string().contains("/nowhere/outrigger-fetch"), "{refusal}");
}

#[test]
fn what_a_child_says_cannot_move_the_cursor() {
    let refusal = refusal("escapes");

    assert_eq!(refusal.name(), "unreachable");
    assert!(
        !refusal.to_string().contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{refusal:?}"
    );
}
