//! What the administrator says of releases.

use outrigger_update::store::Note;

use super::*;

/// A release that was rejected in preflight for what it did.
fn bad(store: &mut Store, offer: &Offer) -> ReleaseId {
    let id = store.offer(offer, at(0)).expect("offered");
    let conduct = Rejection::for_conduct("preflight-crashed", "it crashed");
    store.reject(id, &conduct, at(4)).expect("rejected");
    id
}

#[test]
fn an_approval_is_kept_with_who_gave_it_and_moves_nothing() {
    let place = Place::new();
    let mut store = place.store();
    let id = shadowed(&mut store, "1.0.0");
    let other = store.offer(&offer("1.1.0"), at(4)).expect("offered");

    store.approve(id, "root, by outrigger update approve", at(5)).expect("approved");

    assert!(store.is_approved(id).expect("read"));
    assert!(!store.is_approved(other).expect("read"));
    let story = store.release(id).expect("its story");
    let last = story.transitions.last().expect("a row");
    assert_eq!(
        (story.state, last.from, last.to),
        (State::Shadow, Some(State::Shadow), State::Shadow)
    );
    assert_eq!((last.note, last.reason.as_deref()), (Some(Note::Approved), None));
    assert_eq!(last.detail, "root, by outrigger update approve");
    store.begin_probation(&[id], "", at(6)).expect("it goes on from where it stood");
    assert!(store.is_approved(id).expect("read"));
    store.verify_chain().expect("whole");
}

#[test]
fn a_second_approval_writes_no_second_row() {
    let place = Place::new();
    let mut store = place.store();
    let id = shadowed(&mut store, "1.0.0");
    store.approve(id, "root", at(5)).expect("approved");
    let head = store.head().expect("read");

    store.approve(id, "root", at(6)).expect("approved");

    assert_eq!(store.head().expect("read"), head);
}

#[test]
fn what_has_come_to_its_end_is_not_approved() {
    let place = Place::new();
    let mut store = place.store();
    let id = bad(&mut store, &offer("1.0.0"));

    let refused = store.approve(id, "root", at(5)).expect_err("it was rejected");

    assert_eq!(refused.to_string(), "release 1 cannot be approved: it is rejected");
}

#[test]
fn a_package_that_is_forgotten_is_not_known_bad_until_it_is_bad_again() {
    let place = Place::new();
    let mut store = place.store();
    let package = offer("1.0.0").package;
    let first = bad(&mut store, &offer("1.0.0"));
    bad(&mut store, &offer("1.1.0"));

    let lifted = store.forget_bad(&package, "the vendor found it was us", at(5)).expect("lifted");

    assert_eq!(lifted, 1);
    assert_eq!(store.known_bad(&package).expect("read"), None);
    let other = store.known_bad(&offer("1.1.0").package).expect("read");
    assert_eq!(other.map(|bad| bad.reason).as_deref(), Some("preflight-crashed"));
    let story = store.release(first).expect("its story");
    let last = story.transitions.last().expect("a row");
    assert_eq!((story.state, last.note), (State::Rejected, Some(Note::Forgotten)));
    assert_eq!(last.detail, "the vendor found it was us");
    let again = bad(&mut store, &offer("1.0.0"));
    let known = store.known_bad(&package).expect("read").expect("it did it again");
    assert_eq!(known.release, again);
    store.verify_chain().expect("whole");
}

#[test]
fn every_release_of_a_forgotten_package_is_and_nothing_else() {
    let place = Place::new();
    let mut store = place.store();
    let elsewhere = Offer { repository: "another".to_owned(), ..offer("1.0.0") };
    let first = bad(&mut store, &offer("1.0.0"));
    let second = bad(&mut store, &elsewhere);
    let other = bad(&mut store, &offer("1.1.0"));
    let listed = |store: &Store| -> Vec<(ReleaseId, String)> {
        let all = store.known_bad_all().expect("read").into_iter();
        all.map(|(release, bad)| (bad.release, release.version.to_string())).collect()
    };
    let of = |version: &str| version.to_owned();
    assert_eq!(listed(&store), [(other, of("1.1.0")), (second, of("1.0.0")), (first, of("1.0.0"))]);

    let lifted = store.forget_bad(&offer("1.0.0").package, "", at(5)).expect("lifted");
    let twice = store.forget_bad(&offer("1.0.0").package, "", at(5)).expect("nothing to lift");

    assert_eq!((lifted, twice), (2, 0));
    assert_eq!(listed(&store), [(other, of("1.1.0"))]);
}

#[test]
fn a_rejection_that_is_called_like_a_note_is_none() {
    let place = Place::new();
    let mut store = place.store();
    let id = verified(&mut store, "1.0.0");

    store.reject(id, &Rejection::for_conduct("forgotten", ""), at(2)).expect("rejected");

    assert!(store.known_bad(&offer("1.0.0").package).expect("read").is_some());
    let story = store.release(id).expect("its story");
    assert_eq!(story.transitions[2].note, None);
    assert_eq!(story.transitions[2].reason.as_deref(), Some("forgotten"));
}

#[test]
fn a_note_taken_out_or_altered_shows() {
    let alter = [
        ("DELETE FROM transitions WHERE seq = 6", 6),
        ("UPDATE transitions SET reason = 'forgotten' WHERE seq = 6", 6),
        ("UPDATE transitions SET detail = 'somebody else' WHERE seq = 6", 6),
    ];
    for (sql, row) in alter {
        let place = Place::new();
        let mut store = place.store();
        let id = shadowed(&mut store, "1.0.0");
        store.approve(id, "root", at(5)).expect("approved");
        store.begin_probation(&[id], "", at(6)).expect("on probation");
        drop(store);
        place.database().execute(sql, []).expect("altered");

        let checked = Store::open_read(&place.state).expect("the reader opens").verify_chain();

        assert!(
            matches!(checked, Err(StoreError::Altered { seq, .. }) if seq == row),
            "{checked:?}"
        );
    }
}
