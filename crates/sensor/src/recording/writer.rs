//! Writes a recording.

use std::collections::HashSet;
use std::io::{self, Write};

use outrigger_api::sample::{Digest, Sample};
use sha2::{Digest as _, Sha256};

use super::{BLOB_MAX, END_SIZE, Header, KIND_BLOB, KIND_END, KIND_SAMPLE, PREFIX, sample};

/// Writes one recording. Without [`Self::end`] it is one that was cut off.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    sum: Sha256,
    written: u64,
    samples: u64,
    /// The sums of the objects whose bytes were written.
    blobs: HashSet<[u8; 32]>,
    record: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    ///
    /// What `out` gives; `InvalidInput` if the header is over its limits.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self {
            out,
            sum: Sha256::new(),
            written: 0,
            samples: 0,
            blobs: HashSet::new(),
            record: Vec::new(),
        };
        writer.record = header.to_bytes()?;
        writer.put(&[])?;
        Ok(writer)
    }

    /// Bytes written so far.
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Samples written so far.
    pub const fn samples(&self) -> u64 {
        self.samples
    }

    /// Whether the bytes of this sum were written.
    pub fn has(&self, sha256: &[u8; 32]) -> bool {
        self.blobs.contains(sha256)
    }

    /// Writes one sample. The bytes that it speaks of come before it, or not at all.
    ///
    /// # Errors
    ///
    /// What the output gives.
    pub fn sample(&mut self, sample: &Sample) -> io::Result<()> {
        self.begin(KIND_SAMPLE);
        sample::write(sample, &mut self.record);
        self.put(&[])?;
        self.samples += 1;
        Ok(())
    }

    /// Writes the bytes of an object, if they were not written before; their sum.
    ///
    /// # Errors
    ///
    /// What the output gives; `InvalidInput` for more than [`BLOB_MAX`] bytes.
    pub fn blob(&mut self, bytes: &[u8]) -> io::Result<Digest> {
        if bytes.len() > BLOB_MAX {
            let what = format!("an object of {} bytes, over the limit of {BLOB_MAX}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let sha256 = super::sum(bytes);
        if !self.has(&sha256) {
            self.begin(KIND_BLOB);
            self.record.extend(sha256);
            self.put(bytes)?;
            self.blobs.insert(sha256);
        }
        Ok(Digest { size: bytes.len() as u64, sha256 })
    }

    /// Writes the end, and gives the output back, flushed.
    ///
    /// # Errors
    ///
    /// What the output gives.
    pub fn end(mut self) -> io::Result<W> {
        let sum: [u8; 32] = self.sum.clone().finalize().into();
        self.begin(KIND_END);
        self.record.extend(self.samples.to_le_bytes());
        self.record.extend((self.blobs.len() as u64).to_le_bytes());
        self.record.extend(sum);
        debug_assert_eq!(self.record.len(), PREFIX + END_SIZE);
        self.put(&[])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Gives the recording up; the output as it is.
    pub fn abandon(self) -> W {
        self.out
    }

    /// The output, to flush or measure.
    pub const fn output(&mut self) -> &mut W {
        &mut self.out
    }

    fn begin(&mut self, kind: u8) {
        self.record.clear();
        self.record.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    }

    /// Writes the record that was put together, and `more` as the rest of its body.
    fn put(&mut self, more: &[u8]) -> io::Result<()> {
        let is_header = self.written == 0;
        if !is_header {
            let len = (self.record.len() - PREFIX).saturating_add(more.len());
            let len = u32::try_from(len).map_err(io::Error::other)?;
            self.record[4..PREFIX].copy_from_slice(&len.to_le_bytes());
        }
        for bytes in [&self.record, more] {
            self.out.write_all(bytes)?;
            self.sum.update(bytes);
            self.written = self.written.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }
}
