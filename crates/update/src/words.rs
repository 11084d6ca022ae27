//! What engines and files are called, fit to be shown.

/// Longest rule, path or reason that is shown, in characters.
const SHOWN_MAX: usize = 160;

/// What somebody else calls something: no control characters, not too long.
pub(crate) fn shown(text: &str) -> String {
    let clean = |character: char| if character.is_control() { '\u{fffd}' } else { character };
    text.chars().take(SHOWN_MAX).map(clean).collect()
}

/// A rule, in words.
pub(crate) fn rule(rule: &str) -> String {
    if rule.is_empty() { "no rule named".to_owned() } else { format!("{:?}", shown(rule)) }
}
