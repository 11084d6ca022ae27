//! A sample as the question that an engine reads: what the host would have told it, and no more.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use outrigger_api::record::{ContentAbsent, EventHeader, present};
use outrigger_api::sample::Sample;
use outrigger_api::settings::{ContentGrant, EngineConfig, EngineSource, Manifest};
use outrigger_api::{CaseId, Mode};
use zerocopy::FromZeros as _;

use super::NotAsked;
use crate::happening::EngineSpec;

/// How often the engine is asked for a sign of life, ms: it also tells when it is done with a question
/// that it lets pass.
const HEARTBEAT_MS: u32 = 100;

/// The engine of `manifest` as a replay starts it: asked about all that it can be asked about, with all
/// content granted that it asks for, its content folder at `content_dir`.
pub fn spec(manifest: Manifest, content_dir: Option<PathBuf>) -> EngineSpec {
    let events = manifest.asked().iter().filter(|event| event.can_be_asked()).collect();
    let config = EngineConfig {
        source: EngineSource::Manifest(manifest.folder.clone()),
        required: true,
        mode: Mode::Enforce,
        content: if manifest.content { ContentGrant::All } else { ContentGrant::None },
        content_dir,
        uid: None,
        misses_max: u32::MAX,
        miss_window_ms: 1000,
        restarts_max: 0,
        restart_window_ms: 600_000,
        backoff_ms: 0,
        backoff_max_ms: 0,
    };
    EngineSpec { manifest, config, events }
}

/// As `spec`, but no restart comes by itself: the replay decides on each.
pub(super) fn patient(mut spec: EngineSpec) -> EngineSpec {
    spec.config.restarts_max = 0;
    let limits = &mut spec.manifest.limits;
    limits.heartbeat_ms = limits.heartbeat_ms.min(HEARTBEAT_MS);
    spec
}

/// Whether the engine gets descriptors of content.
pub(super) fn reads_content(spec: &EngineSpec) -> bool {
    spec.manifest.content && spec.config.content != ContentGrant::None
}

/// Why the engine cannot be asked about `sample` as the host would have asked it.
pub(super) fn refusal(
    spec: &EngineSpec,
    sample: &Sample,
    content: Option<&OwnedFd>,
) -> Option<NotAsked> {
    if !spec.events.contains(&sample.event) {
        return Some(NotAsked::NotSubscribed);
    }
    let lacking = granted(spec, sample).is_ok() && content.is_none();
    lacking.then_some(NotAsked::NoContent)
}

/// Whether the question comes with a descriptor.
pub(super) fn has_content(header: &EventHeader) -> bool {
    header.present.get() & present::CONTENT != 0
}

/// The question's fixed part.
pub(super) fn header(
    spec: &EngineSpec,
    sample: &Sample,
    case: CaseId,
    now: u64,
    deadline: u64,
) -> EventHeader {
    let fields = spec.manifest.fields;
    let mut header = EventHeader::new_zeroed();
    let mut bits = present::FILE;
    header.event = sample.event.number().into();
    header.case = case.get().into();
    header.host_time = now.into();
    header.deadline = deadline.into();
    header.file = file_key(sample);
    if let Some((uid, gid)) = sample.credentials.filter(|_| fields.credentials) {
        header.uid = uid.into();
        header.gid = gid.into();
        bits |= present::CREDENTIALS;
    }
    // One that gets content gets the size as well.
    if let Some((size, changed)) =
        sample.attributes.filter(|_| fields.attributes || reads_content(spec))
    {
        header.size = size.into();
        header.changed = changed.into();
        bits |= present::ATTRIBUTES;
    }
    match granted(spec, sample) {
        Ok(()) => bits |= present::CONTENT,
        Err(absent) => header.content_absent = absent as u8,
    }
    header.present = bits.into();
    header
}

/// The path, if the engine wants to know it.
pub(super) fn path<'a>(spec: &EngineSpec, sample: &'a Sample) -> Option<&'a [u8]> {
    sample.path.as_deref().filter(|_| spec.manifest.fields.path)
}

/// Whether the engine may read the sample's content.
fn granted(spec: &EngineSpec, sample: &Sample) -> Result<(), ContentAbsent> {
    if !reads_content(spec) {
        return Err(ContentAbsent::NotGranted);
    }
    if let ContentGrant::Paths(trees) = &spec.config.content {
        let path = sample.path.as_deref().map(|path| Path::new(std::ffi::OsStr::from_bytes(path)));
        if !path.is_some_and(|path| trees.iter().any(|tree| path.starts_with(tree))) {
            return Err(ContentAbsent::NotGranted);
        }
    }
    sample.content.map(|_| ())
}

/// A key that is the same in every replay and another for each object: of its path and its content. No
/// secret, and nobody gains by making two alike but a recording of his own.
fn file_key(sample: &Sample) -> [u8; 32] {
    let mut hasher = DefaultHasher::new();
    sample.path.hash(&mut hasher);
    let mut key = [0; 32];
    if let Ok(digest) = &sample.content {
        key = digest.sha256;
    }
    key[..8].copy_from_slice(&hasher.finish().to_le_bytes());
    key
}
