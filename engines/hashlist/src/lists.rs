//! The lists in force: read from a folder, asked by hash.
//!
//! Sorted arrays, not tables: a million entries are 36 MB whatever their hashes are, so that old and new
//! lists together stay within the engine's memory limit while new ones are read.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::line::{self, Hash, LINE_MAX, LineError};

/// Most entries in all lists together.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Most bytes of names in all lists together, each cut to what a verdict can show.
pub const NAMES_BYTES_MAX: usize = 16 << 20;
/// Longest name kept, in bytes: with what is said before it, as much as a verdict's detail holds.
const NAME_MAX: usize = 53;

/// A folder's lists.
#[derive(Debug, Default)]
pub struct Lists {
    /// Sorted by hash, each hash once.
    denied: Vec<Denied>,
    /// Sorted, each hash once.
    allowed: Vec<Hash>,
    /// The names of the denied, each ended by a line feed.
    names: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Denied {
    hash: Hash,
    /// Where the name begins.
    name: u32,
}

/// Why a folder's lists are not taken.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The folder cannot be listed.
    #[error("{}: cannot be listed: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A list cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// The list.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{line}: {source}", file.display())]
    Line {
        /// The list.
        file: PathBuf,
        /// The line's number, from one.
        line: usize,
        /// What is wrong.
        source: LineError,
    },
    /// More entries than can be held.
    #[error("{}:{line}: over {ENTRIES_MAX} entries in all lists", file.display())]
    Entries {
        /// The list in which it happened.
        file: PathBuf,
        /// The line of the first entry over the limit.
        line: usize,
    },
    /// More names than can be held.
    #[error("{}:{line}: over {NAMES_BYTES_MAX} bytes of names in all lists", file.display())]
    Names {
        /// The list in which it happened.
        file: PathBuf,
        /// The line of the first name over the limit.
        line: usize,
    },
}

impl Lists {
    /// Reads every `*.deny` and `*.allow` of `folder`, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`ListError`] at the first thing that is wrong.
    pub fn read(folder: &Path) -> Result<Self, ListError> {
        let mut lists = Self::default();
        for file in list_files(folder)? {
            let denies = file.extension().is_some_and(|extension| extension == "deny");
            lists.read_file(&file, denies)?;
        }
        // Of an entry that stands in several lists the first one's name is shown.
        lists.denied.sort_unstable();
        lists.denied.dedup_by_key(|entry| entry.hash);
        lists.allowed.sort_unstable();
        lists.allowed.dedup();
        lists.denied.shrink_to_fit();
        lists.allowed.shrink_to_fit();
        Ok(lists)
    }

    /// The name under which `hash` is denied, empty if it has none; `None` if it is not denied.
    pub fn denied(&self, hash: &Hash) -> Option<&str> {
        let place = self.denied.binary_search_by_key(hash, |entry| entry.hash).ok()?;
        if self.allowed.binary_search(hash).is_ok() {
            return None;
        }
        let name = &self.names[self.denied[place].name as usize..];
        // Not `lines()`: a name that was cut may end with a carriage return, which that takes away.
        name.split('\n').next()
    }

    /// Whether nothing is denied.
    pub fn deny_nothing(&self) -> bool {
        self.denied.is_empty()
    }

    /// How many hashes are denied and allowed.
    pub fn counts(&self) -> (usize, usize) {
        (self.denied.len(), self.allowed.len())
    }

    fn read_file(&mut self, file: &Path, denies: bool) -> Result<(), ListError> {
        let unreadable = |source| ListError::Read { file: file.to_owned(), source };
        let mut reader = BufReader::new(File::open(file).map_err(unreadable)?);
        let mut bytes = Vec::new();
        let mut line = 0;
        loop {
            bytes.clear();
            // One more than fits and its line feed, so that too long a line shows.
            let mut piece = reader.by_ref().take(LINE_MAX as u64 + 2);
            if piece.read_until(b'\n', &mut bytes).map_err(unreadable)? == 0 {
                return Ok(());
            }
            line += 1;
            let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
            let parsed = line::parse(text).map_err(|source| ListError::Line {
                file: file.to_owned(),
                line,
                source,
            })?;
            let Some((hash, name)) = parsed else { continue };
            if self.denied.len() + self.allowed.len() >= ENTRIES_MAX {
                return Err(ListError::Entries { file: file.to_owned(), line });
            }
            if denies {
                let name = self
                    .keep_name(name)
                    .ok_or_else(|| ListError::Names { file: file.to_owned(), line })?;
                self.denied.push(Denied { hash, name });
            } else {
                self.allowed.push(hash);
            }
        }
    }

    /// Where the name is kept; `None` if it does not fit.
    fn keep_name(&mut self, name: &str) -> Option<u32> {
        let name = &name[..name.floor_char_boundary(NAME_MAX)];
        if self.names.len() + name.len() >= NAMES_BYTES_MAX {
            return None;
        }
        let place = u32::try_from(self.names.len()).expect("within NAMES_BYTES_MAX");
        self.names.push_str(name);
        self.names.push('\n');
        Some(place)
    }
}

fn list_files(folder: &Path) -> Result<Vec<PathBuf>, ListError> {
    let unlisted = |source| ListError::Folder { folder: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(unlisted)? {
        let file = entry.map_err(unlisted)?.path();
        let extension = file.extension();
        if extension.is_some_and(|extension| extension == "deny" || extension == "allow") {
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    fn hex(number: u32) -> String {
        format!("{number:064x}")
    }

    fn hash(number: u32) -> Hash {
        let mut hash = Hash::default();
        hash[28..].copy_from_slice(&number.to_be_bytes());
        hash
    }

    fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    fn read(files: &[(&str, String)]) -> Result<Lists, String> {
        let folder = folder(files);
        let told = |error: ListError| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        };
        Lists::read(folder.path()).map_err(told)
    }

    #[test]
    fn what_is_listed_is_denied_by_its_name() {
        let text = format!("# two\n{} eicar\n\n{}\n", hex(7), hex(9));

        let lists = read(&[("a.deny", text)]).expect("lists");

        assert_eq!(lists.denied(&hash(7)), Some("eicar"));
        assert_eq!(lists.denied(&hash(9)), Some(""));
        assert_eq!(lists.denied(&hash(8)), None);
        assert_eq!(lists.counts(), (2, 0));
    }

    #[test]
    fn a_name_that_is_cut_behind_a_carriage_return_keeps_it() {
        let kept = format!("{}\r", "n".repeat(NAME_MAX - 1));

        let lists = read(&[("a.deny", format!("{} {kept}and more\n", hex(7)))]).expect("lists");

        assert_eq!(lists.denied(&hash(7)), Some(kept.as_str()));
    }

    #[test]
    fn an_allow_list_overrides_every_deny_list() {
        let entry = format!("{} x", hex(1));

        let lists =
            read(&[("a.deny", entry.clone()), ("b.allow", entry.clone()), ("z.deny", entry)])
                .expect("lists");

        assert_eq!(lists.denied(&hash(1)), None);
        assert_eq!(lists.counts(), (1, 1));
    }

    #[test]
    fn of_several_lists_the_first_by_name_names_the_entry() {
        let lists = read(&[
            ("b.deny", format!("{} second", hex(1))),
            ("a.deny", format!("{} first", hex(1))),
        ]);

        assert_eq!(lists.expect("lists").denied(&hash(1)), Some("first"));
    }

    #[test]
    fn other_files_are_not_read() {
        let lists = read(&[("README", "no hash".to_owned()), ("a.deny.bak", "no hash".to_owned())]);

        assert!(lists.expect("lists").deny_nothing());
    }

    #[test]
    fn a_bad_line_is_told_with_file_and_line() {
        let told = read(&[("a.deny", format!("{}\n\nevil\n", hex(1)))]).map(|_| ());

        let want = "a.deny:3: \"evil\" is no SHA-256: 64 hexadecimal digits";
        assert_eq!(told, Err(want.to_owned()));
    }

    #[test]
    fn an_endless_line_is_refused_and_not_read_to_its_end() {
        let told = read(&[("a.deny", "#".repeat(1 << 20))]).map(|_| ());

        assert_eq!(told, Err("a.deny:1: line of over 4096 bytes".to_owned()));
    }

    #[test]
    fn the_longest_line_is_taken_at_a_files_end_and_before_it() {
        let line = format!("{} {}", hex(1), "n".repeat(LINE_MAX - 65));

        let lists = read(&[("a.deny", format!("{line}\n{line}"))]).expect("lists");

        assert_eq!(lists.denied(&hash(1)), Some(&*"n".repeat(NAME_MAX)));
    }

    #[test]
    fn a_name_is_cut_between_characters() {
        let lists = read(&[("a.deny", format!("{} {}", hex(1), "ä".repeat(60)))]);

        assert_eq!(lists.expect("lists").denied(&hash(1)), Some(&*"ä".repeat(NAME_MAX / 2)));
    }

    #[test]
    fn a_million_entries_are_taken_and_not_one_more() {
        let mut text = String::new();
        for number in 0..1_000_000 {
            writeln!(text, "{}", hex(number)).expect("text grows");
        }
        let lists = read(&[("a.deny", text.clone())]).expect("lists");
        let told = read(&[("a.deny", text), ("b.allow", hex(0))]).map(|_| ());

        assert_eq!(lists.counts(), (ENTRIES_MAX, 0));
        assert_eq!(lists.denied(&hash(999_999)), Some(""));
        assert_eq!(told, Err("b.allow:1: over 1000000 entries in all lists".to_owned()));
    }

    #[test]
    fn names_over_their_limit_are_refused() {
        let mut text = String::new();
        for number in 0..320_000 {
            writeln!(text, "{} {}", hex(number), "n".repeat(NAME_MAX)).expect("text grows");
        }
        let told = read(&[("a.deny", text)]).map(|_| ()).expect_err("refused");

        assert!(told.ends_with("over 16777216 bytes of names in all lists"), "{told}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let told = Lists::read(Path::new("/nowhere/at/all")).map(|_| ()).expect_err("refused");

        assert!(told.to_string().starts_with("/nowhere/at/all: cannot be listed: "), "{told}");
    }

    #[test]
    fn a_list_that_cannot_be_read_is_told() {
        let folder = folder(&[]);
        std::fs::create_dir(folder.path().join("a.deny")).expect("made");

        let told = Lists::read(folder.path()).map(|_| ()).expect_err("refused");

        assert!(matches!(told, ListError::Read { .. }), "{told}");
    }
}
