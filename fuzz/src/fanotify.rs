//! What a read of a fanotify group gives.

use outrigger_api::Event;
use outrigger_sensor::{Batch, RawQuestion};

/// Bytes of an event without what may follow it, and with a pidfd.
const PLAIN: usize = 24;

/// Reads `bytes` as what the kernel gave; what was read and is laid out again must read the same.
pub fn check(bytes: &[u8]) {
    let batch = Batch::of(bytes);
    let questions: Vec<RawQuestion> = batch.questions().collect();

    assert!(questions.len() <= bytes.len() / PLAIN);
    for question in &questions {
        // An overflow has no file, and a subject that is gone no pidfd: a number below these would be
        // taken for a descriptor somewhere.
        assert!(question.file >= 0 && question.pidfd >= -1, "{question:?}");
    }
    let laid: Vec<u8> = questions.iter().flat_map(lay).collect();
    assert_eq!(Batch::of(&laid).questions().collect::<Vec<_>>(), questions);
}

/// `struct fanotify_event_metadata`, and a pidfd record behind it (`man 7 fanotify`).
fn lay(question: &RawQuestion) -> Vec<u8> {
    let mask: u64 = match question.event {
        Event::ProcessExec => 0x0004_0000,
        _ => 0x0001_0000,
    };
    let mut bytes = Vec::new();
    bytes.extend(32_u32.to_ne_bytes());
    bytes.extend([3, 0, 24, 0]);
    bytes.extend(mask.to_ne_bytes());
    bytes.extend(question.file.to_ne_bytes());
    bytes.extend(question.pid.to_ne_bytes());
    bytes.extend([4, 0, 8, 0]);
    bytes.extend(question.pidfd.to_ne_bytes());
    bytes
}
