//! What engines want to be told of, as rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use outrigger_api::settings::Filter;
use outrigger_api::{EngineName, Event, EventSet, Mode};

use super::{Comparison, Condition, Effect, Number, Pattern, Process, Rule, Source, Text};

/// The rules by which the engine of this number is told of what its filters leave it of `told`. Together they
/// name every event of `told` once; their names begin with the engine's.
pub fn tell(engine: u8, name: &EngineName, told: EventSet, filters: &[Filter]) -> Vec<Rule> {
    // Events to which the same filters apply stand in one rule.
    let mut alike: BTreeMap<Vec<usize>, Vec<Event>> = BTreeMap::new();
    for event in told.iter() {
        let about = |(at, filter): (usize, &Filter)| filter.events.contains(event).then_some(at);
        let about = filters.iter().enumerate().filter_map(about).collect();
        alike.entry(about).or_default().push(event);
    }
    let rule = |(at, (about, events)): (usize, (Vec<usize>, Vec<Event>))| Rule {
        name: format!("{name}/told-{at}"),
        source: Source::Engine(name.clone()),
        mode: Mode::Enforce,
        effect: Effect::Tell(engine),
        events,
        when: wanted(about.iter().filter_map(|at| filters.get(*at))),
    };
    alike.into_iter().enumerate().map(rule).collect()
}

/// What is told where these filters apply.
fn wanted<'a>(filters: impl Iterator<Item = &'a Filter>) -> Condition {
    let (muted, wanted): (Vec<&Filter>, Vec<&Filter>) = filters.partition(|filter| filter.mute);
    let mut all = Vec::new();
    if !wanted.is_empty() {
        all.push(Condition::Any(wanted.into_iter().map(|it| fits(it, it.invert)).collect()));
    }
    all.extend(muted.into_iter().map(|filter| fits(filter, !filter.invert)));
    Condition::All(all)
}

/// Whether the event fits the lists, or (if so `not`) does not. A path that cannot be had is told either way.
fn fits(filter: &Filter, not: bool) -> Condition {
    let Filter { paths, programs, cgroups, uids, .. } = filter;
    let mut lists = Vec::new();
    if !paths.is_empty() {
        let mut any = below(Text::Path, paths.iter().map(|path| path.as_path()));
        if !not {
            any.push(number(Number::PathKnown, 0));
        }
        lists.push(Condition::Any(any));
    }
    if !programs.is_empty() {
        let descends = |program: &PathBuf| Condition::Descends {
            process: Process::Subject,
            program: text(program),
        };
        lists.push(Condition::Any(programs.iter().map(descends).collect()));
    }
    if !cgroups.is_empty() {
        let any = below(Text::Cgroup, cgroups.iter().map(|path| path.as_path()));
        lists.push(Condition::Any(any));
    }
    if !uids.is_empty() {
        let uid = |uid: &u32| number(Number::SubjectUid, u64::from(*uid));
        lists.push(Condition::Any(uids.iter().map(uid).collect()));
    }
    let all = Condition::All(lists);
    if not { Condition::Not(Box::new(all)) } else { all }
}

/// One alternative or two for each path: it is that, or lies below it.
fn below<'a>(place: Text, paths: impl Iterator<Item = &'a Path>) -> Vec<Condition> {
    let mut any = Vec::new();
    for path in paths {
        let path = text(path);
        if path == "/" {
            any.push(Condition::Text { place, is: Pattern::Begins(path) });
        } else {
            any.push(Condition::Text { place, is: Pattern::Begins(format!("{path}/")) });
            any.push(Condition::Text { place, is: Pattern::Is(path) });
        }
    }
    any
}

fn number(place: Number, value: u64) -> Condition {
    Condition::Number { place, is: Comparison::Is, value }
}

/// A path of a manifest, which is UTF-8.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use outrigger_api::settings::Manifest;

    use super::super::{Facts, Lineage, LineageKey, MarkNames, compile};
    use super::*;

    const KEY: LineageKey = LineageKey([7; 16]);

    /// Whether an engine with these filters, told of renames and connections, is told of what `facts` says.
    fn told(filters: &str, facts: &Facts<'_>) -> bool {
        let text = format!(
            "name = \"scan\"\nvendor = \"V\"\nversion = \"1\"\ncontract = \"1\"\n\
             verdict = \"subject\"\nentry.program = \"a\"\n\
             events.\"file.rename\".needs = \"notify\"\n\
             events.\"net.connect\".needs = \"notify\"\n{filters}"
        );
        let manifest = Manifest::parse(&text, Path::new("m.toml")).expect("a manifest");
        let events = EventSet::EMPTY.with(Event::FileRename).with(Event::NetConnect);
        let rules = tell(5, &manifest.name, events, &manifest.filters);
        let set = compile(&rules, &KEY, 1, &MarkNames::default()).expect("a filter compiles");
        match set.image.decide(facts).tell {
            0 => false,
            bits => {
                assert_eq!(bits, 1 << 5, "nobody else asked to be told");
                true
            }
        }
    }

    fn rename(path: &str) -> Facts<'_> {
        let mut facts = Facts::new(Event::FileRename);
        facts.set_path(Some(path.as_bytes()));
        facts.set_number(Number::SubjectUid, 1000);
        facts.set_text(Text::Cgroup, b"/user.slice");
        facts.lineage = Lineage::new(&[KEY.hash(b"/usr/bin/dpkg")], false);
        facts
    }

    #[test]
    fn without_filters_everything_is_told() {
        assert!(told("", &rename("/etc/passwd")));
        assert!(told("", &Facts::new(Event::NetConnect)));
        assert!(!told("", &Facts::new(Event::FileUnlink)));
    }

    #[test]
    fn a_filter_tells_what_fits_every_list_by_one_member() {
        let etc = "[[filter]]\npaths = [\"/etc\", \"/srv\"]\nuids = [0, 1000]\n";

        assert!(told(etc, &rename("/etc/passwd")) && told(etc, &rename("/srv")));
        assert!(!told(etc, &rename("/etcetera")));
        let mut daemon = rename("/etc/passwd");
        daemon.set_number(Number::SubjectUid, 2);
        assert!(!told(etc, &daemon));
        // It is about paths, of which a connection has none.
        assert!(told(etc, &Facts::new(Event::NetConnect)));
    }

    #[test]
    fn one_filter_of_several_is_enough() {
        let either = "[[filter]]\npaths = [\"/etc\"]\n[[filter]]\ncgroups = [\"/user.slice\"]\n";

        assert!(told(either, &rename("/etc/passwd")) && told(either, &rename("/srv/a")));
        let mut system = rename("/srv/a");
        system.set_text(Text::Cgroup, b"/system.slice");
        assert!(!told(either, &system));
    }

    #[test]
    fn what_is_muted_is_left_out_of_what_fits() {
        let muted = "[[filter]]\npaths = [\"/etc\"]\n\
                     [[filter]]\nprograms = [\"/usr/bin/dpkg\"]\nmute = true\n";

        assert!(!told(muted, &rename("/etc/passwd")));
        let mut other = rename("/etc/passwd");
        other.lineage = Lineage::new(&[KEY.hash(b"/usr/bin/vi")], false);
        assert!(told(muted, &other));
    }

    #[test]
    fn what_is_inverted_is_what_does_not_fit() {
        let outside = "[[filter]]\npaths = [\"/tmp\"]\ninvert = true\n";
        let only = "[[filter]]\npaths = [\"/tmp\"]\nmute = true\ninvert = true\n";

        assert!(told(outside, &rename("/etc/a")) && !told(outside, &rename("/tmp/a")));
        assert!(!told(only, &rename("/etc/a")) && told(only, &rename("/tmp/a")));
    }

    #[test]
    fn what_is_not_known_is_told() {
        let mut unknown = rename("/");
        unknown.set_path(None);
        let lineage = Facts { lineage: Lineage::UNKNOWN, ..rename("/etc/a") };

        for filter in ["", "invert = true\n", "mute = true\n", "mute = true\ninvert = true\n"] {
            assert!(
                told(&format!("[[filter]]\npaths = [\"/etc\"]\n{filter}"), &unknown),
                "{filter}"
            );
            let programs = format!("[[filter]]\nprograms = [\"/bin/a\"]\n{filter}");
            assert!(told(&programs, &lineage), "{filter}");
        }
    }

    #[test]
    fn the_largest_filter_that_a_manifest_may_have_compiles() {
        let list =
            |count: u32| (0..count).map(|at| format!("\"/p{at}\"")).collect::<Vec<_>>().join(", ");
        let filter = format!(
            "[[filter]]\nevents = [\"file.rename\"]\npaths = [{}]\nprograms = [{}]\n",
            list(15),
            list(8)
        );

        assert!(!told(&filter, &rename("/p3/a")));
        let mut inside = rename("/p3/a");
        inside.lineage = Lineage::new(&[KEY.hash(b"/p7")], false);
        assert!(told(&filter, &inside));
    }
}
