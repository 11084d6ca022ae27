//! The screen as text and as a picture, without a terminal.
//!
//! `docs/pictures/top.svg` is drawn from the same cells that a terminal would show. Where the drawing
//! changes on purpose, `OUTRIGGER_DRAW=1 cargo test -p outrigger-cli` draws it and the pages anew.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use outrigger_api::control::Response;
use outrigger_api::ledger::Ledger;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

use super::{Shown, draw};

/// Width and height of a cell of the picture, in its units.
const CELL: (usize, usize) = (8, 17);
/// Space around the screen.
const MARGIN: usize = 12;

/// What a host said; `tests/it` shows the same.
fn ledger() -> Ledger {
    match serde_json::from_str(include_str!("../../tests/it/pages/ledger.json")) {
        Ok(Response::Ledger(ledger)) => *ledger,
        other => panic!("{other:?} is no ledger"),
    }
}

fn shown() -> Shown {
    Shown::new(ledger(), Duration::from_secs(2))
}

fn draw(shown: &Shown, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("no terminal fails");
    terminal.draw(|frame| draw::whole(frame, shown)).expect("it is drawn");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let mut out = String::new();
    for row in rows(buffer) {
        let line: String = row.iter().map(|cell| cell.symbol()).collect();
        writeln!(out, "{}", line.trim_end()).expect("a String takes all");
    }
    out
}

fn rows(buffer: &Buffer) -> impl Iterator<Item = &[Cell]> {
    buffer.content().chunks(usize::from(buffer.area.width))
}

/// The screen as an SVG that any browser shows: one text per run of cells of the same style.
fn svg(buffer: &Buffer) -> String {
    let (columns, lines) = (usize::from(buffer.area.width), usize::from(buffer.area.height));
    let (width, height) = (columns * CELL.0 + 2 * MARGIN, lines * CELL.1 + 2 * MARGIN);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"outrigger top\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"#16181d\"/>\n\
         <g font-family=\"ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace\" \
         font-size=\"13\" xml:space=\"preserve\">\n"
    );
    for (line, row) in rows(buffer).enumerate() {
        let mut column = 0;
        while column < row.len() {
            let like =
                |cell: &&Cell| (cell.fg, cell.modifier) == (row[column].fg, row[column].modifier);
            let run = row[column..].iter().take_while(like).count();
            let text: String = row[column..column + run].iter().map(Cell::symbol).collect();
            if !text.trim().is_empty() {
                let (x, y) = (MARGIN + column * CELL.0, MARGIN + line * CELL.1 + 13);
                let (length, look) = (run * CELL.0, look(&row[column]));
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                writeln!(
                    out,
                    "<text x=\"{x}\" y=\"{y}\" textLength=\"{length}\" {look}>{text}</text>"
                )
                .expect("a String takes all");
            }
            column += run;
        }
    }
    out + "</g>\n</svg>\n"
}

fn look(cell: &Cell) -> String {
    let colour = match (cell.fg, cell.modifier.contains(Modifier::DIM)) {
        (Color::Red, _) => "#ff6b68",
        (Color::Yellow, _) => "#e5c07b",
        (Color::Green, _) => "#7ec699",
        (_, true) => "#8b919c",
        (_, false) => "#e6e6e6",
    };
    let weight = if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
    format!("fill=\"{colour}\"{weight}")
}

/// Fails where `file`, from the repository's top, does not hold `drawn`; writes it where that is asked for.
fn assert_drawn(file: &str, drawn: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    if std::env::var_os("OUTRIGGER_DRAW").is_some() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder");
        std::fs::write(&file, drawn).expect("written");
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == drawn, "{} is not what is drawn:\n{drawn}", file.display());
}

#[test]
fn the_screen_names_the_slow_engine_first() {
    let drawn = text(&draw(&shown(), 160, 16));

    assert_drawn("crates/cli/tests/it/pages/top.txt", &drawn);
    let headline = drawn.lines().nth(1).expect("a headline");
    assert!(headline.starts_with("▶ openers wait most for yara: 100 % of all"), "{headline}");
    let first = drawn.lines().nth(4).expect("a first row");
    assert!(first.starts_with("yara "), "{first}");
}

#[test]
fn a_narrow_screen_leaves_out_what_matters_least() {
    let drawn = text(&draw(&shown(), 80, 18));

    assert_drawn("crates/cli/tests/it/pages/top-narrow.txt", &drawn);
    assert!(drawn.contains("OPENERS WAIT") && drawn.contains("P99") && drawn.contains("MISS"));
}

#[test]
fn the_picture_in_the_documentation_is_what_is_drawn() {
    assert_drawn("docs/pictures/top.svg", &svg(&draw(&shown(), 118, 16)));
}

#[test]
fn no_size_of_the_screen_is_too_small_to_draw() {
    for (width, height) in [(1, 1), (2, 40), (40, 2), (12, 5), (300, 100)] {
        draw(&shown(), width, height);
    }
}

#[test]
fn a_host_that_says_nothing_is_told_over_the_last_figures() {
    let mut shown = shown();
    shown.take(Err("cannot reach the host".to_owned()));

    let drawn = text(&draw(&shown, 100, 16));

    assert!(drawn.contains("cannot reach the host") && drawn.contains("yara"), "{drawn}");
}

#[test]
fn rates_are_those_since_the_refresh_before() {
    let mut shown = shown();
    let mut next = ledger();
    next.uptime_ms += 2000;
    next.time_ms += 2000;
    next.engines[0].cpu_ns = next.engines[0].cpu_ns.map(|nanos| nanos + 1_000_000_000);
    next.engines[0].whole.asked += 500;
    shown.take(Ok(next));

    let row = &shown.view.rows[0].cells;

    assert_eq!((row[7].as_str(), row[16].as_str()), ("250", "50 %"));
}

#[test]
fn a_host_that_was_started_again_has_rates_since_its_start() {
    let mut shown = shown();
    let mut next = ledger();
    next.uptime_ms = 1000;
    next.time_ms += 2000;
    next.engines[0].whole.asked = 40;
    shown.take(Ok(next));

    assert_eq!(shown.view.rows[0].cells[7], "40.0");
}
