//! Variants of content: what else it could say, and events that put the question.
//!
//! For a table: each field of each instance once with a value and once with a wildcard. The fault of July
//! 2024 was a field that had only ever held wildcards; the first value in it read memory that was not
//! there. A [`Trial`] is one field in one of the two ways, in a table of its own, with events that match
//! its instances and others that nearly do.
//!
//! For hash lists: a list with an object that is listed, one that is not, and one that is lifted by an
//! allow list. For YARA rules nothing can be made up; [`crate::content::samples`] are what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::settings::Manifest;
use outrigger_api::{Event, EventInput};
use sha2::{Digest as _, Sha256};

use crate::content::input;
use crate::content::{Cell, Instance, Lists, Table};

/// Most instances of one table that are varied, spread evenly over it.
pub const INSTANCES_MAX: usize = 512;
/// The object that every made-up event is about.
pub const OBJECT: &[u8] = b"outrigger preflight\n";
const PATH: &[u8] = b"/outrigger/preflight/object";
/// The name of the instance that has a value in one field alone.
const ALONE: &str = "made-up-by-preflight";
/// The value in a field that no instance has one in.
const MADE_UP: &str = "outrigger-preflight";

/// How a field is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// With a value.
    Specific,
    /// With a wildcard.
    Wildcard,
}

/// One field of a table, tried in one way.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The column, from one.
    pub column: usize,
    /// Its name.
    pub field: String,
    /// In which way.
    pub how: How,
    /// The table that the interpreter is started on.
    pub table: Table,
    /// What it is asked then.
    pub questions: Vec<Question>,
}

/// A made-up event.
#[derive(Debug, Clone)]
pub struct Question {
    /// The event.
    pub sample: Sample,
    /// The object's bytes.
    pub bytes: &'static [u8],
    /// Which instance of the trial's table it was made for, from zero.
    pub instance: usize,
    /// What the content says of it, where that is certain.
    pub expected: Option<Expected>,
}

/// What content says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Denied.
    Denied,
    /// Anything but denied.
    NotDenied,
}

impl How {
    /// For the report: `with a value`.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Specific => "with a value",
            Self::Wildcard => "with a wildcard",
        }
    }
}

/// The trials of `table`: every field with a value first, since that is what fails.
pub fn trials<'a>(
    table: &'a Table,
    manifest: &'a Manifest,
) -> impl Iterator<Item = Trial> + use<'a> {
    let each = |how| (0..table.columns.len()).map(move |column| (column, how));
    each(How::Specific)
        .chain(each(How::Wildcard))
        .filter_map(move |(column, how)| trial(table, column, how, manifest))
}

/// How many trials `table` has at most.
pub fn trials_of(table: &Table) -> usize {
    2 * table.columns.len()
}

/// `None` if there is nothing to try: a table of one column, which cannot be all wildcards.
fn trial(table: &Table, column: usize, how: How, manifest: &Manifest) -> Option<Trial> {
    let in_use = |at: usize| table.instances.iter().find_map(|it| it.cells[at].value());
    let value = |at: usize| {
        let made_up = || made_up(&table.columns[at], manifest);
        Cell::Value(in_use(at).map_or_else(made_up, str::to_owned))
    };
    let changed = match how {
        How::Specific => value(column),
        How::Wildcard => Cell::Any,
    };
    let step = table.instances.len().div_ceil(INSTANCES_MAX).max(1);
    let mut instances: Vec<Instance> = Vec::new();
    for instance in table.instances.iter().step_by(step) {
        let mut varied = instance.clone();
        if how == How::Wildcard || varied.cells[column] == Cell::Any {
            varied.cells[column] = changed.clone();
        }
        instances.push(varied);
    }
    // Last, since one that matches much could keep the others from being looked at.
    let alone = (0..table.columns.len()).map(|at| match how {
        How::Specific if at == column => changed.clone(),
        How::Wildcard if at != column => value(at),
        _ => Cell::Any,
    });
    instances.push(Instance { name: ALONE.to_owned(), line: table.line, cells: alone.collect() });
    instances.retain(|instance| instance.cells.iter().any(|cell| *cell != Cell::Any));
    if instances.is_empty() {
        return None;
    }
    let table = Table { instances, ..table.clone() };
    let questions = questions(&table, manifest);
    let field = table.columns[column].clone();
    Some(Trial { column: column + 1, field, how, table, questions })
}

/// A value for the column `name`, which no instance has one in.
fn made_up(name: &str, manifest: &Manifest) -> String {
    match EventInput::of(name) {
        Some(input) => {
            let value = input::value(input, &event(manifest));
            value.map_or_else(String::new, |value| String::from_utf8_lossy(&value).into_owned())
        }
        None => MADE_UP.to_owned(),
    }
}

/// The events for `table`: for each instance one that it matches, as far as the event's own inputs can
/// say so, and one that it nearly matches.
pub fn questions(table: &Table, manifest: &Manifest) -> Vec<Question> {
    let mut questions = Vec::with_capacity(2 * table.instances.len());
    for (at, instance) in table.instances.iter().enumerate() {
        let cells = table.columns.iter().zip(&instance.cells);
        let specific: Vec<(&String, &str)> =
            cells.filter_map(|(name, cell)| Some((name, cell.value()?))).collect();
        let wanted: Vec<(EventInput, &str)> = specific
            .iter()
            .filter_map(|(name, value)| Some((EventInput::of(name)?, *value)))
            .collect();
        let mut sample = event(manifest);
        input::give(&mut sample, &wanted);
        let holds = |(input, want): &(EventInput, &str)| {
            input::value(*input, &sample).as_deref() == Some(want.as_bytes())
        };
        // An input that the engine derives by itself is known to nobody here.
        let certain = wanted.len() == specific.len() && wanted.iter().all(holds);
        let expected = certain.then_some(Expected::Denied);
        let question =
            |sample, expected| Question { sample, bytes: OBJECT, instance: at, expected };
        if let Some(&(input, _)) = wanted.first() {
            questions.push(question(near(&sample, input, manifest), None));
        }
        questions.push(question(sample, expected));
    }
    questions
}

/// `sample` with another value of `input`.
fn near(sample: &Sample, input: EventInput, manifest: &Manifest) -> Sample {
    let mut near = sample.clone();
    match input {
        EventInput::Event => {
            let asked = manifest.asked();
            near.event = asked.iter().find(|it| *it != sample.event).unwrap_or(sample.event);
        }
        EventInput::Path | EventInput::Folder | EventInput::Name => {
            if let Some(path) = &mut near.path {
                path.extend_from_slice(b"_");
            }
        }
        EventInput::Uid => near.credentials = near.credentials.map(|(uid, gid)| (uid ^ 1, gid)),
        EventInput::Gid => near.credentials = near.credentials.map(|(uid, gid)| (uid, gid ^ 1)),
        EventInput::Size => near.attributes = near.attributes.map(|(size, at)| (size ^ 1, at)),
        EventInput::Changed => near.attributes = near.attributes.map(|(size, at)| (size, at ^ 1)),
    }
    near
}

/// An event that the engine of `manifest` is asked about, of a file that there is not.
fn event(manifest: &Manifest) -> Sample {
    let event = manifest.asked().iter().next().unwrap_or(Event::FileOpen);
    about(event, OBJECT)
}

fn about(event: Event, bytes: &[u8]) -> Sample {
    let size = bytes.len() as u64;
    Sample {
        event,
        credentials: Some((0, 0)),
        path: Some(PATH.to_vec()),
        attributes: Some((size, 0)),
        content: Ok(Digest { size, sha256: Sha256::digest(bytes).into() }),
        standing: Standing::default(),
        answer: None,
    }
}

/// An event about the object in `file`, which is called `name` in its release.
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn of_file(event: Event, file: &File, name: &str) -> io::Result<Sample> {
    let mut hasher = Sha256::new();
    let (mut buffer, mut size) = (vec![0; 64 << 10], 0);
    loop {
        match file.read_at(&mut buffer, size)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                size += read as u64;
            }
        }
    }
    let mut sample = about(event, b"");
    sample.path = Some(format!("/outrigger/preflight/{name}").into_bytes());
    sample.attributes = Some((size, 0));
    sample.content = Ok(Digest { size, sha256: hasher.finalize().into() });
    Ok(sample)
}

/// Writes `table` as the only content of the empty folder `folder`.
///
/// # Errors
///
/// What the file system gives.
pub fn write_table(folder: &Path, table: &Table) -> io::Result<()> {
    let mut text = format!("columns\t{}\n", table.columns.join("\t"));
    for instance in &table.instances {
        text.push_str(&instance.name);
        for cell in &instance.cells {
            write!(text, "\t{}", cell.written()).map_err(io::Error::other)?;
        }
        text.push('\n');
    }
    write(folder, "preflight.table", &text)
}

/// Writes lists like `lists` into the empty folder `folder`, with two entries of their own; the questions
/// to put then.
///
/// # Errors
///
/// What the file system gives.
pub fn write_lists(folder: &Path, lists: &Lists, manifest: &Manifest) -> io::Result<Vec<Question>> {
    const LIFTED: &[u8] = b"outrigger preflight: listed and lifted\n";
    const UNLISTED: &[u8] = b"outrigger preflight: not listed\n";
    let line = |hash: [u8; 32]| format!("{}\n", hex::encode(hash));
    let own = |bytes: &[u8]| line(Sha256::digest(bytes).into());
    let mut denied: String = lists.entries.iter().map(|hash| line(*hash)).collect();
    denied += &own(OBJECT);
    denied += &own(LIFTED);
    write(folder, "preflight.deny", &denied)?;
    write(folder, "preflight.allow", &own(LIFTED))?;
    let events: BTreeSet<Event> = manifest.asked().iter().collect();
    let mut questions = Vec::new();
    for event in events {
        for (bytes, expected) in [
            (OBJECT, Expected::Denied),
            (UNLISTED, Expected::NotDenied),
            (LIFTED, Expected::NotDenied),
        ] {
            let sample = about(event, bytes);
            questions.push(Question { sample, bytes, instance: 0, expected: Some(expected) });
        }
    }
    Ok(questions)
}

/// Writes a file that the engine, whoever it runs as, can read.
fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    let file = folder.join(name);
    fs::write(&file, text)?;
    fs::set_permissions(&file, Permissions::from_mode(0o644))
}
