//! What arrives on the operator's socket, through the host's own reader of it.

use std::io::BufReader;

use outrigger_api::control::REQUEST_MAX;

use crate::memory;
use host::Incoming;

#[path = "../../crates/hostd/src/host/request.rs"]
mod host;

/// Longest refusal, in bytes.
const MESSAGE_MAX: usize = 2048;
/// Memory that a connection may take: one line as it grows, and what is read of it.
const FIXED: usize = 8 * REQUEST_MAX;

/// Reads `bytes` as all that a connection sends.
pub fn check(bytes: &[u8]) {
    // The first byte says in what pieces it comes.
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let mut reader = BufReader::with_capacity(usize::from(*piece) + 1, bytes);
    let mut most = bytes.split(|&byte| byte == b'\n').count();
    loop {
        match memory::within(0, FIXED, 0, || host::read(&mut reader).expect("a slice is read")) {
            Incoming::End => return,
            Incoming::Request(request) => {
                let mut line = serde_json::to_vec(&request).expect("a request is written");
                line.push(b'\n');
                assert!(line.len() <= REQUEST_MAX + 1);
                match host::read(&mut &line[..]).expect("a slice is read") {
                    Incoming::Request(again) => assert_eq!(again, request),
                    Incoming::End | Incoming::Refused(_) | Incoming::TooLong(_) => {
                        panic!("not read again: {}", line.escape_ascii())
                    }
                }
            }
            Incoming::Refused(message) => crate::assert_showable(&message, MESSAGE_MAX),
            Incoming::TooLong(message) => return crate::assert_showable(&message, MESSAGE_MAX),
        }
        most = most.checked_sub(1).expect("more requests than lines");
    }
}
