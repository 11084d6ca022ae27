//! The rows of the journal and what ties each to the one before.
//!
//! A row is a release's step from one state to another, or a note that leaves it where it stands: from and to are the
//! same then, and the reason is the note's name.
//!
//! A row's hash is SHA-256 over the canonical encoding of everything that it says, of the release that it speaks of,
//! and of the hash of the row before. Encoding: the bytes of [`CONTEXT`], then each field in the order of
//! [`Row::digest`]; a number as 8 bytes, big-endian; bytes and text with their length in front, as such a number; what may
//! be absent with one byte in front, 0 or 1. No two different rows have the same encoding.

use jiff::Timestamp;
use outrigger_api::release::State;
use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest as _, Sha256};

use super::types::{Digest, Head, Note, Offer, Rejection, ReleaseId, Slot};
use super::{StoreError, machine};

/// Begins every encoding, so that these hashes are of nothing else.
const CONTEXT: &[u8] = b"outrigger update journal 1\0";

/// The hash before the first row.
const BEGINNING: Digest = Digest([0; 32]);

/// What is to be written down; its place in the chain comes when it is.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) release: ReleaseId,
    pub(super) to: State,
    at: Timestamp,
    detail: String,
    reason: Option<String>,
    conduct: bool,
    place: Option<(Slot, Digest)>,
}

impl Entry {
    pub(super) fn plain(release: ReleaseId, to: State, at: Timestamp, detail: String) -> Self {
        Self { release, to, at, detail, reason: None, conduct: false, place: None }
    }

    /// One of the transitions that say where a release lies: staged, probation, active.
    pub(super) fn placed(
        release: ReleaseId,
        to: State,
        at: Timestamp,
        detail: String,
        slot: Slot,
        tree: Digest,
    ) -> Self {
        Self { place: Some((slot, tree)), ..Self::plain(release, to, at, detail) }
    }

    /// A note on a release that stands in `state`.
    pub(super) fn note(
        release: ReleaseId,
        state: State,
        note: Note,
        at: Timestamp,
        detail: String,
    ) -> Self {
        let reason = Some(note.name().to_owned());
        Self { reason, ..Self::plain(release, state, at, detail) }
    }

    pub(super) fn rejected(release: ReleaseId, rejection: &Rejection, at: Timestamp) -> Self {
        Self {
            reason: Some(rejection.name.clone()),
            conduct: rejection.conduct,
            ..Self::plain(release, State::Rejected, at, rejection.text.clone())
        }
    }

    pub(super) fn follow(self, head: Head, from: Option<State>) -> Row {
        Row {
            seq: i64::try_from(head.seq).unwrap_or(i64::MAX).saturating_add(1),
            release: self.release,
            from,
            to: self.to,
            at: self.at.as_millisecond(),
            detail: self.detail,
            reason: self.reason,
            conduct: self.conduct,
            place: self.place,
            previous: head.hash,
        }
    }
}

/// One row, as it lies in the database, without its hash.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) seq: i64,
    pub(super) release: ReleaseId,
    pub(super) from: Option<State>,
    pub(super) to: State,
    /// Milliseconds since 1970, UTC.
    pub(super) at: i64,
    pub(super) detail: String,
    pub(super) reason: Option<String>,
    pub(super) conduct: bool,
    pub(super) place: Option<(Slot, Digest)>,
    pub(super) previous: Digest,
}

impl Row {
    /// Whether it is a note and no step.
    pub(super) fn is_note(&self) -> bool {
        self.from == Some(self.to)
    }

    /// The note that it is, if it is one; or what is wrong with it.
    pub(super) fn note(&self) -> Result<Option<Note>, String> {
        if !self.is_note() {
            return Ok(None);
        }
        let name = self.reason.as_deref().unwrap_or_default();
        let note = Note::named(name).filter(|note| note.goes_with(self.to));
        let wrong = || format!("a note {name:?} on a release that is {}", self.to);
        note.map(Some).ok_or_else(wrong)
    }

    /// The row's hash, if it speaks of `offer`.
    pub(super) fn digest(&self, offer: &Offer) -> Digest {
        let mut hash = Sha256::new_with_prefix(CONTEXT);
        number(&mut hash, self.seq);
        number(&mut hash, self.release.0);
        bytes(&mut hash, offer.engine.as_str().as_bytes());
        bytes(&mut hash, offer.part.name().as_bytes());
        bytes(&mut hash, offer.version.to_string().as_bytes());
        bytes(&mut hash, &offer.package.0);
        bytes(&mut hash, offer.repository.as_bytes());
        optional(&mut hash, self.from.map(|state| state.name().as_bytes()));
        bytes(&mut hash, self.to.name().as_bytes());
        number(&mut hash, self.at);
        bytes(&mut hash, self.detail.as_bytes());
        optional(&mut hash, self.reason.as_deref().map(str::as_bytes));
        number(&mut hash, i64::from(self.conduct));
        optional(&mut hash, self.place.as_ref().map(|(slot, _)| slot.name().as_bytes()));
        optional(&mut hash, self.place.as_ref().map(|(_, tree)| tree.0.as_slice()));
        bytes(&mut hash, &self.previous.0);
        Digest(hash.finalize().into())
    }
}

fn number(hash: &mut Sha256, value: i64) {
    hash.update(value.to_be_bytes());
}

fn bytes(hash: &mut Sha256, value: &[u8]) {
    hash.update((value.len() as u64).to_be_bytes());
    hash.update(value);
}

fn optional(hash: &mut Sha256, value: Option<&[u8]>) {
    hash.update([u8::from(value.is_some())]);
    bytes(hash, value.unwrap_or_default());
}

/// The last row's number and hash.
pub(super) fn head(connection: &Connection) -> Result<Head, StoreError> {
    let last: Option<(i64, [u8; 32])> = connection
        .query_row("SELECT seq, hash FROM transitions ORDER BY seq DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    Ok(last.map_or(Head { seq: 0, hash: BEGINNING }, |(seq, hash)| Head {
        seq: seq.cast_unsigned(),
        hash: Digest(hash),
    }))
}

pub(super) fn insert(connection: &Connection, row: &Row, offer: &Offer) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO transitions \
         (seq, release, from_state, to_state, at, detail, reason, conduct, slot, tree, previous, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            row.seq,
            row.release.0,
            row.from.map(State::name),
            row.to.name(),
            row.at,
            row.detail,
            row.reason,
            row.conduct,
            row.place.map(|(slot, _)| slot.name()),
            row.place.map(|(_, tree)| tree.0),
            row.previous.0,
            row.digest(offer).0,
        ],
    )?;
    Ok(())
}

/// The columns of a row, in the order in which [`read`] takes them.
pub(super) const COLUMNS: &str =
    "seq, release, from_state, to_state, at, detail, reason, conduct, slot, tree, previous, hash";

/// A row and the hash that stands beside it.
pub(super) fn read(row: &rusqlite::Row<'_>) -> Result<(Row, Digest), StoreError> {
    let from: Option<String> = row.get(2)?;
    let to: String = row.get(3)?;
    let slot: Option<String> = row.get(8)?;
    let tree: Option<[u8; 32]> = row.get(9)?;
    let slot = slot.map(|name| slot_named(&name)).transpose()?;
    let place = match (slot, tree) {
        (Some(slot), Some(tree)) => Some((slot, Digest(tree))),
        (None, None) => None,
        _ => {
            return Err(damaged(
                "a transition names a slot without a tree, or a tree without a slot",
            ));
        }
    };
    let read = Row {
        seq: row.get(0)?,
        release: ReleaseId(row.get(1)?),
        from: from.map(|name| state_named(&name)).transpose()?,
        to: state_named(&to)?,
        at: row.get(4)?,
        detail: row.get(5)?,
        reason: row.get(6)?,
        conduct: row.get(7)?,
        place,
        previous: Digest(row.get(10)?),
    };
    Ok((read, Digest(row.get(11)?)))
}

/// What the journal says of a release.
pub(super) fn offer(
    connection: &Connection,
    release: ReleaseId,
) -> Result<Option<Offer>, StoreError> {
    let row: Option<(String, String, String, [u8; 32], String)> = connection
        .query_row(
            "SELECT engine, part, version, package, repository FROM releases WHERE id = ?1",
            [release.0],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)),
        )
        .optional()?;
    row.map(|(engine, part, version, package, repository)| {
        Ok(Offer {
            engine: engine.parse().map_err(|error| damaged(format!("{release}: {error}")))?,
            part: part.parse().map_err(|error| damaged(format!("{release}: {error}")))?,
            version: version.parse().map_err(|error| damaged(format!("{release}: {error}")))?,
            package: Digest(package),
            repository,
        })
    })
    .transpose()
}

pub(super) fn state_named(name: &str) -> Result<State, StoreError> {
    name.parse().map_err(|error| damaged(format!("a transition: {error}")))
}

pub(super) fn slot_named(name: &str) -> Result<Slot, StoreError> {
    Slot::named(name).ok_or_else(|| damaged(format!("{name:?} is none of the slots a, b")))
}

/// Damage, in a database whose path the caller adds.
pub(super) fn damaged(detail: impl Into<String>) -> StoreError {
    StoreError::damaged(std::path::Path::new(""), detail)
}

/// Goes through the whole chain, and compares what the tables say with what follows from it.
///
/// # Errors
///
/// [`StoreError::Altered`] with the first row that does not fit.
pub(super) fn verify(connection: &Connection) -> Result<Head, StoreError> {
    let mut head = Head { seq: 0, hash: BEGINNING };
    let mut now = Replayed::default();
    let mut statement =
        connection.prepare(&format!("SELECT {COLUMNS} FROM transitions ORDER BY seq"))?;
    let mut rows = statement.query([])?;
    while let Some(raw) = rows.next()? {
        let due = head.seq + 1;
        let at = |detail: &str| altered(due, detail);
        let (row, hash) = read(raw).map_err(|error| altered(due, &error.to_string()))?;
        if row.seq.cast_unsigned() != due {
            return Err(at(&format!("it is missing, row {} follows", row.seq)));
        }
        if row.previous != head.hash {
            return Err(at("it does not follow the row before"));
        }
        let offer = offer(connection, row.release)?;
        let offer = offer.ok_or_else(|| at("it speaks of a release that is gone"))?;
        if row.digest(&offer) != hash {
            return Err(at("its content, or that of its release, is not what was written"));
        }
        now.apply(&row, offer).map_err(|detail| at(&detail))?;
        head = Head { seq: due, hash };
    }
    now.compare(connection, head.seq)?;
    Ok(head)
}

fn altered(seq: u64, detail: &str) -> StoreError {
    StoreError::Altered { path: std::path::PathBuf::new(), seq, detail: detail.to_owned() }
}

/// What follows from the rows so far.
#[derive(Default)]
struct Replayed {
    states: std::collections::HashMap<ReleaseId, State>,
    /// By engine and part: release, slot, row.
    in_force: std::collections::BTreeMap<(String, String), (i64, String, i64)>,
    /// By engine, part and slot: the release staged there last, and its tree.
    staged: std::collections::BTreeMap<(String, String, String), (i64, Digest)>,
    /// The engine and part of which the row before retired a release.
    left: Option<(String, String)>,
}

impl Replayed {
    fn apply(&mut self, row: &Row, offer: Offer) -> Result<(), String> {
        let from = self.states.insert(row.release, row.to);
        let note = row.note()?;
        if note.is_some() && from == row.from && row.place.is_none() && self.left.is_none() {
            return Ok(());
        }
        if from != row.from || !machine::ever_allowed(from, row.to) {
            let is = from.map_or("new", State::name);
            return Err(format!("{} cannot become {}: it is {is}", row.release, row.to));
        }
        let part = (offer.engine.as_str().to_owned(), offer.part.name().to_owned());
        // Whoever retires a release puts another one in its place, in the next row.
        if let Some(left) = self.left.take()
            && (left != part || !machine::is_in_force(row.to))
        {
            return Err("a release was retired, and nothing took its place".to_owned());
        }
        match (row.to, row.place) {
            (State::Staged, Some((slot, tree))) => {
                let place = (part.0, part.1, slot.name().to_owned());
                self.staged.insert(place, (row.release.0, tree));
            }
            (State::Probation | State::Active, Some((slot, tree))) => {
                let place = (part.0.clone(), part.1.clone(), slot.name().to_owned());
                if self.staged.get(&place) != Some(&(row.release.0, tree)) {
                    return Err(format!("{} was not staged in slot {slot}", row.release));
                }
                let is = (row.release.0, slot.name().to_owned(), row.seq);
                if self.in_force.insert(part, is).is_some_and(|(other, ..)| other != row.release.0)
                {
                    return Err("two releases of one part are in force".to_owned());
                }
            }
            (State::Staged | State::Probation | State::Active, None) => {
                return Err("it says no slot".to_owned());
            }
            (State::Retired | State::Rejected, _) if from.is_some_and(machine::is_in_force) => {
                self.in_force.remove(&part);
                self.left = (row.to == State::Retired).then_some(part);
            }
            _ => {}
        }
        Ok(())
    }

    /// The tables beside the chain say what follows from it. A slot may say nothing: it was cleared since.
    fn compare(self, connection: &Connection, last: u64) -> Result<(), StoreError> {
        if self.left.is_some() {
            return Err(altered(last, "a release was retired, and nothing took its place"));
        }
        let mut statement =
            connection.prepare("SELECT engine, part, release, slot, seq FROM in_force")?;
        let rows = statement.query_map([], |row| {
            Ok(((row.get(0)?, row.get(1)?), (row.get(2)?, row.get(3)?, row.get(4)?)))
        })?;
        let found: std::collections::BTreeMap<_, _> = rows.collect::<Result<_, _>>()?;
        if found != self.in_force {
            return Err(altered(
                last,
                "the table of what is in force does not follow from the rows",
            ));
        }
        let mut statement =
            connection.prepare("SELECT engine, part, slot, release, tree FROM slots")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let place = (row.get(0)?, row.get(1)?, row.get(2)?);
            if self.staged.get(&place) != Some(&(row.get(3)?, Digest(row.get(4)?))) {
                return Err(altered(last, "the table of slots does not follow from the rows"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
