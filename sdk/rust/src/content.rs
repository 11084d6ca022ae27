//! The content of a file that a question is about.

use std::io;
use std::os::fd::OwnedFd;

use outrigger_api::record;
use rustix::io::Errno;

use crate::clock;

/// Most of a file that is read ahead of its judge, in bytes. So much is read of a file on a file system
/// that can keep its readers waiting, and a larger one is not read at all.
pub const READ_AHEAD_MAX: usize = 8 << 20;

/// The content of the file, read by position. Other users of the descriptor are not disturbed, and the
/// file's own position is not used.
///
/// If the file's system can keep its readers waiting, the content was read before the judge was asked,
/// and nothing here waits.
#[derive(Debug)]
pub struct Content {
    source: Source,
    /// ns of `CLOCK_MONOTONIC`, 0 for none.
    deadline: u64,
}

#[derive(Debug)]
enum Source {
    File(OwnedFd),
    Ahead(ReadAhead),
}

/// What was read of a file before its judge was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ReadAhead {
    pub(crate) bytes: Vec<u8>,
    /// What the file system said to the read after these bytes; `None` at the file's end.
    pub(crate) failed: Option<Errno>,
}

/// Why a question's content cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContentAbsent {
    /// The administrator granted this engine no content.
    #[error("content is not granted")]
    NotGranted,
    /// The file is key material, which no engine gets by default.
    #[error("content is key material")]
    KeyMaterial,
    /// The object is not a regular file.
    #[error("not a regular file")]
    NotRegular,
    /// The engine had not taken earlier descriptors fast enough.
    #[error("too many descriptors waited")]
    Backlog,
    /// A descriptor was announced and could not be taken: most likely, the engine has as many open as
    /// its limit allows.
    #[error("the content descriptor was lost")]
    Lost,
    /// The file is over [`READ_AHEAD_MAX`] bytes, and on a file system that can keep its readers waiting.
    #[error("over 8 MiB, and its file system can keep readers waiting")]
    TooLarge,
    /// The file system did not answer in time. Only events that nobody waits for come with this: from a
    /// question, the SDK abstains by itself.
    #[error("its file system does not answer")]
    Unanswered,
}

impl From<record::ContentAbsent> for ContentAbsent {
    fn from(reason: record::ContentAbsent) -> Self {
        match reason {
            record::ContentAbsent::NotGranted => Self::NotGranted,
            record::ContentAbsent::KeyMaterial => Self::KeyMaterial,
            record::ContentAbsent::NotRegular => Self::NotRegular,
            record::ContentAbsent::Backlog => Self::Backlog,
        }
    }
}

impl Content {
    pub(crate) fn new(file: OwnedFd, deadline: u64) -> Self {
        Self { source: Source::File(file), deadline }
    }

    pub(crate) fn ahead(read: ReadAhead, deadline: u64) -> Self {
        Self { source: Source::Ahead(read), deadline }
    }

    /// Length of the file now, in bytes.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn len(&self) -> io::Result<u64> {
        match &self.source {
            Source::File(file) => {
                let stat = rustix::fs::fstat(file)?;
                u64::try_from(stat.st_size).map_err(io::Error::other)
            }
            Source::Ahead(ReadAhead { failed: Some(errno), .. }) => Err((*errno).into()),
            Source::Ahead(ReadAhead { bytes, failed: None }) => Ok(bytes.len() as u64),
        }
    }

    /// Whether the file has no content now.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads from `offset` on; how many bytes came, 0 at the end only.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        match &self.source {
            Source::File(file) => {
                Ok(rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *buf, offset))?)
            }
            Source::Ahead(read) => Ok(read.read_at(buf, offset)?),
        }
    }

    /// Reads the whole file through `buf`, piece by piece, and hands each piece to `each`; how many
    /// bytes there were.
    ///
    /// # Errors
    ///
    /// What the file system says; `TimedOut` once the question's deadline has passed, so that one huge
    /// file does not hold up the questions after it.
    pub fn each_chunk(&self, buf: &mut [u8], mut each: impl FnMut(&[u8])) -> io::Result<u64> {
        let mut offset = 0;
        loop {
            if clock::passed(self.deadline) {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("deadline passed after {offset} bytes"),
                ));
            }
            let got = self.read_at(buf, offset)?;
            if got == 0 {
                return Ok(offset);
            }
            each(&buf[..got]);
            offset += got as u64;
        }
    }
}

impl ReadAhead {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..));
        let rest = rest.unwrap_or_default();
        match self.failed {
            Some(errno) if rest.is_empty() => Err(errno),
            _ => {
                let got = rest.len().min(buf.len());
                buf[..got].copy_from_slice(&rest[..got]);
                Ok(got)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead(failed: Option<Errno>) -> Content {
        Content::ahead(ReadAhead { bytes: b"0123456789".to_vec(), failed }, 0)
    }

    fn chunks(content: &Content) -> (Vec<Vec<u8>>, io::Result<u64>) {
        let mut chunks = Vec::new();
        let read = content.each_chunk(&mut [0; 4], |chunk| chunks.push(chunk.to_vec()));
        (chunks, read)
    }

    #[test]
    fn what_was_read_ahead_is_read_as_a_file_is() {
        let content = ahead(None);
        let mut buf = [0; 4];

        let read = content.read_at(&mut buf, 7).expect("in memory");
        let (chunks, whole) = chunks(&content);

        assert_eq!(&buf[..read], b"789");
        assert_eq!(chunks, [b"0123".as_slice(), b"4567", b"89"]);
        assert_eq!(whole.ok(), Some(10));
        assert_eq!(content.len().ok(), Some(10));
        assert_eq!(content.is_empty().ok(), Some(false));
    }

    #[test]
    fn reading_past_the_end_gives_nothing() {
        let content = ahead(None);

        let read = [10, 11, u64::MAX].map(|at| content.read_at(&mut [0; 4], at).ok());

        assert_eq!(read, [Some(0); 3]);
    }

    #[test]
    fn an_error_of_the_file_system_comes_after_what_was_read() {
        let content = ahead(Some(Errno::IO));

        let (chunks, whole) = chunks(&content);

        assert_eq!(chunks.concat(), b"0123456789");
        assert_eq!(
            whole.map_err(|error| error.raw_os_error()),
            Err(Some(Errno::IO.raw_os_error()))
        );
        assert!(content.len().is_err());
    }
}
