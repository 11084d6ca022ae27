//! Looking things up, for the host at its start and for people.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};
use rusqlite::{Connection, OptionalExtension, params};

use super::chain::{self, Row};
use super::database::Database;
use super::slots::{self, Slots};
use super::types::{Active, Digest, Head, Release, ReleaseId, Slot, Standby, Transition};
use super::{StoreError, machine};

/// What the journal says. Whoever has one may look beside whoever changes it, and sees each change as a whole.
pub struct Reader {
    path: PathBuf,
    /// None in a folder where nothing was ever installed.
    pub(super) database: Option<Database>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reader {
    pub(super) fn new(path: &Path, database: Option<Database>) -> Self {
        Self { path: path.to_owned(), database }
    }

    pub(super) fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let Some(slots) = Slots::open_if_there(state_dir)? else {
            return Ok(Self::new(state_dir, None));
        };
        Ok(Self::new(slots.path(), Database::open_read(&slots)?))
    }

    /// What is in force of a part of an engine, on probation or active; none if nothing is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Altered`] if the row that says so is not what was written; [`StoreError::Damaged`] if it
    /// cannot be read. Damage elsewhere in the journal is not noticed here.
    pub fn active(&self, engine: &EngineName, part: Part) -> Result<Option<Active>, StoreError> {
        self.ask(None, |connection| {
            let place = params![engine.as_str(), part.name()];
            let named: Option<i64> = connection
                .query_row(
                    "SELECT seq FROM in_force WHERE engine = ?1 AND part = ?2",
                    place,
                    |row| row.get(0),
                )
                .optional()?;
            let Some(seq) = named else { return Ok(None) };
            let wrong = |detail: &str| StoreError::Altered {
                path: PathBuf::new(),
                seq: seq.cast_unsigned(),
                detail: detail.to_owned(),
            };
            let (row, hash) = row(connection, seq)?.ok_or_else(|| wrong("it is missing"))?;
            let offer = chain::offer(connection, row.release)?
                .ok_or_else(|| wrong("it speaks of a release that is gone"))?;
            if row.digest(&offer) != hash {
                return Err(wrong("its content, or that of its release, is not what was written"));
            }
            let Some((slot, tree)) = row.place.filter(|_| {
                machine::is_in_force(row.to) && offer.engine == *engine && offer.part == part
            }) else {
                return Err(wrong("it puts nothing of this part in force"));
            };
            Ok(Some(Active {
                release: row.release,
                state: row.to,
                version: offer.version,
                slot,
                dir: slots::dir(&self.path, engine, part, slot),
                tree,
                since: time(row.at)?,
            }))
        })
    }

    /// What is in force of an engine and on probation.
    ///
    /// # Errors
    ///
    /// As [`Reader::active`].
    pub fn in_probation(&self, engine: &EngineName) -> Result<Vec<(Part, Active)>, StoreError> {
        let mut found = Vec::new();
        for part in Part::ALL {
            let active = self.active(engine, part)?;
            let active = active.filter(|active| active.state == State::Probation);
            found.extend(active.map(|active| (part, active)));
        }
        Ok(found)
    }

    /// What of an engine has passed preflight, and is in shadow or waits for it.
    ///
    /// # Errors
    ///
    /// As [`Reader::standby`].
    pub fn shadowing(&self, engine: &EngineName) -> Result<Vec<(Part, Standby)>, StoreError> {
        let mut found = Vec::new();
        for part in Part::ALL {
            let standby = self.standby(engine, part)?;
            let standby = standby.filter(|standby| standby.state == State::Shadow);
            found.extend(standby.map(|standby| (part, standby)));
        }
        Ok(found)
    }

    /// What lies whole in the slot that is not in force, whatever its state: in the one that is filled next, if
    /// nothing is in force.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], or SQLite's.
    pub fn standby(&self, engine: &EngineName, part: Part) -> Result<Option<Standby>, StoreError> {
        let active = self.active(engine, part)?.map(|active| active.slot);
        let lying = self.lying(engine, part)?;
        Ok(lying.into_iter().find(|lies| Some(lies.slot) != active))
    }

    /// What lies whole in the slots of a part, in force or not.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], or SQLite's.
    pub fn lying(&self, engine: &EngineName, part: Part) -> Result<Vec<Standby>, StoreError> {
        self.ask(Vec::new(), |connection| {
            let mut statement = connection.prepare(
                "SELECT slot, release, tree FROM slots WHERE engine = ?1 AND part = ?2 ORDER BY slot",
            )?;
            let mut rows = statement.query(params![engine.as_str(), part.name()])?;
            let mut lying = Vec::new();
            while let Some(row) = rows.next()? {
                let slot: String = row.get(0)?;
                let slot = chain::slot_named(&slot)?;
                let (release, tree) = (ReleaseId(row.get(1)?), Digest(row.get(2)?));
                lying.push(self.laid(connection, release, slot, tree)?);
            }
            Ok(lying)
        })
    }

    fn laid(
        &self,
        connection: &Connection,
        release: ReleaseId,
        slot: Slot,
        tree: Digest,
    ) -> Result<Standby, StoreError> {
        let (offer, state) = machine::find(connection, release)?;
        let state = state.ok_or_else(|| chain::damaged(format!("{release} has no state")))?;
        let dir = slots::dir(&self.path, &offer.engine, offer.part, slot);
        Ok(Standby { release, state, version: offer.version, slot, dir, tree })
    }

    /// The stories of an engine's releases, or of everybody's, in the order in which they were offered.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`], or SQLite's.
    pub fn history(&self, engine: Option<&EngineName>) -> Result<Vec<Release>, StoreError> {
        self.ask(Vec::new(), |connection| {
            let mut statement = connection
                .prepare("SELECT id FROM releases WHERE ?1 IS NULL OR engine = ?1 ORDER BY id")?;
            let ids = statement
                .query_map([engine.map(EngineName::as_str)], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            ids.into_iter().map(|id| story(connection, ReleaseId(id))).collect()
        })
    }

    /// One release's story.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unknown`], [`StoreError::Damaged`], or SQLite's.
    pub fn release(&self, release: ReleaseId) -> Result<Release, StoreError> {
        let found = self.ask(None, |connection| story(connection, release).map(Some))?;
        found.ok_or(StoreError::Unknown { release })
    }

    /// The last row of the journal, for whoever keeps it elsewhere.
    ///
    /// # Errors
    ///
    /// SQLite's.
    pub fn head(&self) -> Result<Option<Head>, StoreError> {
        self.ask(None, |connection| chain::head(connection).map(Some))
    }

    /// Goes through the whole journal: every row follows from the one before, no row is missing, every
    /// transition is one that there is, and what is in force follows from them. Gives the last row.
    ///
    /// # Errors
    ///
    /// [`StoreError::Altered`] with the first row that does not fit.
    pub fn verify_chain(&self) -> Result<Option<Head>, StoreError> {
        self.ask(None, |connection| chain::verify(connection).map(Some))
    }

    /// Asks the database; `nothing` where there is none. What is asked sees one state of it.
    pub(super) fn ask<T>(
        &self,
        nothing: T,
        look: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(database) = &self.database else { return Ok(nothing) };
        let looked = database
            .connection
            .unchecked_transaction()
            .map_err(StoreError::from)
            .and_then(|tx| look(&tx));
        looked.map_err(|error| error.at(&self.path))
    }
}

fn row(connection: &Connection, seq: i64) -> Result<Option<(Row, Digest)>, StoreError> {
    let columns = chain::COLUMNS;
    let mut statement =
        connection.prepare(&format!("SELECT {columns} FROM transitions WHERE seq = ?1"))?;
    let mut rows = statement.query([seq])?;
    rows.next()?.map(chain::read).transpose()
}

pub(super) fn story(connection: &Connection, id: ReleaseId) -> Result<Release, StoreError> {
    let (offer, state) = machine::find(connection, id)?;
    let columns = chain::COLUMNS;
    let mut statement = connection
        .prepare(&format!("SELECT {columns} FROM transitions WHERE release = ?1 ORDER BY seq"))?;
    let mut rows = statement.query([id.0])?;
    let mut transitions = Vec::new();
    while let Some(raw) = rows.next()? {
        let (row, _) = chain::read(raw)?;
        let note = row.note().map_err(chain::damaged)?;
        transitions.push(Transition {
            seq: row.seq.cast_unsigned(),
            from: row.from,
            to: row.to,
            at: time(row.at)?,
            note,
            detail: row.detail,
            reason: row.reason.filter(|_| note.is_none()),
        });
    }
    Ok(Release {
        id,
        engine: offer.engine,
        part: offer.part,
        version: offer.version,
        package: offer.package,
        repository: offer.repository,
        state: state.ok_or_else(|| chain::damaged(format!("{id} has no state")))?,
        transitions,
    })
}

pub(super) fn time(milliseconds: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_millisecond(milliseconds)
        .map_err(|error| chain::damaged(format!("a transition's time: {error}")))
}
