//! Decisions: a line each for `outrigger watch`, a page for `outrigger explain`.

use anstyle::Style;
use outrigger_api::control::{Decision, Vote};
use outrigger_api::{Answer, Verdict};

use crate::table::{Table, bar, cell, figure};
use crate::text::{FAINT, GOOD, Moment, STRONG, WARN, WRONG, counted, span, styled, visible};

/// Cells of a vote's bar.
const BAR: u16 = 24;

/// One line: when, what was told, the event, how long it took, who decided, who asked for what.
pub(crate) fn line(decision: &Decision) -> String {
    let (word, style) = answer(decision);
    let who = decision.program.as_deref().unwrap_or("?");
    let what = decision.path.as_deref().unwrap_or("(path unknown)");
    format!(
        "{}  {:<8}  {}  {:<12}  {:>8}  {}  {}[{}]  {}\n",
        styled(FAINT, Moment(decision.time_ms).time()),
        decision.case,
        styled(style, format_args!("{word:<10}")),
        visible(&decision.event),
        span(decision.took_ns),
        styled(FAINT, format_args!("{:<20}", visible(&decision.decided_by))),
        visible(who),
        decision.pid,
        styled(STRONG, visible(what)),
    )
}

/// One line: how many decisions this watcher did not get.
pub(crate) fn missed(count: u64) -> String {
    let text =
        format!("{} missed: they came faster than they were read", counted(count, "decision"));
    styled(WARN, text) + "\n"
}

/// Everything about one decision.
pub(crate) fn whole(decision: &Decision) -> String {
    let (word, style) = answer(decision);
    let mut out = format!(
        "case {}: {} {} by {} in {}, of a budget of {}\n\n",
        decision.case,
        visible(&decision.event),
        styled(style, word),
        styled(STRONG, visible(&decision.decided_by)),
        span(decision.took_ns),
        span(decision.budget_ns),
    );
    facts(&mut out, decision);
    if decision.votes.is_empty() {
        out.push_str("\n  no engine was asked\n");
    } else {
        out.push('\n');
        votes(&mut out, decision);
    }
    out
}

fn facts(out: &mut String, decision: &Decision) {
    let mut table = Table::new(&["", ""]);
    let mut row = |name: &str, text: &str| table.row([cell(name).style(FAINT), cell(text)]);
    row("when", &Moment(decision.time_ms).to_string());
    let program = decision.program.as_deref().unwrap_or("(program unknown)");
    let user = decision.uid.map_or_else(|| "user unknown".into(), |uid| format!("uid {uid}"));
    row("subject", &format!("{program}, pid {}, {user}", decision.pid));
    row("", &format!("process {}", decision.process));
    row("object", decision.path.as_deref().unwrap_or("(path unknown)"));
    if let Some(rule) = &decision.watched_rule {
        row(
            "not enforced",
            &format!("rule {} would deny it; it is in Monitor mode", visible(rule)),
        );
    } else if decision.not_enforced {
        row("not enforced", "a vote denied it; Monitor mode or a guard rail let it pass");
    }
    row("cached", if decision.cached { "yes: not asked again until it changes" } else { "no" });
    table.write(out);
}

fn votes(out: &mut String, decision: &Decision) {
    let scale = format!("0 … {}", span(decision.budget_ns));
    let mut table = Table::new(&["ENGINE", "REQUIRED", "VOTE", "TIME", &scale, ""]);
    for vote in &decision.votes {
        let (word, style) = verdict(vote);
        table.row([
            cell(vote.engine.as_str()),
            cell(if vote.required { "yes" } else { "no" }),
            cell(word).style(style),
            figure(&vote.took_ns.map_or_else(|| "–".into(), span)),
            cell(&bar(vote.took_ns.unwrap_or(0), decision.budget_ns, BAR)).style(style),
            cell(vote.detail.as_deref().or(vote.missing.as_deref()).unwrap_or_default()),
        ]);
    }
    let (word, style) = answer(decision);
    table.row([
        cell("answer").style(STRONG),
        cell(""),
        cell(word).style(style),
        figure(&span(decision.took_ns)),
        cell(&bar(decision.took_ns, decision.budget_ns, BAR)).style(style),
        cell(&decision.decided_by),
    ]);
    table.write(out);
}

fn answer(decision: &Decision) -> (&'static str, Style) {
    match (decision.answer, decision.not_enforced) {
        (Answer::Allow, false) => ("allowed", GOOD),
        (Answer::Allow, true) => ("would deny", WARN),
        (Answer::Deny, _) => ("DENIED", WRONG),
    }
}

fn verdict(vote: &Vote) -> (&'static str, Style) {
    match vote.verdict {
        Some(Verdict::Allow) => ("allow", GOOD),
        Some(Verdict::Deny) => ("deny", WRONG),
        Some(Verdict::Abstain) => ("abstain", WARN),
        None => ("none", WARN),
    }
}
