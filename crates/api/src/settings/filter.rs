//! What an engine does not want to be told of, so that the kernel leaves it out.

use std::path::PathBuf;

use crate::catalogue::{Event, EventSet, ObjectKind};
use crate::settings::error::Problem;
use crate::settings::keys;
use crate::settings::reader::Section;

/// Most alternatives that the filters of one event may make, each a row of the kernel's tables.
pub const ALTERNATIVES_MAX: usize = 256;

/// A part of the events: those that fit every list that is not empty, each by one of its members.
///
/// Of an event, an engine is told what fits one of its filters that do not [`mute`](Self::mute), or everything if
/// it has none of those for that event, but for what fits one that does. Questions are not filtered: whoever is
/// asked decides, and is asked about everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The events that it is about.
    pub events: EventSet,
    /// What fits is left out.
    pub mute: bool,
    /// It is what does not fit the lists.
    pub invert: bool,
    /// The object is one of these or lies below it, or its path cannot be had and it is not muted.
    pub paths: Vec<PathBuf>,
    /// The subject or one of its ancestors has run one of these programs.
    pub programs: Vec<PathBuf>,
    /// The subject's control group is one of these or lies below it.
    pub cgroups: Vec<PathBuf>,
    /// The subject's effective user is one of these.
    pub uids: Vec<u32>,
}

impl Filter {
    /// How many alternatives it makes of what an engine is told.
    fn alternatives(&self) -> usize {
        let Self { paths, programs, cgroups, uids, .. } = self;
        // One is at a path or below it, and an unknown path is a further one.
        let below = |paths: &[PathBuf], besides: usize| match paths.len() {
            0 => 0,
            count => count.saturating_mul(2).saturating_add(besides),
        };
        let lists = [below(paths, 1), programs.len(), below(cgroups, 0), uids.len()];
        let given = lists.into_iter().filter(|count| *count > 0);
        match self.mute == self.invert {
            true => given.fold(1, usize::saturating_mul),
            // Of what is none of so many, there is an alternative for each list.
            false => given.count(),
        }
    }
}

/// How many alternatives the filters make of what is told of `event`.
fn alternatives(filters: &[Filter], event: Event) -> usize {
    let about = || filters.iter().filter(|filter| filter.events.contains(event));
    let wanted = about().filter(|filter| !filter.mute).map(Filter::alternatives);
    let wanted = wanted.fold(0, usize::saturating_add).max(1);
    about()
        .filter(|filter| filter.mute)
        .map(Filter::alternatives)
        .fold(wanted, usize::saturating_mul)
}

/// The filters of an engine that is `told` of these events.
pub(super) fn read(top: &Section<'_>, told: EventSet) -> Vec<Filter> {
    let sections =
        top.sections(&keys::FILTER, keys::FILTERS_MAX, &keys::MANIFEST_FILTER, keys::MANIFEST);
    let mut filters = Vec::with_capacity(sections.len());
    for section in &sections {
        let filter = read_one(section, told);
        filters.push(filter);
        let most = told.iter().map(|event| (alternatives(&filters, event), event)).max();
        if let Some((count, event)) = most.filter(|(count, _)| *count > ALTERNATIVES_MAX) {
            section.unfit(
                &format!(
                    "the filters up to this one make {count} alternatives of {event}, over the limit of \
                     {ALTERNATIVES_MAX}"
                ),
                || "give shorter lists, or one list in place of two".to_owned(),
            );
            break;
        }
    }
    filters
}

fn read_one(section: &Section<'_>, told: EventSet) -> Filter {
    let named = read_events(section, told);
    let paths = section.paths(&keys::FILTER_PATHS);
    let has_path = |event: Event| event.object() == ObjectKind::File;
    if let Some(event) = named.iter().find(|event| !paths.is_empty() && !has_path(*event)) {
        section.conflict(&keys::FILTER_PATHS, format!("{event} has no path"));
    }
    // Without a list of events, those of which everything that it names can be said.
    let fit = || told.iter().filter(|event| paths.is_empty() || has_path(*event)).collect();
    let filter = Filter {
        events: if named.is_empty() { fit() } else { named },
        mute: section.flag(&keys::FILTER_MUTE),
        invert: section.flag(&keys::FILTER_INVERT),
        programs: section.paths(&keys::FILTER_PROGRAMS),
        cgroups: section.paths(&keys::FILTER_CGROUPS),
        uids: section.users(&keys::FILTER_UIDS),
        paths,
    };
    let Filter { paths, programs, cgroups, uids, .. } = &filter;
    if paths.is_empty() && programs.is_empty() && cgroups.is_empty() && uids.is_empty() {
        let lists = || "write `paths`, `programs`, `cgroups` or `uids`".to_owned();
        section.unfit("it names nothing to tell events apart by", lists);
    }
    filter
}

/// The events that it names; none where it names none.
fn read_events(section: &Section<'_>, told: EventSet) -> EventSet {
    let Some(value) = section.value(&keys::FILTER_EVENTS) else { return EventSet::EMPTY };
    if value.is_empty_list() {
        value.refuse(|| (Problem::Empty, None));
    }
    let is_told = |name: &str| name.parse().is_ok_and(|event| told.contains(event));
    let names = section.names(&keys::FILTER_EVENTS, is_told);
    names.iter().filter_map(|(name, _)| name.parse::<Event>().ok()).collect()
}
