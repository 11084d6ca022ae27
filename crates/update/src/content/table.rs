//! Schema 1 of `table`: patterns over the inputs that the code supplies for an event.
//!
//! A file `NAME.table` is UTF-8 text. Blank lines and those that begin with `#` are passed over. The first
//! other line is `columns` and the columns' names, every other one an instance's name and one cell for each
//! column, all between single tabs. A cell is `*`, which every value matches, or the one value that does;
//! a backslash at its start is taken away, so that `\*` is a star. An event that matches every cell of an
//! instance is denied.
//!
//! A column names an input. One that the code does not supply is an error, whether or not an instance has a
//! value there yet: a wildcard costs nothing until the day somebody replaces it.

use std::collections::HashMap;

use crate::content::Code;
use crate::content::error::{ContentError, ContentErrors, Fault, quoted};
use crate::content::folder::Folder;
use crate::content::input;

/// Most tables in a folder.
pub const TABLES_MAX: usize = 64;
/// Longest table, in bytes.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// Most bytes of all tables together.
pub const ALL_BYTES_MAX: usize = 32 << 20;
/// Most columns of a table.
pub const COLUMNS_MAX: usize = 256;
/// Most instances in all tables together.
pub const INSTANCES_MAX: usize = 65_536;
/// Most cells in all tables together.
pub const CELLS_MAX: usize = 1 << 20;
/// Longest cell, in bytes.
pub const CELL_MAX: usize = 4096;
/// Longest name of a column or an instance, in bytes.
pub const NAME_MAX: usize = 64;

const COLUMN_RULE: &str = "1 to 64 of a-z, 0-9 and '_', first a letter";
const INSTANCE_RULE: &str = "1 to 64 of a-z, A-Z, 0-9, '.', '_', '-' and ':'";

/// One table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its file's name.
    pub file: String,
    /// The line of its columns, from one.
    pub line: usize,
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its instances, each with as many cells.
    pub instances: Vec<Instance>,
}

/// One line of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its name, unique in its table.
    pub name: String,
    /// The line, from one.
    pub line: usize,
    /// One cell for each column.
    pub cells: Vec<Cell>,
}

/// What an input must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Anything.
    Any,
    /// This, to the byte.
    Value(String),
}

/// What is left of the limits that hold for all tables together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    instances: usize,
    cells: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self { instances: INSTANCES_MAX, cells: CELLS_MAX }
    }
}

/// Reads every table of `folder`.
pub(super) fn read(folder: &Folder) -> Result<Vec<Table>, ContentErrors> {
    if folder.files.len() > TABLES_MAX {
        let fault = Fault::TooMany { what: "tables", max: TABLES_MAX };
        return Err(ContentError::whole(".", fault).into());
    }
    let mut errors = ContentErrors::default();
    let (mut tables, mut room, mut left) = (Vec::new(), Room::default(), ALL_BYTES_MAX);
    for file in &folder.files {
        match folder.text(file, FILE_BYTES_MAX.min(left)) {
            Ok(text) => {
                left -= text.len();
                tables.extend(parse(file, &text, &mut room, &mut errors));
            }
            Err((line, fault)) => errors.add(ContentError { file: file.clone(), line, fault }),
        }
    }
    errors.finish(tables)
}

/// Reads the table `text`, which came from `file`; `None` if its columns are not right, which is reported
/// in `errors` with every wrong line.
pub fn parse(file: &str, text: &str, room: &mut Room, errors: &mut ContentErrors) -> Option<Table> {
    let lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut lines = (1..).zip(lines).filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    let columns = lines.next().map_or(Err((1, Fault::NoColumns)), |(line, text)| {
        columns(text).map(|columns| (line, columns)).map_err(|fault| (line, fault))
    });
    let (line, columns) = match columns {
        Ok(columns) => columns,
        Err((line, fault)) => {
            errors.add(ContentError::at(file, line, fault));
            return None;
        }
    };
    let mut table = Table { file: file.to_owned(), line, columns, instances: Vec::new() };
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (line, text) in lines {
        let spent = room.spend(table.columns.len());
        let result = spent.and_then(|()| table.instance(line, text));
        match result {
            Ok(instance) => {
                let name = text.split('\t').next().unwrap_or_default();
                if let Some(&first) = names.get(name) {
                    let fault = Fault::Twice { what: "instance", found: quoted(name), first };
                    errors.add(ContentError::at(file, line, fault));
                } else {
                    names.insert(name, line);
                    table.instances.push(instance);
                }
            }
            Err(fault) => {
                let ends = matches!(fault, Fault::TooMany { .. });
                errors.add(ContentError::at(file, line, fault));
                if ends {
                    break;
                }
            }
        }
    }
    Some(table)
}

impl Room {
    fn spend(&mut self, cells: usize) -> Result<(), Fault> {
        let what = "instances in all tables";
        self.instances =
            self.instances.checked_sub(1).ok_or(Fault::TooMany { what, max: INSTANCES_MAX })?;
        let what = "cells in all tables";
        self.cells =
            self.cells.checked_sub(cells).ok_or(Fault::TooMany { what, max: CELLS_MAX })?;
        Ok(())
    }
}

impl Table {
    /// The instance in `text`, the line `line`.
    fn instance(&self, line: usize, text: &str) -> Result<Instance, Fault> {
        let mut parts = text.split('\t');
        let name = parts.next().unwrap_or_default();
        if !is_instance_name(name) {
            let found = quoted(name);
            return Err(Fault::Name { found, what: "an instance", rule: INSTANCE_RULE });
        }
        let found = parts.clone().count();
        if found != self.columns.len() {
            let (instance, columns) = (quoted(name), self.columns.len());
            return Err(Fault::Cells { instance, found, columns });
        }
        let mut cells = Vec::with_capacity(found);
        for ((at, column), text) in self.columns.iter().enumerate().zip(parts) {
            let fault = |why: String| Fault::Cell {
                instance: quoted(name),
                column: at + 1,
                field: column.clone(),
                why,
            };
            let cell = cell(text).map_err(|why| fault(why.to_owned()))?;
            if let Cell::Value(value) = &cell {
                input::check(column, value).map_err(fault)?;
            }
            cells.push(cell);
        }
        Ok(Instance { name: name.to_owned(), line, cells })
    }
}

impl Cell {
    /// The one value that matches, if not all do.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Any => None,
            Self::Value(value) => Some(value),
        }
    }

    /// The cell as it stands in a table.
    pub fn written(&self) -> String {
        match self {
            Self::Any => "*".to_owned(),
            // A lone backslash is the empty value: nothing at all is refused, as a slip of the pen.
            Self::Value(value) if value.is_empty() || value == "*" || value.starts_with('\\') => {
                format!("\\{value}")
            }
            Self::Value(value) => value.clone(),
        }
    }
}

fn cell(text: &str) -> Result<Cell, &'static str> {
    if text == "*" {
        return Ok(Cell::Any);
    }
    if text.is_empty() {
        return Err("is empty: write * where every value matches");
    }
    if text.len() > CELL_MAX {
        return Err("is longer than 4096 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    Ok(Cell::Value(text.strip_prefix('\\').unwrap_or(text).to_owned()))
}

fn columns(text: &str) -> Result<Vec<String>, Fault> {
    let mut parts = text.split('\t');
    if parts.next() != Some("columns") {
        return Err(Fault::NoColumns);
    }
    let mut columns: Vec<String> = Vec::new();
    for name in parts {
        if !is_column_name(name) {
            let found = quoted(name);
            return Err(Fault::Name { found, what: "a column", rule: COLUMN_RULE });
        }
        if columns.len() == COLUMNS_MAX {
            return Err(Fault::TooMany { what: "columns in a table", max: COLUMNS_MAX });
        }
        if columns.iter().any(|known| known == name) {
            let what = "a column that no other of the table is called like";
            let rule = "two columns of one name";
            return Err(Fault::Name { found: quoted(name), what, rule });
        }
        columns.push(name.to_owned());
    }
    if columns.is_empty() { Err(Fault::NoColumns) } else { Ok(columns) }
}

fn is_column_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=NAME_MAX).contains(&name.len())
        && name.bytes().all(fits)
        && name.starts_with(|first: char| first.is_ascii_lowercase())
}

fn is_instance_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// Reports every column of `tables` that `code` does not supply, at the first instance that has a value
/// there, or else where it is named.
pub(super) fn supplied(tables: &[Table], code: Code<'_>, errors: &mut ContentErrors) {
    let inputs = code.manifest.interprets.as_ref().map_or(&[][..], |it| it.inputs.as_slice());
    for table in tables {
        for (at, field) in table.columns.iter().enumerate() {
            if inputs.contains(field) {
                continue;
            }
            let first = table.instances.iter().find(|it| it.cells[at].value().is_some());
            let fault = Fault::NotSupplied {
                instance: first.map(|instance| quoted(&instance.name)),
                column: at + 1,
                field: field.clone(),
                code: format!("{} {}", code.manifest.name, code.version),
                supplied: inputs.len(),
            };
            let line = first.map_or(table.line, |instance| instance.line);
            errors.add(ContentError::at(&table.file, line, fault));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_reads_as_it_was_written() {
        for text in ["*", "\\", "\\*", "\\\\", "value", "a\\b"] {
            let read = cell(text).expect("a cell");

            assert_eq!(read.written(), text);
            assert_eq!(cell(&read.written()), Ok(read));
        }
    }
}
