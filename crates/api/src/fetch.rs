//! What an updater and its confined child `outrigger-fetch` say to each other, and the codec.
//!
//! One stream socket, the child's standard input. A frame is the length of its body (4 bytes, little-endian, at
//! most [`BODY_MAX`]), then the body: one byte for the kind, then what the kind carries. Integers are
//! little-endian, texts UTF-8.
//!
//! ```text
//!  updater ── Start(where) ──▶ child      once, before anything else
//!  updater ◀── Ready(weak) ─── child      it is confined; what this kernel did not give
//!  updater ── Get(path, limit) ▶ child
//!  updater ◀── Begin, Data, Data, … End   or Missing, or Failed
//! ```
//!
//! Threat position: the child speaks with the network, so [`Reply::parse`] reads what a hostile child wrote.
//! It allocates nothing but the text of a failure, which is no longer than the frame.

use std::borrow::Cow;

/// Longest body of a frame, in bytes.
pub const BODY_MAX: usize = 64 * 1024 + 1;
/// Most bytes of a file in one frame.
pub const CHUNK_MAX: usize = BODY_MAX - 1;
/// Longest base or path, in bytes.
pub const PATH_MAX: usize = 4096;
/// Longest text of a failure, in bytes; what is longer is cut when it is written, and refused when read.
pub const TEXT_MAX: usize = 1024;
/// Bytes of a frame before its body.
pub const PREFIX: usize = 4;

/// The two places that a repository has: `updater` names one with each path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where the signed metadata lies.
    Metadata = 0,
    /// Where the files lie that the metadata speaks of.
    Targets = 1,
}

/// From the updater.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// Where the repository is: `http://`, `https://` or a folder's absolute path, each ending in `/`.
    Start {
        /// Where its metadata lies.
        metadata: Cow<'a, str>,
        /// Where its targets lie.
        targets: Cow<'a, str>,
        /// Longest wait for a connection, an answer or the next bytes, in milliseconds.
        silence_ms: u32,
    },
    /// One file is wanted.
    Get {
        /// Under which base.
        place: Place,
        /// Its path under the base, its parts parted by `/`.
        path: Cow<'a, str>,
        /// Most bytes that it may have.
        limit: u64,
    },
}

/// From the child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// It is confined and waits for requests; the text names what this kernel did not give, if anything.
    Ready(Cow<'a, str>),
    /// The file is there; its length, if the repository says one.
    Begin(Option<u64>),
    /// The file's next bytes, at least one.
    Data(&'a [u8]),
    /// The file is over.
    End,
    /// The repository does not have the file.
    Missing,
    /// The file did not come.
    Failed(Cause, Cow<'a, str>),
}

/// Why a file did not come, as the child saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The repository could not be reached, or broke off.
    Unreachable = 0,
    /// It answered something else than the file.
    Refused = 1,
    /// The file is over its limit.
    TooLong = 2,
    /// Nothing came for as long as the updater waits.
    TooSlow = 3,
    /// The file ended before the length that was announced.
    Truncated = 4,
    /// The child could not confine itself; it has asked the network for nothing.
    Unconfined = 5,
}

/// The bytes are no frame of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length before the body is over the limit, or zero; nothing of the body was read.
    #[error("announced a frame of {0} bytes; a frame has 1 to {BODY_MAX}")]
    Length(u32),
    /// A kind that is not known.
    #[error("sent a frame of the unknown kind {0}")]
    Kind(u8),
    /// The body is shorter or longer than its kind's.
    #[error("sent a frame of kind {0} with {1} bytes, which is not its length")]
    Body(u8, usize),
    /// What should be text is not UTF-8, or is over its limit.
    #[error("sent a text that is not UTF-8, or over {TEXT_MAX} bytes")]
    Text,
}

/// The length of the body that follows this prefix.
///
/// # Errors
///
/// [`FrameError::Length`] if no body may have it.
pub fn body_length(prefix: [u8; PREFIX]) -> Result<usize, FrameError> {
    let announced = u32::from_le_bytes(prefix);
    match usize::try_from(announced) {
        Ok(length @ 1..=BODY_MAX) => Ok(length),
        _ => Err(FrameError::Length(announced)),
    }
}

impl<'a> Request<'a> {
    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if it is no request.
    pub fn parse(body: &'a [u8]) -> Result<Self, FrameError> {
        let (kind, rest) = body.split_first().ok_or(FrameError::Length(0))?;
        let wrong = FrameError::Body(*kind, body.len());
        match kind {
            1 => {
                let (silence, rest) = rest.split_first_chunk().ok_or(wrong)?;
                let (length, rest) = rest.split_first_chunk().ok_or(wrong)?;
                let length = usize::from(u16::from_le_bytes(*length));
                let (metadata, targets) = rest.split_at_checked(length).ok_or(wrong)?;
                Ok(Self::Start {
                    metadata: text(metadata, PATH_MAX)?.into(),
                    targets: text(targets, PATH_MAX)?.into(),
                    silence_ms: u32::from_le_bytes(*silence),
                })
            }
            2 => {
                let (place, rest) = rest.split_first().ok_or(wrong)?;
                let place = match place {
                    0 => Place::Metadata,
                    1 => Place::Targets,
                    _ => return Err(wrong),
                };
                let (limit, path) = rest.split_first_chunk().ok_or(wrong)?;
                let path = text(path, PATH_MAX)?.into();
                Ok(Self::Get { place, path, limit: u64::from_le_bytes(*limit) })
            }
            _ => Err(FrameError::Kind(*kind)),
        }
    }

    /// The whole frame. Texts over [`PATH_MAX`] make one that [`Request::parse`] refuses.
    pub fn frame(&self) -> Vec<u8> {
        match self {
            Self::Start { metadata, targets, silence_ms } => {
                let length = u16::try_from(metadata.len()).unwrap_or(u16::MAX);
                let [silence, length] = [&silence_ms.to_le_bytes()[..], &length.to_le_bytes()[..]];
                frame(1, &[silence, length, metadata.as_bytes(), targets.as_bytes()])
            }
            Self::Get { place, path, limit } => {
                frame(2, &[&[*place as u8], &limit.to_le_bytes(), path.as_bytes()])
            }
        }
    }
}

impl<'a> Reply<'a> {
    /// Reads the body of a frame.
    ///
    /// # Errors
    ///
    /// [`FrameError`] if it is no reply.
    pub fn parse(body: &'a [u8]) -> Result<Self, FrameError> {
        let (kind, rest) = body.split_first().ok_or(FrameError::Length(0))?;
        let wrong = FrameError::Body(*kind, body.len());
        match (kind, rest) {
            (16, rest) => Ok(Self::Ready(text(rest, TEXT_MAX)?.into())),
            (17, []) => Ok(Self::Begin(None)),
            (17, rest) => {
                let length = rest.try_into().map_err(|_| wrong)?;
                Ok(Self::Begin(Some(u64::from_le_bytes(length))))
            }
            (18, [_, ..]) => Ok(Self::Data(rest)),
            (19, []) => Ok(Self::End),
            (20, []) => Ok(Self::Missing),
            (21, [cause, rest @ ..]) => {
                let cause = *Cause::ALL.get(usize::from(*cause)).ok_or(wrong)?;
                Ok(Self::Failed(cause, text(rest, TEXT_MAX)?.into()))
            }
            (18..=21, _) => Err(wrong),
            _ => Err(FrameError::Kind(*kind)),
        }
    }

    /// The whole frame; data over [`CHUNK_MAX`] is the writer's mistake and makes one that is refused.
    pub fn frame(&self) -> Vec<u8> {
        match self {
            Self::Ready(weak) => frame(16, &[cut(weak).as_bytes()]),
            Self::Begin(None) => frame(17, &[]),
            Self::Begin(Some(length)) => frame(17, &[&length.to_le_bytes()]),
            Self::Data(bytes) => frame(18, &[bytes]),
            Self::End => frame(19, &[]),
            Self::Missing => frame(20, &[]),
            Self::Failed(cause, why) => frame(21, &[&[*cause as u8], cut(why).as_bytes()]),
        }
    }
}

impl Cause {
    /// All, by number.
    const ALL: [Self; 6] = [
        Self::Unreachable,
        Self::Refused,
        Self::TooLong,
        Self::TooSlow,
        Self::Truncated,
        Self::Unconfined,
    ];
}

fn frame(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length = 1 + parts.iter().map(|part| part.len()).sum::<usize>();
    let prefix = u32::try_from(length).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(PREFIX + length);
    frame.extend(prefix.to_le_bytes());
    frame.push(kind);
    parts.iter().for_each(|part| frame.extend_from_slice(part));
    frame
}

fn text(bytes: &[u8], longest: usize) -> Result<&str, FrameError> {
    if bytes.len() > longest {
        return Err(FrameError::Text);
    }
    std::str::from_utf8(bytes).map_err(|_| FrameError::Text)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(frame: &[u8]) -> &[u8] {
        let (prefix, body) = frame.split_first_chunk().expect("a prefix");
        assert_eq!(body_length(*prefix), Ok(body.len()));
        body
    }

    fn returns(reply: &Reply<'_>) {
        let frame = reply.frame();

        assert_eq!(Reply::parse(body(&frame)).as_ref(), Ok(reply));
    }

    #[test]
    fn every_reply_reads_as_it_was_written() {
        returns(&Reply::Ready("no Landlock".into()));
        returns(&Reply::Begin(None));
        returns(&Reply::Begin(Some(u64::MAX)));
        returns(&Reply::Data(b"x"));
        returns(&Reply::Data(&[7; CHUNK_MAX]));
        returns(&Reply::End);
        returns(&Reply::Missing);
        for cause in Cause::ALL {
            returns(&Reply::Failed(cause, "why".into()));
        }
    }

    #[test]
    fn every_request_reads_as_it_was_written() {
        let start = Request::Start {
            metadata: "https://example.org/m/".into(),
            targets: "/srv/t/".into(),
            silence_ms: 30_000,
        };
        let get = Request::Get { place: Place::Targets, path: "a/b".into(), limit: 1 << 40 };

        assert_eq!(Request::parse(body(&start.frame())), Ok(start.clone()));
        assert_eq!(Request::parse(body(&get.frame())), Ok(get.clone()));
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_the_body() {
        let over = u32::try_from(BODY_MAX).unwrap() + 1;

        assert_eq!(body_length(over.to_le_bytes()), Err(FrameError::Length(over)));
        assert_eq!(body_length([0; 4]), Err(FrameError::Length(0)));
    }

    #[test]
    fn a_long_failure_is_cut_between_characters() {
        let long = Reply::Failed(Cause::Refused, "ä".repeat(TEXT_MAX).into()).frame();

        let Ok(Reply::Failed(_, text)) = Reply::parse(body(&long)) else { panic!("no failure") };
        assert_eq!(text.len(), TEXT_MAX);
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(reply) = Reply::parse(&bytes) {
                let frame = reply.frame();
                prop_assert_eq!(body(&frame), bytes.as_slice());
            }
            if let Ok(request) = Request::parse(&bytes) {
                let frame = request.frame();
                prop_assert_eq!(body(&frame), bytes.as_slice());
            }
        }
    }
}
