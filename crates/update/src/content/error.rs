//! What is wrong with content, told so that its author finds the place.

use std::fmt;

use outrigger_api::ContentType;

/// Most errors that are kept; the rest is counted.
pub const ERRORS_MAX: usize = 20;
/// Longest text of a file that is shown in an error, in characters.
const SHOWN_MAX: usize = 64;

/// Everything that is wrong with a folder of content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContentErrors {
    errors: Vec<ContentError>,
    more: usize,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentError {
    /// The file's name in the folder, as it may be shown.
    pub file: String,
    /// The line, from one, where one is at fault.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A file or the folder cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// This build checks no such content.
    #[error("content of the type {0} cannot be checked by this build")]
    Type(ContentType),
    /// Nothing there that an interpreter of the type reads.
    #[error("no file that its interpreter reads: their names end with .{}", extensions.join(" or ."))]
    Nothing {
        /// The endings of those.
        extensions: &'static [&'static str],
    },
    /// Too many things.
    #[error("over {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// Too many bytes.
    #[error("over {max} bytes in {what}")]
    TooLong {
        /// In what.
        what: &'static str,
        /// The limit.
        max: usize,
    },
    /// A link, a device, a folder where a file belongs.
    #[error("is no regular file")]
    NotRegular,
    /// Bytes that are no UTF-8, or a zero byte.
    #[error("{0}")]
    NotText(&'static str),
    /// A name that cannot be shown, or is too long.
    #[error("{found} is no name of {what}: {rule}")]
    Name {
        /// What stands there, safe to print.
        found: String,
        /// Of what.
        what: &'static str,
        /// What it should be.
        rule: &'static str,
    },
    /// The first word of a hash list's line is no hash.
    #[error("{found} is no SHA-256: 64 hexadecimal digits")]
    NotHash {
        /// The word, safe to print.
        found: String,
    },
    /// A table without its first line.
    #[error("the first line must be `columns`, a tab, and the names of the columns between tabs")]
    NoColumns,
    /// Two things of one name.
    #[error("{what} {found} is there twice: line {first} has it already")]
    Twice {
        /// What.
        what: &'static str,
        /// Its name, safe to print.
        found: String,
        /// The line that has it.
        first: usize,
    },
    /// An instance with too few or too many cells.
    #[error("instance {instance} has {found} cells, and the table has {columns} columns")]
    Cells {
        /// Its name, safe to print.
        instance: String,
        /// Cells found.
        found: usize,
        /// Columns of the table.
        columns: usize,
    },
    /// A cell that holds nothing, or what its column never has.
    #[error("instance {instance}, field {column} `{field}`: {why}")]
    Cell {
        /// The instance's name, safe to print.
        instance: String,
        /// The column, from one.
        column: usize,
        /// Its name.
        field: String,
        /// What is wrong.
        why: String,
    },
    /// A column that the code does not supply.
    #[error(
        "{}field {column} `{field}` is not supplied: {code} supplies {supplied} inputs, and `{field}` is none \
         of them{}",
        instance.as_ref().map(|name| format!("instance {name}, ")).unwrap_or_default(),
        if instance.is_some() { "" } else { " (no instance has a value in it yet)" }
    )]
    NotSupplied {
        /// The first instance that has a value there, safe to print; without one, the table only names it.
        instance: Option<String>,
        /// The column, from one.
        column: usize,
        /// Its name.
        field: String,
        /// The code and its version.
        code: String,
        /// How many inputs that one supplies.
        supplied: usize,
    },
}

impl ContentError {
    /// `fault` with `file` as a whole.
    pub(super) fn whole(file: &str, fault: Fault) -> Self {
        Self { file: file.to_owned(), line: None, fault }
    }

    /// `fault` in the line `line` of `file`.
    pub(super) fn at(file: &str, line: usize, fault: Fault) -> Self {
        Self { file: file.to_owned(), line: Some(line), fault }
    }
}

impl fmt::Display for ContentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            (".", _) => fmt::Display::fmt(&self.fault, f),
            (file, Some(line)) => write!(f, "{file}:{line}: {}", self.fault),
            (file, None) => write!(f, "{file}: {}", self.fault),
        }
    }
}

impl From<ContentError> for ContentErrors {
    fn from(error: ContentError) -> Self {
        Self { errors: vec![error], more: 0 }
    }
}

impl ContentErrors {
    /// The errors, in the order in which they were found, at most [`ERRORS_MAX`].
    pub fn errors(&self) -> &[ContentError] {
        &self.errors
    }

    /// How many more there are.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Adds one.
    pub(super) fn add(&mut self, error: ContentError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        } else {
            self.more += 1;
        }
    }

    /// `value`, if nothing is wrong.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Self> {
        if self.errors.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl std::error::Error for ContentErrors {}

impl fmt::Display for ContentErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.errors.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

/// `text` in quotes, cut, and safe to print.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
