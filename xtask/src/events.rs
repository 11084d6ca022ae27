//! The page of the events: what each is, says and misses, and what each kernel gave of it.

use std::collections::BTreeMap;
use std::fmt::Write;

use outrigger_api::attribute::{Kind, arguments};
use outrigger_api::catalogue::ObjectKind;
use outrigger_api::coverage::{Gap, Level};
use outrigger_api::{Event, EventSet};
use outrigger_sensor::{bpf, changes, coverage, plane};

use crate::docs::sentence;

/// Level of each event by its name, on each kernel by its name: what guests of `make vm` proved, copied from
/// `target/vm/coverage.json` once all kernels were run.
const COVERAGE: &str = include_str!("../../docs/coverage.json");

type Table = BTreeMap<String, BTreeMap<String, String>>;

const HEAD: &str = "\
<!-- written by `cargo xtask docs` from crates/api/src/{catalogue,attribute}.rs, crates/sensor and docs/coverage.json -->
# Events

An event is one thing that happened or is about to. Its name is `<object>.<verb>`. A number, once given, is never given
again. What this machine lets Outrigger do about each event is found by trial, and `outrigger doctor --events` says it.

*At most* is the strongest that Outrigger gives of an event on any kernel: `ask`, engines are asked before it happens and can
refuse it (or, if they like that better, are told of it after it happened); `rule`, [rules](policy.md) decide it in the kernel,
and engines are told of it; `notify`, engines are told of it.

Every event has a *subject*, the process that does it. Rules and filters can ask for its effective user and group (`uid`, `gid`),
the path of the program that it runs (`exe`, as it was when that was begun), its control group (`cgroup`), its marks, and
the programs that it and its ancestors have run. What the *object* is stands in the first table: a file has a `path`, an
`owner` and marks; a process the same as the subject, but for the control group; an address a `family`, an `address` and a
`port`. What an event says besides, its `context`, stands in the second table; engines get it with the field `arguments`
([manifest](reference/manifest.md)).
";

const SENSORS: &str = "
*Seen at* says by what, of those that the kernel has:

- `fanotify` asks about opens and execs, and tells of changes to files, on the file systems under protection;
- `tracepoint/…`: programs that tell of processes, on every kernel;
- `lsm/…`: programs at the kernel's security hooks, on every kernel with BPF LSM, for the whole machine, containers included.
  Rules decide there, before the kernel does what was asked, and so does telling: what is told may still fail for another reason,
  which a denial by a rule is not;
- `fexit/…`: programs behind functions of the kernel, where there is BPF LSM too: they tell;
- `cgroup/…`: programs of the root of the control groups, which decide where BPF LSM does not load.
";

/// The page.
pub(crate) fn page() -> String {
    let mut page = String::from(HEAD);
    page.push_str("\n## The catalogue\n\n| Event | Number | Acts on | At most | Seen at | Meaning |\n|---|---|---|---|---|---|\n");
    for &event in Event::ALL {
        let (number, meaning) = (event.number(), sentence(event.description()));
        let (object, most, at) = (object(event), most(event), seen_at(event).join(", "));
        writeln!(page, "| `{event}` | {number:#06x} | {object} | {most} | {at} | {meaning} |")
            .expect("a String takes all");
    }
    page.push_str(SENSORS);
    page.push_str(
        "\n## What each says besides\n\n| Event | Argument | Is | Meaning |\n|---|---|---|---|\n",
    );
    for &event in Event::ALL {
        for one in arguments(event) {
            let kind = match one.kind {
                Kind::Bool => "true or false",
                Kind::Long => "a number",
                Kind::Text => "a text",
            };
            writeln!(page, "| `{event}` | `{}` | {kind} | {} |", one.name, sentence(one.meaning))
                .expect("a String takes all");
        }
    }
    write_gaps(&mut page);
    write_kernels(
        &mut page,
        &serde_json::from_str(COVERAGE).expect("docs/coverage.json is a table"),
    );
    page
}

fn object(event: Event) -> &'static str {
    match event.object() {
        ObjectKind::File => "a file",
        ObjectKind::Process => "a process",
        ObjectKind::Endpoint => "an address",
        ObjectKind::System => "the machine",
    }
}

fn most(event: Event) -> &'static str {
    match event.strongest() {
        Level::Ask => "ask",
        Level::Rule => "rule",
        Level::Notify => "notify",
        Level::Missing => "nothing",
    }
}

fn seen_at(event: Event) -> Vec<String> {
    let mut at = Vec::new();
    if event.can_be_asked() || changes::EVENTS.contains(event) {
        at.push("`fanotify`".to_owned());
    }
    if let Some((_, verb)) = event.name().split_once('.').filter(|_| bpf::EVENTS.contains(&event)) {
        at.push(format!("`tracepoint/sched_process_{verb}`"));
    }
    at.extend(plane::hooks(event).into_iter().map(|hook| format!("`{hook}`")));
    at
}

/// What passes unseen, each gap once with its events.
fn write_gaps(page: &mut String) {
    page.push_str(
        "\n## What passes unseen\n\n\
         What a sensor does not show although it runs; [limitations](limitations.md) has the rest, and what holds for all.\n\n\
         | Gap | Sensor | Events | What | What to do |\n|---|---|---|---|---|\n",
    );
    let mut all: Vec<(&str, Gap, EventSet)> = Vec::new();
    let mut add = |sensor, event, gaps: Vec<Gap>| {
        for gap in gaps {
            match all.iter_mut().find(|(known, other, _)| *known == sensor && *other == gap) {
                Some((_, _, events)) => *events = events.with(event),
                None => all.push((sensor, gap, EventSet::EMPTY.with(event))),
            }
        }
    };
    for &event in Event::ALL {
        if event.can_be_asked() {
            add("fanotify", event, coverage::gaps(event));
        }
        if changes::EVENTS.contains(event) {
            add("fanotify", event, changes::gaps(event));
        }
        add("lsm", event, plane::gaps(event, false));
        let by_group = plane::gaps(event, true).into_iter();
        let only = |gap: &Gap| !plane::gaps(event, false).contains(gap);
        add("cgroup", event, by_group.filter(only).collect());
    }
    for (sensor, gap, events) in all {
        let events: Vec<String> = events.iter().map(|event| format!("`{event}`")).collect();
        let remedy = gap.remedy.as_deref().unwrap_or("nothing");
        writeln!(
            page,
            "| `{}` | {sensor} | {} | {} | {} |",
            gap.name,
            events.join(", "),
            sentence(&gap.why),
            sentence(remedy)
        )
        .expect("a String takes all");
    }
}

/// Events × kernels.
fn write_kernels(page: &mut String, table: &Table) {
    page.push_str("\n## What each kernel gives\n\n");
    if table.is_empty() {
        page.push_str(
            "Not shown yet: no run of `make vm` over all kernels has been entered here.\n",
        );
        return;
    }
    page.push_str(
        "As guests of `make vm` proved it: each event was caused there, and the effect seen. A cell is the strongest that was\n\
         seen. `ask` is fanotify's in every kernel.\n\n| Event |",
    );
    table.keys().for_each(|kernel| write!(page, " {kernel} |").expect("a String takes all"));
    page.push_str("\n|---|");
    table.keys().for_each(|_| page.push_str("---|"));
    page.push('\n');
    for &event in Event::ALL {
        write!(page, "| `{event}` |").expect("a String takes all");
        for levels in table.values() {
            let level = levels.get(event.name()).map_or("–", String::as_str);
            write!(page, " {} |", level.to_lowercase()).expect("a String takes all");
        }
        page.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_and_every_argument_has_its_row() {
        let page = page();

        for &event in Event::ALL {
            assert!(page.contains(&format!("| `{event}` | {:#06x} |", event.number())), "{event}");
            for one in arguments(event) {
                assert!(page.contains(&format!("| `{event}` | `{}` |", one.name)), "{event}");
            }
        }
    }

    #[test]
    fn a_kernel_has_a_column_and_what_was_not_run_there_none_of_its_levels() {
        let levels = BTreeMap::from([("file.open".to_owned(), "Ask".to_owned())]);
        let table = BTreeMap::from([("6.1".to_owned(), levels), ("7".to_owned(), BTreeMap::new())]);
        let mut page = String::new();

        write_kernels(&mut page, &table);

        assert!(page.contains("| Event | 6.1 | 7 |\n|---|---|---|\n"), "{page}");
        assert!(page.contains("| `file.open` | ask | – |\n"), "{page}");
    }

    #[test]
    fn every_event_is_seen_at_something_or_the_page_says_nothing_of_it() {
        assert_eq!(seen_at(Event::FileOpen)[0], "`fanotify`");
        assert_eq!(seen_at(Event::ProcessFork), ["`tracepoint/sched_process_fork`"]);
    }
}
