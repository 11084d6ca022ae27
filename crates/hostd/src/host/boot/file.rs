//! Where the record of starts lies: one small file with room for two records, written in turns.
//!
//! Its room is taken when it is made, so that a full disk does not keep a start from being counted; and what is
//! cut short leaves the other record, which is a start older.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use outrigger_update::boot::{RECORD_BYTES, Record};

use super::super::private;

/// The file's name, in the state folder.
const NAME: &str = "boots";

/// The file.
#[derive(Debug)]
pub(crate) struct RecordFile {
    path: PathBuf,
}

/// What was found there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: there was no start before this one.
    Nothing,
    /// The record.
    Record(Record),
    /// Something that cannot be read, for this reason.
    Damaged(String),
}

impl RecordFile {
    /// The one in `state_dir`.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self { path: state_dir.join(NAME) }
    }

    /// Where it lies.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it.
    pub(crate) fn read(&self) -> Found {
        let mut bytes = Vec::new();
        let read = self.open(false).and_then(|file| {
            file.take(2 * RECORD_BYTES as u64).read_to_end(&mut bytes)?;
            Ok(())
        });
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => return Found::Damaged(error.to_string()),
            Ok(()) => {}
        }
        let (one, two) = bytes.split_at(bytes.len().min(RECORD_BYTES));
        match Record::later([one, two]) {
            Some(record) => Found::Record(record),
            None => Found::Damaged(format!("neither of its {} bytes is a record", bytes.len())),
        }
    }

    /// Writes `record` in the place of the older one; on the disk when this returns if `durable`.
    pub(crate) fn write(&self, record: &Record, durable: bool) -> io::Result<()> {
        let bytes = record.to_bytes();
        let file = match self.open(true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.make()?,
            file => file?,
        };
        // One that was cut short when it was made has no room yet.
        if file.metadata()?.len() < 2 * RECORD_BYTES as u64 {
            file.write_all_at(&bytes, 0)?;
            file.write_all_at(&bytes, RECORD_BYTES as u64)?;
            file.sync_all()?;
            return self.path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all());
        }
        let place = record.sequence % 2 * RECORD_BYTES as u64;
        file.write_all_at(&bytes, place)?;
        if durable { file.sync_data() } else { Ok(()) }
    }

    fn make(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            private::make_folder(folder)?;
        }
        self.options().read(true).write(true).create_new(true).mode(0o600).open(&self.path)
    }

    fn open(&self, write: bool) -> io::Result<File> {
        let file = self.options().read(true).write(write).open(&self.path)?;
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("not a regular file")),
        }
    }

    /// Nothing that lies there in its place is followed, or waited for.
    fn options(&self) -> OpenOptions {
        let mut options = OpenOptions::new();
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sequence: u64) -> Record {
        Record { sequence, serial: 10 * sequence, ..Record::default() }
    }

    #[test]
    fn what_was_written_last_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RecordFile::new(folder.path());

        assert_eq!(file.read(), Found::Nothing);
        for sequence in 1..=3 {
            file.write(&record(sequence), true).expect("written");
            assert_eq!(file.read(), Found::Record(record(sequence)));
        }
        let len = std::fs::metadata(file.path()).expect("it is there").len();
        assert_eq!(len, 2 * RECORD_BYTES as u64, "its room is taken from the first time on");
    }

    #[test]
    fn a_record_that_was_cut_short_leaves_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RecordFile::new(folder.path());
        file.write(&record(1), false).expect("written");
        file.write(&record(2), false).expect("written");

        let open = OpenOptions::new().write(true).open(file.path()).expect("opened");
        open.write_all_at(&[0; 100], 40).expect("the later one is half");

        assert_eq!(file.read(), Found::Record(record(1)));
    }

    #[test]
    fn what_is_no_record_is_damage_and_is_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RecordFile::new(folder.path());
        std::fs::write(file.path(), "not one").expect("written");

        assert!(matches!(file.read(), Found::Damaged(_)));
        file.write(&record(1), true).expect("written");
        assert_eq!(file.read(), Found::Record(record(1)));
    }

    #[test]
    fn a_link_or_a_folder_in_its_place_is_damage_and_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = RecordFile::new(folder.path());
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, "untouched").expect("written");
        std::os::unix::fs::symlink(&elsewhere, file.path()).expect("linked");

        assert!(matches!(file.read(), Found::Damaged(_)));
        assert!(file.write(&record(1), true).is_err());
        assert_eq!(std::fs::read(&elsewhere).expect("read"), b"untouched");
        std::fs::remove_file(file.path()).expect("removed");
        std::fs::create_dir(file.path()).expect("made");
        assert!(matches!(file.read(), Found::Damaged(_)));
    }
}
