//! One sample in a recording: a fixed part and its path.

use outrigger_api::record::{ContentAbsent, PATH_MAX};
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::{Answer, Event};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::RecordingError;

/// Longest body of a sample, in bytes.
pub const SAMPLE_MAX: usize = size_of::<Layout>() + PATH_MAX;

/// The fixed part. What is absent is zero.
#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Layout {
    event: U16,
    /// Bits of [`has`].
    has: U16,
    /// A [`ContentAbsent`] number where there is no content.
    content_absent: u8,
    /// 0 none, 1 allowed, 2 denied.
    answer: u8,
    zero: [u8; 2],
    uid: U32,
    gid: U32,
    size: U64,
    changed: U64,
    content_size: U64,
    content_sha256: [u8; 32],
}

mod has {
    pub(super) const CREDENTIALS: u16 = 1 << 0;
    pub(super) const PATH: u16 = 1 << 1;
    pub(super) const ATTRIBUTES: u16 = 1 << 2;
    pub(super) const CONTENT: u16 = 1 << 3;
    pub(super) const KNOWN_GOOD: u16 = 1 << 4;
    pub(super) const GUARDED: u16 = 1 << 5;
}

/// Puts the body of `sample` behind what `out` holds. A path is cut as in the rings, at 4,096 bytes.
pub fn write(sample: &Sample, out: &mut Vec<u8>) {
    let mut layout = Layout::new_zeroed();
    let mut bits = 0;
    layout.event = sample.event.number().into();
    if let Some((uid, gid)) = sample.credentials {
        bits |= has::CREDENTIALS;
        (layout.uid, layout.gid) = (uid.into(), gid.into());
    }
    if let Some((size, changed)) = sample.attributes {
        bits |= has::ATTRIBUTES;
        (layout.size, layout.changed) = (size.into(), changed.into());
    }
    match sample.content {
        Ok(digest) => {
            bits |= has::CONTENT;
            layout.content_size = digest.size.into();
            layout.content_sha256 = digest.sha256;
        }
        Err(absent) => layout.content_absent = absent as u8,
    }
    if sample.path.is_some() {
        bits |= has::PATH;
    }
    if sample.standing.known_good {
        bits |= has::KNOWN_GOOD;
    }
    if sample.standing.guarded {
        bits |= has::GUARDED;
    }
    layout.answer = match sample.answer {
        None => 0,
        Some(Answer::Allow) => 1,
        Some(Answer::Deny) => 2,
    };
    layout.has = bits.into();
    let path = sample.path.as_deref().unwrap_or_default();
    out.extend(layout.as_bytes());
    out.extend(&path[..path.len().min(PATH_MAX)]);
}

/// Reads the sample whose body `bytes` are, of the record at `offset`.
pub(super) fn parse(bytes: &[u8], offset: u64) -> Result<Sample, RecordingError> {
    let malformed = |what| RecordingError::Malformed { offset, what };
    let (layout, path) = Layout::ref_from_prefix(bytes)
        .map_err(|_| malformed("a sample that is shorter than its fixed part"))?;
    let bits = layout.has.get();
    let has = |bit: u16| bits & bit != 0;
    let number = layout.event.get();
    let content = if has(has::CONTENT) {
        Ok(Digest { size: layout.content_size.get(), sha256: layout.content_sha256 })
    } else {
        Err(ContentAbsent::from_number(layout.content_absent)
            .ok_or_else(|| malformed("a sample without content and without a reason for that"))?)
    };
    let answer = match layout.answer {
        0 => None,
        1 => Some(Answer::Allow),
        2 => Some(Answer::Deny),
        _ => return Err(malformed("a sample with an answer that is none")),
    };
    let sample = Sample {
        event: Event::from_number(number).ok_or(RecordingError::UnknownEvent { offset, number })?,
        credentials: has(has::CREDENTIALS).then(|| (layout.uid.get(), layout.gid.get())),
        path: has(has::PATH).then(|| path.to_vec()),
        attributes: has(has::ATTRIBUTES).then(|| (layout.size.get(), layout.changed.get())),
        content,
        standing: Standing { known_good: has(has::KNOWN_GOOD), guarded: has(has::GUARDED) },
        answer,
    };
    // One form: what is absent is zero, and no bit is set without a meaning.
    if !is_canonical(layout, bits, path) {
        return Err(malformed("a sample that holds what it says is absent"));
    }
    Ok(sample)
}

fn is_canonical(layout: &Layout, bits: u16, path: &[u8]) -> bool {
    let has = |bit: u16| bits & bit != 0;
    let known = has::CREDENTIALS
        | has::PATH
        | has::ATTRIBUTES
        | has::CONTENT
        | has::KNOWN_GOOD
        | has::GUARDED;
    bits & !known == 0
        && layout.zero == [0; 2]
        && (has(has::CREDENTIALS) || (layout.uid.get(), layout.gid.get()) == (0, 0))
        && (has(has::ATTRIBUTES) || (layout.size.get(), layout.changed.get()) == (0, 0))
        && (has(has::PATH) || path.is_empty())
        && if has(has::CONTENT) {
            layout.content_absent == 0
        } else {
            layout.content_size.get() == 0 && layout.content_sha256 == [0; 32]
        }
}
