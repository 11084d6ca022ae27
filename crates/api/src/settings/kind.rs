//! The kinds of key that a settings file may hold, and how each is described in errors.

/// What one key takes.
pub(super) trait Key: Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Its type, as it is called in errors.
    fn kind(&self) -> &'static str;
    /// What it takes, for errors and the reference; empty where the type says it all.
    fn allowed(&self) -> String;
    /// What holds where it is not written: a value, `required`, or `none`.
    fn default(&self) -> String;
    /// A value as it could be written.
    fn example(&self) -> String;
    /// The key with `value`, as it could be written.
    fn assignment(&self, value: &str) -> String {
        format!("{} = {value}", self.name())
    }
}

/// A table of a file: where it stands and which keys it has.
pub(super) struct Table {
    /// Its name as written between brackets; empty for the top of the file.
    pub(super) path: &'static str,
    /// Its keys.
    pub(super) keys: &'static [&'static dyn Key],
}

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Things.
    One,
    /// Bytes; may also be written as text with KiB, MiB or GiB.
    Bytes,
    /// Milliseconds.
    Milliseconds,
}

/// A whole number.
pub(super) struct Integer {
    pub(super) name: &'static str,
    pub(super) unit: Unit,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) default: Option<u64>,
}

/// A whole number that must be there.
pub(super) struct Must(pub(super) Integer);

/// One of a few words.
pub(super) struct Choice<T: 'static> {
    pub(super) name: &'static str,
    pub(super) words: &'static [(&'static str, T)],
    pub(super) default: Given,
}

/// `true` or `false`.
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) default: bool,
}

/// A text with a rule of its own.
pub(super) struct Text {
    pub(super) name: &'static str,
    pub(super) rule: &'static str,
    pub(super) example: &'static str,
}

/// A text that may be left out.
pub(super) struct OptionalText(pub(super) Text);

/// A path.
pub(super) struct FilePath {
    pub(super) name: &'static str,
    /// Whether it may be relative.
    pub(super) relative: bool,
    /// Its most bytes.
    pub(super) max: usize,
    pub(super) default: Given,
}

/// A list of texts or paths.
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) of: &'static str,
    /// Its most members.
    pub(super) max: usize,
    pub(super) example: &'static str,
}

/// A key whose value is a table, or a list of them.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) allowed: &'static str,
    pub(super) default: &'static str,
    pub(super) example: &'static str,
}

/// What holds where a key is not written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    /// This value.
    Default(&'static str),
    /// Nothing: the key must be there.
    Required,
    /// Nothing, and that has a meaning of its own.
    Nothing,
}

impl Given {
    fn describe(self) -> String {
        match self {
            Self::Default(value) => value.to_owned(),
            Self::Required => "required".to_owned(),
            Self::Nothing => "none".to_owned(),
        }
    }
}

/// `bytes` in the largest unit that leaves no rest.
pub(super) fn bytes(bytes: u64) -> String {
    [(30, "GiB"), (20, "MiB"), (10, "KiB")]
        .iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift)
        .map_or_else(
            || format!("{bytes} bytes"),
            |(shift, unit)| format!("{}{unit}", bytes >> shift),
        )
}

impl Integer {
    /// `number` with its unit.
    pub(super) fn show(&self, number: u64) -> String {
        match self.unit {
            Unit::One => number.to_string(),
            Unit::Bytes => bytes(number),
            Unit::Milliseconds => format!("{number} ms"),
        }
    }
}

impl Key for Integer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        match self.unit {
            Unit::Bytes => "an integer or a text such as \"256MiB\"",
            _ => "an integer",
        }
    }

    fn allowed(&self) -> String {
        match self.unit {
            Unit::Milliseconds => format!("{} to {}", self.min, self.show(self.max)),
            _ => format!("{} to {}", self.show(self.min), self.show(self.max)),
        }
    }

    fn default(&self) -> String {
        self.default.map_or_else(|| "none".to_owned(), |default| self.show(default))
    }

    fn example(&self) -> String {
        let value = self.default.unwrap_or(self.min);
        if self.unit == Unit::Bytes { format!("\"{}\"", bytes(value)) } else { value.to_string() }
    }
}

impl Key for Must {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn default(&self) -> String {
        Given::Required.describe()
    }

    fn example(&self) -> String {
        self.0.example()
    }
}

impl<T: Sync> Key for Choice<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        "a text"
    }

    fn allowed(&self) -> String {
        words(self.words)
    }

    fn default(&self) -> String {
        self.default.describe()
    }

    fn example(&self) -> String {
        self.words.first().map_or_else(String::new, |(word, _)| format!("\"{word}\""))
    }
}

/// The words of a choice, as a sentence: `"open" or "closed"`.
pub(super) fn words<T>(words: &[(&str, T)]) -> String {
    let quoted: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [start @ .., last] if !start.is_empty() => format!("{} or {last}", start.join(", ")),
        all => all.concat(),
    }
}

impl Key for Flag {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        "true or false"
    }

    fn allowed(&self) -> String {
        String::new()
    }

    fn default(&self) -> String {
        self.default.to_string()
    }

    fn example(&self) -> String {
        (!self.default).to_string()
    }
}

impl Key for Text {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        "a text"
    }

    fn allowed(&self) -> String {
        self.rule.to_owned()
    }

    fn default(&self) -> String {
        Given::Required.describe()
    }

    fn example(&self) -> String {
        self.example.to_owned()
    }
}

impl Key for OptionalText {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn kind(&self) -> &'static str {
        self.0.kind()
    }

    fn allowed(&self) -> String {
        self.0.allowed()
    }

    fn default(&self) -> String {
        Given::Nothing.describe()
    }

    fn example(&self) -> String {
        self.0.example()
    }
}

impl Key for FilePath {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        "a path"
    }

    fn allowed(&self) -> String {
        let from =
            if self.relative { "absolute or below the manifest's folder" } else { "absolute" };
        format!("{from}, at most {} bytes", self.max)
    }

    fn default(&self) -> String {
        self.default.describe()
    }

    fn example(&self) -> String {
        match self.default {
            Given::Default(path) => format!("\"{path}\""),
            _ if self.relative => "\"bin/engine\"".to_owned(),
            _ => "\"/opt/engine\"".to_owned(),
        }
    }
}

impl Key for List {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        "a list"
    }

    fn allowed(&self) -> String {
        format!("{}, at most {}", self.of, self.max)
    }

    fn default(&self) -> String {
        "none".to_owned()
    }

    fn example(&self) -> String {
        self.example.to_owned()
    }
}

impl Key for Group {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> &'static str {
        self.kind
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn default(&self) -> String {
        self.default.to_owned()
    }

    fn example(&self) -> String {
        self.example.to_owned()
    }

    fn assignment(&self, value: &str) -> String {
        // A table is written as its header alone.
        value.to_owned()
    }
}
