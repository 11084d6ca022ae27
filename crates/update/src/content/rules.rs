//! Schema 1 of `rules`, and the rules that content of any other type brings along: files of Cedar text.
//!
//! Checked here: how many files, how long, that they are text. What they say is read by the confined program that
//! reads the administrator's policies, when preflight begins.

use crate::content::error::{ContentError, ContentErrors, Fault};
use crate::content::folder::Folder;

/// What the names of the files end with.
pub const EXTENSION: &str = "cedar";
/// Most files.
pub const FILES_MAX: usize = 64;
/// Most bytes of all of them together.
pub const ALL_BYTES_MAX: usize = 1 << 20;

/// The files of rules in a folder.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RuleTexts {
    /// Their names.
    pub files: Vec<String>,
}

/// Reads every file of rules in `folder`.
pub(super) fn read(folder: &Folder) -> Result<RuleTexts, ContentErrors> {
    let mut errors = ContentErrors::default();
    if folder.rules.len() > FILES_MAX {
        let fault = Fault::TooMany { what: "files of rules", max: FILES_MAX };
        return Err(ContentError::whole(".", fault).into());
    }
    let mut left = ALL_BYTES_MAX;
    for file in &folder.rules {
        match folder.text(file, ALL_BYTES_MAX) {
            Ok(text) if text.len() > left => {
                let fault = Fault::TooLong { what: "all files of rules", max: ALL_BYTES_MAX };
                errors.add(ContentError::whole(file, fault));
                break;
            }
            Ok(text) => left -= text.len(),
            Err((line, fault)) => errors.add(ContentError { file: file.clone(), line, fault }),
        }
    }
    errors.finish(RuleTexts { files: folder.rules.clone() })
}
