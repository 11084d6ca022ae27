//! Inputs of a table that are the event's own: what their values look like, which value an event has, and
//! an event that has given values.

use outrigger_api::sample::Sample;
use outrigger_api::{Event, EventInput};

use crate::content::error::quoted;

/// Checks that the input `name` can have `value`, where it is one of the event's own.
pub(super) fn check(name: &str, value: &str) -> Result<(), String> {
    let Some(input) = EventInput::of(name) else { return Ok(()) };
    let found = quoted(value);
    let fits = match input {
        EventInput::Event => {
            let known = value.parse::<Event>().is_ok_and(Event::can_be_asked);
            return if known {
                Ok(())
            } else {
                Err(format!("{found} is no event that engines are asked about"))
            };
        }
        EventInput::Path => is_path(value) && value != "/",
        EventInput::Folder => is_path(value),
        EventInput::Name => !value.contains('/') && !matches!(value, "." | ".."),
        EventInput::Uid | EventInput::Gid => number::<u32>(value),
        EventInput::Size | EventInput::Changed => number::<u64>(value),
    };
    let rule = match input {
        EventInput::Event | EventInput::Path => "a path from the root",
        EventInput::Folder => "the path of a folder, from the root",
        EventInput::Name => "one part of a path, without `/`",
        EventInput::Uid | EventInput::Gid => "a number up to 4294967295 in decimal digits",
        EventInput::Size | EventInput::Changed => {
            "a number up to 18446744073709551615 in decimal digits"
        }
    };
    if fits { Ok(()) } else { Err(format!("{found} never matches: it must be {rule}")) }
}

/// Whether no part of `path` is one that the kernel's paths do not have.
fn is_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Whether `text` is how a number of the type is written.
fn number<N: std::str::FromStr + ToString>(text: &str) -> bool {
    text.parse::<N>().is_ok_and(|number| number.to_string() == text)
}

/// The value that the event of `sample` has for `input`, in bytes, if it has one.
pub fn value(input: EventInput, sample: &Sample) -> Option<Vec<u8>> {
    let text = |number: u64| number.to_string().into_bytes();
    match input {
        EventInput::Event => Some(sample.event.name().as_bytes().to_vec()),
        EventInput::Path => sample.path.clone(),
        EventInput::Folder => split(sample.path.as_deref()?).map(|(folder, _)| folder.to_vec()),
        EventInput::Name => split(sample.path.as_deref()?).map(|(_, name)| name.to_vec()),
        EventInput::Uid => sample.credentials.map(|(uid, _)| text(uid.into())),
        EventInput::Gid => sample.credentials.map(|(_, gid)| text(gid.into())),
        EventInput::Size => sample.attributes.map(|(size, _)| text(size)),
        EventInput::Changed => sample.attributes.map(|(_, changed)| text(changed)),
    }
}

/// The folder and the name that `path` ends with.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    Some((&path[..slash.max(1)], &path[slash + 1..]))
}

/// Gives `sample` the values `wanted`, as far as they go together; each was found to be one by [`check`].
pub(super) fn give(sample: &mut Sample, wanted: &[(EventInput, &str)]) {
    let of = |input| wanted.iter().find(|(it, _)| *it == input).map(|(_, value)| *value);
    if let Some(event) = of(EventInput::Event).and_then(|name| name.parse().ok()) {
        sample.event = event;
    }
    let number = |input| of(input).and_then(|value| value.parse::<u64>().ok());
    let short = |input| number(input).and_then(|number| u32::try_from(number).ok());
    if let Some((uid, gid)) = &mut sample.credentials {
        *uid = short(EventInput::Uid).unwrap_or(*uid);
        *gid = short(EventInput::Gid).unwrap_or(*gid);
    }
    if let Some((size, changed)) = &mut sample.attributes {
        *size = number(EventInput::Size).unwrap_or(*size);
        *changed = number(EventInput::Changed).unwrap_or(*changed);
    }
    if let Some(path) = of(EventInput::Path) {
        sample.path = Some(path.as_bytes().to_vec());
        return;
    }
    let (folder, name) = sample.path.as_deref().and_then(split).unwrap_or((b"/", b"object"));
    let folder = of(EventInput::Folder).map_or(folder, str::as_bytes);
    let name = of(EventInput::Name).map_or(name, str::as_bytes);
    let between: &[u8] = if folder == b"/" { b"" } else { b"/" };
    sample.path = Some([folder, between, name].concat());
}
