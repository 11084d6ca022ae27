//! Control packets and content descriptors.

use std::io::{ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

use outrigger_api::CaseId;
use outrigger_api::frame::FRAME_MAX;
use outrigger_dock::content::SendError;
use outrigger_dock::{content, control};
use rustix::fs::SealFlags;
use rustix::io::{Errno, FdFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

fn case(number: u64) -> CaseId {
    CaseId::new(number).expect("cases begin at one")
}

fn file(text: &str) -> std::fs::File {
    let mut file = std::fs::File::from(
        rustix::fs::memfd_create("content", rustix::fs::MemfdFlags::CLOEXEC).expect("a memfd"),
    );
    file.write_all(text.as_bytes()).expect("written");
    file.rewind().expect("rewound");
    file
}

fn text(fd: OwnedFd) -> String {
    let mut text = String::new();
    std::fs::File::from(fd).read_to_string(&mut text).expect("readable");
    text
}

/// Sends what no honest peer sends.
fn send_raw(sock: &OwnedFd, bytes: &[u8], fds: &[&std::fs::File]) {
    let fds: Vec<_> = fds.iter().map(|file| file.as_fd()).collect();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    }
    let bytes = [std::io::IoSlice::new(bytes)];
    rustix::net::sendmsg(sock, &bytes, &mut ancillary, SendFlags::NOSIGNAL).expect("sent");
}

#[test]
fn a_packet_arrives_whole_with_its_descriptors() {
    let (host, engine) = control::pair().expect("a pair");
    let files = [file("one"), file("two")];
    let mut buf = [0; FRAME_MAX];

    for count in 0..=2 {
        let fds: Vec<_> = files[..count].iter().map(AsFd::as_fd).collect();
        control::send(host.as_fd(), b"welcome", &fds).expect("sent");
        let got = control::recv(engine.as_fd(), &mut buf).expect("received");

        assert_eq!(&buf[..got.len], b"welcome");
        assert_eq!(got.fds.len(), count);
        for fd in &got.fds {
            assert_eq!(rustix::io::fcntl_getfd(fd), Ok(FdFlags::CLOEXEC));
        }
    }
}

#[test]
fn descriptors_arrive_in_their_order() {
    let (host, engine) = control::pair().expect("a pair");
    let (one, two) = (file("one"), file("two"));

    control::send(host.as_fd(), b"x", &[one.as_fd(), two.as_fd()]).expect("sent");
    let got = control::recv(engine.as_fd(), &mut [0; 8]).expect("received");

    assert_eq!(got.fds.into_iter().map(text).collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn what_cannot_be_one_packet_is_not_sent() {
    let (host, _engine) = control::pair().expect("a pair");
    let one = file("one");
    let kind = |packet: &[u8], fds: usize| {
        let fds = vec![one.as_fd(); fds];
        control::send(host.as_fd(), packet, &fds).map_err(|error| error.kind())
    };

    assert_eq!(kind(&[0; FRAME_MAX], 0), Ok(()));
    assert_eq!(kind(&[0; FRAME_MAX + 1], 0), Err(ErrorKind::InvalidInput));
    assert_eq!(kind(&[], 0), Err(ErrorKind::InvalidInput));
    assert_eq!(kind(b"x", 3), Err(ErrorKind::InvalidInput));
}

#[test]
fn an_oversized_packet_is_refused_and_the_next_one_read() {
    let (host, engine) = control::pair().expect("a pair");
    let mut buf = [0; FRAME_MAX];

    send_raw(&engine, &[1; FRAME_MAX + 1], &[]);
    control::send(engine.as_fd(), b"next", &[]).expect("sent");
    let first = control::recv_bare(host.as_fd(), &mut buf).map_err(|error| error.kind());
    let second = control::recv_bare(host.as_fd(), &mut buf).expect("received");

    assert_eq!(first, Err(ErrorKind::InvalidData));
    assert_eq!(&buf[..second], b"next");
}

#[test]
fn more_descriptors_than_can_be_are_refused() {
    let (host, engine) = control::pair().expect("a pair");
    let one = file("one");

    for count in 3..=8 {
        send_raw(&host, b"x", &vec![&one; count]);
        let got = control::recv(engine.as_fd(), &mut [0; 8]).map_err(|error| error.kind());

        assert_eq!(got.map(|_| ()), Err(ErrorKind::InvalidData), "{count} descriptors");
    }
}

#[test]
fn a_descriptor_from_an_engine_never_enters_the_host() {
    let (host, engine) = control::pair().expect("a pair");
    // The read end reports the end once no write end is open anywhere.
    let (read, write) = rustix::pipe::pipe().expect("a pipe");

    send_raw(&engine, b"x", &[&std::fs::File::from(write)]);
    let got = control::recv_bare(host.as_fd(), &mut [0; 8]).map_err(|error| error.kind());

    assert_eq!(got, Err(ErrorKind::InvalidData));
    assert_eq!(text(read), "");
}

#[test]
fn a_closed_peer_is_told_plainly_on_both_sides() {
    for unread in [false, true] {
        let (host, engine) = control::pair().expect("a pair");
        if unread {
            control::send(host.as_fd(), b"never read", &[]).expect("sent");
        }
        drop(engine);

        let got = control::recv_bare(host.as_fd(), &mut [0; 8]).map_err(|error| error.kind());
        let sent = control::send(host.as_fd(), b"x", &[]).map_err(|error| error.kind());

        assert_eq!(got, Err(ErrorKind::UnexpectedEof));
        assert_eq!(sent, Err(ErrorKind::BrokenPipe));
    }
}

#[test]
fn the_host_end_does_not_wait() {
    let (host, engine) = control::pair().expect("a pair");

    let got = control::recv_bare(host.as_fd(), &mut [0; 8]).map_err(|error| error.kind());
    let full = std::iter::repeat_with(|| control::send(host.as_fd(), &[0; 4096], &[]))
        .find_map(Result::err)
        .map(|error| error.kind());

    assert_eq!(got, Err(ErrorKind::WouldBlock));
    assert_eq!(full, Some(ErrorKind::WouldBlock));
    drop(engine);
}

#[test]
fn content_arrives_with_its_case() {
    let (host, engine) = content::pair().expect("a pair");

    content::send(host.as_fd(), case(7), file("seven").as_fd()).expect("sent");
    content::send(host.as_fd(), case(u64::MAX), file("last").as_fd()).expect("sent");
    let (first, seven) = content::recv(engine.as_fd()).expect("received").expect("one is there");
    let (second, last) = content::recv(engine.as_fd()).expect("received").expect("one is there");

    assert_eq!((first, text(seven).as_str()), (case(7), "seven"));
    assert_eq!((second, text(last).as_str()), (case(u64::MAX), "last"));
    assert!(content::recv(engine.as_fd()).expect("open").is_none());
}

#[test]
fn an_engine_that_takes_no_content_is_a_backlog_and_holds_nobody_up() {
    let (host, engine) = content::pair().expect("a pair");
    let one = file("one");

    let mut sent = 0;
    let error = loop {
        match content::send(host.as_fd(), case(1), one.as_fd()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };

    assert_eq!(error, SendError::Backlog);
    assert!(sent >= 100, "room for only {sent}");
    drop(engine);
}

#[test]
fn an_engine_that_is_gone_is_told_so() {
    let (host, engine) = content::pair().expect("a pair");
    drop(engine);

    let sent = content::send(host.as_fd(), case(1), file("one").as_fd());

    assert_eq!(sent, Err(SendError::Gone(Errno::PIPE)));
}

#[test]
fn an_engine_can_send_the_host_no_descriptor_on_the_content_socket() {
    let (_host, engine) = content::pair().expect("a pair");

    let sent = content::send(engine.as_fd(), case(1), file("one").as_fd());

    assert_eq!(sent, Err(SendError::Gone(Errno::PIPE)));
}

#[test]
fn a_content_packet_without_case_or_descriptor_is_refused() {
    let one = file("one");
    let packets: [(&[u8], &[&std::fs::File]); 4] = [
        (&7_u64.to_le_bytes(), &[]),
        (&0_u64.to_le_bytes(), &[&one]),
        (b"seven", &[&one]),
        (b"more than eight bytes", &[&one]),
    ];
    for (bytes, fds) in packets {
        let (host, engine) = content::pair().expect("a pair");
        send_raw(&host, bytes, fds);

        let got = content::recv(engine.as_fd()).map_err(|error| error.kind());

        assert_eq!(got.map(|_| ()), Err(ErrorKind::InvalidData), "{bytes:?}");
    }
}

#[test]
fn the_engine_is_told_that_the_host_has_closed() {
    let (host, engine) = content::pair().expect("a pair");
    drop(host);

    let got = content::recv(engine.as_fd()).map_err(|error| error.kind());

    assert_eq!(got.map(|_| ()), Err(ErrorKind::UnexpectedEof));
}

#[test]
fn what_is_empty_stays_so_whoever_has_it() {
    let file = content::empty().expect("a file");

    assert_eq!(rustix::fs::fstat(&file).expect("its size").st_size, 0);
    assert_eq!(rustix::io::pwrite(&file, b"content", 0), Err(Errno::PERM));
    assert_eq!(rustix::fs::ftruncate(&file, 1), Err(Errno::PERM));
    assert_eq!(rustix::fs::fcntl_add_seals(&file, SealFlags::empty()), Err(Errno::PERM));
}
