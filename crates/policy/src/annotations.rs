//! What stands before a policy: its name, its mode, the mark that it sets.

use cedar_policy_core::ast::{Annotation, Effect as Written, Policy};
use cedar_policy_core::parser::Loc;
use outrigger_api::Mode;
use outrigger_decision::rules::reading::PolicyError;
use outrigger_decision::rules::{Effect, Mark, Source};

use crate::errors::at;
use crate::guard::Piece;
use crate::terms::{MARK_HELP, is_mark};

/// Every annotation there is.
const KNOWN: [&str; 6] = ["id", "mark", "on", "inherit", "lifetime", "mode"];
/// Longest name that `@id` gives, in bytes.
const ID_MAX: usize = 64;
/// Longest life of a mark that has one, in seconds: a year.
const LIFETIME_MAX: u32 = 366 * 86_400;

/// What the annotations of a policy say.
#[derive(Debug)]
pub(crate) struct Said {
    /// `@id`.
    pub(crate) id: Option<String>,
    /// `@mode`, or that denials are enforced.
    pub(crate) mode: Mode,
    /// What the policy does.
    pub(crate) effect: Effect,
}

/// Reads the annotations of `policy`.
pub(crate) fn read(
    piece: &Piece<'_>,
    policy: &Policy,
    source: &Source,
) -> Result<Said, Vec<PolicyError>> {
    let reader = Reader { piece, policy };
    let mut errors: Vec<PolicyError> = reader.unknown().collect();
    let id = reader.id().unwrap_or_else(|error| note(&mut errors, error));
    let mode = reader.mode().unwrap_or_else(|error| note(&mut errors, error));
    let mark = reader.mark().unwrap_or_else(|error| note(&mut errors, error));
    let is_forbid = policy.effect() == Written::Forbid;
    if matches!(source, Source::Engine(_)) && !is_forbid {
        let what = "an engine's policies can only forbid: they allow nothing and set no mark";
        errors.push(
            at(piece, policy.loc(), what).help("take it out, or make it the administrator's"),
        );
    }
    if is_forbid && let Some(place) = reader.get("mark") {
        let error = at(piece, place.loc.as_ref(), "a policy that forbids sets no mark");
        errors.push(error.help("write a `permit` with `@mark`, and forbid in another policy"));
    }
    if !is_forbid && let Some(place) = reader.get("mode") {
        let error = at(piece, place.loc.as_ref(), "`@mode` is about denials; this policy has none");
        errors.push(error.help("take `@mode` out"));
    }
    let effect = match mark {
        _ if is_forbid => Effect::Deny,
        Some(mark) => Effect::Mark(mark),
        None => Effect::Allow,
    };
    if errors.is_empty() { Ok(Said { id, mode, effect }) } else { Err(errors) }
}

fn note<T: Default>(errors: &mut Vec<PolicyError>, error: PolicyError) -> T {
    errors.push(error);
    T::default()
}

struct Reader<'a> {
    piece: &'a Piece<'a>,
    policy: &'a Policy,
}

impl<'a> Reader<'a> {
    fn get(&self, name: &str) -> Option<&'a Annotation> {
        let mut all = self.policy.annotations();
        all.find(|(key, _)| AsRef::<str>::as_ref(key) == name).map(|(_, value)| value)
    }

    fn refuse(&self, place: Option<&Loc>, what: &str, help: &str) -> PolicyError {
        at(self.piece, place.or_else(|| self.policy.loc()), what).help(help)
    }

    fn unknown(&self) -> impl Iterator<Item = PolicyError> {
        let unknown = |name: &str| !KNOWN.contains(&name);
        self.policy.annotations().filter(move |(key, _)| unknown(AsRef::<str>::as_ref(key))).map(
            |(key, value)| {
                let name: &str = key.as_ref();
                let near = KNOWN.iter().find(|known| strsim::damerau_levenshtein(known, name) <= 2);
                let help = near.map_or_else(
                    || format!("there are @{}", KNOWN.join(", @")),
                    |known| format!("did you mean @{known}?"),
                );
                self.refuse(value.loc.as_ref(), &format!("no annotation is called @{name}"), &help)
            },
        )
    }

    fn id(&self) -> Result<Option<String>, PolicyError> {
        let Some(id) = self.get("id") else { return Ok(None) };
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if (1..=ID_MAX).contains(&id.val.len()) && id.val.bytes().all(is_part) {
            return Ok(Some(id.val.to_string()));
        }
        let help = "write 1 to 64 bytes of letters, digits, `-`, `_` and `.`";
        Err(self.refuse(id.loc.as_ref(), "no rule can be called that", help))
    }

    fn mode(&self) -> Result<Mode, PolicyError> {
        match self.get("mode").map(|mode| (mode, mode.val.as_str())) {
            None | Some((_, "enforce")) => Ok(Mode::Enforce),
            Some((_, "monitor")) => Ok(Mode::Monitor),
            Some((mode, _)) => {
                let help = "write @mode(\"monitor\"), or @mode(\"enforce\") as without it";
                Err(self.refuse(mode.loc.as_ref(), "no mode is called that", help))
            }
        }
    }

    fn mark(&self) -> Result<Option<Mark>, PolicyError> {
        let Some(mark) = self.get("mark") else {
            let stray = ["on", "inherit", "lifetime"].iter().find_map(|name| self.get(name));
            return stray.map_or(Ok(None), |stray| {
                let what = "this says something of a mark, and the policy sets none";
                Err(self.refuse(stray.loc.as_ref(), what, "add @mark(\"…\"), or take it out"))
            });
        };
        if !is_mark(&mark.val) {
            return Err(self.refuse(mark.loc.as_ref(), "no mark can be called that", MARK_HELP));
        }
        let object = self.choice("on", "subject", "object")?;
        let inherited = self.inherited()?;
        Ok(Some(Mark { name: mark.val.to_string(), object, inherited, seconds: self.lifetime()? }))
    }

    /// Whether the annotation says `yes`, which is not what it says when it is not there.
    fn choice(&self, name: &str, no: &str, yes: &str) -> Result<bool, PolicyError> {
        match self.get(name) {
            None => Ok(false),
            Some(value) if value.val == no => Ok(false),
            Some(value) if value.val == yes => Ok(true),
            Some(value) => {
                let help = format!("write @{name}(\"{no}\") or @{name}(\"{yes}\")");
                Err(self.refuse(value.loc.as_ref(), &format!("@{name} has no such value"), &help))
            }
        }
    }

    fn inherited(&self) -> Result<bool, PolicyError> {
        match self.get("inherit") {
            None => Ok(false),
            Some(value) if value.val == "children" => Ok(true),
            Some(value) => {
                let help = "write @inherit(\"children\"), or take it out";
                Err(self.refuse(value.loc.as_ref(), "@inherit has no such value", help))
            }
        }
    }

    fn lifetime(&self) -> Result<Option<u32>, PolicyError> {
        let Some(value) = self.get("lifetime") else { return Ok(None) };
        let help = "write a whole number and its unit, from \"1s\" to \"366d\": s, m, h or d";
        let seconds = seconds(&value.val).ok_or_else(|| {
            self.refuse(value.loc.as_ref(), "a mark does not live that long", help)
        })?;
        Ok(Some(seconds))
    }
}

fn seconds(text: &str) -> Option<u32> {
    let unit = text.char_indices().next_back()?;
    let factor = match unit.1 {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let number = &text[..unit.0];
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u32>().ok()?.checked_mul(factor)?;
    (1..=LIFETIME_MAX).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_a_number_with_a_unit() {
        assert_eq!(seconds("60s"), Some(60));
        assert_eq!(seconds("2h"), Some(7_200));
        assert_eq!(seconds("366d"), Some(LIFETIME_MAX));
        for wrong in ["", "s", "60", "0s", "+1s", "-1s", "367d", "1 s", "9999999999s", "1ü"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
