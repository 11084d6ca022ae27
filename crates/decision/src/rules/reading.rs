//! What passes between the host and `outrigger-policy-compiler`, the confined program that reads policies.
//!
//! The host writes one [`Question`] and reads one [`Answer`], JSON both. What reads policies parses what
//! others wrote, and is a large library; so it runs where it can do no harm, and its answer is hostile too:
//! bounded ([`ANSWER_MAX`]), parsed in one place ([`Answer::parse`]), and compiled by nobody but this crate.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Rule, Source};

/// Most text of all policies read at once, in bytes.
pub const TEXT_MAX: usize = 1 << 20;
/// Most policies read at once.
pub const POLICIES_MAX: usize = 1024;
/// Most files read at once.
pub const FILES_MAX: usize = 256;
/// Longest name of a file, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest body of a question's frame, in bytes: text that is escaped throughout takes six bytes for one.
pub const QUESTION_MAX: usize = 8 << 20;
/// Longest answer, in bytes.
pub const ANSWER_MAX: usize = 16 << 20;
/// Most errors told at once; the last then says how many more there are.
pub const ERRORS_MAX: usize = 50;

/// A file of policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    /// What errors and rules call it.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// Policies to read, of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Whose they are.
    pub source: Source,
    /// The files.
    pub files: Vec<PolicyFile>,
}

impl Question {
    /// No file yet, of `source`.
    pub const fn new(source: Source) -> Self {
        Self { source, files: Vec::new() }
    }

    /// Adds the file called `name`, of which these are the bytes.
    ///
    /// # Errors
    ///
    /// If they are not text, or more than is read at once.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), PolicyError> {
        let before: usize = self.files.iter().map(|file| file.text.len()).sum();
        let all = before.saturating_add(bytes.len());
        if all > TEXT_MAX {
            return Err(PolicyError::of_size(name, all));
        }
        if self.files.len() >= FILES_MAX || name.len() > NAME_MAX {
            return Err(PolicyError::of_files(name));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| PolicyError::not_text(name, bytes, error.valid_up_to()))?;
        self.files.push(PolicyFile { name: name.to_owned(), text: text.to_owned() });
        Ok(())
    }

    /// What the compiler is written: the length of what follows as four bytes, least first, and the question.
    pub fn frame(&self) -> Vec<u8> {
        let body = serde_json::to_vec(self).expect("plain data");
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        [length.to_le_bytes().as_slice(), &body].concat()
    }

    /// The question of a frame's body.
    ///
    /// # Errors
    ///
    /// If it is longer than [`QUESTION_MAX`] or no question.
    pub fn parse(body: &[u8]) -> Result<Self, ReadingError> {
        parse(body, QUESTION_MAX)
    }
}

/// Where a rule stands in the text that it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The rule's name.
    pub rule: String,
    /// The file's.
    pub file: String,
    /// Its line, from 1.
    pub line: u32,
    /// Its column, from 1, in characters.
    pub column: u32,
}

/// What the compiler says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// All is well.
    Read {
        /// The rules, in the order of the text.
        rules: Vec<Rule>,
        /// Where each stands.
        places: Vec<Place>,
    },
    /// Something is wrong, and nothing was read.
    Refused {
        /// What, at most [`ERRORS_MAX`].
        errors: Vec<PolicyError>,
    },
}

impl Answer {
    /// The answer in the compiler's output.
    ///
    /// # Errors
    ///
    /// If it is longer than [`ANSWER_MAX`] or no answer, as when the compiler died over it.
    pub fn parse(output: &[u8]) -> Result<Self, ReadingError> {
        parse(output, ANSWER_MAX)
    }

    /// What the compiler writes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data")
    }
}

fn parse<'de, T: Deserialize<'de>>(bytes: &'de [u8], max: usize) -> Result<T, ReadingError> {
    if bytes.len() > max {
        return Err(ReadingError::TooLong { length: bytes.len(), max });
    }
    serde_json::from_slice(bytes).map_err(|error| ReadingError::Garbled(garbled(&error)))
}

/// What the parser says, short and safe to print: it repeats what it was given.
fn garbled(error: &serde_json::Error) -> String {
    let said = shown(&error.to_string());
    match said.char_indices().nth(GARBLED_SHOWN) {
        Some((at, _)) => {
            let (line, column) = (error.line(), error.column());
            format!("{}… at line {line} column {column}", &said[..at])
        }
        None => said,
    }
}

/// What host and compiler say to each other does not hold together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// It is over the limit.
    #[error("{length} bytes, over the limit of {max}")]
    TooLong {
        /// Its length, in bytes.
        length: usize,
        /// The limit.
        max: usize,
    },
    /// It cannot be parsed.
    #[error("not what was agreed on: {0}")]
    Garbled(String),
}

/// Why policies were refused: what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PolicyError {
    /// The file's name.
    pub file: Box<str>,
    /// The line, from 1; 0 where it is about the whole file.
    pub line: u32,
    /// The column, from 1, in characters.
    pub column: u32,
    /// How many characters of the line it is about.
    pub width: u32,
    /// The line, or the part of a long one that it is about.
    pub text: Box<str>,
    /// Where that part begins: the column of its first character.
    pub text_column: u32,
    /// What is wrong.
    pub what: Box<str>,
    /// What to write instead.
    pub help: Option<Box<str>>,
    /// The limit that it is over.
    pub limit: Option<Box<str>>,
}

/// Longest part of what the JSON parser says that is passed on, in characters.
const GARBLED_SHOWN: usize = 300;

/// Longest part of a line that an error shows, in characters.
const SHOWN: usize = 120;

impl PolicyError {
    /// About a whole file.
    pub fn of_file(file: &str, what: impl Into<String>) -> Self {
        Self { file: file.into(), what: what.into().into(), ..Self::default() }
    }

    /// About `length` bytes of `text` from `start` on.
    pub fn at(
        file: &str,
        text: &str,
        start: usize,
        length: usize,
        what: impl Into<String>,
    ) -> Self {
        let start = floor(text, start);
        let end = floor(text, start.saturating_add(length)).max(start);
        let begins = text[..start].rfind('\n').map_or(0, |at| at.saturating_add(1));
        let line = text[begins..].split(['\n', '\r']).next().unwrap_or_default();
        let line_end = begins.saturating_add(line.len());
        let before = text[begins..start].chars().count();
        let width = text[start..end.min(line_end).max(start)].chars().count().max(1);
        let skipped = before.saturating_sub(SHOWN / 2);
        Self {
            file: file.into(),
            line: number(text[..start].matches('\n').count().saturating_add(1)),
            column: number(before.saturating_add(1)),
            width: number(width),
            text: line.chars().skip(skipped).take(SHOWN).collect(),
            text_column: number(skipped.saturating_add(1)),
            what: what.into().into(),
            help: None,
            limit: None,
        }
    }

    /// And this is what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into());
        self
    }

    /// And this is the limit.
    #[must_use]
    pub fn limit(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into().into());
        self
    }

    /// The text of all policies has `length` bytes, the file called `name` included, which is too much. Whoever
    /// knows that before reading it need not read it.
    pub fn of_size(name: &str, length: usize) -> Self {
        Self::of_file(
            name,
            format!("with it the policies are {length} bytes of text, too much to be read"),
        )
        .limit(format!("{TEXT_MAX} bytes in all"))
        .help("take out what is not needed; long lists of paths are often one folder")
    }

    fn of_files(name: &str) -> Self {
        Self::of_file(name, "there are too many files of policies, or its name is too long")
            .limit(format!("{FILES_MAX} files, names of {NAME_MAX} bytes"))
            .help("put policies that belong together into one file")
    }

    fn not_text(name: &str, bytes: &[u8], valid: usize) -> Self {
        let before = String::from_utf8_lossy(&bytes[..valid.min(bytes.len())]);
        Self::at(name, &before, before.len(), 0, "from here on it is not UTF-8")
            .help("save the file as UTF-8")
    }
}

/// The last place in `text` at or before `at` where a character begins.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn number(from: usize) -> u32 {
    u32::try_from(from).unwrap_or(u32::MAX)
}

/// Control characters of what others wrote stay out of terminals, and the caret stays under its place.
fn shown(text: &str) -> String {
    text.chars()
        .map(|one| match one {
            '\t' => ' ',
            // Besides control characters, those that turn the direction of what follows.
            one if one.is_control() || matches!(one, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                '\u{fffd}'
            }
            one => one,
        })
        .collect()
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(&self.file))?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", shown(&self.what))?;
        if self.line > 0 && !self.text.trim().is_empty() {
            let gutter = self.line.to_string();
            let blank = " ".repeat(gutter.len());
            let at = self.column.saturating_sub(self.text_column.max(1)) as usize;
            let room = self.text.chars().count().saturating_sub(at).max(1);
            let caret = "^".repeat((self.width.max(1) as usize).min(room));
            write!(
                f,
                "\n {gutter} | {}\n {blank} | {}{caret}",
                shown(&self.text),
                " ".repeat(at.min(SHOWN))
            )?;
        }
        if let Some(limit) = &self.limit {
            write!(f, "\n   limit: {}", shown(limit))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n   help: {}", shown(help))?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_line_with_a_caret_under_the_place() {
        let text = "permit (principal,\n  äction, resource);\n";
        let at = text.find("äction").expect("it is there");

        let error = PolicyError::at("a.cedar", text, at, "äction".len(), "no such word")
            .help("write action");

        assert_eq!(
            error.to_string(),
            "a.cedar:2:3: no such word\n 2 |   äction, resource);\n   |   ^^^^^^\n   help: write action"
        );
    }

    #[test]
    fn an_error_in_a_line_of_a_megabyte_shows_the_part_it_is_about() {
        let text = format!("{}wrong{}", "x".repeat(500_000), "y".repeat(500_000));

        let error = PolicyError::at("a.cedar", &text, 500_000, 5, "no");

        assert_eq!((error.line, error.column), (1, 500_001));
        assert!(error.to_string().len() < 400, "{error}");
        assert!(error.text.contains("wrong"), "{error}");
    }

    #[test]
    fn an_error_past_the_end_or_within_a_character_is_no_panic() {
        for start in 0..8 {
            for length in 0..8 {
                let error = PolicyError::at("a", "ä\r\nö\u{1b}", start, length, "");
                assert!(!error.to_string().contains('\u{1b}'), "{error}");
            }
        }
    }

    #[test]
    fn what_is_wrong_with_an_answer_is_told_short_and_safe_to_print() {
        let moves = Answer::parse(b"{\"re\x7f\xe2\x80\xaed\": {}}").expect_err("no answer");
        let long = format!("{{\"{}\": {{}}}}", "r".repeat(100_000));
        let long = Answer::parse(long.as_bytes()).expect_err("no answer").to_string();

        assert!(moves.to_string().contains("`re\u{fffd}\u{fffd}d`"), "{moves}");
        assert!(long.len() < 400 && long.ends_with("at line 1 column 100003"), "{long}");
    }

    #[test]
    fn what_is_too_much_is_refused_by_its_size_and_what_is_no_text_by_its_place() {
        let mut question = Question::new(Source::Administrator);

        let big = question.add("big.cedar", &vec![b'x'; TEXT_MAX + 1]).expect_err("too much");
        let binary = question.add("b.cedar", b"// x\n\xff").expect_err("no text");

        assert!(big.limit.is_some(), "{big}");
        assert_eq!((binary.line, binary.column), (2, 1));
        assert_eq!(question.files, []);
    }

    #[test]
    fn a_question_comes_out_of_its_frame_as_it_went_in() {
        let mut question = Question::new(Source::Administrator);
        question.add("a.cedar", "permit (principal, action, resource);".as_bytes()).expect("text");

        let frame = question.frame();

        let length = u32::from_le_bytes(frame[..4].try_into().expect("four"));
        assert_eq!(length as usize, frame.len() - 4);
        assert_eq!(Question::parse(&frame[4..]), Ok(question));
        assert!(matches!(Question::parse(&frame[..20]), Err(ReadingError::Garbled(_))));
        assert!(matches!(Answer::parse(b""), Err(ReadingError::Garbled(_))));
    }
}
