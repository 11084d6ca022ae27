//! What is kept of an object: its sum, or its bytes, read through the question's own descriptor.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;

use outrigger_api::FileKey;
use outrigger_api::record::ContentAbsent;
use outrigger_api::sample::Digest;
use outrigger_sensor::identity::{self, Object};
use outrigger_sensor::recording::{BLOB_MAX, Kept, Summer};

use super::Offer;
use crate::host::grants::KeyMaterial;

/// Largest object that is read, 256 MiB.
const SUM_MAX: u64 = 256 << 20;
/// Objects of which the sum is remembered.
const SUMS_MAX: usize = 1 << 16;
/// Bytes that are read at a time.
const CHUNK: usize = 1 << 17;

/// Reads objects.
#[derive(Debug)]
pub(super) struct Objects {
    kept: Kept,
    keys: KeyMaterial,
    /// By file, change time and size.
    sums: HashMap<(FileKey, u64, u64), Digest>,
    buffer: Vec<u8>,
}

type Looked = (Result<Digest, ContentAbsent>, Option<Vec<u8>>);

impl Objects {
    pub(super) fn new(kept: Kept, keys: KeyMaterial) -> Self {
        Self { kept, keys, sums: HashMap::new(), buffer: vec![0; CHUNK] }
    }

    /// What is kept of the offer's object, and its bytes where they are and are not `known` yet; of no more
    /// than `most` bytes.
    pub(super) fn look(
        &mut self,
        offer: &mut Offer,
        most: usize,
        known: impl Fn(&[u8; 32]) -> bool,
    ) -> Looked {
        let object = offer.object;
        if self.kept == Kept::Nothing {
            return (Err(ContentAbsent::NotGranted), None);
        }
        if !object.is_regular() {
            return (Err(ContentAbsent::NotRegular), None);
        }
        if self.keys.covers(&object, || offer.path.clone()) {
            return (Err(ContentAbsent::KeyMaterial), None);
        }
        // Nobody may read there, or too many were to be read at a time.
        let Some(file) = offer.file.take().map(File::from).filter(|_| object.size <= SUM_MAX)
        else {
            return (Err(ContentAbsent::Backlog), None);
        };
        let name = (object.key, object.changed, object.size);
        let bytes_max = u64::try_from(most.min(BLOB_MAX)).unwrap_or(u64::MAX);
        let wants_bytes = self.kept == Kept::Bytes && object.size <= bytes_max;
        if let Some(digest) = self.sums.get(&name).copied()
            && (!wants_bytes || known(&digest.sha256))
        {
            return (Ok(digest), None);
        }
        let Some((digest, bytes)) = self.read(&file, &object, wants_bytes) else {
            return (Err(ContentAbsent::Backlog), None);
        };
        if self.sums.len() >= SUMS_MAX {
            self.sums.clear();
        }
        self.sums.insert(name, digest);
        (Ok(digest), bytes)
    }

    /// The object's sum and bytes; `None` if it is not what it was when it was asked about.
    fn read(
        &mut self,
        file: &File,
        object: &Object,
        wants_bytes: bool,
    ) -> Option<(Digest, Option<Vec<u8>>)> {
        let mut sum = Summer::default();
        let mut bytes = wants_bytes.then(Vec::new);
        let mut offset = 0;
        while offset < object.size {
            let read = file.read_at(&mut self.buffer, offset).ok().filter(|read| *read > 0)?;
            sum.add(&self.buffer[..read]);
            if let Some(bytes) = &mut bytes {
                bytes.extend(&self.buffer[..read]);
            }
            offset = offset.saturating_add(read as u64);
        }
        let now = identity::object(file.as_fd()).ok()?;
        let unchanged = (now.size, now.changed) == (object.size, object.changed);
        let digest = Digest { size: object.size, sha256: sum.finish() };
        (unchanged && offset == object.size).then_some((digest, bytes))
    }
}
