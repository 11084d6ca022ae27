//! Files of recorded events, which can come from anybody.

use outrigger_api::sample::Sample;
use outrigger_sensor::recording::{
    Header, Item, Reader, RecordingError, SAMPLE_MAX, Writer, encode, sum,
};

use crate::memory;

/// Bytes that reading takes besides what it read: buffers that grow by doubling.
const FIXED: usize = 64 << 10;
/// Longest error, in bytes.
const MESSAGE_MAX: usize = 160;

/// What a recording holds, owned.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Sample(Sample),
    Blob(Vec<u8>),
}

/// Reads `bytes` as a recording, and as the body of one sample in one.
pub fn check(bytes: &[u8]) {
    let (header, held, ended) = memory::within(bytes.len(), FIXED, 16, || read(bytes));
    match ended {
        // The one form: written again it has the same bytes, but for what follows the end.
        Ok(()) => assert!(bytes.starts_with(&written(&header.expect("it was read"), &held))),
        Err(error) => {
            crate::assert_showable(&error.to_string(), MESSAGE_MAX);
            if let RecordingError::Cut { offset } = error {
                assert_eq!(offset, bytes.len() as u64);
            }
        }
    }
    sample(&bytes[..bytes.len().min(SAMPLE_MAX)]);
}

/// What is read as a sample has one form.
fn sample(body: &[u8]) {
    let mut bytes = written(&Header::default(), &[]);
    bytes.truncate(bytes.len() - (8 + 48));
    let start = bytes.len();
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(u32::try_from(body.len()).expect("a sample is short").to_le_bytes());
    bytes.extend(body);
    let (_, held, _) = read(&bytes);
    if let Some(Held::Sample(sample)) = held.first() {
        let mut again = Vec::new();
        encode(sample, &mut again);
        assert_eq!(again, bytes[start + 8..]);
    }
}

fn read(bytes: &[u8]) -> (Option<Header>, Vec<Held>, Result<(), RecordingError>) {
    let mut held = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (None, held, Err(error)),
    };
    let header = Some(reader.header().clone());
    loop {
        match reader.next_item() {
            Ok(None) => return (header, held, Ok(())),
            Ok(Some(Item::Sample(sample))) => held.push(Held::Sample(sample)),
            Ok(Some(Item::Blob { digest, bytes, .. })) => {
                assert_eq!((digest.size, digest.sha256), (bytes.len() as u64, sum(bytes)));
                held.push(Held::Blob(bytes.to_vec()));
            }
            Err(error) => return (header, held, Err(error)),
        }
    }
}

fn written(header: &Header, held: &[Held]) -> Vec<u8> {
    let mut writer =
        Writer::new(Vec::new(), header).expect("a header that was read is in its limits");
    for item in held {
        match item {
            Held::Sample(sample) => writer.sample(sample).expect("into memory"),
            Held::Blob(bytes) => drop(writer.blob(bytes).expect("into memory")),
        }
    }
    writer.end().expect("into memory")
}
