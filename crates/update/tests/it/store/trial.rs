//! Into force, on probation, and back.

use super::*;

fn code(version: &str) -> Offer {
    Offer { part: Part::Code, ..offer(version) }
}

/// Brings a release into shadow.
fn brought(store: &mut Store, offer: &Offer) -> ReleaseId {
    let id = store.offer(offer, at(0)).expect("offered");
    store.advance(id, State::Verified, "", at(1)).expect("verified");
    let unpack = |folder: BorrowedFd<'_>| write(folder, "file", b"x");
    store.stage(id, 1, at(2), unpack).expect("staged");
    store.advance(id, State::Preflight, "", at(3)).expect("in preflight");
    store.advance(id, State::Shadow, "", at(4)).expect("in shadow");
    id
}

fn put(store: &mut Store, offers: &[Offer]) -> Vec<ReleaseId> {
    let releases: Vec<ReleaseId> = offers.iter().map(|offer| brought(store, offer)).collect();
    store.begin_probation(&releases, "no difference", at(5)).expect("on probation");
    releases
}

fn put_for_good(store: &mut Store, offers: &[Offer]) -> Vec<ReleaseId> {
    let releases = put(store, offers);
    store.confirm(&releases, "no bad sign", at(6)).expect("for good");
    releases
}

fn crashed() -> Rejection {
    Rejection::for_conduct("probation-crashed", "it crashed 3 times")
}

fn by_hand() -> Rejection {
    Rejection::new("sent-back", "by the administrator")
}

/// What is in force of each part, with its state; the journal is whole.
fn standing(store: &Store) -> Vec<String> {
    store.verify_chain().expect("whole");
    let parts = Part::ALL.into_iter().filter_map(|part| {
        let active = store.active(&engine(), part).expect("read")?;
        Some(format!("{part} {} {} {}", active.version, active.state, active.slot))
    });
    parts.collect()
}

fn told(back: &[WentBack]) -> Vec<String> {
    let to =
        |one: &WentBack| one.to.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
    back.iter().map(|one| format!("{} {} to {}", one.part, one.from, to(one))).collect()
}

fn states(store: &Store, release: ReleaseId) -> Vec<&'static str> {
    let story = store.release(release).expect("its story");
    story.transitions.iter().map(|step| step.to.name()).collect()
}

#[test]
fn a_release_decides_on_probation_and_the_one_before_lies_ready() {
    let place = Place::new();
    let mut store = place.store();
    let old = installed(&mut store, "1.0.0");

    let new = on_probation(&mut store, "1.1.0");

    assert_eq!(standing(&store), ["content 1.1.0 probation b"]);
    let before = store.standby(&engine(), Part::Content).expect("read").expect("there");
    assert_eq!((before.release, before.state, before.slot), (old, State::Retired, Slot::A));
    let found = store.in_probation(&engine()).expect("read");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].0, found[0].1.release), (Part::Content, new));
}

#[test]
fn what_is_confirmed_is_in_force_for_good() {
    let place = Place::new();
    let mut store = place.store();
    let new = on_probation(&mut store, "1.0.0");

    store.confirm(&[new], "no bad sign", at(9)).expect("confirmed");

    assert_eq!(standing(&store), ["content 1.0.0 active a"]);
    assert_eq!(store.in_probation(&engine()).expect("read"), []);
    let active = store.active(&engine(), Part::Content).expect("read").expect("in force");
    assert_eq!((active.since, active.tree), (at(9), TREE));
    let twice = store.confirm(&[new], "", at(10)).expect_err("it is confirmed");
    assert_eq!(twice.to_string(), "release 1 cannot become active: it is active");
}

#[test]
fn only_what_is_on_probation_is_confirmed() {
    let place = Place::new();
    let mut store = place.store();
    let retired = installed(&mut store, "1.0.0");
    let active = installed(&mut store, "1.1.0");

    for id in [retired, active] {
        let refused = store.confirm(&[id], "", at(9)).expect_err("it is on no probation");

        assert!(matches!(refused, StoreError::Transition { to: State::Active, .. }), "{refused}");
    }
    assert_eq!(standing(&store), ["content 1.1.0 active b"]);
}

#[test]
fn a_bad_sign_puts_the_one_before_in_force_again_and_is_remembered() {
    let place = Place::new();
    let mut store = place.store();
    let old = installed(&mut store, "1.0.0");
    let bad = on_probation(&mut store, "1.1.0");

    let back = store.roll_back(&engine(), &crashed(), at(7)).expect("rolled back");

    assert_eq!(told(&back), ["content 1.1.0 to 1.0.0"]);
    assert_eq!(standing(&store), ["content 1.0.0 active a"]);
    assert_eq!(states(&store, bad)[5..], ["probation", "rejected"]);
    assert_eq!(states(&store, old)[5..], ["probation", "active", "retired", "active"]);
    let known = store.known_bad(&offer("1.1.0").package).expect("read").expect("known");
    assert_eq!((known.release, known.reason.as_str()), (bad, "probation-crashed"));
    assert_eq!(fs::read_to_string(place.slot("a").join("rules")).expect("the file"), "1.0.0");
}

#[test]
fn there_is_no_way_back_to_what_was_gone_back_from() {
    let place = Place::new();
    let mut store = place.store();
    installed(&mut store, "1.0.0");
    on_probation(&mut store, "1.1.0");
    store.roll_back(&engine(), &crashed(), at(7)).expect("rolled back");

    let again = store.roll_back(&engine(), &crashed(), at(8)).expect("nothing is on probation");
    let by_hand = store.send_back(&engine(), None, &by_hand(), at(8));

    assert_eq!(told(&again), [""; 0]);
    let refused = by_hand.expect_err("it led here");
    assert!(matches!(refused, StoreError::NothingBefore { part: None, .. }), "{refused}");
    assert_eq!(standing(&store), ["content 1.0.0 active a"]);
}

#[test]
fn a_first_release_that_goes_back_leaves_nothing_in_force_and_the_next_one_takes_its_slot() {
    let place = Place::new();
    let mut store = place.store();
    on_probation(&mut store, "1.0.0");

    let back = store.roll_back(&engine(), &crashed(), at(7)).expect("rolled back");

    assert_eq!(told(&back), ["content 1.0.0 to nothing"]);
    assert_eq!(standing(&store), [""; 0]);
    installed(&mut store, "1.0.1");
    assert_eq!(standing(&store), ["content 1.0.1 active a"]);
}

#[test]
fn both_parts_on_probation_go_back_in_one_step() {
    let place = Place::new();
    let mut store = place.store();
    put_for_good(&mut store, &[code("1.0.0"), offer("1.0.0")]);
    put(&mut store, &[code("2.0.0"), offer("2.0.0")]);

    let back = store.roll_back(&engine(), &crashed(), at(7)).expect("rolled back");

    assert_eq!(told(&back), ["code 2.0.0 to 1.0.0", "content 2.0.0 to 1.0.0"]);
    assert_eq!(standing(&store), ["code 1.0.0 active a", "content 1.0.0 active a"]);
}

#[test]
fn a_part_that_is_not_on_probation_stays_and_so_does_another_engine() {
    let place = Place::new();
    let mut store = place.store();
    let other: EngineName = "yara".parse().expect("a name");
    put_for_good(&mut store, &[code("1.0.0"), offer("1.0.0")]);
    put_for_good(&mut store, &[code("2.0.0")]);
    put(&mut store, &[offer("2.0.0"), Offer { engine: other.clone(), ..offer("7.0.0") }]);

    let back = store.roll_back(&engine(), &crashed(), at(7)).expect("rolled back");

    assert_eq!(told(&back), ["content 2.0.0 to 1.0.0"]);
    assert_eq!(standing(&store), ["code 2.0.0 active b", "content 1.0.0 active a"]);
    let others = store.in_probation(&other).expect("read");
    assert_eq!(others.len(), 1, "the other engine goes on");
}

#[test]
fn what_is_active_is_sent_back_by_hand_once() {
    let place = Place::new();
    let mut store = place.store();
    installed(&mut store, "1.0.0");
    let left = installed(&mut store, "1.1.0");

    let back = store.send_back(&engine(), Some(Part::Content), &by_hand(), at(7));

    assert_eq!(told(&back.expect("sent back")), ["content 1.1.0 to 1.0.0"]);
    assert_eq!(standing(&store), ["content 1.0.0 active a"]);
    assert_eq!(states(&store, left)[6..], ["active", "rejected"]);
    assert_eq!(store.known_bad(&offer("1.1.0").package).expect("read"), None);
    let refused = store.send_back(&engine(), Some(Part::Content), &by_hand(), at(8));
    let refused = refused.expect_err("it was left").to_string();
    assert_eq!(
        refused,
        "hashlist cannot go back to another content: no release that was in force before lies on this machine"
    );
    assert_eq!(standing(&store), ["content 1.0.0 active a"]);
}

#[test]
fn by_hand_one_part_or_all_that_can_go_back_do() {
    let place = Place::new();
    let mut store = place.store();
    put_for_good(&mut store, &[code("1.0.0"), offer("1.0.0")]);
    put_for_good(&mut store, &[offer("2.0.0")]);

    let alone = store.send_back(&engine(), Some(Part::Code), &by_hand(), at(7));
    let all = store.send_back(&engine(), None, &by_hand(), at(7));

    assert!(matches!(alone, Err(StoreError::NothingBefore { part: Some(Part::Code), .. })));
    assert_eq!(told(&all.expect("the content can")), ["content 2.0.0 to 1.0.0"]);
    assert_eq!(standing(&store), ["code 1.0.0 active a", "content 1.0.0 active a"]);
}

#[test]
fn what_is_withdrawn_leaves_nothing_in_force_and_the_one_before_in_its_slot() {
    let place = Place::new();
    let mut store = place.store();
    put_for_good(&mut store, &[code("1.0.0"), offer("1.0.0")]);
    put(&mut store, &[offer("2.0.0")]);

    let back = store.withdraw(&engine(), &crashed(), at(7)).expect("withdrawn");

    assert_eq!(told(&back), ["content 2.0.0 to nothing"]);
    assert_eq!(standing(&store), ["code 1.0.0 active a"]);
    let kept = store.standby(&engine(), Part::Content).expect("read").expect("there");
    assert_eq!((kept.version.to_string().as_str(), kept.state), ("1.0.0", State::Retired));
    put_for_good(&mut store, &[offer("2.0.1")]);
    assert_eq!(standing(&store), ["code 1.0.0 active a", "content 2.0.1 active a"]);
}

#[test]
fn the_way_back_of_a_probation_is_not_staged_over() {
    let place = Place::new();
    let mut store = place.store();
    installed(&mut store, "1.0.0");
    on_probation(&mut store, "1.1.0");
    let next = verified(&mut store, "1.2.0");

    let refused = store.stage(next, 1, at(7), |_| -> Result<Digest, io::Error> {
        unreachable!("nothing is to be written")
    });

    let refused = refused.expect_err("1.0.0 lies there").to_string();
    assert!(refused.contains("content in force, release 2, is on probation"), "{refused}");
    assert!(refused.ends_with("outrigger update stop hashlist"), "{refused}");
    put(&mut store, &[code("3.0.0")]);
    store.roll_back(&engine(), &crashed(), at(8)).expect("both go back");
    assert_eq!(standing(&store), ["content 1.0.0 active a"]);
    staged(&mut store, "1.3.0");
}

#[test]
fn what_decides_is_not_just_rejected() {
    let place = Place::new();
    let mut store = place.store();
    let probation = on_probation(&mut store, "1.0.0");

    let first = store.reject(probation, &by_hand(), at(7)).expect_err("it decides");
    store.confirm(&[probation], "", at(8)).expect("confirmed");
    let second = store.reject(probation, &by_hand(), at(9)).expect_err("it decides");

    assert_eq!(first.to_string(), "release 1 cannot become rejected: it is probation");
    assert_eq!(second.to_string(), "release 1 cannot become rejected: it is active");
    assert_eq!(standing(&store), ["content 1.0.0 active a"]);
}

#[test]
fn a_pair_goes_into_force_as_a_whole_or_not_at_all() {
    let place = Place::new();
    let mut store = place.store();
    put_for_good(&mut store, &[code("1.0.0"), offer("1.0.0")]);
    let good = brought(&mut store, &code("2.0.0"));
    let bad = tried(&mut store, "2.0.0");

    let refused = store.begin_probation(&[good, bad], "", at(7)).expect_err("one is not there");

    assert_eq!(refused.to_string(), "release 4 cannot become probation: it is preflight");
    assert_eq!(standing(&store), ["code 1.0.0 active a", "content 1.0.0 active a"]);
    let waits = store.shadowing(&engine()).expect("read");
    assert_eq!(waits.len(), 1);
    assert_eq!((waits[0].0, waits[0].1.release), (Part::Code, good));
}

#[test]
fn a_rejection_with_a_name_that_is_too_long_changes_nothing() {
    let place = Place::new();
    let mut store = place.store();
    installed(&mut store, "1.0.0");
    on_probation(&mut store, "1.1.0");
    let long = Rejection::new(&"n".repeat(TEXT_MAX + 1), "");

    let refused = store.roll_back(&engine(), &long, at(7)).expect_err("nobody could go by it");

    assert!(matches!(refused, StoreError::TooLong { .. }), "{refused}");
    assert_eq!(standing(&store), ["content 1.1.0 probation b"]);
}

#[test]
fn what_went_back_is_told_as_json() {
    let place = Place::new();
    let mut store = place.store();
    put(&mut store, &[offer("1.0.0")]);

    let back = store.roll_back(&engine(), &crashed(), at(7)).expect("rolled back");

    let told = serde_json::to_value(&back).expect("json");
    let expected = serde_json::json!([
        { "engine": "hashlist", "part": "content", "from": "1.0.0", "to": null }
    ]);
    assert_eq!(told, expected);
}
