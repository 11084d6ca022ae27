//! How a recording begins: when and where it was made, and what was left out of it.

use std::io;

use super::{MAGIC, RecordingError, VERSION};

/// Longest header, in bytes, what stands before it aside.
const HEADER_MAX: usize = 64 << 10;
/// Longest text about the machine, in bytes.
const ORIGIN_MAX: usize = 256;
/// Most prefixes of left out paths.
const PREFIXES_MAX: usize = 256;
/// Longest of them, in bytes.
const PREFIX_MAX: usize = 4096;
/// Magic, version, zero, length.
pub(super) const FIXED: usize = MAGIC.len() + 2 + 2 + 4;

/// What of the objects a recording keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kept {
    /// Nothing.
    #[default]
    Nothing,
    /// Their sums, by which their bytes can be found where they lay.
    Sums,
    /// Their bytes.
    Bytes,
}

impl Kept {
    /// All, from the least on.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Sums, Self::Bytes];

    /// How it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::Sums => "sums",
            Self::Bytes => "bytes",
        }
    }
}

/// How a recording begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// When it was begun, ms since the epoch.
    pub made_ms: u64,
    /// Where, for people: the machine's system and kernel. At most 256 bytes.
    pub origin: String,
    /// What of the objects it keeps.
    pub kept: Kept,
    /// Who asked was left out: the users and groups of subjects.
    pub without_credentials: bool,
    /// Of what lies under these paths all but the event and the answer was left out.
    pub without_paths: Vec<Vec<u8>>,
}

impl Header {
    /// The header's bytes, what stands before them included.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a text is longer or a list has more members than a reader takes.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let too_long = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let mut body = self.made_ms.to_le_bytes().to_vec();
        body.push(self.kept as u8);
        body.push(u8::from(self.without_credentials));
        let count = Some(self.without_paths.len()).filter(|count| *count <= PREFIXES_MAX);
        let count = count.and_then(|count| u16::try_from(count).ok());
        let count = count.ok_or_else(|| too_long("more than 256 prefixes of left out paths"))?;
        body.extend(count.to_le_bytes());
        let text = |bytes: &[u8], most: usize, body: &mut Vec<u8>| {
            let len = Some(bytes.len()).filter(|len| *len <= most);
            let len = len.and_then(|len| u16::try_from(len).ok());
            body.extend(len?.to_le_bytes());
            body.extend(bytes);
            Some(())
        };
        text(self.origin.as_bytes(), ORIGIN_MAX, &mut body)
            .ok_or_else(|| too_long("the text about the machine is over 256 bytes"))?;
        for prefix in &self.without_paths {
            text(prefix, PREFIX_MAX, &mut body)
                .ok_or_else(|| too_long("a prefix of left out paths is over 4096 bytes"))?;
        }
        let len = Some(body.len()).filter(|len| *len <= HEADER_MAX);
        let len = len.and_then(|len| u32::try_from(len).ok());
        let len = len.ok_or_else(|| too_long("the prefixes of left out paths are over 64 KiB"))?;
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 2]);
        out.extend(len.to_le_bytes());
        out.extend(body);
        Ok(out)
    }

    /// Length of the header whose fixed part is `fixed`.
    pub(super) fn length(fixed: &[u8; FIXED]) -> Result<usize, RecordingError> {
        let (magic, rest) = fixed.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(RecordingError::NoRecording);
        }
        let &[version_low, version_high, zero, zero_too, a, b, c, d] = rest else {
            return Err(RecordingError::NoRecording);
        };
        let got = u16::from_le_bytes([version_low, version_high]);
        if got != VERSION {
            return Err(RecordingError::Version { got });
        }
        if [zero, zero_too] != [0; 2] {
            return Err(malformed("bits of the header are set that have no meaning"));
        }
        let len = u32::from_le_bytes([a, b, c, d]);
        let limit = HEADER_MAX as u64;
        if u64::from(len) > limit {
            let (offset, what) = (12, "header");
            return Err(RecordingError::TooLong { offset, what, len: len.into(), limit });
        }
        usize::try_from(len).map_err(|_| malformed("a header of impossible length"))
    }

    /// Reads the header's body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, RecordingError> {
        let mut rest = Fields(body);
        let short = || malformed("the header is shorter than what it announces");
        let made_ms = rest.take().map(u64::from_le_bytes).ok_or_else(short)?;
        let [kept, without_credentials] = rest.take().ok_or_else(short)?;
        let kept = Kept::ALL.into_iter().find(|known| *known as u8 == kept);
        let kept = kept.ok_or_else(|| malformed("it keeps what this build does not know"))?;
        let count = rest.take().map(u16::from_le_bytes).ok_or_else(short)?;
        if usize::from(count) > PREFIXES_MAX {
            let (offset, what, limit) = (26, "list of prefixes", PREFIXES_MAX as u64);
            return Err(RecordingError::TooLong { offset, what, len: count.into(), limit });
        }
        let origin = rest.text(ORIGIN_MAX).ok_or_else(short)?;
        let origin = String::from_utf8(origin.to_vec())
            .map_err(|_| malformed("the text about the machine is no UTF-8"))?;
        let without_paths = (0..count)
            .map(|_| rest.text(PREFIX_MAX).map(<[u8]>::to_vec).ok_or_else(short))
            .collect::<Result<_, _>>()?;
        if !rest.0.is_empty() || without_credentials > 1 {
            return Err(malformed("the header holds more than it announces"));
        }
        let without_credentials = without_credentials == 1;
        Ok(Self { made_ms, origin, kept, without_credentials, without_paths })
    }
}

/// What is left of a header's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn text(&mut self, most: usize) -> Option<&'a [u8]> {
        let len = usize::from(u16::from_le_bytes(self.take()?));
        let (text, rest) = self.0.split_at_checked(len).filter(|_| len <= most)?;
        self.0 = rest;
        Some(text)
    }
}

const fn malformed(what: &'static str) -> RecordingError {
    RecordingError::Malformed { offset: 0, what }
}
