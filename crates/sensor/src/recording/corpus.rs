//! A recording as a replay reads it: each sample with a descriptor of its object's bytes.
//!
//! The file is read twice: once to find that it is whole and where the objects lie, then sample by sample.
//! What has no bytes in the file is looked for where it lay when it was recorded, and taken only if it is a
//! regular file with the very sum; what is neither here nor there is *not to be had*, and counted.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use outrigger_api::sample::{Digest, Sample};
use rustix::fs::{Mode, OFlags, SealFlags};
use sha2::{Digest as _, Sha256};

use super::{Counts, Header, Item, Reader, RecordingError};

/// Most objects that one corpus holds.
const OBJECTS_MAX: usize = 1 << 20;
/// Files of which the sum is remembered.
const SUMS_MAX: usize = 1 << 16;
/// Bytes that are read of a file at a time.
const CHUNK: usize = 1 << 17;

/// A whole recording.
#[derive(Debug)]
pub struct Corpus {
    path: PathBuf,
    header: Header,
    counts: Counts,
    bytes: u64,
    /// Where the bytes of each sum lie, and how many.
    objects: HashMap<[u8; 32], (u64, u64)>,
}

/// The samples of a corpus, from the first on.
#[derive(Debug)]
pub struct Samples<'a> {
    corpus: &'a Corpus,
    reader: Reader<BufReader<File>>,
    file: File,
    with_content: bool,
    /// By device, inode, size and change time.
    sums: HashMap<(u64, u64, u64, i64, i64), [u8; 32]>,
    buffer: Vec<u8>,
    lacking: u64,
    failed: Option<RecordingError>,
}

impl Corpus {
    /// Reads the recording at `path` and finds it whole; `progress` is told bytes read and all bytes.
    ///
    /// # Errors
    ///
    /// [`RecordingError`] if it is not whole, or cannot be read.
    pub fn open(path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Self, RecordingError> {
        let (corpus, ended) = Self::salvage(path, progress)?;
        ended.map(|()| corpus)
    }

    /// Reads as much of the recording at `path` as there is, and says how that ended: a file that a host
    /// still writes, or wrote when it ended, has no end.
    ///
    /// # Errors
    ///
    /// [`RecordingError`] if it does not begin as a recording, or cannot be read.
    pub fn salvage(
        path: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Result<(), RecordingError>), RecordingError> {
        let io = |source| RecordingError::Io { offset: 0, source };
        let file = File::open(path).map_err(io)?;
        let all = file.metadata().map_err(io)?.len();
        let mut reader = Reader::new(BufReader::with_capacity(CHUNK, file))?;
        let mut objects = HashMap::new();
        let mut counts = Counts::default();
        let ended = loop {
            let offset = reader.offset();
            match reader.next_item() {
                Ok(None) => break Ok(()),
                Ok(Some(Item::Sample(_))) => {}
                Ok(Some(Item::Blob { digest, offset: at, .. })) => {
                    objects.insert(digest.sha256, (at, digest.size));
                }
                Err(error @ RecordingError::Io { .. }) => return Err(error),
                Err(error) => break Err(error),
            }
            if objects.len() > OBJECTS_MAX {
                let (what, limit) = ("list of objects", OBJECTS_MAX as u64);
                return Err(RecordingError::TooLong { offset, what, len: limit + 1, limit });
            }
            counts = reader.counts();
            progress(offset, all);
        };
        let corpus = Self {
            path: path.to_owned(),
            header: reader.header().clone(),
            counts,
            bytes: reader.offset(),
            objects,
        };
        Ok((corpus, ended))
    }

    /// When and where it was made, and what was left out of it.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How much it holds.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Its length, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its samples; with `with_content`, each comes with a descriptor of its content where that is to be
    /// had.
    ///
    /// # Errors
    ///
    /// [`RecordingError`] if the file cannot be read any more.
    pub fn samples(&self, with_content: bool) -> Result<Samples<'_>, RecordingError> {
        let io = |source| RecordingError::Io { offset: 0, source };
        let file = File::open(&self.path).map_err(io)?;
        // A position of its own: objects are read in between.
        let again = File::open(&self.path).map_err(io)?;
        Ok(Samples {
            corpus: self,
            reader: Reader::new(BufReader::with_capacity(CHUNK, again))?,
            file,
            with_content,
            sums: HashMap::new(),
            buffer: vec![0; CHUNK],
            lacking: 0,
            failed: None,
        })
    }
}

impl Samples<'_> {
    /// Samples so far whose content is recorded and not to be had.
    pub const fn lacking(&self) -> u64 {
        self.lacking
    }

    /// Why the samples ended before the corpus did, if they did: the file was changed meanwhile.
    pub const fn take_failure(&mut self) -> Option<RecordingError> {
        self.failed.take()
    }

    /// The bytes of the object with this sum, if the corpus holds them.
    ///
    /// # Errors
    ///
    /// What reading the file gives.
    pub fn object(&self, sha256: &[u8; 32]) -> io::Result<Option<Vec<u8>>> {
        let Some(&(offset, size)) = self.corpus.objects.get(sha256) else { return Ok(None) };
        // It was read once, so it is no longer than an object may be.
        let mut bytes = vec![0; usize::try_from(size).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Some(bytes))
    }

    fn content(&mut self, sample: &Sample, digest: Digest) -> Option<OwnedFd> {
        let found = match self.corpus.objects.get(&digest.sha256) {
            Some(&(offset, size)) => self.copy(offset, size).ok(),
            None => sample.path.as_deref().and_then(|path| self.still_there(path, digest)),
        };
        if found.is_none() {
            self.lacking += 1;
        }
        found
    }

    /// A sealed copy in memory of the object at `offset`.
    fn copy(&mut self, offset: u64, size: u64) -> io::Result<OwnedFd> {
        use rustix::fs::MemfdFlags;
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let mut copy = File::from(rustix::fs::memfd_create("outrigger-replay", flags)?);
        self.file.seek(SeekFrom::Start(offset))?;
        let copied = io::copy(&mut (&self.file).take(size), &mut copy)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&copy, seals)?;
        Ok(copy.into())
    }

    /// The file at `path`, if it has still the bytes of `digest`.
    fn still_there(&mut self, path: &[u8], digest: Digest) -> Option<OwnedFd> {
        // Neither a pipe nor a device waits for anybody, and a link leads to what was not recorded.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
        let path = Path::new(OsStr::from_bytes(path));
        let file = File::from(rustix::fs::open(path, flags, Mode::empty()).ok()?);
        let known =
            file.metadata().ok().filter(|known| known.is_file() && known.len() == digest.size)?;
        let name = (known.dev(), known.ino(), known.len(), known.ctime(), known.ctime_nsec());
        let sum = match self.sums.get(&name) {
            Some(sum) => *sum,
            None => {
                let sum = self.sum_of(&file, digest.size)?;
                if self.sums.len() >= SUMS_MAX {
                    self.sums.clear();
                }
                self.sums.insert(name, sum);
                sum
            }
        };
        (sum == digest.sha256).then(|| file.into())
    }

    fn sum_of(&mut self, file: &File, size: u64) -> Option<[u8; 32]> {
        let mut sum = Sha256::new();
        let mut offset = 0;
        while offset < size {
            let read = file.read_at(&mut self.buffer, offset).ok().filter(|read| *read > 0)?;
            sum.update(&self.buffer[..read]);
            offset = offset.saturating_add(read as u64);
        }
        (offset == size).then(|| sum.finalize().into())
    }
}

impl Iterator for Samples<'_> {
    type Item = (Sample, Option<OwnedFd>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let sample = match self.reader.next_item() {
                Ok(None) => return None,
                Ok(Some(Item::Blob { .. })) => continue,
                Ok(Some(Item::Sample(sample))) => sample,
                Err(error) => {
                    self.failed = Some(error);
                    return None;
                }
            };
            let digest = sample.content.ok().filter(|_| self.with_content);
            let content = digest.and_then(|digest| self.content(&sample, digest));
            return Some((sample, content));
        }
    }
}
