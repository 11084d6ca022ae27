//! The two rings between host and engine, driven step by step.
//!
//! The input is a program: each step is one byte that says what happens and what it needs. The first
//! byte chooses the engine: an honest one, which uses its own ends, and must get every record as it was
//! pushed and in order; or a hostile one, which writes any word of the shared memory, of which nothing
//! may follow but an error.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;

use libfuzzer_sys::arbitrary::{Result, Unstructured};
use outrigger_api::record::{RecordError, VERDICT_SIZE, VERSION, VerdictRecord};
use outrigger_dock::{EventReader, EventWriter, PushError, VerdictReader, VerdictWriter};

/// Data bytes of the rings: the smallest, so that they wrap soon.
const RING: u32 = 4096;
/// Where the shared words lie, from the beginning of the ring's file.
const CURSORS: [u64; 4] = [0, 128, 256, 384];
const DATA: u64 = 4096;
/// Longest error about a ring, in bytes.
const MESSAGE_MAX: usize = 160;

/// Drives both rings by the program `bytes`.
pub fn check(bytes: &[u8]) {
    let mut steps = Unstructured::new(bytes);
    // A program that ends in the middle of a step is one step shorter.
    let _ = match steps.arbitrary::<bool>() {
        Ok(true) => hostile(&mut steps),
        _ => honest(&mut steps),
    };
}

fn honest(steps: &mut Unstructured<'_>) -> Result<()> {
    let (mut host, fd) = EventWriter::create(RING).expect("a ring");
    let mut engine = EventReader::map(fd, RING).expect("mapped");
    let (mut verdicts, fd) = VerdictReader::create(RING).expect("a ring");
    let mut votes = VerdictWriter::map(fd, RING).expect("mapped");
    let (mut pushed, mut published) = (VecDeque::new(), VecDeque::new());
    let (mut cast, mut told) = (VecDeque::new(), VecDeque::new());
    let mut buf = Vec::new();
    while !steps.is_empty() {
        match steps.int_in_range(0..=5)? {
            0 => {
                let record = record(steps)?;
                match host.push(&record) {
                    Ok(()) => pushed.push_back(record),
                    Err(PushError::Full) => {
                        let unread = host.unread_bytes().expect("the engine is honest");
                        // A pad is shorter than the record that it makes room for.
                        assert!(unread as usize + 2 * record.len() > RING as usize);
                    }
                    Err(error) => {
                        assert!(record.is_empty() || record.len() > RING as usize / 2, "{error}");
                    }
                }
            }
            1 => {
                host.publish();
                published.append(&mut pushed);
            }
            2 => {
                let read = engine.pop(&mut buf).expect("the host is honest");
                assert_eq!(read.map(<[u8]>::to_vec), published.pop_front());
                let waiting: usize = published.iter().chain(&pushed).map(Vec::len).sum();
                assert!(host.unread_bytes().expect("the engine is honest") as usize >= waiting);
            }
            3 => {
                let verdict = verdict(steps)?;
                match votes.push(&verdict) {
                    Ok(()) => cast.push_back(verdict),
                    Err(error) => assert_eq!(error, PushError::Full),
                }
            }
            4 => {
                votes.publish_and_wake();
                told.append(&mut cast);
            }
            _ => assert_eq!(verdicts.pop().expect("the engine is honest"), told.pop_front()),
        }
    }
    Ok(())
}

fn hostile(steps: &mut Unstructured<'_>) -> Result<()> {
    let (mut host, fd) = EventWriter::create(RING).expect("a ring");
    let events = File::from(fd);
    let (mut verdicts, fd) = VerdictReader::create(RING).expect("a ring");
    let votes = File::from(fd);
    while !steps.is_empty() {
        match steps.int_in_range(0..=5)? {
            0 => match host.push(&record(steps)?) {
                Ok(()) => {}
                Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
            },
            1 => {
                host.publish();
            }
            2 => match host.unread_bytes() {
                Ok(unread) => assert!(unread <= RING),
                Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
            },
            3 => forge(&events, steps)?,
            4 => forge(&votes, steps)?,
            _ => take(&mut verdicts),
        }
    }
    Ok(())
}

/// Reads what there is: never more records than fit, and never one of another length than announced.
fn take(verdicts: &mut VerdictReader) {
    let mut most = RING as usize / VERDICT_SIZE;
    loop {
        match verdicts.pop() {
            Ok(None) => return,
            Ok(Some(record)) => {
                let parsed = VerdictRecord::parse(&record);
                assert!(!matches!(parsed, Err(RecordError::Length { .. })), "{parsed:?}");
            }
            Err(error) => return crate::assert_showable(&error.to_string(), MESSAGE_MAX),
        }
        // A ring that was full may be read to its end and no further.
        most = most.checked_sub(1).expect("more records than the ring holds");
    }
}

/// Writes a cursor, a word of the data, or a whole verdict.
fn forge(ring: &File, steps: &mut Unstructured<'_>) -> Result<()> {
    let write = |bytes: &[u8], at: u64| ring.write_all_at(bytes, at).expect("a memfd is written");
    match steps.int_in_range(0..=3)? {
        0 => write(&steps.arbitrary::<u32>()?.to_le_bytes(), *steps.choose(&CURSORS)?),
        // A step that an honest engine could make.
        1 => {
            let words = u32::from(steps.arbitrary::<u16>()?) % (RING / 8 + 1);
            write(&(words * 8).to_le_bytes(), *steps.choose(&CURSORS)?);
        }
        2 => {
            let word = u64::from(steps.arbitrary::<u16>()?) % u64::from(RING / 8);
            write(&steps.arbitrary::<[u8; 8]>()?, DATA + 8 * word);
        }
        _ => {
            let places = u64::from(RING) / VERDICT_SIZE as u64;
            let place = u64::from(steps.arbitrary::<u8>()?) % places;
            write(&verdict(steps)?, DATA + VERDICT_SIZE as u64 * place);
        }
    }
    Ok(())
}

/// A record of up to a little more than half the ring, with a right prefix.
fn record(steps: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let words = usize::from(steps.arbitrary::<u16>()?) % (RING as usize / 16 + 8);
    let mut record = vec![steps.arbitrary::<u8>()?; words * 8];
    if let Some(prefix) = record.first_chunk_mut::<6>() {
        *prefix = prefix_of(words * 8);
    }
    Ok(record)
}

/// A verdict with a right prefix and any content.
fn verdict(steps: &mut Unstructured<'_>) -> Result<[u8; VERDICT_SIZE]> {
    let mut verdict = [0; VERDICT_SIZE];
    steps.fill_buffer(&mut verdict[6..24])?;
    verdict[..6].copy_from_slice(&prefix_of(VERDICT_SIZE));
    Ok(verdict)
}

fn prefix_of(len: usize) -> [u8; 6] {
    let [a, b, c, d] = u32::try_from(len).expect("a record is short").to_le_bytes();
    let [e, f] = VERSION.to_le_bytes();
    [a, b, c, d, e, f]
}
