//! What the administrator says of releases: that one may go on, and that a package is not known bad any more.
//!
//! Both are rows of the journal like any other, which leave the release where it stands.

use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::chain;
use super::reader::{Reader, story, time};
use super::types::{self, Digest, KnownBad, Note, Release, ReleaseId};
use super::{Store, StoreError, machine};

/// The rejections for conduct that were not forgotten since.
const BAD: &str = "\
    SELECT t.release, t.reason, t.detail, t.at \
    FROM transitions t JOIN releases r ON r.id = t.release \
    WHERE t.conduct AND NOT EXISTS ( \
        SELECT 1 FROM transitions n \
        WHERE n.release = t.release AND n.seq > t.seq AND n.from_state = n.to_state AND n.reason = ?1 \
    )";

impl Store {
    /// Notes that `by` lets a release go on. One that was approved already stays so.
    ///
    /// # Errors
    ///
    /// [`StoreError::Note`] if it has come to its end; [`StoreError::Unknown`].
    pub fn approve(
        &mut self,
        release: ReleaseId,
        by: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let by = types::shortened(by);
        self.change(|tx| {
            if has(tx, release, Note::Approved)? {
                return Ok(());
            }
            machine::note(tx, release, Note::Approved, by, now)
        })
    }

    /// Lifts every rejection for conduct of a package, so that it is taken again when it is offered; gives how many
    /// releases that were. None, if the package is not known bad.
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`], or the database's.
    pub fn forget_bad(
        &mut self,
        package: &Digest,
        why: &str,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let why = types::shortened(why);
        self.change(|tx| {
            let bad = bad(tx, Some(package))?;
            for one in &bad {
                machine::note(tx, one.release, Note::Forgotten, why.clone(), now)?;
            }
            Ok(bad.len())
        })
    }
}

impl Reader {
    /// Whether a release was [approved](Store::approve).
    ///
    /// # Errors
    ///
    /// [`StoreError::Unknown`], or SQLite's.
    pub fn is_approved(&self, release: ReleaseId) -> Result<bool, StoreError> {
        let approved = self.ask(None, |connection| {
            machine::find(connection, release)?;
            has(connection, release, Note::Approved).map(Some)
        })?;
        approved.ok_or(StoreError::Unknown { release })
    }

    /// Whether a package was rejected for what it did, last, and why; not if that was
    /// [forgotten](Store::forget_bad).
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], or SQLite's.
    pub fn known_bad(&self, package: &Digest) -> Result<Option<KnownBad>, StoreError> {
        self.ask(None, |connection| Ok(bad(connection, Some(package))?.into_iter().next()))
    }

    /// Every release whose package is known bad, and why; the last one first.
    ///
    /// # Errors
    ///
    /// As [`Reader::known_bad`].
    pub fn known_bad_all(&self) -> Result<Vec<(Release, KnownBad)>, StoreError> {
        self.ask(Vec::new(), |connection| {
            let bad = bad(connection, None)?.into_iter();
            bad.map(|bad| Ok((story(connection, bad.release)?, bad))).collect()
        })
    }
}

/// What is known bad, of a package or of all, the last one first.
fn bad(connection: &Connection, package: Option<&Digest>) -> Result<Vec<KnownBad>, StoreError> {
    let (forgotten, last_first) = (Note::Forgotten.name(), "ORDER BY t.seq DESC");
    let of = if package.is_some() { "AND r.package = ?2" } else { "" };
    let mut statement = connection.prepare(&format!("{BAD} {of} {last_first}"))?;
    let mut rows = match package {
        Some(package) => statement.query(params![forgotten, package.0])?,
        None => statement.query([forgotten])?,
    };
    let mut bad = Vec::new();
    while let Some(row) = rows.next()? {
        let reason: Option<String> = row.get(1)?;
        bad.push(KnownBad {
            release: ReleaseId(row.get(0)?),
            reason: reason.ok_or_else(|| chain::damaged("a rejection without a reason"))?,
            detail: row.get(2)?,
            at: time(row.get(3)?)?,
        });
    }
    Ok(bad)
}

fn has(connection: &Connection, release: ReleaseId, note: Note) -> Result<bool, StoreError> {
    let found = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM transitions WHERE release = ?1 AND from_state = to_state AND reason = ?2)",
        params![release.0, note.name()],
        |row| row.get(0),
    );
    Ok(found?)
}
