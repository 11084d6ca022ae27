//! Reads checked values from a parsed TOML file and collects what is wrong with it.
//!
//! A value is asked for by its [`Key`]. What cannot be had is reported and stood in for by the key's
//! default, so that reading goes on and finds the other errors; whoever reads a file gives its result
//! away only after [`Report::finish`] found nothing.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use toml_edit::{Item, TableLike};

use crate::catalogue::Event;
use crate::settings::error::{
    ERRORS_MAX, Place, Problem, SettingsError, SettingsErrors, cut, quoted,
};
use crate::settings::kind::{Group, Key, Table};
use crate::settings::suggest::{suggest_event, suggest_key};

/// What was found to be wrong with one file.
pub(super) struct Report<'t> {
    file: &'t Path,
    text: &'t str,
    found: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    errors: Vec<(usize, SettingsError)>,
    more: usize,
}

impl<'t> Report<'t> {
    pub(super) fn new(file: &'t Path, text: &'t str) -> Self {
        Self { file, text, found: RefCell::default() }
    }

    /// `value`, if nothing is wrong with the file.
    pub(super) fn finish<T>(self, value: Option<T>) -> Result<T, SettingsErrors> {
        let Found { mut errors, more } = self.found.into_inner();
        match value {
            Some(value) if errors.is_empty() => Ok(value),
            _ => {
                errors.sort_by_key(|(offset, _)| *offset);
                let errors = errors.into_iter().map(|(_, error)| error).collect();
                Err(SettingsErrors::many(self.file, errors, more))
            }
        }
    }

    /// The place `offset` bytes into the file.
    pub(super) fn place(&self, offset: usize) -> Place {
        Place::of(self.text, offset)
    }

    /// Adds what `tell` says is wrong at `offset`: the problem, and what to write instead.
    fn add(&self, offset: usize, key: &str, tell: impl FnOnce() -> (Problem, Option<String>)) {
        let mut found = self.found.borrow_mut();
        if found.errors.len() == ERRORS_MAX {
            found.more += 1;
            return;
        }
        let (problem, suggestion) = tell();
        let error = SettingsError {
            file: self.file.to_owned(),
            place: Some(self.place(offset)),
            key: key.to_owned(),
            problem,
            suggestion,
        };
        found.errors.push((offset, error));
    }
}

/// One table of a file that is being read.
#[derive(Clone)]
pub(super) struct Section<'a> {
    report: &'a Report<'a>,
    /// Its path from the top of the file, as it is shown; empty for the top.
    path: String,
    /// What is there; absent where the file does not have the table, so that every default holds.
    table: Option<&'a dyn TableLike>,
    /// Where it begins, and where a missing key is reported.
    offset: usize,
    known: &'static Table,
}

/// A value of a file, with what is needed to report it.
#[derive(Clone)]
pub(super) struct Value<'a> {
    report: &'a Report<'a>,
    /// The path of its key.
    pub(super) path: String,
    key: &'static dyn Key,
    pub(super) offset: usize,
    pub(super) item: Node<'a>,
}

/// What stands behind a key or in a list.
#[derive(Clone, Copy)]
pub(super) enum Node<'a> {
    Item(&'a Item),
    Member(&'a toml_edit::Value),
}

impl<'a> Node<'a> {
    pub(super) fn as_value(self) -> Option<&'a toml_edit::Value> {
        match self {
            Self::Item(item) => item.as_value(),
            Self::Member(value) => Some(value),
        }
    }

    /// What it is, for an error: its type, and its value where that is short.
    fn describe(self) -> String {
        use toml_edit::Value as V;
        match self.as_value() {
            Some(V::String(text)) => format!("the text {}", quoted(text.value())),
            Some(V::Integer(number)) => format!("the integer {}", number.value()),
            Some(V::Float(number)) => format!("the number {}", number.value()),
            Some(V::Boolean(flag)) => format!("{}", flag.value()),
            Some(V::Datetime(_)) => "a date".to_owned(),
            Some(V::Array(_)) => "a list".to_owned(),
            Some(V::InlineTable(_)) | None => "a table".to_owned(),
        }
    }
}

impl<'a> Section<'a> {
    /// The top of a file.
    pub(super) fn top(
        report: &'a Report<'a>,
        table: &'a toml_edit::Table,
        known: &'static Table,
        file: &'static [&'static Table],
    ) -> Self {
        let section = Self { report, path: String::new(), table: Some(table), offset: 0, known };
        section.refuse_unknown(file);
        section
    }

    /// A table that no file has, so that every default holds.
    pub(super) fn absent(report: &'a Report<'a>, known: &'static Table) -> Self {
        Self { report, path: String::new(), table: None, offset: 0, known }
    }

    /// The table under `group`; one without keys where the file has none.
    pub(super) fn section(
        &self,
        group: &'static Group,
        known: &'static Table,
        file: &'static [&'static Table],
    ) -> Self {
        let absent = Self {
            report: self.report,
            path: self.key_path(group.name()),
            table: None,
            offset: self.offset,
            known,
        };
        let section = self.value(group).and_then(|value| value.section(known));
        let Some(section) = section else { return absent };
        section.refuse_unknown(file);
        section
    }

    /// The tables of the list of tables under `group`, at most `max`.
    pub(super) fn sections(
        &self,
        group: &'static Group,
        max: usize,
        known: &'static Table,
        file: &'static [&'static Table],
    ) -> Vec<Self> {
        let Some(value) = self.value(group) else { return Vec::new() };
        let Node::Item(item) = value.item else { return Vec::new() };
        let path = |at: usize| format!("{}[{at}]", value.path);
        let section = |at: usize, offset: usize, table: &'a dyn TableLike| Self {
            report: self.report,
            path: path(at),
            table: Some(table),
            offset,
            known,
        };
        let count = match item {
            Item::ArrayOfTables(tables) => tables.len(),
            Item::Value(toml_edit::Value::Array(array)) => array.len(),
            _ => {
                value.wrong_type(Some(format!("write `[[{}]]`, once for each", value.path)));
                return Vec::new();
            }
        };
        if count > max {
            value.refuse(|| (Problem::TooMany { found: count, max }, None));
            return Vec::new();
        }
        let mut sections = Vec::with_capacity(count);
        if let Item::ArrayOfTables(tables) = item {
            for (at, table) in tables.iter().enumerate() {
                sections.push(section(at, start(table.span(), value.offset), table));
            }
        }
        if let Item::Value(toml_edit::Value::Array(array)) = item {
            for (at, member) in array.iter().enumerate() {
                let member_value = value.member(at, member);
                match member.as_inline_table() {
                    Some(table) => sections.push(section(at, member_value.offset, table)),
                    None => member_value.not_a("a table", None),
                }
            }
        }
        for section in &sections {
            section.refuse_unknown(file);
        }
        sections
    }

    /// The tables under `group` whose keys are events, in the order of the catalogue. Only those that are
    /// `fit` are suggested; the others are the caller's to refuse.
    pub(super) fn events(
        &self,
        group: &'static Group,
        fit: fn(Event) -> bool,
        known: &'static Table,
        file: &'static [&'static Table],
    ) -> Vec<(Event, Self)> {
        let Some(value) = self.value(group) else { return Vec::new() };
        let Some(Self { table: Some(table), .. }) = value.section(known) else {
            return Vec::new();
        };
        let mut sections = Vec::new();
        for (name, item) in table.iter() {
            let offset = key_offset(table, name, value.offset);
            let path = join(&value.path, name);
            let Ok(event) = name.parse::<Event>() else {
                self.report.add(offset, &path, || {
                    (Problem::UnknownEvent, Some(suggest_event(&value.path, name, fit)))
                });
                continue;
            };
            let value =
                Value { report: self.report, path, key: group, offset, item: Node::Item(item) };
            if let Some(section) = value.section(known) {
                section.refuse_unknown(file);
                sections.push((event, section));
            }
        }
        sections.sort_by_key(|(event, _)| *event);
        sections
    }

    /// The value of `key`, if the file has one.
    pub(super) fn value(&self, key: &'static dyn Key) -> Option<Value<'a>> {
        let table = self.table?;
        let item = table.get(key.name()).filter(|item| !item.is_none())?;
        let key_at = key_offset(table, key.name(), self.offset);
        let offset = match item {
            Item::Value(value) if !is_dotted(value) => start(value.span(), key_at),
            _ => key_at,
        };
        let path = self.key_path(key.name());
        Some(Value { report: self.report, path, key, offset, item: Node::Item(item) })
    }

    /// Reports that `key`, which must be there, is not.
    pub(super) fn missing(&self, key: &'static dyn Key) {
        self.report.add(self.offset, &self.key_path(key.name()), || {
            let suggestion = format!("write `{}`", key.assignment(&key.example()));
            (Problem::Missing, Some(suggestion))
        });
    }

    /// Reports that the values of `key` and of others do not go together.
    pub(super) fn conflict(&self, key: &'static dyn Key, what: String) {
        let offset = self.value(key).map_or(self.offset, |value| value.offset);
        self.report.add(offset, &self.key_path(key.name()), || (Problem::Conflict(what), None));
    }

    /// Reports that the table does not belong here, since it `why`, and what does.
    pub(super) fn unfit(&self, why: &str, suggest: impl FnOnce() -> String) {
        self.report
            .add(self.offset, &self.path, || (Problem::Conflict(why.to_owned()), Some(suggest())));
    }

    /// Reports that `key` has the same value, `found`, as in the table `first`, where it may not.
    pub(super) fn duplicate(&self, key: &'static dyn Key, found: String, first: &Self) {
        let Some(value) = self.value(key) else { return };
        value.refuse(|| (Problem::Duplicate { found, first: first.key_path(key.name()) }, None));
    }

    /// The path of the key `name` of this table, as it is shown.
    fn key_path(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Reports every key that the table does not have; `file` are all tables of this kind of file.
    fn refuse_unknown(&self, file: &'static [&'static Table]) {
        let Some(table) = self.table else { return };
        for (name, _) in table.iter() {
            if self.known.keys.iter().any(|key| key.name() == name) {
                continue;
            }
            let offset = key_offset(table, name, self.offset);
            self.report.add(offset, &self.key_path(name), || {
                (Problem::UnknownKey, Some(suggest_key(self.known, file, name)))
            });
        }
    }
}

impl<'a> Value<'a> {
    /// Adds what `tell` says is wrong with the value.
    pub(super) fn refuse(&self, tell: impl FnOnce() -> (Problem, Option<String>)) {
        self.report.add(self.offset, &self.path, tell);
    }

    /// Reports that the value is of another type than its key's.
    pub(super) fn wrong_type(&self, suggestion: Option<String>) {
        self.not_a(self.key.kind(), suggestion);
    }

    /// Reports that the value is not what is `expected`.
    pub(super) fn not_a(&self, expected: &str, suggestion: Option<String>) {
        self.refuse(|| {
            let (found, expected) = (self.item.describe(), expected.to_owned());
            (Problem::WrongType { found, expected }, suggestion)
        });
    }

    /// How the key is written with `value`.
    pub(super) fn assignment(&self, value: &str) -> String {
        match self.item {
            Node::Item(_) => format!("write `{}`", self.key.assignment(value)),
            Node::Member(_) => format!("write {value}"),
        }
    }

    /// The value, if it is a text.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        self.item.as_value().and_then(toml_edit::Value::as_str)
    }

    /// Whether the value is a list without members.
    pub(super) fn is_empty_list(&self) -> bool {
        let array = self.item.as_value().and_then(toml_edit::Value::as_array);
        array.is_some_and(toml_edit::Array::is_empty)
    }

    /// Whether the value is a table without keys.
    pub(super) fn is_empty_table(&self) -> bool {
        let Node::Item(item) = self.item else { return false };
        item.as_table_like().is_some_and(TableLike::is_empty)
    }

    /// A member of the list that this value is.
    pub(super) fn member(&self, at: usize, member: &'a toml_edit::Value) -> Self {
        Self {
            path: format!("{}[{at}]", self.path),
            offset: start(member.span(), self.offset),
            item: Node::Member(member),
            ..self.clone()
        }
    }

    fn section(&self, known: &'static Table) -> Option<Section<'a>> {
        let Node::Item(item) = self.item else { return None };
        let Some(table) = item.as_table_like() else {
            self.not_a("a table", Some(format!("write `[{}]` and its keys below", self.path)));
            return None;
        };
        let (report, path, offset) = (self.report, self.path.clone(), self.offset);
        Some(Section { report, path, table: Some(table), offset, known })
    }
}

/// Whether `value` is a table made by dotted keys, which has no place of its own.
fn is_dotted(value: &toml_edit::Value) -> bool {
    value.as_inline_table().is_some_and(toml_edit::InlineTable::is_dotted)
}

fn start(span: Option<Range<usize>>, otherwise: usize) -> usize {
    span.map_or(otherwise, |span| span.start)
}

fn key_offset(table: &dyn TableLike, name: &str, otherwise: usize) -> usize {
    start(table.get_key_value(name).and_then(|(key, _)| key.span()), otherwise)
}

/// `name` below `path`, quoted where TOML needs it.
fn join(path: &str, name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let name = if !name.is_empty() && name.bytes().all(bare) { cut(name) } else { quoted(name) };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
