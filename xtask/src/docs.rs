//! Writes the reference pages that follow from the code, and checks that they still do.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use outrigger_api::FailureReason;
use outrigger_decision::failure::{self, Fault, Reaction, Severity};
use outrigger_sandbox::{CallList, CallRow, ENGINE, FETCH, GATE};

use crate::events;

/// A page: where it lies, and what the code says it holds.
type Page = (&'static str, fn() -> String);

const PAGES: &[Page] = &[
    ("docs/events.md", events::page),
    ("docs/reference/failures.md", failures),
    ("docs/reference/policy.cedarschema", outrigger_policy::schema_text),
    ("docs/reference/system-calls.md", system_calls),
];

/// Writes every page under `root`; a summary of it.
pub(crate) fn write(root: &Path) -> Result<String> {
    for (path, page) in PAGES {
        let file = root.join(path);
        let folder = file.parent().unwrap_or(root);
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(&file, page()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(format!("docs: {} pages written", PAGES.len()))
}

/// Compares every page under `root` with what the code says.
///
/// # Errors
///
/// If a page is missing or differs; the first line that does is named.
pub(crate) fn check(root: &Path) -> Result<String> {
    let stale: Vec<String> =
        PAGES.iter().filter_map(|(path, page)| difference(root, path, &page())).collect();
    if !stale.is_empty() {
        bail!("docs: run `cargo xtask docs` and commit the result\n  {}", stale.join("\n  "));
    }
    Ok(format!("docs: {} pages are as the code says", PAGES.len()))
}

fn difference(root: &Path, path: &str, want: &str) -> Option<String> {
    let have = match fs::read_to_string(root.join(path)) {
        Ok(have) if have == want => return None,
        Ok(have) => have,
        Err(error) => return Some(format!("{path}: {error}")),
    };
    let same = have.lines().zip(want.lines()).take_while(|(have, want)| have == want).count();
    Some(format!("{path}:{}: not as the code says", same + 1))
}

fn failures() -> String {
    let mut page = String::from(
        "<!-- written by `cargo xtask docs` from crates/api/src/reason.rs and \
         crates/decision/src/failure.rs -->\n\
         # Failures\n\n\
         Everything that can fail has one name, which counters, logs and messages use.\n\n\
         - *What happens*: `fallback`, the policy's fallback answers what waited; `keep`, what was in\n  \
         force stays in force; `degrade`, the platform goes on with less and status says so; `note`, it is\n  \
         written down.\n\
         - *Strike*: whether it brings an engine nearer to quarantine.\n\n\
         Each is counted: by `outrigger status --json` under `fallbacks` where a question waited, under `faults`\n\
         where none did, and in `outrigger engines` where it is an engine's. Each is written to the journal under\n\
         its name, in lines of such kinds as `fault` (the host's and the machine's), `engine-fault`, `engine-lost`,\n\
         `volume-uncovered` or `fallback`. `clock-jumped` and `machine-suspended` are found by comparing the clocks\n\
         at the host's usual wake-ups.\n\n\
         | Reason | Meaning | What happens | At fault | Strike | Told as |\n|---|---|---|---|---|---|\n",
    );
    for &reason in FailureReason::ALL {
        let row = failure::row(reason);
        let meaning = sentence(reason.description());
        let strike = if row.counts_towards_quarantine { "yes" } else { "no" };
        let (answer, fault) = (reaction(row.answer), at_fault(row.fault));
        let level = severity(row.severity);
        writeln!(page, "| `{reason}` | {meaning} | {answer} | {fault} | {strike} | {level} |")
            .expect("a String takes all");
    }
    page.push_str("\n## What to do\n\n| Reason | What to do |\n|---|---|\n");
    for &reason in FailureReason::ALL {
        let advice = sentence(failure::row(reason).what_to_do);
        writeln!(page, "| `{reason}` | {advice} |").expect("a String takes all");
    }
    page
}

fn system_calls() -> String {
    let mut page = String::from(
        "<!-- written by `cargo xtask docs` from crates/sandbox/src/seccomp/ -->\n\
         # System calls\n\n\
         What each kind of process that Outrigger consists of or starts may call, on x86-64. A list is what is\n\
         allowed; what stands on none is not. A call by another architecture's table (32-bit) ends the process.\n\n\
         | Process | List | Why |\n|---|---|---|\n\
         | engine | [below](#engine) | reads what attackers wrote |\n\
         | gate | [below](#gate) | must answer when all else is lost; needs next to nothing |\n\
         | fetch | [below](#fetch) | downloads: parses what the network says |\n\
         | keeper | none | a list is inherited by all that it starts: \
         [ADR 0007](../adr/0007-no-seccomp-filter-on-the-keeper.md) |\n\
         | host | none | starts engines, which takes `mount`, `setuid`, `seccomp` and the like |\n\
         | `outriggerd try` | none | an operator's command; starts the keeper |\n",
    );
    for list in [&ENGINE, &GATE, &FETCH] {
        write_list(&mut page, list);
    }
    page
}

fn write_list(page: &mut String, list: &CallList) {
    let kind = list.kind;
    let title = format!("{}{}", kind[..1].to_uppercase(), &kind[1..]);
    let names = |row: &CallRow| {
        row.calls.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    };
    write!(page, "\n## {title}\n\nA call that is not on the list {}.\n\n", list.otherwise)
        .expect("a String takes all");
    page.push_str("| Calls | Only | For |\n|---|---|---|\n");
    for row in list.allowed() {
        let (calls, only) = (names(&row), row.only.join("; or "));
        writeln!(page, "| {calls} | {only} | {} |", sentence(row.why)).expect("a String takes all");
    }
    let mut judged = list.judged().peekable();
    if judged.peek().is_some() {
        page.push_str("\nAnswered by the host, by number and registers alone:\n\n| Call | Answer |\n|---|---|\n");
    }
    for row in judged {
        writeln!(page, "| {} | {} |", names(&row), sentence(row.why)).expect("a String takes all");
    }
}

const fn reaction(reaction: Reaction) -> &'static str {
    match reaction {
        Reaction::Fallback => "fallback",
        Reaction::KeepPrevious => "keep",
        Reaction::Degrade => "degrade",
        Reaction::Note => "note",
    }
}

const fn at_fault(fault: Fault) -> &'static str {
    match fault {
        Fault::Engine => "the engine",
        Fault::Host => "Outrigger",
        Fault::Administrator => "nobody: as configured",
        Fault::Environment => "the machine",
        Fault::Supplier => "the supplier",
    }
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

/// A doc comment as one line of a table.
pub(crate) fn sentence(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_as_the_code_says() {
        let root = tempfile::tempdir().expect("a folder");

        write(root.path()).expect("written");

        assert!(check(root.path()).is_ok());
    }

    #[test]
    fn a_page_changed_by_hand_is_named_with_its_line() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path()).expect("written");
        let file = root.path().join("docs/events.md");
        let changed = fs::read_to_string(&file).expect("a page").replace("# Events", "# Event");
        fs::write(&file, changed).expect("changed");

        let complaint = check(root.path()).expect_err("stale").to_string();

        assert!(complaint.contains("docs/events.md:2:"), "{complaint}");
    }

    #[test]
    fn a_missing_page_is_named() {
        let root = tempfile::tempdir().expect("a folder");

        let complaint = check(root.path()).expect_err("stale").to_string();

        assert!(complaint.contains("docs/reference/failures.md: No such file"), "{complaint}");
    }

    #[test]
    fn every_reason_has_a_row_and_every_list_its_calls() {
        let lists = system_calls();
        assert!(lists.contains("`futex`") && lists.contains("`fanotify_mark`"), "{lists}");
        let rows = failures().lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(rows, 2 * FailureReason::ALL.len());
    }
}
