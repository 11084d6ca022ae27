//! Content as the trusted side checks it before any engine sees it: lists, tables, the names of rules.

use outrigger_update::content::error::ContentErrors;
use outrigger_update::content::table::{self, Room};
use outrigger_update::content::{Lists, RuleFiles, Table};

use crate::memory;

/// Longest message about one file: each place has a line of its own.
const MESSAGE_MAX: usize = 21 * 1024;
/// Memory that reading may take: a line or the errors, and what stays of each byte (a cell is one byte and a
/// tab, and 24 bytes in memory, a short line four times as much while the list of them grows).
const FIXED: usize = 128 << 10;
const EACH: usize = 96;

/// Reads `bytes` as a list, as a table and as rules.
pub fn check(bytes: &[u8]) {
    list(bytes);
    let Ok(text) = str::from_utf8(bytes) else { return };
    table(text);
    rules(text);
}

fn list(bytes: &[u8]) {
    let (lists, errors) = memory::within(bytes.len(), FIXED, EACH, || {
        let (mut lists, mut errors) = (Lists::default(), ContentErrors::default());
        lists.read_list("a.deny", bytes, &mut errors);
        (lists, errors)
    });
    told("a.deny", &errors);
    assert!(lists.denied * 64 <= bytes.len(), "{} entries of {} bytes", lists.denied, bytes.len());
    assert_eq!(lists.entries.len(), lists.denied.min(1024));
}

fn table(text: &str) {
    let (table, errors) = memory::within(text.len(), FIXED, EACH, || {
        let mut errors = ContentErrors::default();
        (table::parse("a.table", text, &mut Room::default(), &mut errors), errors)
    });
    told("a.table", &errors);
    assert!(table.is_some() || !errors.errors().is_empty(), "no table and no error");
    let Some(table) = table else { return };
    let mut errors = ContentErrors::default();
    let again = table::parse("a.table", &written(&table), &mut Room::default(), &mut errors);
    assert!(errors.errors().is_empty(), "written again it is wrong: {errors}");
    let again = again.expect("it has columns");
    assert_eq!(again.columns, table.columns);
    let cells = |table: &Table| -> Vec<_> {
        table.instances.iter().map(|it| (it.name.clone(), it.cells.clone())).collect()
    };
    assert_eq!(cells(&again), cells(&table));
}

fn written(table: &Table) -> String {
    let mut text = format!("columns\t{}\n", table.columns.join("\t"));
    for instance in &table.instances {
        text += &instance.name;
        instance.cells.iter().for_each(|cell| text += &format!("\t{}", cell.written()));
        text.push('\n');
    }
    text
}

fn rules(text: &str) {
    let rules = memory::within(text.len(), FIXED, EACH, || {
        let mut rules = RuleFiles::default();
        rules.name_rules("a.yar", text);
        rules
    });
    for name in &rules.rules {
        assert!(name.len() <= 128 && text.contains(name.as_str()), "no name: {name:?}");
        assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric()), "{name:?}");
    }
}

fn told(file: &str, errors: &ContentErrors) {
    if errors.errors().is_empty() {
        return;
    }
    assert!(errors.errors().iter().all(|error| error.file == file && error.line.is_some()));
    crate::assert_showable(&errors.to_string(), MESSAGE_MAX);
}
