//! Reads and checks the values of a table, one method per kind of key.
//!
//! What is absent or wrong is stood in for by the key's default; see [`crate::settings::reader`].

use std::path::{Component, Path, PathBuf};

use toml_edit::Value as Toml;

use crate::settings::error::{Problem, quoted};
use crate::settings::keys::ARGUMENT_MAX;
use crate::settings::kind::{
    Choice, FilePath, Flag, Given, Integer, Key, List, Must, OptionalText, Text, Unit, bytes, words,
};
use crate::settings::reader::{Section, Value};
use crate::settings::suggest::nearest;

impl Section<'_> {
    /// The number of `key`, if the file has a good one.
    pub(super) fn optional(&self, key: &'static Integer) -> Option<u64> {
        let value = self.value(key)?;
        let number = match value.item.as_value() {
            Some(Toml::Integer(number)) => i128::from(*number.value()),
            Some(Toml::String(text)) if key.unit == Unit::Bytes => {
                match parse_bytes(text.value()) {
                    Some(bytes) => i128::from(bytes),
                    None => {
                        value.wrong_type(Some(value.assignment(&key.example())));
                        return None;
                    }
                }
            }
            Some(Toml::String(text)) => {
                // `"50"`, or `"50ms"` where the key already says the unit.
                let digits = text.value().trim().trim_end_matches(|c: char| !c.is_ascii_digit());
                let meant = digits.parse::<u64>().ok().map(|number| number.to_string());
                value.wrong_type(Some(value.assignment(&meant.unwrap_or_else(|| key.example()))));
                return None;
            }
            _ => {
                value.wrong_type(Some(value.assignment(&key.example())));
                return None;
            }
        };
        match u64::try_from(number) {
            Ok(fits) if (key.min..=key.max).contains(&fits) => Some(fits),
            _ => {
                let nearest = if number < i128::from(key.min) { key.min } else { key.max };
                let nearest = match key.unit {
                    Unit::Bytes => format!("\"{}\"", bytes(nearest)),
                    _ => nearest.to_string(),
                };
                value.refuse(|| {
                    let found = number.to_string();
                    let allowed = format!("{}, default {}", key.allowed(), Key::default(key));
                    let suggestion = format!("the nearest is `{} = {nearest}`", key.name());
                    (Problem::OutOfRange { found, allowed }, Some(suggestion))
                });
                None
            }
        }
    }

    /// The number of `key`, which must be there.
    pub(super) fn required(&self, key: &'static Must) -> Option<u64> {
        if self.value(key).is_none() {
            self.missing(key);
        }
        self.optional(&key.0)
    }

    /// The number of `key`, or its default.
    pub(super) fn long(&self, key: &'static Integer) -> u64 {
        self.optional(key).or(key.default).unwrap_or(key.min)
    }

    /// The number of `key`, or its default, where the key's range fits.
    pub(super) fn number(&self, key: &'static Integer) -> u32 {
        u32::try_from(self.long(key)).unwrap_or(u32::MAX)
    }

    /// The choice made by `key`, if there is a good one.
    pub(super) fn chosen<T: Copy + Sync>(&self, key: &'static Choice<T>) -> Option<T> {
        let Some(value) = self.value(key) else {
            if key.default == Given::Required {
                self.missing(key);
            }
            return None;
        };
        value.word(key.words)
    }

    /// The choice made by `key`, or its type's default, which is the key's.
    pub(super) fn choice<T: Copy + Sync + Default>(&self, key: &'static Choice<T>) -> T {
        self.chosen(key).unwrap_or_default()
    }

    /// The flag `key`, or its default.
    pub(super) fn flag(&self, key: &'static Flag) -> bool {
        let Some(value) = self.value(key) else { return key.default };
        match value.item.as_value() {
            Some(Toml::Boolean(flag)) => *flag.value(),
            Some(Toml::String(text)) if matches!(text.value().as_str(), "true" | "false") => {
                value.wrong_type(Some(value.assignment(text.value())));
                key.default
            }
            _ => {
                value.wrong_type(Some(value.assignment(&key.example())));
                key.default
            }
        }
    }

    /// The text of `key`, which must be there, as `check` makes it of the text written.
    pub(super) fn checked<T>(
        &self,
        key: &'static Text,
        check: impl FnOnce(&str) -> Option<T>,
    ) -> Option<(T, usize)> {
        let Some(value) = self.value(key) else {
            self.missing(key);
            return None;
        };
        value.checked(key, check)
    }

    /// The text of `key`, if it is written, as `check` makes it of the text written.
    pub(super) fn checked_if_written<T>(
        &self,
        key: &'static OptionalText,
        check: impl FnOnce(&str) -> Option<T>,
    ) -> Option<(T, usize)> {
        self.value(key)?.checked(&key.0, check)
    }

    /// The path of `key`, or its default.
    pub(super) fn path(&self, key: &'static FilePath) -> Option<PathBuf> {
        let Some(value) = self.value(key) else {
            return match key.default {
                Given::Default(path) => Some(PathBuf::from(path)),
                Given::Nothing => None,
                Given::Required => {
                    self.missing(key);
                    None
                }
            };
        };
        value.path(&key.example(), key.relative, key.max)
    }

    /// The absolute paths of the list `key`; none stands there twice.
    pub(super) fn paths(&self, key: &'static List) -> Vec<PathBuf> {
        self.value(key).map(|value| value.paths(key)).unwrap_or_default()
    }

    /// The texts of the list `key`, which go to a program as its arguments.
    pub(super) fn arguments(&self, key: &'static List) -> Vec<String> {
        let Some(value) = self.value(key) else { return Vec::new() };
        value.members(key).iter().filter_map(Value::argument).collect()
    }

    /// The names in the list `key`, none of which stands there twice; `fits` says whether a text is one.
    pub(super) fn names(
        &self,
        key: &'static List,
        fits: impl Fn(&str) -> bool,
    ) -> Vec<(String, usize)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let example = key.example.trim_matches(['[', ']']);
        let mut names: Vec<(String, usize)> = Vec::new();
        for member in value.members(key) {
            let Some(text) = member.text("a text", example) else { continue };
            if !fits(text) {
                member.refuse(|| {
                    (Problem::NotAllowed { found: quoted(text), allowed: key.allowed() }, None)
                });
                continue;
            }
            if let Some((at, _)) = names.iter().enumerate().find(|(_, (known, _))| known == text) {
                let first = format!("{}[{at}]", value.path);
                member.refuse(|| (Problem::Duplicate { found: quoted(text), first }, None));
                continue;
            }
            names.push((text.to_owned(), member.offset));
        }
        names
    }

    /// The users in the list `key`, none of which stands there twice.
    pub(super) fn users(&self, key: &'static List) -> Vec<u32> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let mut users: Vec<u32> = Vec::new();
        for member in value.members(key) {
            let Some(Toml::Integer(number)) = member.item.as_value() else {
                member.not_a("an integer", None);
                continue;
            };
            // The last of the type stands for none.
            let Some(user) = u32::try_from(*number.value()).ok().filter(|user| *user != u32::MAX)
            else {
                let found = number.value().to_string();
                member.refuse(|| (Problem::NotAllowed { found, allowed: key.allowed() }, None));
                continue;
            };
            if let Some(at) = users.iter().position(|known| *known == user) {
                let first = format!("{}[{at}]", value.path);
                member.refuse(|| (Problem::Duplicate { found: user.to_string(), first }, None));
                continue;
            }
            users.push(user);
        }
        users
    }

    /// The words of the list `key`.
    pub(super) fn words<T: Copy + PartialEq>(
        &self,
        key: &'static List,
        words: &'static [(&'static str, T)],
    ) -> Vec<T> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let members = value.members(key);
        members.iter().filter_map(|member| member.word(words)).collect()
    }
}

impl<'a> Value<'a> {
    /// The value as text; `expected` is what belongs there and `example` how it could be written.
    fn text(&self, expected: &str, example: &str) -> Option<&'a str> {
        let text = self.as_text();
        if text.is_none() {
            self.not_a(expected, Some(self.assignment(example)));
        }
        text
    }

    /// The value as one of `words`.
    fn word<T: Copy>(&self, choices: &[(&'static str, T)]) -> Option<T> {
        let example = choices.first().map_or_else(String::new, |(word, _)| format!("\"{word}\""));
        let text = self.text(&words(choices), &example)?;
        let found = choices.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
        if found.is_none() {
            self.refuse(|| {
                let near = nearest(text, choices.iter().map(|(word, _)| *word));
                let suggestion = near.map(|near| format!("did you mean \"{near}\"?"));
                let (found, allowed) = (quoted(text), words(choices));
                (Problem::NotAllowed { found, allowed }, suggestion)
            });
        }
        found
    }

    /// The value as a path without `.` and doubled or closing slashes.
    fn checked<T>(
        &self,
        key: &'static Text,
        check: impl FnOnce(&str) -> Option<T>,
    ) -> Option<(T, usize)> {
        let meant = match self.item.as_value() {
            Some(Toml::Integer(number)) => format!("\"{}\"", number.value()),
            _ => key.example(),
        };
        let text = self.text("a text", &meant)?;
        let checked = check(text);
        if checked.is_none() {
            self.refuse(|| {
                let (found, allowed) = (quoted(text), key.allowed());
                let suggestion = Some(self.assignment(&key.example()));
                (Problem::NotAllowed { found, allowed }, suggestion)
            });
        }
        checked.map(|checked| (checked, self.offset))
    }

    fn path(&self, example: &str, relative: bool, max: usize) -> Option<PathBuf> {
        let text = self.text("a path", example)?;
        let unfit = |why: String| {
            self.refuse(|| (Problem::Unfit { found: quoted(text), why }, None));
            None
        };
        if text.is_empty() {
            self.refuse(|| (Problem::Empty, Some(self.assignment(example))));
            return None;
        }
        if text.contains('\0') {
            return unfit("has a zero byte, which no path has".to_owned());
        }
        if text.len() > max {
            return unfit(format!("has {} bytes, over the limit of {max}", text.len()));
        }
        let path = Path::new(text);
        if path.components().any(|part| part == Component::ParentDir) {
            return unfit("leads upwards: a path here has no `..`".to_owned());
        }
        if !relative && !path.is_absolute() {
            self.refuse(|| {
                let suggestion = "write it from the root, beginning with `/`".to_owned();
                (Problem::RelativePath { found: quoted(text) }, Some(suggestion))
            });
            return None;
        }
        let path: PathBuf = path.components().filter(|part| *part != Component::CurDir).collect();
        if path.as_os_str().is_empty() {
            return unfit("names no file".to_owned());
        }
        Some(path)
    }

    /// The value as a list of absolute paths, none of which stands there twice.
    pub(super) fn paths(&self, key: &'static List) -> Vec<PathBuf> {
        let mut paths: Vec<(PathBuf, usize)> = Vec::new();
        for (at, member) in self.members(key).iter().enumerate() {
            let Some(path) = member.path("\"/srv\"", false, 4095) else { continue };
            if let Some((_, first)) = paths.iter().find(|(known, _)| *known == path) {
                let first = format!("{}[{first}]", self.path);
                let found = quoted(&path.to_string_lossy());
                member.refuse(|| (Problem::Duplicate { found, first }, None));
                continue;
            }
            paths.push((path, at));
        }
        paths.into_iter().map(|(path, _)| path).collect()
    }

    /// The members of the list that the value is, at most as many as `key` takes.
    fn members(&self, key: &'static List) -> Vec<Self> {
        let Some(array) = self.item.as_value().and_then(Toml::as_array) else {
            let text = self.item.as_value().and_then(Toml::as_str);
            let meant = text.map(|text| format!("[{}]", quoted(text)));
            self.wrong_type(Some(self.assignment(&meant.unwrap_or_else(|| key.example()))));
            return Vec::new();
        };
        if array.len() > key.max {
            let (found, max) = (array.len(), key.max);
            self.refuse(|| (Problem::TooMany { found, max }, None));
            return Vec::new();
        }
        array.iter().enumerate().map(|(at, member)| self.member(at, member)).collect()
    }

    /// The value as an argument of a program.
    fn argument(&self) -> Option<String> {
        let text = self.text("a text", "\"--quiet\"")?;
        let why = if text.len() > ARGUMENT_MAX {
            format!("has {} bytes, over the limit of {ARGUMENT_MAX}", text.len())
        } else if text.contains('\0') {
            "has a zero byte, which no argument has".to_owned()
        } else {
            return Some(text.to_owned());
        };
        self.refuse(|| (Problem::Unfit { found: quoted(text), why }, None));
        None
    }
}

/// The number of bytes in a text such as `256MiB`.
fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start() {
        "GiB" => 30,
        "MiB" => 20,
        "KiB" => 10,
        "" => 0,
        _ => return None,
    };
    // A number too large for the type is over every range, so the largest stands for it.
    let number = if number.is_empty() { return None } else { number.parse().unwrap_or(u64::MAX) };
    Some(number.saturating_mul(1_u64 << shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_with_their_unit() {
        assert_eq!(parse_bytes("256MiB"), Some(256 << 20));
        assert_eq!(parse_bytes("1 GiB"), Some(1 << 30));
        assert_eq!(parse_bytes("4096"), Some(4096));
        assert_eq!(parse_bytes("99999999999999999999GiB"), Some(u64::MAX));
        for bad in ["", "MiB", "1MB", "1.5GiB", "-1", "1MiB of it"] {
            assert_eq!(parse_bytes(bad), None, "{bad:?}");
        }
    }
}
