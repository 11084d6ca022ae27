//! Content descriptors as they come in, matched to their questions.
//!
//! The host sends descriptors and questions in the same order, the descriptor first. So the one of the
//! question at hand is normally the next; what lies before it belongs to no question that is still to
//! come.
//!
//! To close a descriptor can wait for its file system, so nothing is closed here. What nobody wants goes
//! to the strays, or is dropped before it becomes a descriptor of this process.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use outrigger_api::CaseId;
use outrigger_dock::content;
use rustix::net::RecvFlags;

/// Most descriptors held for cases that may come later. There are none as long as the host keeps its
/// order.
const HELD_MAX: usize = 64;

/// The engine's end of the content socket.
#[derive(Debug)]
pub(crate) struct Inbox {
    socket: OwnedFd,
    /// Taken while looking for another case; theirs come later.
    waiting: VecDeque<(CaseId, OwnedFd)>,
    /// Of questions that never came.
    strays: Vec<OwnedFd>,
}

impl Inbox {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, waiting: VecDeque::new(), strays: Vec::new() }
    }

    /// The descriptor of `case`; `None` if it did not come, or could not be taken.
    pub(crate) fn take(&mut self, case: CaseId) -> Option<OwnedFd> {
        if let Some(file) = self.take_held(case) {
            return Some(file);
        }
        loop {
            if self.waiting.len() >= HELD_MAX && !self.drop_before(case) {
                return None;
            }
            match content::recv(self.socket.as_fd()) {
                Ok(Some((other, file))) if other == case => {
                    self.strays.extend(self.waiting.drain(..).map(|(_, file)| file));
                    return Some(file);
                }
                Ok(Some(other)) => self.waiting.push_back(other),
                // A packet whose descriptor found no place is gone; it may have been another's.
                Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// Does away with the descriptor of `case`.
    pub(crate) fn skip(&mut self, case: CaseId) {
        match self.take_held(case) {
            Some(file) => self.strays.push(file),
            None if self.drop_before(case) => self.drop_next(),
            None => {}
        }
    }

    /// Drops whatever was sent before the descriptor of `case`, so that taking that makes no strays;
    /// whether it is the next now.
    pub(crate) fn drop_before(&mut self, case: CaseId) -> bool {
        loop {
            match self.receive_number(RecvFlags::PEEK) {
                Some(other) if other == Some(case) => return true,
                Some(_) => self.drop_next(),
                None => return false,
            }
        }
    }

    /// What belongs to no question, for somebody to close who may wait.
    pub(crate) fn strays(&mut self) -> impl Iterator<Item = OwnedFd> {
        self.strays.drain(..)
    }

    fn take_held(&mut self, case: CaseId) -> Option<OwnedFd> {
        let place = self.waiting.iter().position(|(other, _)| *other == case)?;
        self.strays.extend(self.waiting.drain(..place).map(|(_, file)| file));
        self.waiting.pop_front().map(|(_, file)| file)
    }

    fn drop_next(&self) {
        self.receive_number(RecvFlags::empty());
    }

    /// The number of the next packet, if there is one. Who does not ask for the descriptor does not get
    /// it: the kernel lets go of the file, without the call to its file system that closing one makes
    /// (`scm_destroy`, `net/core/scm.c`).
    fn receive_number(&self, flags: RecvFlags) -> Option<Option<CaseId>> {
        let mut number = [0; 8];
        let flags = flags | RecvFlags::DONTWAIT;
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, &mut number, flags).map(|(len, _)| len)
        });
        // No bytes: the host has closed.
        let len = received.ok().filter(|len| *len > 0)?;
        Some(CaseId::new(u64::from_le_bytes(number)).filter(|_| len == number.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(number: u64) -> CaseId {
        CaseId::new(number).expect("cases begin at one")
    }

    /// An inbox to which the content of `cases` was sent; a memfd of as many bytes as its case's number.
    fn inbox(cases: &[u64]) -> Inbox {
        let (host, engine) = content::pair().expect("a pair");
        for &number in cases {
            let file = rustix::fs::memfd_create("c", rustix::fs::MemfdFlags::CLOEXEC);
            let file = file.expect("a memfd");
            rustix::fs::ftruncate(&file, number).expect("sized");
            content::send(host.as_fd(), case(number), file.as_fd()).expect("sent");
        }
        Inbox::new(engine)
    }

    fn taken(inbox: &mut Inbox, number: u64) -> Option<i64> {
        inbox.take(case(number)).map(size)
    }

    fn size(file: OwnedFd) -> i64 {
        rustix::fs::fstat(file).expect("open").st_size
    }

    #[test]
    fn each_question_gets_its_own_file() {
        let mut inbox = inbox(&[1, 2, 3]);

        let files = [1, 2, 3].map(|number| taken(&mut inbox, number));

        assert_eq!(files, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn files_of_questions_that_never_came_are_strays() {
        let mut inbox = inbox(&[7, 8, 2, 9, 3]);

        let files = [2, 3].map(|number| taken(&mut inbox, number));

        assert_eq!(files, [Some(2), Some(3)]);
        assert!(inbox.waiting.is_empty());
        assert_eq!(inbox.strays().map(size).collect::<Vec<_>>(), [7, 8, 9]);
    }

    #[test]
    fn files_before_a_question_can_be_dropped_unseen() {
        let mut inbox = inbox(&[7, 8, 2, 3]);

        assert!(inbox.drop_before(case(2)));

        assert_eq!([2, 3].map(|number| taken(&mut inbox, number)), [Some(2), Some(3)]);
        assert_eq!(inbox.strays().count(), 0);
    }

    #[test]
    fn a_file_that_is_skipped_is_no_stray() {
        let mut inbox = inbox(&[1, 2]);

        inbox.skip(case(1));

        assert_eq!(inbox.strays().count(), 0);
        assert_eq!(taken(&mut inbox, 2), Some(2));
    }

    #[test]
    fn a_held_file_that_is_skipped_is_a_stray() {
        let mut inbox = inbox(&[2, 3]);
        assert_eq!(taken(&mut inbox, 1), None);

        inbox.skip(case(2));

        assert_eq!(inbox.strays().map(size).collect::<Vec<_>>(), [2]);
        assert_eq!(taken(&mut inbox, 3), Some(3));
    }

    #[test]
    fn only_so_many_files_are_held_for_later() {
        let numbers: Vec<u64> = (1..=100).collect();
        let mut inbox = inbox(&numbers);

        let last = taken(&mut inbox, 100);

        assert_eq!(last, Some(100));
        assert_eq!(inbox.strays().count(), HELD_MAX);
    }

    #[test]
    fn a_file_that_did_not_come_costs_no_other_question_its_own() {
        let mut inbox = inbox(&[2, 3]);

        let files = [1, 2, 3].map(|number| taken(&mut inbox, number));

        assert_eq!(files, [None, Some(2), Some(3)]);
        assert!(inbox.waiting.is_empty());
    }
}
