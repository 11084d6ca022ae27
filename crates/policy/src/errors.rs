//! Errors of Cedar and of the translation, as [`PolicyError`]s.

use cedar_policy_core::parser::Loc;
use miette::Diagnostic;
use outrigger_decision::rules::reading::{ERRORS_MAX, PolicyError};

use crate::guard::Piece;

/// Longest message, in characters: Cedar's repeat what the policy says.
const MESSAGE: usize = 600;

/// Something that Cedar allows and no rule can say.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Where, if it is within the text.
    pub(crate) place: Option<Loc>,
    /// What it is.
    pub(crate) what: String,
    /// What to write instead.
    pub(crate) help: String,
}

impl Outside {
    /// As an error of a policy of `file` that stands at `policy`.
    pub(crate) fn located(self, piece: &Piece<'_>, policy: Option<&Loc>) -> PolicyError {
        let what = format!("outside the subset that compiles: {}", self.what);
        at(piece, self.place.as_ref().or(policy), &what).help(self.help)
    }
}

/// An error at `place`.
pub(crate) fn at(piece: &Piece<'_>, place: Option<&Loc>, what: &str) -> PolicyError {
    match place {
        Some(place) => {
            let (start, end) = (place.start(), place.end());
            piece.error(start, end.saturating_sub(start), what)
        }
        None => PolicyError::of_file(piece.name, what),
    }
}

/// What Cedar says of a policy that stands at `policy`.
pub(crate) fn said(
    piece: &Piece<'_>,
    diagnostic: &dyn Diagnostic,
    policy: Option<&Loc>,
) -> PolicyError {
    let what = diagnostic.to_string();
    // Cedar counts policies and calls them `policy0`; the place says it better.
    let what = what
        .strip_prefix("for policy `")
        .and_then(|rest| rest.split_once("`, "))
        .map_or(what.as_str(), |(_, what)| what);
    let label = diagnostic.labels().and_then(|mut labels| labels.next());
    let error = match &label {
        Some(label) => piece.error(label.offset(), label.len(), what),
        None => at(piece, policy, what),
    };
    let told = label.as_ref().and_then(|label| label.label());
    let help = diagnostic.help().map(|help| help.to_string());
    match help.or_else(|| told.map(str::to_owned)) {
        Some(help) => error.help(help),
        None => error,
    }
}

/// At most as many errors as are told, each once and none longer than a screen.
pub(crate) fn bounded(errors: Vec<PolicyError>) -> Vec<PolicyError> {
    let mut told: Vec<PolicyError> = Vec::new();
    let mut more = 0;
    for mut error in errors {
        clip(&mut error.what);
        if let Some(help) = &mut error.help {
            clip(help);
        }
        if told.contains(&error) {
            continue;
        }
        if told.len() + 1 < ERRORS_MAX {
            told.push(error);
        } else {
            more += 1;
        }
    }
    if let (Some(last), true) = (told.last().cloned(), more > 0) {
        let what = format!("and {more} more errors").into();
        told.push(PolicyError { what, text: "".into(), help: None, ..last });
    }
    told
}

fn clip(text: &mut Box<str>) {
    if let Some((at, _)) = text.char_indices().nth(MESSAGE) {
        *text = format!("{}…", &text[..at]).into();
    }
}
