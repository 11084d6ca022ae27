//! `outrigger top` where there is no screen: one table.

use anstyle::Style;
use outrigger_api::ledger::Ledger;

use super::{point, state};
use crate::table::{Table, bar, cell, figure};
use crate::text::{FAINT, PLAIN, STRONG, WARN, WRONG, styled, visible};
use crate::top::view::{BAR, HEADS, LEFT, Row, View};

/// Cells of the bar.
const BAR_WIDTH: u16 = 16;

/// The whole page.
pub(crate) fn whole(ledger: &Ledger) -> String {
    let view = View::new(ledger, None);
    let mut out = format!("{}\n", styled(share_style(view.worst), visible(&view.headline)));
    point(&mut out, FAINT, &view.host);
    point(&mut out, FAINT, &view.questions);
    point(&mut out, FAINT, &view.cache);
    if view.rows.is_empty() {
        return out;
    }
    out.push('\n');
    let mut table = Table::new(&HEADS);
    view.rows.iter().for_each(|row| table.row(cells(row)));
    table.write(&mut out);
    out
}

fn cells(row: &Row) -> [crate::table::Cell; HEADS.len()] {
    let mut place = 0;
    row.cells.each_ref().map(|text| {
        let column = place;
        place += 1;
        let style = style(row, column);
        match column {
            BAR => cell(&bar(row.share, 1000, BAR_WIDTH)).style(style),
            _ if LEFT.contains(&column) => cell(text).style(style),
            _ => figure(text).style(style),
        }
    })
}

fn style(row: &Row, column: usize) -> Style {
    match column {
        0 if row.is_engine => STRONG,
        1 => state(row.state).1,
        BAR | 3 => share_style(row.share),
        _ if row.is_engine => PLAIN,
        _ => FAINT,
    }
}

/// By how much of all waiting it tells of.
pub(crate) fn share_style(share: u64) -> Style {
    match share {
        500.. => WRONG,
        200.. => WARN,
        _ => PLAIN,
    }
}
