//! Checks that what the pages of promises name as shown by a test, a measurement or a file is there.
//!
//! In a table, every code span under a heading of [`PROOFS`] must be one of:
//!
//! - `module::test`, a test of `tests/system`; a `*` stands for any part, and must match at least one;
//! - `path/file.rs::test`, a test in that file, or a path alone;
//! - a word of the bench's report, such as `open_known`;
//! - `make WORD` or `cargo xtask TASK`.
//!
//! Everywhere else on the pages a span that reads like the first is held to the same, and so is every
//! link to a file of this repository.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const PAGES: &[&str] = &["docs/requirements.md", "docs/specification.md", "docs/threat-model.md"];
/// Headings of the columns in which everything must be there.
const PROOFS: &[&str] = &["Shown by", "Figure", "Against"];
/// Where the system's tests are listed.
const TESTS: &str = "tests/system/tests/it/main.rs";
/// Where the benches name what they measure: files, and folders of them.
const BENCHES: &[&str] =
    &["tests/bench/src", "tests/bench/src/peers", "tests/vm/src/guest/bench.rs"];

/// What can be named.
#[derive(Debug, Default)]
struct Known {
    /// `module::name` of every test of the system.
    tests: Vec<String>,
    /// The sources of the benches.
    bench: String,
    makefile: String,
}

/// Checks every name and link of the pages under `root`.
///
/// # Errors
///
/// If one leads nowhere: each that does is named with page and line.
pub(crate) fn check(root: &Path) -> Result<String> {
    let known = Known::read(root)?;
    let (mut names, mut wrong) = (0, Vec::new());
    for page in PAGES {
        let text = fs::read_to_string(root.join(page)).with_context(|| format!("no {page}"))?;
        names += check_page(root, &known, page, &text, &mut wrong);
    }
    if !wrong.is_empty() {
        bail!("docs: named but not there:\n  {}", wrong.join("\n  "));
    }
    Ok(format!("docs: {names} proofs and links named by {} are there", PAGES.join(", ")))
}

impl Known {
    fn read(root: &Path) -> Result<Self> {
        let read = |file: &Path| {
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
        };
        let tests: Vec<String> =
            read(&root.join(TESTS))?.lines().filter_map(listed).map(str::to_owned).collect();
        ensure!(!tests.is_empty(), "{TESTS} lists no test: its form has changed");
        let mut bench = String::new();
        for place in BENCHES {
            let place = root.join(place);
            if place.is_file() {
                bench.push_str(&read(&place)?);
                continue;
            }
            let entries = place.read_dir();
            for entry in entries.with_context(|| format!("cannot list {}", place.display()))? {
                let path = entry?.path();
                if path.is_file() {
                    bench.push_str(&read(&path)?);
                }
            }
        }
        Ok(Self { tests, bench, makefile: read(&root.join("Makefile"))? })
    }
}

/// The test that a line such as `60 way::none_leads_around_a_denial;` lists.
fn listed(line: &str) -> Option<&str> {
    let (seconds, name) = line.trim().strip_suffix(';')?.split_once(' ')?;
    seconds.parse::<u32>().ok().and(Some(name)).filter(|name| name.contains("::"))
}

/// How many names and links of `page` were looked at; those that lead nowhere go to `wrong`.
fn check_page(
    root: &Path,
    known: &Known,
    page: &str,
    text: &str,
    wrong: &mut Vec<String>,
) -> usize {
    let mut looked_at = 0;
    let mut headings: Vec<&str> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut look = |name: &str, is_there: bool| {
            looked_at += 1;
            if !is_there {
                wrong.push(format!("{page}:{}: {name}", at + 1));
            }
        };
        for target in links(line) {
            let file = target.split('#').next().unwrap_or(target);
            let folder = Path::new(page).parent().unwrap_or_else(|| Path::new(""));
            look(target, file.is_empty() || root.join(folder).join(file).exists());
        }
        let Some(row) = line.strip_prefix('|') else {
            headings.clear();
            for name in spans(line).filter(|span| is_test(span)) {
                look(name, exists(root, known, name));
            }
            continue;
        };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        if headings.is_empty() {
            headings = cells;
            continue;
        }
        for (cell, heading) in cells.iter().zip(&headings) {
            for name in spans(cell).filter(|span| PROOFS.contains(heading) || is_test(span)) {
                look(name, exists(root, known, name));
            }
        }
    }
    looked_at
}

/// The texts between single backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The targets of links, those of the web left out.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://"))
}

/// Whether `span` reads like a test of the system.
fn is_test(span: &str) -> bool {
    let letters = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'*'))
    };
    span.split_once("::").is_some_and(|(module, name)| letters(module) && letters(name))
}

fn exists(root: &Path, known: &Known, name: &str) -> bool {
    if is_test(name) {
        return known.tests.iter().any(|test| matches(name, test));
    }
    if let Some((file, test)) = name.split_once("::") {
        let text = fs::read_to_string(root.join(file)).unwrap_or_default();
        return text.contains(&format!("fn {test}("));
    }
    if let Some(word) = name.strip_prefix("make ") {
        return known.makefile.lines().any(|line| line.starts_with(&format!("{word}: ##")));
    }
    if let Some(task) = name.strip_prefix("cargo xtask ") {
        let task = task.split(' ').next().unwrap_or(task);
        return root.join(format!("xtask/src/{task}.rs")).is_file();
    }
    if name.contains('/') {
        return root.join(name).exists();
    }
    known.bench.contains(&format!("\"{name}\""))
}

/// Whether `pattern`, in which `*` stands for any part, is the whole of `name`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).filter_map(|at| name.get(at..)).any(|tail| matches(rest, tail))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a page of these lines.
    fn wrong(lines: &str) -> Vec<String> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let known = Known {
            tests: vec!["way::none_leads_around".to_owned(), "way::an_exec_asks".to_owned()],
            bench: "base(\"open_none\", …)".to_owned(),
            makefile: "test: ## all of it\n".to_owned(),
        };
        let mut wrong = Vec::new();
        check_page(&root, &known, "docs/page.md", lines, &mut wrong);
        wrong
    }

    #[test]
    fn what_is_there_is_not_complained_about() {
        let page = "A name such as `way::an_exec_asks`, [here](../README.md#run-it).\n\n\
                    | Promise | Shown by |\n|---|---|\n\
                    | one `not_a_figure` | `way::none_*`, `open_none`, `make test` |\n\
                    | two | `cargo xtask docs --check`, `xtask/src`, `xtask/src/proofs.rs::wrong` |\n";

        assert_eq!(wrong(page), [""; 0]);
    }

    #[test]
    fn what_is_not_there_is_told_with_page_and_line() {
        let page = "[there](nowhere.md) and `way::nothing`\n\n| Promise | Shown by |\n|---|---|\n\
                    | a `way::gone` | `gap::*`, `open_nine` |\n| b | `make tests`, `no/where.rs` |\n\
                    | c | `xtask/src/proofs.rs::gone`, `cargo xtask play` |\n";

        let told = [
            "1: nowhere.md",
            "1: way::nothing",
            "5: way::gone",
            "5: gap::*",
            "5: open_nine",
            "6: make tests",
            "6: no/where.rs",
            "7: xtask/src/proofs.rs::gone",
            "7: cargo xtask play",
        ];
        assert_eq!(wrong(page), told.map(|told| format!("docs/page.md:{told}")));
    }

    #[test]
    fn a_star_stands_for_any_part() {
        assert!(matches("engine::*_under_load_*", "engine::slow_under_load_keeps"));
        assert!(matches("act::*", "act::"));
        assert!(!matches("engine::*_under_load", "engine::slow_under_load_keeps"));
    }

    #[test]
    fn the_list_of_tests_is_read_in_its_own_form() {
        assert_eq!(listed("    60 way::an_exec_asks_once;"), Some("way::an_exec_asks_once"));
        assert_eq!(listed("use outrigger_testkit::suite;"), None);
    }
}
