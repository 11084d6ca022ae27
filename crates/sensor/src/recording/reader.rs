//! Reads a recording: the only place where its bytes are looked at.

use std::io::{ErrorKind, Read};

use outrigger_api::sample::{Digest, Sample};
use sha2::{Digest as _, Sha256};

use super::header::FIXED;
use super::{Header, KIND_BLOB, KIND_END, KIND_SAMPLE, PREFIX, RecordingError, body_max, sample};

/// Bytes by which the buffer grows: never by what is only announced.
const STEP: u64 = 1 << 20;

/// Reads one recording, from its beginning to its end or to where it was cut off.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    sum: Sha256,
    offset: u64,
    header: Header,
    counts: Counts,
    body: Vec<u8>,
    /// Nothing more is read: it came to its end, or to an error.
    over: bool,
}

/// What stands next in a recording.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// One event.
    Sample(Sample),
    /// The bytes of an object; they have the sum that they are said to have.
    Blob {
        /// Their number and sum.
        digest: Digest,
        /// They.
        bytes: &'a [u8],
        /// Where they lie in the file, in bytes from its beginning.
        offset: u64,
    },
}

/// How much was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Events.
    pub samples: u64,
    /// Objects with their bytes.
    pub blobs: u64,
    /// Bytes of these.
    pub blob_bytes: u64,
}

impl<R: Read> Reader<R> {
    /// Reads how a recording begins.
    ///
    /// # Errors
    ///
    /// [`RecordingError`] if it does not begin as one.
    pub fn new(input: R) -> Result<Self, RecordingError> {
        let mut reader = Self {
            input,
            sum: Sha256::new(),
            offset: 0,
            header: Header::default(),
            counts: Counts::default(),
            body: Vec::new(),
            over: false,
        };
        reader.fill(FIXED)?;
        let len = match reader.body.first_chunk::<FIXED>() {
            Some(fixed) => Header::length(fixed)?,
            None => return Err(RecordingError::NoRecording),
        };
        reader.fill(len)?;
        reader.header = Header::parse(&reader.body)?;
        Ok(reader)
    }

    /// How it begins.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What was read so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Bytes read so far.
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// What stands next; `None` after the end, which says that all was read as it was written.
    ///
    /// # Errors
    ///
    /// [`RecordingError`]; nothing more is read after one.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, RecordingError> {
        if self.over {
            return Ok(None);
        }
        // Until the record was found good.
        self.over = true;
        let before = self.sum.clone();
        let start = self.offset;
        self.fill(PREFIX)?;
        let (kind, len) = self.prefix(start)?;
        self.fill(len)?;
        match kind {
            KIND_SAMPLE => {
                let sample = sample::parse(&self.body, start)?;
                self.counts.samples += 1;
                self.over = false;
                Ok(Some(Item::Sample(sample)))
            }
            KIND_BLOB => {
                let short =
                    RecordingError::Malformed { offset: start, what: "bytes without a sum" };
                let (sha256, bytes) = self.body.split_first_chunk::<32>().ok_or(short)?;
                if super::sum(bytes) != *sha256 {
                    return Err(RecordingError::Blob { offset: start });
                }
                let size = bytes.len() as u64;
                self.counts.blobs += 1;
                self.counts.blob_bytes = self.counts.blob_bytes.saturating_add(size);
                self.over = false;
                let digest = Digest { size, sha256: *sha256 };
                Ok(Some(Item::Blob { digest, bytes, offset: self.offset - size }))
            }
            _ => self.check_end(&before.finalize().into(), start),
        }
    }

    /// Kind and length of the record at `start`, whose first bytes were read.
    fn prefix(&self, start: u64) -> Result<(u8, usize), RecordingError> {
        let malformed = |what| RecordingError::Malformed { offset: start, what };
        let Some(&[kind, 0, 0, 0, a, b, c, d]) = self.body.first_chunk::<PREFIX>() else {
            return Err(malformed("a record of a kind that this build does not know"));
        };
        let limit = body_max(kind)
            .ok_or_else(|| malformed("a record of a kind that this build does not know"))?;
        let len = u32::from_le_bytes([a, b, c, d]);
        match usize::try_from(len) {
            Ok(len) if len <= limit => Ok((kind, len)),
            _ => Err(RecordingError::TooLong {
                offset: start,
                what: match kind {
                    KIND_SAMPLE => "sample",
                    KIND_END => "end",
                    _ => "object",
                },
                len: len.into(),
                limit: limit as u64,
            }),
        }
    }

    fn check_end(
        &self,
        sum: &[u8; 32],
        start: u64,
    ) -> Result<Option<Item<'static>>, RecordingError> {
        let expected =
            [&self.counts.samples.to_le_bytes()[..], &self.counts.blobs.to_le_bytes(), sum];
        if self.body == expected.concat() {
            Ok(None)
        } else {
            Err(RecordingError::Damaged { offset: start })
        }
    }

    /// Has the next `len` bytes as the body.
    fn fill(&mut self, len: usize) -> Result<(), RecordingError> {
        self.body.clear();
        while self.body.len() < len {
            let wanted = (len - self.body.len()) as u64;
            let read = (&mut self.input).take(wanted.min(STEP)).read_to_end(&mut self.body);
            let offset = self.offset.saturating_add(self.body.len() as u64);
            match read {
                Ok(0) => return Err(RecordingError::Cut { offset }),
                Ok(_) => {}
                Err(source) if source.kind() == ErrorKind::UnexpectedEof => {
                    return Err(RecordingError::Cut { offset });
                }
                Err(source) => return Err(RecordingError::Io { offset, source }),
            }
        }
        self.sum.update(&self.body);
        self.offset = self.offset.saturating_add(len as u64);
        Ok(())
    }
}
