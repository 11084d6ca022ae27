//! Less coverage than before: found at the start, told, and in status until the operator accepts it.

use outrigger_api::FailureReason;
use outrigger_api::control::Response;
use outrigger_api::coverage::Shrunk;
use outrigger_sensor::clock;
use serde_json::json;

use super::super::keepsakes;
use super::super::shrunk::{Compared, Most};
use super::Control;

/// Most events that a line names.
const NAMED_MAX: usize = 3;

/// What came of the comparison.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    done: bool,
    shrunk: Vec<Shrunk>,
    /// Why it is not known what there was before.
    unknown: Option<String>,
}

impl Comparison {
    /// The events of which there is less than before.
    pub(super) fn shrunk(&self) -> &[Shrunk] {
        &self.shrunk
    }
}

impl Control {
    /// Compares coverage with what was kept, once it is known.
    pub(super) fn compare_coverage(&mut self) {
        if self.comparison.done {
            return;
        }
        let Some(found) = self.probed.get() else { return };
        self.comparison.done = true;
        let kept = self.keepsakes.look(keepsakes::COVERAGE).map_err(|error| error.to_string());
        let most = kept
            .and_then(|text| text.map_or_else(|| Ok(Most::default()), |text| Most::parse(&text)));
        let mut most = match most {
            Ok(most) => most,
            Err(why) => {
                tracing::error!("what coverage was before cannot be read: {why}");
                let value = json!({ "reason": FailureReason::CoverageShrank, "why": why });
                self.host.page().header().count_fault(FailureReason::CoverageShrank);
                self.host.journal.write("coverage-unknown", value);
                self.comparison.unknown = Some(why);
                return;
            }
        };
        let Compared { shrunk, news } = most.compare(&self.coverage().kernel, found);
        self.keepsakes.keep(keepsakes::COVERAGE, most.write(), clock::now());
        if !news.is_empty() {
            tracing::error!("there is less coverage than before: {}", named(&news));
            let value = json!({ "reason": FailureReason::CoverageShrank, "events": news });
            self.host.page().header().count_fault(FailureReason::CoverageShrank);
            self.host.journal.write("coverage-shrank", value);
        }
        self.comparison.shrunk = shrunk;
    }

    /// The problem that it is, if it is one.
    pub(super) fn shrunk_problem(&self) -> Option<String> {
        let reason = FailureReason::CoverageShrank;
        let Comparison { shrunk, unknown, .. } = &self.comparison;
        let what = match unknown {
            Some(why) => format!("what coverage was before cannot be read: {why}"),
            None if shrunk.is_empty() => return None,
            None => format!("there is less coverage than before: {}", named(shrunk)),
        };
        Some(format!("{reason}: {what}; if it is to stay so: outrigger coverage accept"))
    }

    /// Takes what there is for all that there is to be.
    pub(super) fn accept_coverage(&mut self) -> Response {
        let Some(found) = self.probed.get() else {
            let message = "coverage is being probed; ask again when it is known".to_owned();
            return Response::Error { message };
        };
        let most = Most::of(&self.coverage().kernel, found);
        let before = std::mem::take(&mut self.comparison.shrunk);
        let unknown = self.comparison.unknown.take().is_some();
        self.comparison.done = true;
        self.keepsakes.keep(keepsakes::COVERAGE, most.write(), clock::now());
        self.host.journal.write("coverage-accepted", json!({ "events": before }));
        let message = match before.len() {
            0 if unknown => "coverage counts as it is now".to_owned(),
            0 => "there is as much coverage as before: nothing changes".to_owned(),
            1 => format!("{} counts as it is now", before[0].event),
            count => format!("{count} events count as they are now"),
        };
        Response::Done { message }
    }
}

/// The first few of them, in words.
fn named(shrunk: &[Shrunk]) -> String {
    let first: Vec<String> = shrunk.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    let more = match shrunk.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!("; and {more} more, which `outrigger doctor --events` shows"),
    };
    format!("{}{more}", first.join("; "))
}
