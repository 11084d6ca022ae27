//! The memory of poisoned objects, as it is kept for the next host: one line of JSON per engine.
//!
//! What is taken up again is only what still holds: of an engine of the same name and version, and as long
//! as it docks with the content that it had. A host that ends between a crash and its note forgets that one
//! crash; nothing more.
//!
//! Input: a file of the host's own. It is bounded by [`Keepsakes`](super::keepsakes::Keepsakes), and a line
//! that is none is left out and told.

use outrigger_api::settings::Manifest;
use outrigger_api::{EngineName, FailureReason, FileKey};
use outrigger_decision::EngineIndex;
use outrigger_decision::poison::{OBJECTS_MAX, Object, Poison, Row};
use serde::{Deserialize, Serialize};

/// Of which content each engine's memory is, by its place; `None` once that was looked at, or nobody knows.
pub(crate) type Contents = Vec<Option<String>>;

/// What is kept of one engine.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    engine: EngineName,
    version: String,
    /// What it said of the content by which it judged.
    content: Option<String>,
    objects: Vec<KeptObject>,
}

#[derive(Debug, Serialize, Deserialize)]
struct KeptObject {
    file: String,
    /// ns since the epoch.
    changed: u64,
    /// Bytes.
    size: u64,
    /// Crashes or hangs.
    times: u32,
    reason: FailureReason,
}

/// What is remembered of each engine, by its place: a copy, for [`write`] to take its time with.
pub(crate) fn rows(poison: &Poison, engines: usize) -> Vec<Vec<Row>> {
    let places = (0..engines).map_while(EngineIndex::new);
    places.map(|index| poison.rows(index).collect()).collect()
}

/// What is to be kept; `contents` are what the engines say of theirs.
pub(crate) fn write(rows: Vec<Vec<Row>>, manifests: &[Manifest], contents: &Contents) -> Vec<u8> {
    let mut text = Vec::new();
    for ((rows, manifest), content) in rows.into_iter().zip(manifests).zip(contents) {
        let objects: Vec<KeptObject> = rows.into_iter().map(KeptObject::from).collect();
        if objects.is_empty() {
            continue;
        }
        let kept = Kept {
            engine: manifest.name.clone(),
            version: manifest.version.clone(),
            content: content.clone(),
            objects,
        };
        // Only a map with keys that are no text cannot be written.
        if serde_json::to_writer(&mut text, &kept).is_ok() {
            text.push(b'\n');
        }
    }
    text
}

/// Takes up what `text` says of engines that there are, into `poison`.
pub(crate) fn read(text: &str, manifests: &[Manifest], poison: &mut Poison) -> Contents {
    let mut contents = vec![None; manifests.len()];
    for line in text.lines() {
        let kept: Kept = match serde_json::from_str(line) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(%error, "a line of what was kept of poisoned objects is left out");
                continue;
            }
        };
        let of =
            |manifest: &Manifest| manifest.name == kept.engine && manifest.version == kept.version;
        let Some(place) = manifests.iter().position(of) else { continue };
        let Some(index) = EngineIndex::new(place) else { continue };
        let objects = kept.objects.iter().take(OBJECTS_MAX);
        poison.restore(index, objects.filter_map(KeptObject::row));
        contents[place] = kept.content;
    }
    contents
}

impl KeptObject {
    /// `None` if it names no file.
    fn row(&self) -> Option<Row> {
        let file: FileKey = self.file.parse().ok()?;
        let object = Object { file, changed: self.changed, size: self.size };
        Some(Row { object, times: self.times, reason: self.reason })
    }
}

impl From<Row> for KeptObject {
    fn from(Row { object: Object { file, changed, size }, times, reason }: Row) -> Self {
        Self { file: file.to_string(), changed, size, times, reason }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const CRASH: FailureReason = FailureReason::EngineCrashed;

    fn manifest(name: &str, version: &str) -> Manifest {
        let text = format!(
            "name = \"{name}\"\nvendor = \"V\"\nversion = \"{version}\"\ncontract = \"1\"\n\
             verdict = \"content\"\n[entry]\nprogram = \"p\"\n[events.\"file.open\"]\nneeds = \"ask\"\n"
        );
        Manifest::parse(&text, Path::new("m.toml")).expect("a manifest")
    }

    fn engine(place: usize) -> EngineIndex {
        EngineIndex::new(place).expect("below the limit")
    }

    fn object(size: u64) -> Object {
        Object { file: FileKey([0xa7; 32]), changed: u64::MAX, size }
    }

    /// What the next host has kept of `scan`, whose place is 1, of one object noted twice and one once.
    fn kept() -> String {
        let mut poison = Poison::default();
        for object in [object(1), object(1), object(2)] {
            poison.note(engine(1), object, CRASH);
        }
        let manifests = [manifest("other", "1"), manifest("scan", "1.0")];
        let text = write(rows(&poison, 2), &manifests, &vec![None, Some("12 deny".to_owned())]);
        String::from_utf8(text).expect("JSON is text")
    }

    #[test]
    fn what_one_host_noted_the_next_one_knows() {
        let mut poison = Poison::default();

        let contents = read(&kept(), &[manifest("scan", "1.0")], &mut poison);

        assert_eq!(contents, [Some("12 deny".to_owned())]);
        assert!(poison.is_poisoned(engine(0), &object(1)));
        assert!(!poison.is_poisoned(engine(0), &object(2)));
        assert!(poison.note(engine(0), object(2), CRASH), "its first crash is forgotten");
    }

    #[test]
    fn another_version_or_engine_is_asked_about_everything() {
        let mut poison = Poison::default();

        read(&kept(), &[manifest("scan", "1.1"), manifest("scanner", "1.0")], &mut poison);

        assert_eq!([poison.count(engine(0)), poison.count(engine(1))], [0, 0]);
    }

    #[test]
    fn a_line_that_is_none_costs_no_other() {
        let mut poison = Poison::default();
        let good = kept();
        let lines = format!("{}\n\u{fffd}\n{{}}\n{good}", &good[..good.len() / 2]);

        read(&lines, &[manifest("scan", "1.0")], &mut poison);

        assert_eq!(poison.count(engine(0)), 1);
    }

    #[test]
    fn an_engine_without_poisoned_objects_takes_no_line() {
        assert_eq!(
            write(rows(&Poison::default(), 1), &[manifest("scan", "1.0")], &vec![None]),
            b""
        );
    }

    #[test]
    fn the_most_that_is_ever_written_can_be_read() {
        let mut poison = Poison::default();
        for size in 0..OBJECTS_MAX as u64 {
            poison.note(engine(0), object(u64::MAX - size), FailureReason::OutOfMemory);
        }
        let all =
            write(rows(&poison, 1), &[manifest("scan", "1.0")], &vec![Some("x".repeat(1024))]);

        let engines = outrigger_decision::engines::ENGINES_MAX;
        assert!(
            all.len() * engines < super::super::keepsakes::KEPT_MAX,
            "{} bytes each",
            all.len()
        );
    }
}
