//! One thread that waits for file systems, so that nobody else has to.
//!
//! It reads a file into memory, hands that to the judging thread and closes the file. Each of the two
//! can take for ever: a FUSE server is asked again when a descriptor is closed (`FUSE_FLUSH`).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

use outrigger_dock::Doorbell;
use rustix::io::Errno;

use crate::clock;
use crate::content::{ContentAbsent, READ_AHEAD_MAX, ReadAhead};

/// Most bytes asked for by one read; the buffer grows by as much.
const CHUNK: usize = 128 << 10;

/// Reads from a position on, as `pread(2)`.
pub(crate) type Pread = fn(BorrowedFd<'_>, &mut [u8], u64) -> Result<usize, Errno>;

/// What the thread is to do with a file. It is closed in any case.
#[derive(Debug)]
pub(crate) struct Errand {
    pub(crate) file: OwnedFd,
    /// `None` to close it only.
    pub(crate) read: Option<Extent>,
}

/// How far a file is to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Nobody wants the content after it, ns of `CLOCK_MONOTONIC`; 0 for none.
    pub(crate) deadline: u64,
    /// The file's size in bytes, as the host had it.
    pub(crate) size: Option<u64>,
}

/// What the thread says, with its place.
#[derive(Debug)]
pub(crate) enum News {
    /// The content that it was to read. It has yet to close the file.
    Read(Result<ReadAhead, ContentAbsent>),
    /// It is done with its errand.
    Free,
}

/// Starts a thread that lives until the sender of its errands is dropped. It rings `bell` for each of
/// its news.
pub(crate) fn start(
    place: usize,
    news: Sender<(usize, News)>,
    bell: Doorbell,
    pread: Pread,
) -> io::Result<Sender<Errand>> {
    let (sender, errands) = channel();
    let thread = std::thread::Builder::new().name("content".to_owned());
    thread.spawn(move || {
        run(&errands, pread, |said| news.send((place, said)).map(|()| bell.ring()))
    })?;
    Ok(sender)
}

fn run<E>(errands: &Receiver<Errand>, pread: Pread, mut say: impl FnMut(News) -> Result<(), E>) {
    for Errand { file, read } in errands {
        // Nobody listens any more once the engine has ended; files are closed all the same.
        if let Some(extent) = read {
            let _ = say(News::Read(read_ahead(file.as_fd(), extent, pread)));
        }
        drop(file);
        let _ = say(News::Free);
    }
}

/// Reads the whole file. Memory is taken as content comes, so a file that only claims to be large costs
/// none.
fn read_ahead(
    file: BorrowedFd<'_>,
    extent: Extent,
    pread: Pread,
) -> Result<ReadAhead, ContentAbsent> {
    if extent.size.is_some_and(|size| size > READ_AHEAD_MAX as u64) {
        return Err(ContentAbsent::TooLarge);
    }
    let mut bytes = Vec::new();
    loop {
        let at = bytes.len();
        if at > READ_AHEAD_MAX {
            return Err(ContentAbsent::TooLarge);
        }
        if clock::passed(extent.deadline) {
            return Ok(ReadAhead { bytes, failed: Some(Errno::TIMEDOUT) });
        }
        bytes.resize(at + CHUNK.min(READ_AHEAD_MAX + 1 - at), 0);
        match rustix::io::retry_on_intr(|| pread(file, &mut bytes[at..], at as u64)) {
            Ok(got) => {
                bytes.truncate(at + got);
                if got == 0 {
                    return Ok(ReadAhead { bytes, failed: None });
                }
            }
            Err(errno) => {
                bytes.truncate(at);
                return Ok(ReadAhead { bytes, failed: Some(errno) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    fn pread(file: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize, Errno> {
        rustix::io::pread(file, buf, offset)
    }

    /// What is read of a file of `len` bytes that the host took for one of `told`.
    fn read(len: usize, told: Option<u64>, deadline: u64) -> Result<ReadAhead, ContentAbsent> {
        let file = memfd_create("reader", MemfdFlags::CLOEXEC).expect("a memfd");
        ftruncate(&file, len as u64).expect("sized");
        read_ahead(file.as_fd(), Extent { deadline, size: told }, pread)
    }

    #[test]
    fn a_file_of_the_largest_size_is_read_whole() {
        let read = read(READ_AHEAD_MAX, None, 0).expect("not too large");

        assert_eq!((read.bytes.len(), read.failed), (READ_AHEAD_MAX, None));
    }

    #[test]
    fn a_file_over_the_limit_is_not_handed_over() {
        assert_eq!(read(READ_AHEAD_MAX + 1, None, 0), Err(ContentAbsent::TooLarge));
    }

    #[test]
    fn a_file_that_is_known_to_be_too_large_is_not_read() {
        let told = Some(READ_AHEAD_MAX as u64 + 1);

        assert_eq!(read(0, told, 0), Err(ContentAbsent::TooLarge));
    }

    #[test]
    fn nothing_is_read_after_the_deadline() {
        let read = read(10, None, 1).expect("not too large");

        assert_eq!(read, ReadAhead { bytes: Vec::new(), failed: Some(Errno::TIMEDOUT) });
    }
}
