//! A package or a repository as a person reads it.

use std::fmt::Write;

use outrigger_update::publish::{PackageView, ReleaseView, RepositoryView, RoleView};

use crate::text::{FAINT, STRONG, WARN, WRONG, counted, number, styled, visible};

/// Digits of a key's id that are shown: enough to tell keys apart.
const ID_SHOWN: usize = 16;

/// A package.
pub(super) fn package(view: &PackageView) -> String {
    let name = format!("{} {} {}", view.engine, view.part, view.version);
    let mut out = format!("{}\n", styled(STRONG, name));
    let mut line = |what: &str, value: &str| {
        writeln!(out, "  {what:<12} {}", visible(value)).expect("a String takes all");
    };
    if let (Some(kind), Some(schema), Some(interpreter)) =
        (view.kind, view.schema, &view.interpreter)
    {
        line("content", &format!("{kind}, schema {schema}, for code {interpreter}"));
    }
    line("target", &view.target);
    let sizes = (number(view.packed_bytes), number(view.bytes));
    line("bytes", &format!("{} packed, {} unpacked", sizes.0, sizes.1));
    line("SHA-256", &view.sha256);
    line("tree", &view.tree);
    for file in &view.files {
        let run = if file.executable { "runs" } else { "" };
        let path = visible(&file.path);
        writeln!(out, "  {run:<4} {:>12}  {path}", number(file.bytes)).expect("a String takes all");
    }
    out
}

/// A repository.
pub(super) fn repository(view: &RepositoryView) -> String {
    let mut out = format!("{}\n", styled(STRONG, visible(&view.path.to_string_lossy())));
    for role in &view.roles {
        out += &role_line(role);
    }
    out += &counted(view.releases.len() as u64, "release");
    out.push('\n');
    for release in &view.releases {
        out += &release_line(' ', release);
    }
    for pending in &view.pending {
        let rest = match pending.missing {
            0 => "`outrigger package publish` puts it in force".to_owned(),
            missing => format!("{missing} more must sign"),
        };
        let told = format!("pending: {} {}, {rest}", pending.role.role, pending.role.version);
        writeln!(out, "{}", styled(WARN, told)).expect("a String takes all");
        out += &role_line(&pending.role);
        pending.adds.iter().for_each(|release| out += &release_line('+', release));
        pending.withdraws.iter().for_each(|release| out += &release_line('-', release));
        for change in &pending.changes {
            writeln!(out, "  {change}").expect("a String takes all");
        }
    }
    for problem in &view.problems {
        writeln!(out, "{}", styled(WRONG, visible(problem))).expect("a String takes all");
    }
    out
}

fn role_line(view: &RoleView) -> String {
    let keys = view.keys.iter().map(|id| {
        let signed = if view.signed_by.contains(id) { "signed" } else { "" };
        let short = id.get(..ID_SHOWN).unwrap_or(id);
        format!("    key {short} {signed}").trim_end().to_owned() + "\n"
    });
    let until = if view.expired { styled(WRONG, "expired") } else { "until".to_owned() };
    format!(
        "  {:<10} version {:<4} {until} {}  {} of {} must sign\n{}",
        view.role,
        view.version,
        visible(&view.expires),
        view.threshold,
        view.keys.len(),
        styled(FAINT, keys.collect::<String>().trim_end_matches('\n')) + "\n"
    )
}

fn release_line(sign: char, view: &ReleaseView) -> String {
    let ReleaseView { engine, part, version, published, bytes, .. } = view;
    let name = format!("{engine}/{part}/{version}");
    format!("  {sign} {name:<40} {published}  {} bytes\n", number(*bytes))
}
