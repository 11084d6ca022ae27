//! Which transitions there are, and how one is written down. Everything here runs inside a transaction.

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::chain::{self, Entry};
use super::types::{Digest, Note, Offer, Rejection, ReleaseId, Slot, WentBack};
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
        Some(Preflight) => matches!(to, Shadow | Rejected),
        Some(Shadow) => matches!(to, Probation | Rejected),
        Some(Probation) => matches!(to, Active | Rejected),
        Some(Active) => matches!(to, Retired | Rejected),
        // The way back, when what took its place is rejected.
        Some(Retired) => to == Active,
        Some(Rejected) => false,
    }
}

/// Whether a row of the journal may say so: layout 1 knew no trial, and let preflight lead into force.
pub(super) fn ever_allowed(from: Option<State>, to: State) -> bool {
    allowed(from, to) || (from, to) == (Some(State::Preflight), State::Active)
}

/// Whether a release decides.
pub(super) const fn is_in_force(state: State) -> bool {
    matches!(state, State::Probation | State::Active)
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

/// Writes down what was said of a release.
///
/// # Errors
///
/// [`StoreError::Note`] if it cannot be said of one that stands there.
pub(super) fn note(
    tx: &Transaction<'_>,
    release: ReleaseId,
    note: Note,
    detail: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (offer, from) = find(tx, release)?;
    let Some(state) = from.filter(|state| note.goes_with(*state)) else {
        return Err(StoreError::Note { release, state: from, note });
    };
    let head = chain::head(tx)?;
    let row = Entry::note(release, state, note, now, detail).follow(head, from);
    chain::insert(tx, &row, &offer)
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
///
/// # Errors
///
/// [`StoreError::OnProbation`] if what lies there is what a bad sign leads back to.
pub(super) fn inactive(tx: &Transaction<'_>, offer: &Offer) -> Result<Slot, StoreError> {
    let Some((release, slot)) = in_force(tx, &offer.engine, offer.part)? else {
        return Ok(Slot::A);
    };
    if state(tx, release)? == Some(State::Probation) {
        let (engine, part) = (offer.engine.clone(), offer.part);
        return Err(StoreError::OnProbation { release, engine, part });
    }
    Ok(slot.other())
}

/// What is in force of a part, and where it lies.
pub(super) fn in_force(
    connection: &Connection,
    engine: &EngineName,
    part: Part,
) -> Result<Option<(ReleaseId, Slot)>, StoreError> {
    let row: Option<(i64, String)> = connection
        .query_row(
            "SELECT release, slot FROM in_force WHERE engine = ?1 AND part = ?2",
            params![engine.as_str(), part.name()],
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

/// The one step in which a release begins to decide, or goes on as another state, and the one before ends.
pub(super) fn put_in_force(
    tx: &Transaction<'_>,
    offer: &Offer,
    release: ReleaseId,
    to: State,
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
    let before = in_force(tx, &offer.engine, offer.part)?;
    if let Some((before, _)) = before.filter(|(before, _)| *before != release) {
        let detail = format!("{} took its place", offer.version);
        append(tx, Entry::plain(before, State::Retired, now, detail))?;
    }
    let seq = append_row(tx, Entry::placed(release, to, now, detail, slot, tree))?;
    tx.execute(
        "INSERT INTO in_force (engine, part, slot, release, seq) VALUES (?1, ?2, ?3, ?4, ?5) \
         ON CONFLICT (engine, part) DO UPDATE SET slot = ?3, release = ?4, seq = ?5",
        params![offer.engine.as_str(), offer.part.name(), slot.name(), release.0, seq],
    )?;
    Ok(())
}

/// The release that the one in force took its place from, while it still lies in the other slot.
fn before(
    tx: &Transaction<'_>,
    engine: &EngineName,
    part: Part,
    in_force: Slot,
) -> Result<Option<ReleaseId>, StoreError> {
    let row: Option<i64> = tx
        .query_row(
            "SELECT release FROM slots WHERE engine = ?1 AND part = ?2 AND slot = ?3",
            params![engine.as_str(), part.name(), in_force.other().name()],
            |row| row.get(0),
        )
        .optional()?;
    let Some(before) = row.map(ReleaseId) else { return Ok(None) };
    // Whoever else lies there never decided, or was rejected: there is no way back to that.
    Ok((state(tx, before)? == Some(State::Retired)).then_some(before))
}

/// Where [`go_back`] may lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To what was in force before.
    Before,
    /// To nothing in force.
    Nothing,
}

/// The parts of an engine of which something is in force: what that is, and what was before.
pub(super) fn parts_in_force(
    tx: &Transaction<'_>,
    engine: &EngineName,
) -> Result<Vec<Standing>, StoreError> {
    let mut all = Vec::new();
    for part in Part::ALL {
        let Some((release, slot)) = in_force(tx, engine, part)? else { continue };
        let (offer, state) = find(tx, release)?;
        let before = before(tx, engine, part, slot)?;
        all.push(Standing { offer, release, state, before });
    }
    Ok(all)
}

/// What is in force of a part.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) offer: Offer,
    release: ReleaseId,
    pub(super) state: Option<State>,
    pub(super) before: Option<ReleaseId>,
}

/// The one step in which what decides is rejected, and what decided before does so again.
pub(super) fn go_back(
    tx: &Transaction<'_>,
    standing: Standing,
    way: Way,
    rejection: &Rejection,
    now: Timestamp,
) -> Result<WentBack, StoreError> {
    let Standing { offer, release, before, .. } = standing;
    append(tx, Entry::rejected(release, rejection, now))?;
    tx.execute(
        "DELETE FROM in_force WHERE engine = ?1 AND part = ?2",
        params![offer.engine.as_str(), offer.part.name()],
    )?;
    let mut to = None;
    if let Some(before) = before.filter(|_| way == Way::Before) {
        let (old, _) = find(tx, before)?;
        let detail = format!("{} was rejected: {}", offer.version, rejection.name);
        put_in_force(tx, &old, before, State::Active, detail, now)?;
        to = Some(old.version);
    }
    Ok(WentBack { engine: offer.engine, part: offer.part, from: offer.version, to })
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
                "preflight rejected",
                "shadow probation",
                "shadow rejected",
                "probation active",
                "probation rejected",
                "active retired",
                "active rejected",
                "retired active",
            ]
        );
    }
}
