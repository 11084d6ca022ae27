//! Schema 1 of `hashlist`: lists of SHA-256, in the form that `sha256sum` writes.
//!
//! The grammar and limits are those of the engine `hashlist`, so that what is right here is right there.
//! Read in a stream: a million entries take no memory but what [`Lists::entries`] keeps of them.

use std::io::{BufRead, Read};

use crate::content::error::{ContentError, ContentErrors, Fault, quoted};
use crate::content::folder::Folder;

/// Longest line, in bytes, its end not counted.
pub const LINE_MAX: usize = 4096;
/// Most entries in all lists together.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Most bytes of names in all deny lists together, each cut to [`NAME_MAX`] and counted with one more.
pub const NAMES_BYTES_MAX: usize = 16 << 20;
/// As much of a name as a verdict has room for, in bytes.
pub const NAME_MAX: usize = 53;
/// Most bytes of all lists together, comments included.
pub const ALL_BYTES_MAX: usize = 256 << 20;
/// Entries that are kept, to make variants of.
pub const KEPT_MAX: usize = 1024;

/// What the lists of a folder hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lists {
    /// How many lists.
    pub files: usize,
    /// Entries of `*.deny`.
    pub denied: usize,
    /// Entries of `*.allow`.
    pub allowed: usize,
    /// The first of those that are denied, at most [`KEPT_MAX`].
    pub entries: Vec<[u8; 32]>,
    names_bytes: usize,
    bytes: usize,
}

/// Reads every list of `folder`.
pub(super) fn read(folder: &Folder) -> Result<Lists, ContentErrors> {
    let mut lists = Lists::default();
    let mut errors = ContentErrors::default();
    for file in &folder.files {
        match folder.open(file) {
            Ok(reader) => lists.read_list(file, reader, &mut errors),
            Err(fault) => errors.add(ContentError::whole(file, fault)),
        }
    }
    errors.finish(lists)
}

impl Lists {
    /// Reads the list `file` from `reader`. A wrong line is reported and passed over; at a limit, reading
    /// ends.
    pub fn read_list(&mut self, file: &str, mut reader: impl BufRead, errors: &mut ContentErrors) {
        let denies = file.ends_with(".deny");
        self.files += 1;
        let mut bytes = Vec::new();
        let mut line = 0;
        loop {
            bytes.clear();
            // One more than fits and its line feed, so that too long a line shows.
            let mut piece = reader.by_ref().take(LINE_MAX as u64 + 2);
            match piece.read_until(b'\n', &mut bytes) {
                Ok(0) => return,
                Ok(read) => self.bytes += read,
                Err(error) => {
                    let fault = Fault::Unreadable(error.to_string());
                    return errors.add(ContentError::whole(file, fault));
                }
            }
            line += 1;
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let result = match parse(text) {
                Ok(None) if self.bytes <= ALL_BYTES_MAX => continue,
                Ok(None) => Err((Fault::TooLong { what: "all lists", max: ALL_BYTES_MAX }, true)),
                Ok(Some((hash, name))) => {
                    self.count(denies, hash, name).map_err(|fault| (fault, true))
                }
                Err(fault) => {
                    let ends = matches!(fault, Fault::TooLong { .. });
                    Err((fault, ends))
                }
            };
            let Err((fault, ends)) = result else { continue };
            errors.add(ContentError::at(file, line, fault));
            if ends {
                return;
            }
        }
    }

    fn count(&mut self, denies: bool, hash: [u8; 32], name: &str) -> Result<(), Fault> {
        if self.bytes > ALL_BYTES_MAX {
            return Err(Fault::TooLong { what: "all lists", max: ALL_BYTES_MAX });
        }
        if self.denied + self.allowed >= ENTRIES_MAX {
            return Err(Fault::TooMany { what: "entries in all lists", max: ENTRIES_MAX });
        }
        if !denies {
            self.allowed += 1;
            return Ok(());
        }
        let name = name.floor_char_boundary(NAME_MAX);
        if self.names_bytes + name >= NAMES_BYTES_MAX {
            return Err(Fault::TooLong { what: "names in all lists", max: NAMES_BYTES_MAX });
        }
        self.names_bytes += name + 1;
        self.denied += 1;
        if self.entries.len() < KEPT_MAX {
            self.entries.push(hash);
        }
        Ok(())
    }
}

/// One line without its end: a hash and its name, or `None` for a comment or a blank.
fn parse(line: &[u8]) -> Result<Option<([u8; 32], &str)>, Fault> {
    if line.len() > LINE_MAX {
        return Err(Fault::TooLong { what: "a line", max: LINE_MAX });
    }
    let line = str::from_utf8(line).map_err(|_| Fault::NotText("is no UTF-8"))?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let mut hash = [0; 32];
    hex::decode_to_slice(word, &mut hash).map_err(|_| Fault::NotHash { found: quoted(word) })?;
    // `sha256sum` marks a file that it read as binary by a star.
    let name = rest.trim_start();
    Ok(Some((hash, name.strip_prefix('*').unwrap_or(name))))
}
