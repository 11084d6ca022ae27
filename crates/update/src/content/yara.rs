//! Schema 1 of `yara`: rule files, as far as they can be judged without YARA.
//!
//! Checked here: how many files, how long, that they are text without a zero byte. Whether the rules
//! compile is YARA's to say, and it says so in the engine's sandbox when preflight starts it: a compiler
//! of a vendor's rules is never linked into the trusted side. The names of the rules are read by a scanner
//! that knows comments, texts, regular expressions and braces and nothing else; it is for the report, and
//! nothing depends on it.

use crate::content::error::{ContentError, ContentErrors, Fault};
use crate::content::folder::Folder;

/// Most rule files.
pub const FILES_MAX: usize = 4096;
/// Longest rule file, in bytes.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// Most bytes of all rule files together.
pub const ALL_BYTES_MAX: usize = 32 << 20;
/// Most rules that are named.
pub const RULES_MAX: usize = 262_144;
/// Longest name of a rule, in bytes (YARA's own limit).
pub const NAME_MAX: usize = 128;

/// What the rule files of a folder hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RuleFiles {
    /// How many files.
    pub files: usize,
    /// The rules that could be named.
    pub rules: Vec<String>,
    /// Files that end inside a rule, a comment or a text, as far as the scanner can tell.
    pub unfinished: Vec<String>,
}

/// Reads every rule file of `folder`.
pub(super) fn read(folder: &Folder) -> Result<RuleFiles, ContentErrors> {
    if folder.files.len() > FILES_MAX {
        let fault = Fault::TooMany { what: "rule files", max: FILES_MAX };
        return Err(ContentError::whole(".", fault).into());
    }
    let mut errors = ContentErrors::default();
    let (mut found, mut left) = (RuleFiles::default(), ALL_BYTES_MAX);
    for file in &folder.files {
        found.files += 1;
        match folder.text(file, FILE_BYTES_MAX) {
            Ok(text) if text.len() > left => {
                let fault = Fault::TooLong { what: "all rule files", max: ALL_BYTES_MAX };
                errors.add(ContentError::whole(file, fault));
                break;
            }
            Ok(text) => {
                left -= text.len();
                found.name_rules(file, &text);
            }
            Err((line, fault)) => errors.add(ContentError { file: file.clone(), line, fault }),
        }
    }
    errors.finish(found)
}

impl RuleFiles {
    /// Adds the names of the rules in `text`, which came from `file`.
    pub fn name_rules(&mut self, file: &str, text: &str) {
        let mut words = Words { text, at: 0, before: Before::Other };
        let (mut depth, mut expects) = (0_usize, false);
        let whole = loop {
            match words.next() {
                Token::End => break depth == 0,
                Token::Unfinished => break false,
                Token::Open => depth += 1,
                Token::Close => depth = depth.saturating_sub(1),
                Token::Word("rule") if depth == 0 => expects = true,
                Token::Word(name) if depth == 0 && expects => {
                    expects = false;
                    if self.rules.len() < RULES_MAX {
                        self.rules.push(name[..name.len().min(NAME_MAX)].to_owned());
                    }
                }
                Token::Word(_) | Token::Other => {}
            }
        };
        if !whole {
            self.unfinished.push(file.to_owned());
        }
    }
}

/// What the scanner sees.
enum Token<'a> {
    Word(&'a str),
    Open,
    Close,
    Other,
    /// A comment or a text without its end.
    Unfinished,
    End,
}

/// What stands before a slash decides whether it divides or begins a regular expression.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Operand,
    Other,
}

struct Words<'a> {
    text: &'a str,
    at: usize,
    before: Before,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Token<'a> {
        let bytes = self.text.as_bytes();
        loop {
            let Some(&byte) = bytes.get(self.at) else { return Token::End };
            let next = bytes.get(self.at + 1).copied();
            match byte {
                b'/' if next == Some(b'/') => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                b'/' if next == Some(b'*') => match self.text[self.at + 2..].find("*/") {
                    Some(end) => self.at += end + 4,
                    None => return Token::Unfinished,
                },
                b'/' if self.before == Before::Other => return self.quoted(b'/'),
                b'"' => return self.quoted(b'"'),
                _ if byte.is_ascii_whitespace() => self.at += 1,
                _ if byte == b'_' || byte.is_ascii_alphanumeric() => return self.word(),
                _ => {
                    self.at += 1;
                    while !self.text.is_char_boundary(self.at) {
                        self.at += 1;
                    }
                    self.before =
                        if matches!(byte, b')' | b']') { Before::Operand } else { Before::Other };
                    return match byte {
                        b'{' => Token::Open,
                        b'}' => Token::Close,
                        _ => Token::Other,
                    };
                }
            }
        }
    }

    fn word(&mut self) -> Token<'a> {
        let rest = &self.text[self.at..];
        let is_part = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        let len = rest.bytes().take_while(|&byte| is_part(byte)).count();
        self.at += len;
        let word = &rest[..len];
        let operator = matches!(word, "matches" | "and" | "or" | "not" | "in" | "of" | "at");
        self.before = if operator { Before::Other } else { Before::Operand };
        Token::Word(word)
    }

    /// A text or a regular expression, which ends with `end` on the line where it began.
    fn quoted(&mut self, end: u8) -> Token<'a> {
        let bytes = self.text.as_bytes();
        let mut at = self.at + 1;
        loop {
            match bytes.get(at) {
                None | Some(b'\n') => return Token::Unfinished,
                Some(b'\\') => at += 1,
                Some(&byte) if byte == end => break,
                Some(_) => {}
            }
            at += 1;
        }
        self.at = at + 1;
        self.before = Before::Operand;
        Token::Other
    }
}
