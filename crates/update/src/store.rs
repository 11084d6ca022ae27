//! What this machine knows of releases: two slots a part, and a journal of everything that happened.
//!
//! ```text
//! STATE/updates.db                       the journal: SQLite, one row a transition, hash-chained
//! STATE/updates.lock                     held by whoever changes anything; says who
//! STATE/updates.reserve{,-2}             given up for a way back on a full disk
//! STATE/engines/NAME/{code,content}/a    two slots each: one is in force, one is being filled,
//!                                  /b    tried out, or kept from before
//! ```
//!
//! **The journal is the only truth** of which slot is in force. There is no second file that names it
//! (no `active.json`, no symbolic link): two files cannot be changed in one step, so after a cut they could
//! disagree, and whoever then has to choose between them needs a third. One transaction ends the one release
//! and begins the other; before it is on the disk the old one is in force, after it the new one.
//!
//! **The way back** is such a transaction as well. While a release is on probation, the other slot holds the one
//! whose place it took, and nothing may be staged there. So going back needs no network and copies nothing: the new
//! release is rejected, and the one before is in force again. There is no way back to a release that never was in
//! force, nor to one that was gone back from.
//!
//! So that a damaged journal costs as little as it can, [`Reader::active`] needs three rows of it and no more:
//! the one that names the transition, the transition, and its release. The transition carries a hash over
//! everything in these rows, slot and tree digest too, so a reader finds them whole or knows that they are
//! not. Damage elsewhere stops whoever wants to *change* something ([`Store::open`] checks the whole file),
//! and not the host that asks what it is to run. A journal written by a later version is read as long as that
//! version says that this one can, and the host needs no room on the disk to know what is in force.
//!
//! **Order of an install.** The row that says what lay in the slot is deleted, then the slot is cleared and
//! filled, every file and folder is made durable, from the leaves up to the state folder, and only then does the
//! journal say *staged*. A folder that no row speaks of is therefore half, or old: the next
//! [`Store::open`] clears it. The slot in force is never touched.
//!
//! What this does not see: rows cut off at the end of the journal together with everything that they caused.
//! Who wants to see that keeps [`Reader::head`] elsewhere. Whoever can write here can make a whole new
//! chain as well; the chain shows that rows were altered, taken out, or put in.
//!
//! Time is always an argument and never compared: the order of things is that of the rows, so a clock that is
//! set back changes nothing but what is shown.

mod chain;
mod database;
mod error;
mod lock;
mod machine;
mod notes;
mod reader;
mod reserve;
mod slots;
mod trial;
mod types;

use std::error::Error;
use std::ops::Deref;
use std::os::fd::BorrowedFd;
use std::path::Path;

use jiff::Timestamp;
use outrigger_api::release::{Part, State};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use rustix::io::Errno;

pub use error::StoreError;
pub use reader::Reader;
pub use types::{
    Active, Digest, DigestError, Head, KnownBad, Note, Offer, Rejection, Release, ReleaseId, Slot,
    Standby, TEXT_MAX, Transition, WentBack,
};

use chain::Entry;
use database::Database;
use lock::Lock;
use reserve::Reserve;
use slots::Slots;

/// The name under which a release is rejected that another one displaced from its slot.
pub const SUPERSEDED: &str = "superseded";

/// The one who may change the slots and the journal; all that a [`Reader`] can do besides.
#[derive(Debug)]
pub struct Store {
    reader: Reader,
    slots: Slots,
    /// Whether the disk was too full to open the journal for a change.
    full: bool,
    // Made again, if need be, when the journal is closed and has given its room back.
    reserve: Reserve,
    // Last: let go when everything else is closed.
    _lock: Lock,
}

impl Store {
    /// Opens the store in `state_dir`, makes what is missing of it (mode 0700), checks the journal, and clears
    /// what a cut left half.
    ///
    /// On a disk without room it opens as well, if there is a journal: to be looked at, and for the ways back
    /// ([`reject`](Self::reject), [`roll_back`](Self::roll_back), [`withdraw`](Self::withdraw),
    /// [`send_back`](Self::send_back)), for which it keeps a reserve. Other changes are [`StoreError::DiskFull`] then.
    ///
    /// # Errors
    ///
    /// [`StoreError::Locked`] if another process has it; [`StoreError::Damaged`], [`StoreError::Newer`] or
    /// [`StoreError::JournalGone`] if the journal cannot be trusted with a change; [`StoreError::DiskFull`] if there
    /// is no room to make one; [`StoreError::Exposed`] if others may write to the folder.
    pub fn open(state_dir: &Path) -> Result<Self, StoreError> {
        let slots = Slots::open(state_dir)?;
        let lock = Lock::take(&slots)?;
        let reserve = Reserve::of(&slots)?;
        let (database, full) = match Database::open(&slots) {
            Ok(database) => (Some(database), false),
            Err(error @ StoreError::DiskFull { .. }) => match Database::open_read(&slots)? {
                Some(database) => (Some(database), true),
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        let reader = Reader::new(slots.path(), database);
        let mut store = Self { reader, slots, full, reserve, _lock: lock };
        store.clear_half()?;
        store.reserve.keep();
        Ok(store)
    }

    /// Opens the store for looking only, beside whoever changes it. A folder with nothing in it is an empty
    /// store. On a full disk a reader may keep writers waiting, so let go of it when what was asked is known.
    ///
    /// # Errors
    ///
    /// [`StoreError::JournalGone`], [`StoreError::Newer`], or [`StoreError::Damaged`] if not even the head of
    /// the journal can be read.
    pub fn open_read(state_dir: &Path) -> Result<Reader, StoreError> {
        Reader::open(state_dir)
    }

    /// Notes that a repository offers a release. One that is under way already, with the same package, is that
    /// one; one that was retired or rejected gets a new entry, and a story of its own.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLong`], [`StoreError::DiskFull`], or the database's.
    pub fn offer(&mut self, offer: &Offer, now: Timestamp) -> Result<ReleaseId, StoreError> {
        types::within("the repository's name", &offer.repository)?;
        self.change(|tx| {
            if let Some(open) = machine::under_way(tx, offer)? {
                return Ok(open);
            }
            let id = machine::insert(tx, offer)?;
            let detail = format!("offered by {}", offer.repository);
            machine::append(tx, Entry::plain(id, State::Offered, now, detail))?;
            Ok(id)
        })
    }

    /// Moves a release on to `to`: verified, preflight or shadow.
    ///
    /// # Errors
    ///
    /// [`StoreError::Transition`] if it does not stand right before `to`, or if `to` has a way of its own
    /// ([`stage`](Self::stage), [`begin_probation`](Self::begin_probation), [`confirm`](Self::confirm),
    /// [`reject`](Self::reject)).
    pub fn advance(
        &mut self,
        release: ReleaseId,
        to: State,
        detail: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let detail = types::shortened(detail);
        self.change(|tx| {
            let (_, from) = machine::find(tx, release)?;
            if !matches!(to, State::Verified | State::Preflight | State::Shadow) {
                return Err(StoreError::Transition { release, from, to });
            }
            machine::append(tx, Entry::plain(release, to, now, detail))
        })
    }

    /// Fills the inactive slot with a verified release, of about `bytes` bytes unpacked.
    ///
    /// `unpack` gets an empty folder, writes the release into it and gives back its tree digest. What lay in
    /// the slot before is gone, whether this ends well or not; a release that was being tried out there is
    /// rejected as [`SUPERSEDED`].
    ///
    /// # Errors
    ///
    /// [`StoreError::DiskFull`] with what was needed and what is free, [`StoreError::Unpack`] with the
    /// closure's error, [`StoreError::OnProbation`] while the slot holds what may be gone back to. The release stays verified and may be staged again; what is in force stays so.
    pub fn stage<E>(
        &mut self,
        release: ReleaseId,
        bytes: u64,
        now: Timestamp,
        unpack: impl FnOnce(BorrowedFd<'_>) -> Result<Digest, E>,
    ) -> Result<Standby, StoreError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let (offer, slot) = self.change(|tx| {
            let (offer, from) = machine::find(tx, release)?;
            machine::check(release, from, State::Staged)?;
            let slot = machine::inactive(tx, &offer)?;
            machine::vacate(tx, &offer, slot, now)?;
            Ok((offer, slot))
        })?;
        let filled = self.slots.fill(&offer, slot, bytes, unpack);
        let tree = match filled {
            Ok(tree) => tree,
            Err(error) => {
                // Room for the next attempt; if even this fails, the next open does it.
                let _ = self.slots.clear(&offer.engine, offer.part, slot);
                return Err(error);
            }
        };
        self.change(|tx| {
            machine::occupy(tx, &offer, slot, release, tree)?;
            let detail = format!("in slot {slot}");
            let entry = Entry::placed(release, State::Staged, now, detail, slot, tree);
            machine::append(tx, entry)
        })?;
        Ok(Standby {
            release,
            state: State::Staged,
            version: offer.version,
            slot,
            dir: self.slots.dir(&offer.engine, offer.part, slot),
            tree,
        })
    }

    /// Ends a release's way: it will not decide. It may stand anywhere before probation.
    ///
    /// # Errors
    ///
    /// [`StoreError::Transition`] if it has ended, or decides already (there are [`roll_back`](Self::roll_back) and
    /// [`send_back`](Self::send_back)); [`StoreError::TooLong`].
    pub fn reject(
        &mut self,
        release: ReleaseId,
        rejection: &Rejection,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        types::within("a rejection's name", &rejection.name)?;
        self.change_back(|tx| {
            let (_, from) = machine::find(tx, release)?;
            if from.is_some_and(machine::is_in_force) {
                return Err(StoreError::Transition { release, from, to: State::Rejected });
            }
            machine::append(tx, Entry::rejected(release, rejection, now))
        })
    }

    /// One transaction; what it was for is done as a whole and on the disk, or not at all.
    fn change<T>(
        &mut self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        // What the reserve makes room for is the way back alone.
        if self.full || self.reserve.is_given_up() {
            let path = self.slots.path().join(database::NAME);
            return Err(StoreError::file("write to", path, Errno::NOSPC));
        }
        self.transact(act)
    }

    /// The same for what must be possible without room: a way back.
    fn change_back<T>(
        &mut self,
        act: impl Fn(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !self.full {
            match self.transact(&act) {
                Err(StoreError::DiskFull { .. }) if self.reserve.give_up() => {}
                done => return done,
            }
        }
        self.reserve.give_up();
        // Closed first: whoever reads where there is no room may keep everybody else out.
        self.reader.database = None;
        let opened = Database::open(&self.slots);
        self.full = opened.is_err();
        match opened {
            Ok(database) => {
                self.reader.database = Some(database);
                self.transact(act)
            }
            Err(error) => {
                self.reader.database = Database::open_read(&self.slots)?;
                Err(error)
            }
        }
    }

    fn transact<T>(
        &mut self,
        act: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Some(database) = self.reader.database.as_mut() else {
            return Err(StoreError::damaged(self.slots.path(), "it is not open"));
        };
        let behaviour = TransactionBehavior::Immediate;
        let done = database
            .connection
            .transaction_with_behavior(behaviour)
            .map_err(StoreError::from)
            .and_then(|tx| {
                let result = act(&tx)?;
                tx.commit()?;
                Ok(result)
            });
        done.map_err(|error| error.at(self.slots.path()))
    }

    /// Clears every slot folder that no row speaks of.
    fn clear_half(&mut self) -> Result<(), StoreError> {
        for (engine, part, slot) in self.slots.found()? {
            let Some(database) = &self.reader.database else { continue };
            let known = occupied(&database.connection, engine.as_str(), part, slot)
                .map_err(|error| StoreError::from(error).at(self.slots.path()))?;
            if !known {
                self.slots.clear(&engine, part, slot)?;
            }
        }
        Ok(())
    }
}

/// Reading is for everybody, so the writer reads as well.
impl Deref for Store {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}

fn occupied(
    connection: &Connection,
    engine: &str,
    part: Part,
    slot: Slot,
) -> rusqlite::Result<bool> {
    let row = connection
        .query_row(
            "SELECT 1 FROM slots WHERE engine = ?1 AND part = ?2 AND slot = ?3",
            params![engine, part.name(), slot.name()],
            |_| Ok(()),
        )
        .optional()?;
    Ok(row.is_some())
}
