//! The screen of `outrigger top`.

use anstyle::{AnsiColor, Effects};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row as Fields, Table, Wrap};

use super::Shown;
use super::view::{BAR, COLUMNS, HEADS, LEFT, LEFT_OUT, Row, View};
use crate::show::ledger::share_style;
use crate::show::state;
use crate::table::bar;
use crate::text::{FAINT, PLAIN, STRONG, WARN, WRONG, visible_lines};

/// Cells between two columns.
const GAP: usize = 2;
/// Most and least cells of the bar.
const BAR_WIDTH: std::ops::RangeInclusive<usize> = 8..=30;

/// Draws everything.
pub(super) fn whole(frame: &mut Frame<'_>, shown: &Shown) {
    let view = &shown.view;
    let headline = match &shown.trouble {
        Some(trouble) => Line::styled(visible_lines(trouble), style(WRONG)),
        None => headline(view),
    };
    let about = format!("{}; asked every {} s; q ends", view.host, shown.every.as_secs_f32());
    let about = Line::from(vec![
        Span::styled("outrigger top", style(STRONG)),
        Span::styled(format!("  {about}"), style(FAINT)),
    ]);
    let below = [&view.questions, &view.cache].map(|text| Line::styled(text.clone(), style(FAINT)));
    let top = Paragraph::new(vec![about, headline]).wrap(Wrap { trim: true });
    let bottom = Paragraph::new(below.to_vec()).wrap(Wrap { trim: true });
    let area = frame.area();
    let heights = [lines(&top, area), lines(&bottom, area)];
    let [first, _, middle, _, last] = Layout::vertical([
        Constraint::Length(heights[0]),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(heights[1]),
    ])
    .areas(area);
    frame.render_widget(top, first);
    table(frame, middle, view, shown.trouble.is_some());
    frame.render_widget(bottom, last);
}

fn lines(paragraph: &Paragraph<'_>, area: Rect) -> u16 {
    // What is wrapped takes as many lines as its words need; measured by drawing it aside.
    let aside = Rect::new(0, 0, area.width, area.height.max(1));
    let mut buffer = ratatui::buffer::Buffer::empty(aside);
    ratatui::widgets::Widget::render(paragraph, aside, &mut buffer);
    let is_blank =
        |row: &u16| (0..aside.width).all(|column| buffer[(column, *row)].symbol() == " ");
    let blank = (0..aside.height).rev().take_while(is_blank).count();
    aside.height - u16::try_from(blank).unwrap_or(aside.height)
}

fn headline(view: &View) -> Line<'_> {
    // The mark is there for who sees no colours.
    let mark = match view.worst {
        500.. => "▶ ",
        _ => "",
    };
    Line::styled(format!("{mark}{}", view.headline), style(share_style(view.worst)))
}

fn table(frame: &mut Frame<'_>, area: Rect, view: &View, is_old: bool) {
    let (columns, bar_width) = columns(view, usize::from(area.width));
    let widths = columns.iter().map(|&column| match column {
        BAR => Constraint::Length(small(bar_width)),
        _ => Constraint::Length(small(width(view, column))),
    });
    let head = columns.iter().map(|&column| aligned(column, HEADS[column], Style::new()));
    let rows = view.rows.iter().map(|row| {
        Fields::new(columns.iter().map(|&column| {
            let text = match column {
                BAR => bar(row.share, 1000, small(bar_width)),
                _ => row.cells[column].clone(),
            };
            aligned(column, text, if is_old { style(FAINT) } else { field(row, column) })
        }))
    });
    let table = Table::new(rows, widths)
        .header(Fields::new(head).style(style(FAINT)))
        .column_spacing(small(GAP));
    frame.render_widget(table, area);
}

fn aligned<'a>(column: usize, text: impl Into<Line<'a>>, style: Style) -> Line<'a> {
    let line: Line<'a> = text.into();
    let line = line.patch_style(style);
    if LEFT.contains(&column) { line } else { line.right_aligned() }
}

/// The columns that `room` has place for, and the width of the bar.
fn columns(view: &View, room: usize) -> (Vec<usize>, usize) {
    let mut columns: Vec<usize> = (0..COLUMNS).collect();
    let mut out = LEFT_OUT.iter();
    loop {
        let others: usize = columns
            .iter()
            .filter(|column| **column != BAR)
            .map(|&column| width(view, column) + GAP)
            .sum();
        let left = room.saturating_sub(others);
        if left >= (*BAR_WIDTH.start()).max(HEADS[BAR].len()) {
            return (columns, left.min(*BAR_WIDTH.end()));
        }
        match out.next() {
            Some(least) => columns.retain(|column| column != least),
            None => return (columns, left),
        }
    }
}

/// The widest text of a column.
fn width(view: &View, column: usize) -> usize {
    let texts = view.rows.iter().map(|row| row.cells[column].as_str());
    texts.chain([HEADS[column]]).map(|text| text.chars().count()).max().unwrap_or(0)
}

fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn field(row: &Row, column: usize) -> Style {
    style(match column {
        0 if row.is_engine => STRONG,
        1 => state(row.state).1,
        BAR | 3 | 5 => share_style(row.share),
        11..=13 | 15 if row.cells[column] != "0" => WARN,
        _ if row.is_engine => PLAIN,
        _ => FAINT,
    })
}

/// The styles of the other pages, on this screen.
fn style(style: anstyle::Style) -> Style {
    let colour = match style.get_fg_color() {
        Some(anstyle::Color::Ansi(AnsiColor::Green)) => Color::Green,
        Some(anstyle::Color::Ansi(AnsiColor::Yellow)) => Color::Yellow,
        Some(anstyle::Color::Ansi(AnsiColor::Red)) => Color::Red,
        _ => Color::Reset,
    };
    let effects = style.get_effects();
    let mut modifiers = Modifier::empty();
    if effects.contains(Effects::BOLD) {
        modifiers |= Modifier::BOLD;
    }
    if effects.contains(Effects::DIMMED) {
        modifiers |= Modifier::DIM;
    }
    Style::new().fg(colour).add_modifier(modifiers)
}
