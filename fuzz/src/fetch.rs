//! What the child that downloads says to its updater, and what it is asked: a stream of frames.

use outrigger_api::fetch::{
    BODY_MAX, CHUNK_MAX, FrameError, PREFIX, Reply, Request, TEXT_MAX, body_length,
};

use crate::memory;

/// Longest message about what was not read, in bytes.
const MESSAGE_MAX: usize = 200;

/// Reads `bytes` as frames until one is cut short or refused. Reading takes no memory but the message of what
/// was refused; what was read and is written again is the same bytes.
pub fn check(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() {
        let length = match body_length(*prefix) {
            Ok(length) => length,
            Err(error) => return told(&error),
        };
        assert!((1..=BODY_MAX).contains(&length));
        let Some((body, after)) = after.split_at_checked(length) else { return };
        let frame = &rest[..PREFIX + length];
        reply(body, frame);
        request(body, frame);
        rest = after;
    }
}

fn reply(body: &[u8], frame: &[u8]) {
    match memory::within(0, 0, 0, || Reply::parse(body)) {
        Ok(reply) => {
            match &reply {
                Reply::Data(bytes) => assert!((1..=CHUNK_MAX).contains(&bytes.len())),
                Reply::Ready(text) | Reply::Failed(_, text) => assert!(text.len() <= TEXT_MAX),
                Reply::Begin(_) | Reply::End | Reply::Missing => {}
            }
            assert_eq!(reply.frame(), frame);
        }
        Err(error) => told(&error),
    }
}

fn request(body: &[u8], frame: &[u8]) {
    match memory::within(0, 0, 0, || Request::parse(body)) {
        Ok(request) => assert_eq!(request.frame(), frame),
        Err(error) => told(&error),
    }
}

fn told(error: &FrameError) {
    crate::assert_showable(&error.to_string(), MESSAGE_MAX);
}
