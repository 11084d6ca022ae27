//! Which transitions there are, and how one is written down. Everything here runs inside a transaction.

use jiff::Timestamp;
use outrigger_api::release::State;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::chain::{self, Entry};
use super::types::{Digest, Offer, Rejection, ReleaseId, Slot};
use super::{SUPERSEDED, StoreError};

/// Whether the picture in [`outrigger_api::release`] has an arrow from `from` to `to`.
pub(super) fn allowed(from: Option<State>, to: State) -> bool {
    use State::{
        Active, Offered, Preflight, Probation, Rejected, Retired, Shadow, Staged, Verified,
    };
    match from {
        None => to == Offered,
        Some(Offered) => matches!(to, Verified | Rejected),
        Some(Verified) => matches!(to, Staged | Rejected),
        Some(Staged) => matches!(to, Preflight | Rejected),
        // Shadow and probation stand in brackets: a policy may do without them.
        Some(Preflight) => matches!(to, Shadow | Active | Rejected),
        Some(Shadow) => matches!(to, Probation | Rejected),
        Some(Probation) => matches!(to, Active | Rejected),
        Some(Active) => to == Retired,
        Some(Retired | Rejected) => false,
    }
}

pub(super) fn check(release: ReleaseId, from: Option<State>, to: State) -> Result<(), StoreError> {
    if allowed(from, to) { Ok(()) } else { Err(StoreError::Transition { release, from, to }) }
}

/// The release and where it stands.
pub(super) fn find(
    connection: &Connection,
    release: ReleaseId,
) -> Result<(Offer, Option<State>), StoreError> {
    let offer = chain::offer(connection, release)?.ok_or(StoreError::Unknown { release })?;
    Ok((offer, state(connection, release)?))
}

/// Where a release stands: where its last transition led.
pub(super) fn state(
    connection: &Connection,
    release: ReleaseId,
) -> Result<Option<State>, StoreError> {
    let last: Option<String> = connection
        .query_row(
            "SELECT to_state FROM transitions WHERE release = ?1 ORDER BY seq DESC LIMIT 1",
            [release.0],
            |row| row.get(0),
        )
        .optional()?;
    last.map(|name| chain::state_named(&name)).transpose()
}

/// The entry of the same package of the same release, if it has not come to its end.
pub(super) fn under_way(
    tx: &Transaction<'_>,
    offer: &Offer,
) -> Result<Option<ReleaseId>, StoreError> {
    let last: Option<i64> = tx
        .query_row(
            "SELECT id FROM releases WHERE engine = ?1 AND part = ?2 AND version = ?3 AND package = ?4 \
             AND repository = ?5 ORDER BY id DESC LIMIT 1",
            params![
                offer.engine.as_str(),
                offer.part.name(),
                offer.version.to_string(),
                offer.package.0,
                offer.repository
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(id) = last.map(ReleaseId) else { return Ok(None) };
    let ended = matches!(state(tx, id)?, Some(State::Retired | State::Rejected));
    Ok((!ended).then_some(id))
}

pub(super) fn insert(tx: &Transaction<'_>, offer: &Offer) -> Result<ReleaseId, StoreError> {
    tx.execute(
        "INSERT INTO releases (engine, part, version, package, repository) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            offer.engine.as_str(),
            offer.part.name(),
            offer.version.to_string(),
            offer.package.0,
            offer.repository
        ],
    )?;
    Ok(ReleaseId(tx.last_insert_rowid()))
}

/// Writes one transition down, if there is such a one, as the next row of the chain.
pub(super) fn append(tx: &Transaction<'_>, entry: Entry) -> Result<(), StoreError> {
    append_row(tx, entry).map(drop)
}

fn append_row(tx: &Transaction<'_>, entry: Entry) -> Result<i64, StoreError> {
    let (offer, from) = find(tx, entry.release)?;
    check(entry.release, from, entry.to)?;
    let head = chain::head(tx)?;
    let row = entry.follow(head, from);
    chain::insert(tx, &row, &offer)?;
    Ok(row.seq)
}

/// The slot that is not in force; the first one, if none is.
pub(super) fn inactive(tx: &Transaction<'_>, offer: &Offer) -> Result<Slot, StoreError> {
    Ok(in_force(tx, offer)?.map_or(Slot::A, |(_, slot)| slot.other()))
}

fn in_force(tx: &Transaction<'_>, offer: &Offer) -> Result<Option<(ReleaseId, Slot)>, StoreError> {
    let row: Option<(i64, String)> = tx
        .query_row(
            "SELECT release, slot FROM in_force WHERE engine = ?1 AND part = ?2",
            params![offer.engine.as_str(), offer.part.name()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    row.map(|(id, slot)| Ok((ReleaseId(id), chain::slot_named(&slot)?))).transpose()
}

/// Forgets what lies in `slot`; a release that was on its way there is rejected.
pub(super) fn vacate(
    tx: &Transaction<'_>,
    offer: &Offer,
    slot: Slot,
    now: Timestamp,
) -> Result<(), StoreError> {
    let place = params![offer.engine.as_str(), offer.part.name(), slot.name()];
    let there: Option<i64> = tx
        .query_row(
            "SELECT release FROM slots WHERE engine = ?1 AND part = ?2 AND slot = ?3",
            place,
            |row| row.get(0),
        )
        .optional()?;
    let Some(there) = there.map(ReleaseId) else { return Ok(()) };
    if !matches!(state(tx, there)?, Some(State::Retired | State::Rejected)) {
        let text = format!("{} {} took its slot", offer.part, offer.version);
        append(tx, Entry::rejected(there, &Rejection::new(SUPERSEDED, &text), now))?;
    }
    tx.execute("DELETE FROM slots WHERE engine = ?1 AND part = ?2 AND slot = ?3", place)?;
    Ok(())
}

pub(super) fn occupy(
    tx: &Transaction<'_>,
    offer: &Offer,
    slot: Slot,
    release: ReleaseId,
    tree: Digest,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO slots (engine, part, slot, release, tree) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![offer.engine.as_str(), offer.part.name(), slot.name(), release.0, tree.0],
    )?;
    Ok(())
}

/// The one step in which one release begins to decide and the one before ends.
pub(super) fn put_in_force(
    tx: &Transaction<'_>,
    offer: &Offer,
    release: ReleaseId,
    detail: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    let lies: Option<(String, [u8; 32])> = tx
        .query_row(
            "SELECT slot, tree FROM slots WHERE engine = ?1 AND part = ?2 AND release = ?3",
            params![offer.engine.as_str(), offer.part.name(), release.0],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    let (slot, tree) = lies.ok_or(StoreError::NotInSlot { release })?;
    let (slot, tree) = (chain::slot_named(&slot)?, Digest(tree));
    if let Some((before, _)) = in_force(tx, offer)? {
        let detail = format!("{} took its place", offer.version);
        append(tx, Entry::plain(before, State::Retired, now, detail))?;
    }
    let seq = append_row(tx, Entry::placed(release, State::Active, now, detail, slot, tree))?;
    tx.execute(
        "INSERT INTO in_force (engine, part, slot, release, seq) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (engine, part) DO UPDATE SET slot = ?3, release = ?4, seq = ?5",
        params![offer.engine.as_str(), offer.part.name(), slot.name(), release.0, seq],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use outrigger_api::release::State;

    use super::allowed;

    #[test]
    fn the_arrows_are_those_of_the_picture() {
        let states = [None].into_iter().chain(State::ALL.map(Some));
        let arrows: Vec<String> = states
            .flat_map(|from| State::ALL.map(|to| (from, to)))
            .filter(|&(from, to)| allowed(from, to))
            .map(|(from, to)| format!("{} {to}", from.map_or("-", State::name)))
            .collect();

        assert_eq!(
            arrows,
            [
                "- offered",
                "offered verified",
                "offered rejected",
                "verified staged",
                "verified rejected",
                "staged preflight",
                "staged rejected",
                "preflight shadow",
                "preflight active",
                "preflight rejected",
                "shadow probation",
                "shadow rejected",
                "probation active",
                "probation rejected",
                "active retired",
            ]
        );
    }
}
