//! What the two kinds of settings file have in common: how they are written, and how errors are told.

use std::fmt::{Display, Write};
use std::path::Path;

use outrigger_api::settings::{ERRORS_MAX, Problem, SettingsErrors};

/// Memory that reading a file may take: a fixed part and so much for each byte of it. The limits of the
/// reader (1 MiB, 65,536 values) then keep the whole below the 100 MiB that it promises.
pub(crate) const FIXED: usize = 256 << 10;
pub(crate) const EACH: usize = 2048;
/// Longest telling of one error, in bytes: a path of keys, a quoted text, a suggestion and two lines of
/// at most 120 characters, every one of which may be escaped or take four bytes.
const ERROR_MAX: usize = 4096;

/// Checks how the errors of the file `name`, whose text is `text`, are told.
pub(crate) fn assert_told(errors: &SettingsErrors, name: &str, text: &str) {
    let told = errors.to_string();
    crate::assert_showable(&told, ERROR_MAX * ERRORS_MAX);
    assert!((1..=ERRORS_MAX).contains(&errors.errors().len()));
    let lines = text.split('\n').count();
    for error in errors.errors() {
        let one = error.to_string();
        crate::assert_showable(&one, ERROR_MAX);
        assert!(one.starts_with(&format!("{name}:")), "no file: {one}");
        match &error.place {
            Some(place) => {
                assert!((1..=lines).contains(&place.line), "line {} of {lines}", place.line);
                let line = text.split('\n').nth(place.line - 1).unwrap_or_default();
                assert!((1..=line.chars().count() + 1).contains(&place.column), "{one}");
            }
            None => assert!(matches!(
                error.problem,
                Problem::TooLong { .. } | Problem::TooComplex { .. }
            )),
        }
        let of_a_key = !matches!(
            error.problem,
            Problem::Syntax(_) | Problem::TooLong { .. } | Problem::TooComplex { .. }
        );
        assert_eq!(of_a_key, !error.key.is_empty(), "a key where there is one: {one}");
    }
}

/// A TOML file as it is written.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) String);

impl Writer {
    pub(crate) fn table(&mut self, header: impl Display) {
        writeln!(self.0, "{header}").expect("a String takes all");
    }

    pub(crate) fn bare(&mut self, key: &str, value: impl Display) {
        writeln!(self.0, "{key} = {value}").expect("a String takes all");
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.bare(key, quote(value));
    }

    pub(crate) fn path(&mut self, key: &str, value: &Path) {
        self.text(key, value.to_str().expect("it came from a text"));
    }

    pub(crate) fn texts<'a>(&mut self, key: &str, values: impl IntoIterator<Item = &'a str>) {
        let quoted: Vec<String> = values.into_iter().map(quote).collect();
        self.bare(key, format_args!("[{}]", quoted.join(", ")));
    }

    pub(crate) fn paths<'a>(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = &'a std::path::PathBuf>,
    ) {
        self.texts(key, values.into_iter().map(|path| path.to_str().expect("it came from a text")));
    }
}

/// `text` as a basic string of TOML.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\U{:08x}", u32::from(c)).expect("a String takes all")
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
