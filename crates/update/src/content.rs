//! Content: rules or signatures, released apart from the code that interprets them.
//!
//! A release of content is typed by a schema with a version, and says for which versions of its engine's
//! code it is; the code's manifest says which content it takes and which inputs it supplies. Both are held
//! against each other here ([`compatible`]), and every file against its schema ([`check`]), before any
//! interpreter sees a byte. `docs/reference/content.md` is the page for whoever writes content.
//!
//! What is checked here is the form. Whether a YARA rule compiles, only YARA can tell, and it tells in the
//! engine's sandbox ([`crate::preflight`]): no vendor's parser is linked into the trusted side.
//!
//! Threat position: a folder of a slot. Its files were signed, so they are a vendor's, not anybody's; they
//! are parsed as if they were anybody's. Everything is read with limits, in bounded memory, and no byte
//! makes a parser panic (`fuzz/src/content.rs`).

pub mod error;
mod folder;
pub mod hashlist;
pub mod input;
pub mod rules;
pub mod samples;
pub mod table;
pub mod variants;
pub mod yara;

use std::path::Path;

use outrigger_api::ContentType;
use outrigger_api::settings::{ContentHead, Manifest};
use semver::{Version, VersionReq};

pub use error::{ContentError, ContentErrors, Fault};
use folder::Folder;
pub use hashlist::Lists;
pub use rules::RuleTexts;
pub use table::{Cell, Instance, Table};
pub use yara::RuleFiles;

/// What a release of content says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// The type.
    pub kind: ContentType,
    /// The version of the type's schema.
    pub schema: u32,
    /// The versions of the engine's code that it is for.
    pub interpreter: VersionReq,
}

/// The code that is to interpret content.
#[derive(Debug, Clone, Copy)]
pub struct Code<'a> {
    /// The version of its release.
    pub version: &'a Version,
    /// Its manifest.
    pub manifest: &'a Manifest,
}

impl From<&ContentHead> for Declaration {
    fn from(head: &ContentHead) -> Self {
        let ContentHead { kind, schema, ref interpreter } = *head;
        Self { kind, schema, interpreter: interpreter.clone() }
    }
}

/// Why this code does not take this content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// The content is for other versions of the code.
    #[error("the content is for {engine} {wanted}, and the code is {engine} {found}")]
    Version {
        /// The engine's name.
        engine: String,
        /// What the content asks for.
        wanted: String,
        /// The code's version.
        found: String,
    },
    /// The code reads no content.
    #[error("{engine} {found} reads no content: its manifest has no `[content]`")]
    ReadsNone {
        /// The engine's name.
        engine: String,
        /// The code's version.
        found: String,
    },
    /// The code reads content of another type.
    #[error("the content is of the type {offered}, and {engine} {found} reads {read}")]
    Type {
        /// The engine's name.
        engine: String,
        /// The code's version.
        found: String,
        /// The content's type.
        offered: ContentType,
        /// The type that the code reads.
        read: ContentType,
    },
    /// The code reads other versions of the schema.
    #[error(
        "the content is of schema {offered} of {kind}, and {engine} {found} reads {first} to {last}"
    )]
    Schema {
        /// The engine's name.
        engine: String,
        /// The code's version.
        found: String,
        /// The type.
        kind: ContentType,
        /// The content's schema.
        offered: u32,
        /// The first that the code reads.
        first: u32,
        /// The last that it reads.
        last: u32,
    },
    /// This build of Outrigger cannot check the schema.
    #[error(
        "the content is of schema {offered} of {kind}, and this Outrigger checks {first} to {last}: \
         update Outrigger first"
    )]
    Unchecked {
        /// The type.
        kind: ContentType,
        /// The content's schema.
        offered: u32,
        /// The first that is checked.
        first: u32,
        /// The last that is checked.
        last: u32,
    },
}

/// Whether `code` takes content that says `declared` of itself.
///
/// # Errors
///
/// The first thing by which they do not fit, with both sides' versions.
pub fn compatible(declared: &Declaration, code: Code<'_>) -> Result<(), Incompatible> {
    let Declaration { kind, schema: offered, ref interpreter } = *declared;
    let (engine, found) = (code.manifest.name.to_string(), code.version.to_string());
    if !interpreter.matches(code.version) {
        return Err(Incompatible::Version { engine, wanted: interpreter.to_string(), found });
    }
    let Some(interprets) = &code.manifest.interprets else {
        return Err(Incompatible::ReadsNone { engine, found });
    };
    if interprets.kind != kind {
        return Err(Incompatible::Type { engine, found, offered: kind, read: interprets.kind });
    }
    if !interprets.schema.contains(&offered) {
        let (first, last) = (*interprets.schema.start(), *interprets.schema.end());
        return Err(Incompatible::Schema { engine, found, kind, offered, first, last });
    }
    let checked = kind.schemas();
    if !checked.contains(&offered) {
        let (first, last) = (*checked.start(), *checked.end());
        return Err(Incompatible::Unchecked { kind, offered, first, last });
    }
    Ok(())
}

/// Content whose form was found to be right. Only [`check`] makes one.
#[derive(Debug)]
pub struct Content {
    kind: ContentType,
    body: Body,
    rules: RuleTexts,
    ignored: Vec<String>,
}

/// Content by its type.
#[derive(Debug)]
pub enum Body {
    /// Hash lists.
    Hashlist(Lists),
    /// YARA rules.
    Yara(RuleFiles),
    /// Pattern tables.
    Table(Vec<Table>),
    /// Nothing besides the rules for the platform.
    Rules,
}

impl Content {
    /// Its type.
    pub fn kind(&self) -> ContentType {
        self.kind
    }

    /// What is in it.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The rules for the platform, which content of any type may have.
    pub fn rules(&self) -> &RuleTexts {
        &self.rules
    }

    /// Files of the folder that no interpreter of this type reads, by name: a list that is called
    /// `bad.den` would be missing without a word.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// How many files are read.
    pub fn files(&self) -> usize {
        match &self.body {
            Body::Hashlist(lists) => lists.files,
            Body::Yara(rules) => rules.files,
            Body::Table(tables) => tables.len(),
            Body::Rules => self.rules.files.len(),
        }
    }

    /// How many entries, rules or instances there are; of rules, those that could be named.
    pub fn instances(&self) -> usize {
        match &self.body {
            Body::Hashlist(lists) => lists.denied + lists.allowed,
            Body::Yara(rules) => rules.rules.len(),
            Body::Table(tables) => tables.iter().map(|table| table.instances.len()).sum(),
            // How many each file has is found out when they are read.
            Body::Rules => self.rules.files.len(),
        }
    }
}

/// Reads the content of the type `kind` in `folder`, and holds it against its schema and, for a table,
/// against the inputs that `code` supplies.
///
/// # Errors
///
/// Everything that is wrong, up to [`error::ERRORS_MAX`], each with file and line.
pub fn check(folder: &Path, kind: ContentType, code: Code<'_>) -> Result<Content, ContentErrors> {
    let folder = Folder::list(folder, extensions(kind))?;
    let mut errors = ContentErrors::default();
    let interpreted = if kind == ContentType::Rules { &folder.rules } else { &folder.files };
    if interpreted.is_empty() {
        errors.add(ContentError::whole(".", Fault::Nothing { extensions: extensions(kind) }));
        return Err(errors);
    }
    let body = match kind {
        ContentType::Hashlist => hashlist::read(&folder).map(Body::Hashlist),
        ContentType::Yara => yara::read(&folder).map(Body::Yara),
        ContentType::Table => table::read(&folder).map(Body::Table),
        ContentType::Rules => Ok(Body::Rules),
        // Refused by `compatible` already: this build knows no schema of it.
        _ => Err(ContentErrors::from(ContentError::whole(".", Fault::Type(kind)))),
    }?;
    if let Body::Table(tables) = &body {
        table::supplied(tables, code, &mut errors);
    }
    let rules = match rules::read(&folder) {
        Ok(rules) => rules,
        Err(wrong) => {
            wrong.errors().iter().for_each(|error| errors.add(error.clone()));
            RuleTexts::default()
        }
    };
    errors.finish(Content { kind, body, rules, ignored: folder.ignored })
}

/// The endings of the file names that interpreters of `kind` read.
fn extensions(kind: ContentType) -> &'static [&'static str] {
    match kind {
        ContentType::Hashlist => &["deny", "allow"],
        ContentType::Yara => &["yar", "yara"],
        ContentType::Table => &["table"],
        ContentType::Rules => &[rules::EXTENSION],
        _ => &[],
    }
}

#[cfg(test)]
pub(crate) mod tests;
