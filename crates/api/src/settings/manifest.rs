//! An engine's manifest: what the engine is, what it wants to be asked and what it needs for that.

use std::ops::RangeInclusive;
use std::path::{self, Path, PathBuf};

use crate::catalogue::{Event, EventSet};
use crate::content::Interprets;
use crate::coverage::Level;
use crate::key::EngineName;
use crate::settings::error::{Place, Problem, SettingsErrors, is_printable, quoted};
use crate::settings::file;
use crate::settings::filter::{self, Filter};
use crate::settings::interprets;
use crate::settings::keys::{self, Field};
use crate::settings::reader::{Report, Section};
use crate::verdict::VerdictBasis;

/// What a vendor says about its engine. What the engine is given is the administrator's to decide
/// ([`crate::settings::EngineConfig`]); a manifest only asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// The engine's name, unique on one machine.
    pub name: EngineName,
    /// Who makes it, for people.
    pub vendor: String,
    /// The release, for people and for logs.
    pub version: String,
    /// Versions of the contract that the engine speaks.
    pub contract: RangeInclusive<u32>,
    /// What its verdicts depend on, so whether they may be cached.
    pub verdict: VerdictBasis,
    /// The events it wants to judge or see, in the order of the catalogue; never empty.
    pub events: Vec<Subscription>,
    /// What of the events that it is told of it wants to be told.
    pub filters: Vec<Filter>,
    /// What it wants to know about each event besides its number.
    pub fields: Fields,
    /// Whether it wants to read the object's content.
    pub content: bool,
    /// Paths of this machine that it wants in its root, read-only.
    pub read: Vec<PathBuf>,
    /// Its program: absolute if written so, else below `folder`.
    pub program: PathBuf,
    /// The program's arguments, without its name.
    pub arguments: Vec<String>,
    /// What it may use.
    pub limits: Limits,
    /// The content that it reads, if it reads any.
    pub interprets: Option<Interprets>,
    /// The folder that the manifest lies in.
    pub folder: PathBuf,
}

/// One event that an engine subscribes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Which event.
    pub event: Event,
    /// How it must be answered for the engine to do its work.
    pub needs: Need,
    /// What the engine can still work with where the machine gives less; always weaker than `needs`.
    /// Without it the engine does not dock on such a machine.
    pub degrade_to: Option<Need>,
}

/// How an event must be answered, from weakest to strongest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Need {
    /// The engine is told of it.
    Notify,
    /// A rule decides it.
    Rule,
    /// The engine is asked.
    Ask,
}

/// What an engine wants to know about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fields {
    /// The object's path.
    pub path: bool,
    /// The subject's user and group.
    pub credentials: bool,
    /// The object's size, owner, permissions and times.
    pub attributes: bool,
    /// What the event carries besides subject and object: [`crate::attribute::arguments`], and the address
    /// of an endpoint.
    pub arguments: bool,
}

/// What an engine may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// Threads at a time.
    pub threads: u32,
    /// Open descriptors at a time.
    pub descriptors: u32,
    /// Longest time from its start until it is docked.
    pub start_ms: u32,
    /// How often it must give a sign of life.
    pub heartbeat_ms: u32,
    /// Longest time without a sign of life or an answer before it counts as hung.
    pub hang_ms: u32,
}

impl Need {
    /// The least that the machine must give of an event.
    pub const fn level(self) -> Level {
        match self {
            Self::Notify => Level::Notify,
            Self::Rule => Level::Rule,
            Self::Ask => Level::Ask,
        }
    }

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Rule => "rule",
            Self::Ask => "ask",
        }
    }
}

impl Manifest {
    /// The events that it wants to be asked about.
    pub fn asked(&self) -> EventSet {
        let asked = self.events.iter().filter(|subscription| subscription.needs == Need::Ask);
        asked.map(|subscription| subscription.event).collect()
    }

    /// Whether it wants to be told of an event, if only where it cannot be asked about it.
    pub fn may_be_told(&self) -> bool {
        self.events.iter().any(may_be_told)
    }

    /// Reads the manifest `text`, which came from `file`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, up to [`crate::settings::ERRORS_MAX`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsErrors> {
        Self::parse_placed(text, file).map(|(manifest, _)| manifest)
    }

    /// Reads the manifest in `file`. Its `folder` and `program` are absolute.
    ///
    /// # Errors
    ///
    /// As [`Manifest::parse`], and if the file cannot be read, is too long or is not UTF-8.
    pub fn read(file: &Path) -> Result<Self, SettingsErrors> {
        Self::read_placed(file).map(|(manifest, _)| manifest)
    }

    /// Reads the manifest in `file`, and tells where its name stands.
    pub(super) fn read_placed(file: &Path) -> Result<(Self, Place), SettingsErrors> {
        let text = file::load(file)?;
        let absolute = path::absolute(file)
            .map_err(|error| SettingsErrors::whole(file, Problem::Unreadable(error.to_string())))?;
        Self::parse_placed(&text, &absolute)
    }

    fn parse_placed(text: &str, file: &Path) -> Result<(Self, Place), SettingsErrors> {
        let document = file::document(text, file)?;
        let report = Report::new(file, text);
        let top = Section::top(&report, &document, &keys::MANIFEST_TOP, keys::MANIFEST);
        let folder = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let read = read_manifest(&top, folder);
        let read = read.map(|(manifest, offset)| (manifest, report.place(offset)));
        report.finish(read)
    }
}

/// The manifest, and where its name stands in the file; `None` if something that must be there is
/// not, which is then reported.
fn read_manifest(top: &Section<'_>, folder: PathBuf) -> Option<(Manifest, usize)> {
    let name = top.checked(&keys::NAME, |text| text.parse::<EngineName>().ok());
    let vendor = top.checked(&keys::VENDOR, label);
    let version = top.checked(&keys::VERSION, label);
    let contract = top.checked(&keys::CONTRACT, |text| versions(text, keys::CONTRACT_MAX));
    let verdict = top.chosen(&keys::VERDICT);
    let entry = top.section(&keys::ENTRY, &keys::MANIFEST_ENTRY, keys::MANIFEST);
    let program = entry.path(&keys::PROGRAM);
    let arguments = entry.arguments(&keys::ARGUMENTS);
    let events = read_events(top);
    let told = events.iter().filter(|it| may_be_told(it)).map(|it| it.event).collect();
    let filters = filter::read(top, told);
    let needs = top.section(&keys::NEEDS, &keys::MANIFEST_NEEDS, keys::MANIFEST);
    let fields = needs.words(&keys::FIELDS, keys::FIELD_WORDS);
    let content = needs.flag(&keys::NEEDS_CONTENT);
    let read = needs.paths(&keys::READ);
    let limits = read_limits(top);
    let fields = Fields {
        path: fields.contains(&Field::Path),
        credentials: fields.contains(&Field::Credentials),
        attributes: fields.contains(&Field::Attributes),
        arguments: fields.contains(&Field::Arguments),
    };
    let interprets = interprets::read(top, fields);
    let (name, place) = name?;
    let manifest = Manifest {
        name,
        vendor: vendor?.0,
        version: version?.0,
        contract: contract?.0,
        verdict: verdict?,
        events,
        filters,
        fields,
        content,
        read,
        program: folder.join(program?),
        arguments,
        limits,
        interprets,
        folder,
    };
    Some((manifest, place))
}

fn read_events(top: &Section<'_>) -> Vec<Subscription> {
    let Some(value) = top.value(&keys::EVENTS) else {
        top.missing(&keys::EVENTS);
        return Vec::new();
    };
    if value.is_empty_table() {
        let suggestion = Some("write `[events.\"file.open\"]` and `needs = \"ask\"`".to_owned());
        value.refuse(|| (Problem::Empty, suggestion));
    }
    let sections = top.events(&keys::EVENTS, |_| true, &keys::MANIFEST_EVENT, keys::MANIFEST);
    sections.iter().filter_map(|(event, section)| read_subscription(*event, section)).collect()
}

/// Whether the engine may come to be told of the event.
fn may_be_told(subscription: &Subscription) -> bool {
    let Subscription { needs, degrade_to, .. } = *subscription;
    needs == Need::Notify || degrade_to == Some(Need::Notify)
}

fn read_subscription(event: Event, section: &Section<'_>) -> Option<Subscription> {
    let needs = section.chosen(&keys::EVENT_NEEDS);
    let degrade_to = section.chosen(&keys::DEGRADE_TO);
    let needs: Need = needs?;
    if !event.strongest().reaches(needs.level()) {
        refuse_need(event, needs, section);
    }
    if degrade_to.is_some_and(|weaker| weaker >= needs) {
        let what = "must be weaker than `needs`: \"ask\", then \"rule\", then \"notify\"";
        section.conflict(&keys::DEGRADE_TO, what.to_owned());
    }
    Some(Subscription { event, needs, degrade_to })
}

/// Reports that no kernel gives `event` as strongly as `needs` says.
fn refuse_need(event: Event, needs: Need, section: &Section<'_>) {
    let Some(value) = section.value(&keys::EVENT_NEEDS) else { return };
    value.refuse(|| {
        let given = quoted(Need::Notify.name());
        let allowed = format!("{given}, since {event} is told after it happened");
        let suggestion = value.assignment(&given);
        (Problem::NotAllowed { found: quoted(needs.name()), allowed }, Some(suggestion))
    });
}

fn read_limits(top: &Section<'_>) -> Limits {
    let section = top.section(&keys::LIMITS, &keys::MANIFEST_LIMITS, keys::MANIFEST);
    let limits = Limits {
        memory_bytes: section.long(&keys::MEMORY_BYTES),
        threads: section.number(&keys::THREADS),
        descriptors: section.number(&keys::DESCRIPTORS),
        start_ms: section.number(&keys::START_MS),
        heartbeat_ms: section.number(&keys::HEARTBEAT_MS),
        hang_ms: section.number(&keys::HANG_MS),
    };
    if limits.hang_ms <= limits.heartbeat_ms {
        let Limits { hang_ms, heartbeat_ms, .. } = limits;
        let what = format!("{hang_ms} ms must be more than `heartbeat_ms`, {heartbeat_ms} ms");
        section.conflict(&keys::HANG_MS, what);
    }
    limits
}

/// `text`, if it can stand in a log line.
fn label(text: &str) -> Option<String> {
    let fits = (1..=keys::LABEL_MAX).contains(&text.chars().count());
    (fits && text.chars().all(is_printable)).then(|| text.to_owned())
}

/// The versions in `1` or `1-2`, none over `max`.
pub(super) fn versions(text: &str, max: u32) -> Option<RangeInclusive<u32>> {
    let version = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| (1..=max).contains(number));
        if digits { number } else { None }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (version(first)?, version(last)?);
    (first <= last).then_some(first..=last)
}
