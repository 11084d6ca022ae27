//! The part of a manifest that says which content the code reads.

use crate::content::{ContentType, EventInput, Interprets};
use crate::settings::error::Problem;
use crate::settings::keys;
use crate::settings::manifest::{Fields, versions};
use crate::settings::reader::Section;

/// What the table says, if the file has it and it is right; `fields` are those that the code asks for.
pub(super) fn read(top: &Section<'_>, fields: Fields) -> Option<Interprets> {
    top.value(&keys::INTERPRETS)?;
    let section = top.section(&keys::INTERPRETS, &keys::MANIFEST_CONTENT, keys::MANIFEST);
    let kind = section.chosen(&keys::CONTENT_TYPE);
    let schema = section.checked(&keys::CONTENT_SCHEMA, |text| versions(text, keys::SCHEMA_MAX));
    let inputs = section.names(&keys::INPUTS, is_input);
    match kind {
        Some(ContentType::Table) => match section.value(&keys::INPUTS) {
            None => section.missing(&keys::INPUTS),
            Some(value) if value.is_empty_list() => value.refuse(|| (Problem::Empty, None)),
            Some(_) => {}
        },
        Some(ContentType::Hashlist | ContentType::Yara | ContentType::Rules)
            if !inputs.is_empty() =>
        {
            let what = "belongs to content of the type \"table\" alone".to_owned();
            section.conflict(&keys::INPUTS, what);
        }
        _ => {}
    }
    for (input, _) in &inputs {
        if let Some(field) = EventInput::of(input).and_then(field).filter(|it| !it.asked(fields)) {
            let Some(value) = section.value(&keys::INPUTS) else { continue };
            let field = field.name();
            value.refuse(|| {
                let what = format!("`{input}` cannot be supplied without the field \"{field}\"");
                let suggestion = format!("add \"{field}\" to `fields` under `[needs]`");
                (Problem::Conflict(what), Some(suggestion))
            });
        }
    }
    let inputs = inputs.into_iter().map(|(name, _)| name).collect();
    Some(Interprets { kind: kind?, schema: schema?.0, inputs })
}

/// A field of an event.
#[derive(Clone, Copy)]
enum Needed {
    Path,
    Credentials,
    Attributes,
}

impl Needed {
    const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Credentials => "credentials",
            Self::Attributes => "attributes",
        }
    }

    const fn asked(self, fields: Fields) -> bool {
        match self {
            Self::Path => fields.path,
            Self::Credentials => fields.credentials,
            Self::Attributes => fields.attributes,
        }
    }
}

/// The field that an engine must ask for to supply `input`; every engine is told the event.
const fn field(input: EventInput) -> Option<Needed> {
    match input {
        EventInput::Event => None,
        EventInput::Path | EventInput::Folder | EventInput::Name => Some(Needed::Path),
        EventInput::Uid | EventInput::Gid => Some(Needed::Credentials),
        EventInput::Size | EventInput::Changed => Some(Needed::Attributes),
    }
}

fn is_input(text: &str) -> bool {
    let fits = (1..=keys::INPUT_MAX).contains(&text.len());
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    fits && text.bytes().all(letters) && text.as_bytes()[0].is_ascii_lowercase()
}
