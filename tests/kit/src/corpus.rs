//! Corpora of recorded events that releases are tried on.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Result;
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::{Answer, Event};
use outrigger_sensor::recording::{Header, Kept, Writer};
use sha2::{Digest as _, Sha256};

/// Writes to `file` that each of `objects` was opened, or executed, and allowed; `standing` says what is known of
/// them. Of the objects only their sums are kept, so they have to lie where they lay.
///
/// # Errors
///
/// If an object cannot be read or the file not be written.
pub fn write(file: &Path, standing: Standing, objects: &[(Event, PathBuf)]) -> Result<()> {
    let header = Header { origin: "a test".to_owned(), kept: Kept::Sums, ..Header::default() };
    let mut writer = Writer::new(BufWriter::new(File::create(file)?), &header)?;
    for (event, path) in objects {
        let bytes = std::fs::read(path)?;
        let size = bytes.len() as u64;
        writer.sample(&Sample {
            event: *event,
            credentials: Some((0, 0)),
            path: Some(path.as_os_str().as_encoded_bytes().to_vec()),
            attributes: Some((size, 1)),
            content: Ok(Digest { size, sha256: Sha256::digest(&bytes).into() }),
            standing,
            answer: Some(Answer::Allow),
        })?;
    }
    writer.end()?;
    Ok(())
}
