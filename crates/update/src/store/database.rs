//! The database file: made, opened, checked.

use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::StoreError;
use super::slots::Slots;

/// The database's file, in the state folder.
pub(super) const NAME: &str = "updates.db";
/// SQLite's own file beside it, in which commits stand until they are carried over.
const WAL: &str = "updates.db-wal";
/// What it is called until its tables are in it, and SQLite's own files beside that.
const UNFINISHED: [&str; 4] =
    ["updates.db.new", "updates.db.new-journal", "updates.db.new-wal", "updates.db.new-shm"];

/// What tells our database from another one (`PRAGMA application_id`): "OUTR".
const APPLICATION: i64 = 0x4f55_5452;
/// The layout of the tables (`PRAGMA user_version`).
///
/// 1: the first. 2: what is in force may be on probation, and may go back; there are notes.
const LAYOUT: i64 = 2;
/// The oldest layout whose readers can say what is in force in this one.
const READABLE_FROM: i64 = 2;

/// How long one side waits for the other's transaction, which takes milliseconds.
const BUSY: Duration = Duration::from_secs(10);

pub(super) const TABLES: &str = "
CREATE TABLE layout (
    readable_from INTEGER NOT NULL      -- a reader of this layout, or of a later one, can say what is in force
) STRICT;
CREATE TABLE releases (
    id         INTEGER PRIMARY KEY,
    engine     TEXT NOT NULL,
    part       TEXT NOT NULL,
    version    TEXT NOT NULL,
    package    BLOB NOT NULL,           -- SHA-256 of the package
    repository TEXT NOT NULL
) STRICT;
CREATE INDEX releases_by_package ON releases (package);
CREATE TABLE transitions (
    seq        INTEGER PRIMARY KEY,     -- from 1, without a gap
    release    INTEGER NOT NULL REFERENCES releases (id),
    from_state TEXT,
    to_state   TEXT NOT NULL,
    at         INTEGER NOT NULL,        -- milliseconds since 1970, UTC
    detail     TEXT NOT NULL,
    reason     TEXT,                    -- of a rejection
    conduct    INTEGER NOT NULL,        -- 1: rejected for what it did
    slot       TEXT,                    -- of staged, probation and active
    tree       BLOB,                    -- SHA-256 of the tree in it
    previous   BLOB NOT NULL,           -- hash of the row before
    hash       BLOB NOT NULL
) STRICT;
CREATE INDEX transitions_by_release ON transitions (release, seq);
CREATE TABLE slots (                    -- what lies whole in a slot
    engine  TEXT NOT NULL,
    part    TEXT NOT NULL,
    slot    TEXT NOT NULL,
    release INTEGER NOT NULL REFERENCES releases (id),
    tree    BLOB NOT NULL,
    PRIMARY KEY (engine, part, slot)
) STRICT, WITHOUT ROWID;
CREATE TABLE in_force (
    engine  TEXT NOT NULL,
    part    TEXT NOT NULL,
    slot    TEXT NOT NULL,
    release INTEGER NOT NULL REFERENCES releases (id),
    seq     INTEGER NOT NULL REFERENCES transitions (seq),
    PRIMARY KEY (engine, part)
) STRICT, WITHOUT ROWID;
";

/// An open connection.
pub(super) struct Database {
    pub(super) connection: Connection,
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").finish_non_exhaustive()
    }
}

impl Database {
    /// Opens it to be changed: made if it is not there, checked as a whole.
    pub(super) fn open(slots: &Slots) -> Result<Self, StoreError> {
        for name in UNFINISHED {
            slots.remove_file(name)?;
        }
        if is_fresh(slots)? {
            make(slots)?;
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
        let opened = connect(&slots.path().join(NAME), flags).and_then(prepare);
        let connection = opened.map_err(|error| error.at(slots.path()))?;
        // A process that was killed may have left a commit that the next one sees and the disk does not have yet.
        // Nothing may be built upon it, on the disk, before it lies there as well: a slot that it gave up would be
        // cleared, and after a cut the journal would still say that it is full.
        for name in [NAME, WAL] {
            slots.sync_file(name)?;
        }
        slots.sync_root()?;
        Ok(Self { connection })
    }

    /// Opens it to be looked at; none if nothing was ever installed.
    pub(super) fn open_read(slots: &Slots) -> Result<Option<Self>, StoreError> {
        if is_fresh(slots)? {
            return Ok(None);
        }
        let path = slots.path().join(NAME);
        let opened = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
            .and_then(|connection| Ok((layout(&connection)?, connection)));
        let opened = match opened {
            Err(error) if error.is_of_the_disk() => alone(&path, slots.has_content(WAL)?),
            opened => opened,
        };
        let (found, connection) = opened.map_err(|error| error.at(slots.path()))?;
        match found {
            Layout::Newer { found, readable_from } if readable_from > LAYOUT => {
                Err(newer(found).at(slots.path()))
            }
            Layout::Known | Layout::Newer { .. } => Ok(Some(Self { connection })),
            Layout::Foreign => Err(foreign().at(slots.path())),
        }
    }
}

/// Whether there is no journal yet.
///
/// The journal is on the disk before a slot is made. So slots without one mean that it was lost, and what they
/// hold must not be taken for rubbish.
fn is_fresh(slots: &Slots) -> Result<bool, StoreError> {
    if slots.has(NAME)? {
        return Ok(false);
    }
    match slots.found()?.into_iter().next() {
        None => Ok(true),
        Some((engine, part, slot)) => Err(StoreError::JournalGone {
            path: slots.path().join(NAME),
            slot: slots.dir(&engine, part, slot),
        }),
    }
}

/// Makes an empty journal. It gets its name when it is whole, so nobody ever sees one without tables, or one
/// that must first be rolled back, which a reader may not. Whoever opens it makes the name durable.
fn make(slots: &Slots) -> Result<(), StoreError> {
    let [unfinished, ..] = UNFINISHED;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let made = connect(&slots.path().join(unfinished), flags).and_then(|mut connection| {
        let tx = connection.transaction()?;
        tx.execute_batch(TABLES)?;
        tx.execute("INSERT INTO layout (readable_from) VALUES (?1)", [READABLE_FROM])?;
        tx.pragma_update(None, "application_id", APPLICATION)?;
        tx.pragma_update(None, "user_version", LAYOUT)?;
        tx.commit()?;
        // Only now: what was committed to the file beside it is carried over when the last one closes, and that
        // this could not be done, on a full disk, SQLite tells nobody.
        write_ahead(&connection)?;
        connection.close().map_err(|(_, error)| error.into())
    });
    made.map_err(|error| error.at(slots.path()))?;
    slots.own_file(unfinished)?;
    slots.rename_file(unfinished, NAME)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    // What is read may have been written by somebody else: no function of a schema runs for it.
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    Ok(connection)
}

/// Opens it for looking where SQLite cannot make its files beside it: on a full disk, or one that may only be read, the
/// host must know as well what it is to run.
///
/// With commits in the log, the index of the log is kept in memory, and so nobody else may have the database open
/// meanwhile; whoever has, has made the files. Without, nothing but the database is looked at, and not locked: an
/// update that finds room just then may change it meanwhile, which the hash of what is in force shows.
fn alone(path: &Path, has_log: bool) -> Result<(Layout, Connection), StoreError> {
    if has_log {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.pragma_update(None, "locking_mode", "exclusive")?;
        connection.pragma_update(None, "query_only", true)?;
        return Ok((layout(&connection)?, connection));
    }
    let mut uri = String::from("file:");
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02x}"));
        }
    }
    uri.push_str("?immutable=1");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let connection = connect(Path::new(&uri), flags)?;
    Ok((layout(&connection)?, connection))
}

/// Commits go to a file beside the database first, and are on the disk when they return.
fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(super::chain::damaged(format!("its journal mode stays {mode}, not wal")));
    }
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(())
}

enum Layout {
    Known,
    Newer { found: i64, readable_from: i64 },
    Foreign,
}

fn layout(connection: &Connection) -> Result<Layout, StoreError> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, found) = (number("application_id")?, number("user_version")?);
    if application != APPLICATION || found < 1 {
        return Ok(Layout::Foreign);
    }
    if found <= LAYOUT {
        return Ok(Layout::Known);
    }
    let readable_from = connection
        .query_row("SELECT readable_from FROM layout", [], |row| row.get(0))
        .optional()?;
    Ok(Layout::Newer { found, readable_from: readable_from.unwrap_or(i64::MAX) })
}

/// Makes a journal of an earlier layout one of this, so that an earlier version says that it is newer, and does not
/// misread it. Its rows are as they were.
fn raise(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found == LAYOUT {
        return Ok(());
    }
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute("UPDATE layout SET readable_from = ?1", [READABLE_FROM])?;
    tx.pragma_update(None, "user_version", LAYOUT)?;
    Ok(tx.commit()?)
}

fn prepare(mut connection: Connection) -> Result<Connection, StoreError> {
    match layout(&connection)? {
        Layout::Known => {}
        Layout::Newer { found, .. } => return Err(newer(found)),
        Layout::Foreign => return Err(foreign()),
    }
    write_ahead(&connection)?;
    raise(&mut connection)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(super::chain::damaged(verdict));
    }
    Ok(connection)
}

// The path comes with `StoreError::at`.

fn newer(found: i64) -> StoreError {
    StoreError::Newer { path: PathBuf::new(), found, known: LAYOUT }
}

fn foreign() -> StoreError {
    super::chain::damaged("it is empty, or the database of another program")
}
