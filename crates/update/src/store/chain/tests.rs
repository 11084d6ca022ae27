//! Journals that nobody writes, or nobody writes any more, in memory.

use outrigger_api::release::Part;
use rusqlite::Connection;

use super::*;
use crate::store::database::TABLES;

use State::{Active, Offered, Preflight, Probation, Rejected, Retired, Shadow, Staged, Verified};

const TREE: Digest = Digest([7; 32]);

/// A journal whose rows nobody checks when they are written; each follows from the one before all the same.
struct Journal(Connection);

impl Journal {
    /// One with `releases` releases of one part.
    fn new(releases: u8) -> Self {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch(TABLES).expect("the tables");
        for release in 1..=releases {
            connection
                .execute(
                    "INSERT INTO releases VALUES (?1, 'hashlist', 'content', ?2, zeroblob(32), 'here')",
                    params![release, format!("{release}.0.0")],
                )
                .expect("a release");
        }
        Self(connection)
    }

    fn row(&self, entry: Entry, from: Option<State>) {
        let offer = offer(&self.0, entry.release).expect("read").expect("a release");
        let row = entry.follow(head(&self.0).expect("read"), from);
        insert(&self.0, &row, &offer).expect("a row");
    }

    /// A release's steps; where it needs a slot it is `slot`.
    fn steps(&self, release: i64, from: Option<State>, to: &[State], slot: Slot) {
        let mut from = from;
        for &to in to {
            let entry = Entry::plain(ReleaseId(release), to, Timestamp::UNIX_EPOCH, String::new());
            let placed = matches!(to, Staged | Probation | Active);
            self.row(Entry { place: placed.then_some((slot, TREE)), ..entry }, from);
            from = Some(to);
        }
    }

    /// Brings the tables to what the test means the rows to say.
    fn in_force(&self, release: i64, slot: Slot, seq: i64) {
        let part = Part::Content.name();
        self.0
            .execute(
                "INSERT INTO in_force VALUES ('hashlist', ?1, ?2, ?3, ?4)",
                params![part, slot.name(), release, seq],
            )
            .expect("a row");
    }

    fn verdict(&self) -> Result<u64, String> {
        match verify(&self.0) {
            Ok(head) => Ok(head.seq),
            Err(StoreError::Altered { seq, detail, .. }) => Err(format!("row {seq}: {detail}")),
            Err(other) => panic!("{other}"),
        }
    }
}

const INTO_SHADOW: [State; 5] = [Offered, Verified, Staged, Preflight, Shadow];

#[test]
fn a_journal_of_layout_1_in_which_preflight_led_into_force_is_whole() {
    let journal = Journal::new(2);
    journal.steps(1, None, &[Offered, Verified, Staged, Preflight, Active], Slot::A);
    journal.steps(2, None, &[Offered, Verified, Staged, Preflight], Slot::B);
    journal.steps(1, Some(Active), &[Retired], Slot::A);
    journal.steps(2, Some(Preflight), &[Active], Slot::B);
    journal.in_force(2, Slot::B, 11);

    assert_eq!(journal.verdict(), Ok(11));
}

#[test]
fn a_release_that_is_retired_for_nothing_shows() {
    let journal = Journal::new(1);
    journal.steps(1, None, &INTO_SHADOW, Slot::A);
    journal.steps(1, Some(Shadow), &[Probation, Active, Retired], Slot::A);

    let told = journal.verdict().expect_err("nobody took its place");

    assert_eq!(told, "row 8: a release was retired, and nothing took its place");
}

#[test]
fn a_row_between_a_release_that_is_retired_and_the_one_that_takes_its_place_shows() {
    let journal = Journal::new(2);
    journal.steps(1, None, &INTO_SHADOW, Slot::A);
    journal.steps(1, Some(Shadow), &[Probation, Active], Slot::A);
    journal.steps(1, Some(Active), &[Retired], Slot::A);
    journal.steps(2, None, &[Offered], Slot::B);

    let told = journal.verdict().expect_err("nobody took its place");

    assert_eq!(told, "row 9: a release was retired, and nothing took its place");
}

#[test]
fn a_retired_release_in_force_beside_another_shows() {
    let journal = Journal::new(2);
    journal.steps(1, None, &INTO_SHADOW, Slot::A);
    journal.steps(1, Some(Shadow), &[Probation, Active], Slot::A);
    journal.steps(2, None, &INTO_SHADOW, Slot::B);
    journal.steps(1, Some(Active), &[Retired], Slot::A);
    journal.steps(2, Some(Shadow), &[Probation], Slot::B);
    journal.steps(1, Some(Retired), &[Active], Slot::A);

    let told = journal.verdict().expect_err("the other one was not rejected");

    assert_eq!(told, "row 15: two releases of one part are in force");
}

#[test]
fn a_way_back_to_a_slot_that_was_filled_again_shows() {
    let journal = Journal::new(3);
    journal.steps(1, None, &INTO_SHADOW, Slot::A);
    journal.steps(1, Some(Shadow), &[Probation, Active], Slot::A);
    journal.steps(2, None, &INTO_SHADOW, Slot::B);
    journal.steps(1, Some(Active), &[Retired], Slot::A);
    journal.steps(2, Some(Shadow), &[Probation, Active], Slot::B);
    journal.steps(3, None, &INTO_SHADOW, Slot::A);
    journal.steps(2, Some(Active), &[Rejected], Slot::B);
    journal.steps(1, Some(Retired), &[Active], Slot::A);

    let told = journal.verdict().expect_err("release 3 lies there");

    assert_eq!(told, "row 22: release 1 was not staged in slot a");
}

/// What is told of a note on a release that has gone these steps.
fn noted(note: Note, steps: &[State]) -> String {
    let journal = Journal::new(1);
    journal.steps(1, None, steps, Slot::A);
    let state = *steps.last().expect("a state");
    let entry = Entry::note(ReleaseId(1), state, note, Timestamp::UNIX_EPOCH, String::new());
    journal.row(entry, Some(state));
    journal.verdict().expect_err("nobody can say so")
}

#[test]
fn a_note_that_cannot_be_made_there_shows() {
    let forgotten = noted(Note::Forgotten, &[Offered]);
    let approved = noted(Note::Approved, &[Offered, Verified, Rejected]);

    assert_eq!(forgotten, "row 2: a note \"forgotten\" on a release that is offered");
    assert_eq!(approved, "row 4: a note \"approved\" on a release that is rejected");
}
