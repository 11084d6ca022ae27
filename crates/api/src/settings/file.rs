//! Gets a settings file into memory and parses it as TOML, within limits.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use toml_edit::Document;

use crate::settings::error::{Place, Problem, SettingsError, SettingsErrors};
use crate::settings::{FILE_MAX, VALUES_MAX};

/// The text of `file`, if it is a file that may be parsed.
pub(super) fn load(file: &Path) -> Result<String, SettingsErrors> {
    let refuse = |problem| SettingsErrors::whole(file, problem);
    let unreadable = |error: std::io::Error| refuse(Problem::Unreadable(error.to_string()));
    // Asked before it is opened: to open a pipe would wait for its writer.
    let facts = fs::metadata(file).map_err(unreadable)?;
    if !facts.is_file() {
        return Err(refuse(Problem::Unreadable("not a regular file".to_owned())));
    }
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|open| open.take(FILE_MAX + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(refuse(Problem::TooLong { max: FILE_MAX }));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes());
        // The part before is valid, so the same offset is good in the lossy text.
        SettingsErrors::one(SettingsError {
            file: file.to_owned(),
            place: Some(Place::of(&text, valid)),
            key: String::new(),
            problem: Problem::NotUtf8,
            suggestion: Some("save the file as UTF-8".to_owned()),
        })
    })
}

/// Parses `text` as TOML, within limits.
pub(super) fn document<'t>(
    text: &'t str,
    file: &Path,
) -> Result<Document<&'t str>, SettingsErrors> {
    if text.len() as u64 > FILE_MAX {
        return Err(SettingsErrors::whole(file, Problem::TooLong { max: FILE_MAX }));
    }
    // Each value, table or part of a key needs one of these, so they bound what the parser builds.
    let values = text.bytes().filter(|byte| b"=,.[{".contains(byte)).count();
    if values > VALUES_MAX {
        return Err(SettingsErrors::whole(file, Problem::TooComplex { max: VALUES_MAX }));
    }
    Document::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        SettingsErrors::one(SettingsError {
            file: file.to_owned(),
            place: Some(Place::of(text, offset)),
            key: String::new(),
            problem: Problem::Syntax(error.message().to_owned()),
            suggestion: None,
        })
    })
}
