//! What a name that nothing is called by was probably meant to be.

use crate::catalogue::Event;
use crate::settings::kind::Table;

/// Most letters of a name that may differ for it to be a likely slip.
const SLIP: usize = 3;

/// What was probably meant by `name` in the table `known`.
pub(super) fn suggest_key(known: &Table, file: &[&Table], name: &str) -> String {
    if let Some(near) = nearest(name, known.keys.iter().map(|key| key.name())) {
        return format!("did you mean `{near}`?");
    }
    let elsewhere = file.iter().find(|table| table.keys.iter().any(|key| key.name() == name));
    if let Some(table) = elsewhere {
        return match table.path {
            "" => "it belongs at the top of the file, before the first table".to_owned(),
            path => format!("it belongs in [{path}]"),
        };
    }
    let names: Vec<&str> = known.keys.iter().map(|key| key.name()).collect();
    format!("the keys here are {}", names.join(", "))
}

/// What was probably meant by `name` where one of those events belongs that are `fit`; `path` is that of
/// its table.
pub(super) fn suggest_event(path: &str, name: &str, fit: fn(Event) -> bool) -> String {
    let names = || Event::ALL.iter().filter(|event| fit(**event)).map(|event| event.name());
    // `[policy.file.open]` without quotes is a table `file` with a key `open`.
    let family = names().find(|event| event.split('.').next() == Some(name));
    if let Some(event) = family {
        return format!("an event is quoted: write `[{path}.\"{event}\"]`");
    }
    match nearest(name, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the events are {}", names().collect::<Vec<_>>().join(", ")),
    }
}

/// The one of `names` that `name` is most likely a slip for.
pub(super) fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    // A long name is no slip of a short one, and measuring it would take time.
    if name.len() > 64 {
        return None;
    }
    let name = name.to_lowercase().replace('-', "_");
    names
        .map(|known| (strsim::damerau_levenshtein(&name, known), known))
        .filter(|(distance, known)| *distance <= SLIP.min(known.len() / 2))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}
