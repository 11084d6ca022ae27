//! Tables and bars for a terminal.

use anstyle::Style;

use crate::text::{FAINT, PLAIN, styled, visible};

/// A bar of `width` cells, filled by `part` of `whole`, in steps of an eighth of a cell.
///
/// Something is seen of anything above nothing; more than the whole is the whole.
pub(crate) fn bar(part: u64, whole: u64, width: u16) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let steps = u128::from(width) * 8;
    let filled = (u128::from(part) * steps).div_ceil(u128::from(whole.max(1))).min(steps);
    let full = usize::try_from(filled / 8).unwrap_or_default();
    let rest = EIGHTHS[usize::try_from(filled % 8).unwrap_or_default()];
    let empty = usize::from(width) - full - usize::from(!rest.is_empty());
    format!("{}{rest}{}", "█".repeat(full), "·".repeat(empty))
}

/// One field of a table.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
    right: bool,
}

/// A field with `text`, made [`visible`].
pub(crate) fn cell(text: &str) -> Cell {
    Cell { text: visible(text).into_owned(), style: PLAIN, right: false }
}

/// A field with a count or a span, which stands at its column's right edge.
pub(crate) fn figure(text: &str) -> Cell {
    Cell { right: true, ..cell(text) }
}

impl Cell {
    /// The same in `style`.
    pub(crate) fn style(self, style: Style) -> Self {
        Self { style, ..self }
    }
}

/// Rows under a head, each column as wide as its widest field.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(head: &[&str]) -> Self {
        Self { rows: vec![head.iter().map(|name| cell(name).style(FAINT)).collect()] }
    }

    /// Adds a row; it has a field for every column.
    pub(crate) fn row<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.rows[0].len(), "a row has the head's columns");
        self.rows.push(row.into());
    }

    /// Appends the table to `out`, indented by two.
    pub(crate) fn write(mut self, out: &mut String) {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            self.rows.iter().map(|row| row[column].text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for column in 0..columns {
            // A head stands as the column under it does.
            self.rows[0][column].right = self.rows.get(1).is_some_and(|row| row[column].right);
        }
        let nameless = self.rows[0].iter().all(|cell| cell.text.is_empty());
        for row in self.rows.iter().skip(usize::from(nameless)) {
            out.push_str(&line(row, &widths));
            out.push('\n');
        }
    }
}

fn line(row: &[Cell], widths: &[usize]) -> String {
    let mut out = String::new();
    // Spaces are owed until something follows them, so that no line ends in one.
    let mut owed = 2;
    for (cell, width) in row.iter().zip(widths) {
        let space = width - cell.text.chars().count();
        let (before, after) = if cell.right { (space, 0) } else { (0, space) };
        if cell.text.is_empty() {
            owed += width + 2;
            continue;
        }
        out.extend(std::iter::repeat_n(' ', owed + before));
        out.push_str(&styled(cell.style, &cell.text));
        owed = after + 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_shows_any_part_and_never_more_than_the_whole() {
        assert_eq!(bar(0, 50, 4), "····");
        assert_eq!(bar(1, 1_000_000, 4), "▏···");
        assert_eq!(bar(25, 50, 4), "██··");
        assert_eq!(bar(50, 50, 4), "████");
        assert_eq!(bar(u64::MAX, 50, 4), "████");
        assert_eq!(bar(1, 0, 4), "████");
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let mut table = Table::new(&["NAME", "ASKED", "SAYS"]);
        table.row([cell("hashlist"), figure("7"), cell("ok")]);
        table.row([cell("b"), figure("1,204"), cell("")]);
        let mut out = String::new();

        table.write(&mut out);

        let plain = anstream::adapter::strip_str(&out).to_string();
        assert_eq!(plain, "  NAME      ASKED  SAYS\n  hashlist      7  ok\n  b         1,204\n");
    }
}
