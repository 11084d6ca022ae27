//! What is wrong with a settings file, told so that it can be put right without reading the manual.

use std::fmt;
use std::path::{Path, PathBuf};

/// Most errors of one file that are told in full; further ones are counted.
pub const ERRORS_MAX: usize = 20;
/// Longest line of a file that is shown below an error, in characters.
const SHOWN_MAX: usize = 120;
/// Longest text of a file that is quoted in an error, in characters.
const QUOTED_MAX: usize = 64;

/// Everything that is wrong with one settings file. Never empty.
///
/// Displayed as lines `file:line:column: key: message`, each followed by the line of the file with a
/// caret under the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsErrors {
    errors: Vec<SettingsError>,
    more: usize,
}

/// One thing that is wrong with a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    /// The file.
    pub file: PathBuf,
    /// Where in it; absent if the file was not parsed at all.
    pub place: Option<Place>,
    /// The key as a path from the top of the file (`policy."file.open".budget_ms`); empty where no key
    /// is at fault.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
    /// What to write instead, where that can be told.
    pub suggestion: Option<String>,
}

/// A place in a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// The line, or the part of it around the place, safe to print.
    excerpt: String,
    /// Characters of the excerpt before the place.
    indent: usize,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file could not be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// The file is longer than [`crate::settings::FILE_MAX`]; it was not parsed.
    #[error("is longer than {max} bytes, the limit of a settings file")]
    TooLong {
        /// The limit, in bytes.
        max: u64,
    },
    /// The file is not UTF-8; it was not parsed.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The file is not TOML. Only the first such error is known.
    #[error("not TOML: {0}")]
    Syntax(String),
    /// The file holds more than [`crate::settings::VALUES_MAX`] values; it was not parsed.
    #[error("holds more than {max} values, the limit of a settings file")]
    TooComplex {
        /// The limit.
        max: usize,
    },
    /// There is no such key.
    #[error("unknown key")]
    UnknownKey,
    /// The catalogue has no such event.
    #[error("unknown event")]
    UnknownEvent,
    /// A key that must be there is not.
    #[error("missing")]
    Missing,
    /// The value has another type.
    #[error("found {found}, expected {expected}")]
    WrongType {
        /// The type or value found.
        found: String,
        /// The type that belongs there.
        expected: String,
    },
    /// The number is outside its range.
    #[error("{found} is out of range: {allowed}")]
    OutOfRange {
        /// The number found.
        found: String,
        /// Smallest and largest that are taken, with the unit.
        allowed: String,
    },
    /// The text breaks the rule for it.
    #[error("{found} {why}")]
    Unfit {
        /// The text found, quoted.
        found: String,
        /// Which rule, and the limit.
        why: String,
    },
    /// The text is not one of those that have a meaning here.
    #[error("{found} is not allowed: {allowed}")]
    NotAllowed {
        /// The value found, quoted.
        found: String,
        /// Those that are taken.
        allowed: String,
    },
    /// A list has too many members.
    #[error("{found} are too many: the limit is {max}")]
    TooMany {
        /// Members found.
        found: usize,
        /// The limit.
        max: usize,
    },
    /// Something that must have a member has none.
    #[error("is empty")]
    Empty,
    /// The path does not begin at the root.
    #[error("{found} is not an absolute path")]
    RelativePath {
        /// The path found, quoted.
        found: String,
    },
    /// What must be unique stands there twice.
    #[error("{found} is there twice: {first} has it already")]
    Duplicate {
        /// What stands there twice, quoted.
        found: String,
        /// The place where it stood first.
        first: String,
    },
    /// The value does not go with that of another key.
    #[error("{0}")]
    Conflict(String),
}

impl SettingsErrors {
    /// `problem` with `file` as a whole.
    pub(super) fn whole(file: &Path, problem: Problem) -> Self {
        let (file, key) = (file.to_owned(), String::new());
        Self::one(SettingsError { file, place: None, key, problem, suggestion: None })
    }

    pub(super) fn one(error: SettingsError) -> Self {
        Self { errors: vec![error], more: 0 }
    }

    /// `errors` of `file`, and `more` that were not kept.
    pub(super) fn many(file: &Path, errors: Vec<SettingsError>, more: usize) -> Self {
        if errors.is_empty() {
            return Self::whole(file, Problem::Empty);
        }
        Self { errors, more }
    }

    /// These errors and `other`'s.
    pub(super) fn join(&mut self, other: Self) {
        self.more += other.more;
        for error in other.errors {
            if self.errors.len() < ERRORS_MAX {
                self.errors.push(error);
            } else {
                self.more += 1;
            }
        }
    }

    /// The errors, in the order of the file, at most [`ERRORS_MAX`].
    pub fn errors(&self) -> &[SettingsError] {
        &self.errors
    }

    /// How many more there are.
    pub fn more(&self) -> usize {
        self.more
    }
}

impl std::error::Error for SettingsErrors {}

impl fmt::Display for SettingsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        if self.more > 0 {
            let file = self.errors.first().map_or_else(String::new, |error| shown(&error.file));
            write!(f, "\n{file}: and {} more", self.more)?;
        }
        Ok(())
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", shown(&self.file))?;
        if let Some(place) = &self.place {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.problem)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; {suggestion}")?;
        }
        if let Some(place) = &self.place {
            let gutter = place.line.to_string();
            write!(f, "\n  {gutter} | {}", place.excerpt)?;
            write!(f, "\n  {:1$} | {2:3$}^", "", gutter.len(), "", place.indent)?;
        }
        Ok(())
    }
}

impl Place {
    /// The place `offset` bytes into `text`.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let offset = text.floor_char_boundary(offset);
        let (before, after) = text.split_at(offset);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let end = after.find('\n').map_or(text.len(), |newline| offset + newline);
        let column = text[start..offset].chars().count();
        // A long line is cut to a window around the place.
        let skipped = if column + 1 > SHOWN_MAX { column + 1 - SHOWN_MAX / 2 } else { 0 };
        let excerpt: String = text[start..end]
            .trim_end_matches('\r')
            .chars()
            .skip(skipped)
            .take(SHOWN_MAX)
            .map(printable)
            .collect();
        Self {
            line: before.bytes().filter(|&byte| byte == b'\n').count() + 1,
            column: column + 1,
            excerpt,
            indent: column - skipped,
        }
    }
}

/// `c`, or a stand-in for what could move the cursor or turn the text around.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        _ if is_printable(c) => c,
        _ => '\u{fffd}',
    }
}

/// Whether `c` shows as itself and moves nothing around it.
pub(super) fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().count() == 1
}

/// `path`, safe to print.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().chars().map(printable).collect()
}

/// `text`, cut to what an error shows of it.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `text` in quotes, cut, and safe to print.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}
