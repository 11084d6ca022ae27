//! The file of recorded events: what is written is read, and what is not a recording is refused.

use std::io::{self, Write};
use std::path::PathBuf;

use outrigger_api::record::{ContentAbsent, PATH_MAX};
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::{Answer, Event};
use outrigger_sensor::recording::{
    BLOB_MAX, Corpus, Counts, Header, Item, Kept, Reader, RecordingError, Redaction, Writer, sum,
};
use proptest::prelude::*;

fn header() -> Header {
    Header {
        made_ms: 1_795_000_000_000,
        origin: "Debian 13, Linux 6.12".to_owned(),
        kept: Kept::Bytes,
        without_credentials: true,
        without_paths: vec![b"/home".to_vec(), b"/root".to_vec()],
    }
}

fn sample(path: &str) -> Sample {
    Sample {
        event: Event::FileOpen,
        credentials: Some((1000, 100)),
        path: Some(path.as_bytes().to_vec()),
        attributes: Some((7, 8)),
        content: Err(ContentAbsent::NotRegular),
        standing: Standing { known_good: true, guarded: false },
        answer: Some(Answer::Deny),
    }
}

/// What a recording holds, owned.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Sample(Sample),
    Blob(Digest, Vec<u8>),
}

fn written(items: &[Held]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &header()).expect("into memory");
    for item in items {
        match item {
            Held::Sample(sample) => writer.sample(sample).expect("into memory"),
            Held::Blob(_, bytes) => drop(writer.blob(bytes).expect("into memory")),
        }
    }
    writer.end().expect("into memory")
}

/// What is read of `bytes`, and how it ended.
fn read(bytes: &[u8]) -> (Vec<Held>, Result<Counts, RecordingError>) {
    let mut held = Vec::new();
    let mut reader = match Reader::new(bytes) {
        Ok(reader) => reader,
        Err(error) => return (held, Err(error)),
    };
    loop {
        match reader.next_item() {
            Ok(Some(Item::Sample(sample))) => held.push(Held::Sample(sample)),
            Ok(Some(Item::Blob { digest, bytes: blob, offset })) => {
                let place = usize::try_from(offset).expect("in memory");
                assert_eq!(&bytes[place..place + blob.len()], blob, "it lies where it is said to");
                held.push(Held::Blob(digest, blob.to_vec()));
            }
            Ok(None) => return (held, Ok(reader.counts())),
            Err(error) => {
                assert!(matches!(reader.next_item(), Ok(None)), "nothing follows an error");
                return (held, Err(error));
            }
        }
    }
}

fn two_and_an_object() -> Vec<u8> {
    let blob = b"MZ not really".to_vec();
    let mut writer = Writer::new(Vec::new(), &header()).expect("into memory");
    writer.sample(&sample("/bin/true")).expect("into memory");
    let digest = writer.blob(&blob).expect("into memory");
    writer.blob(&blob).expect("into memory");
    writer.sample(&Sample { content: Ok(digest), ..sample("/bin/sh") }).expect("into memory");
    writer.end().expect("into memory")
}

#[test]
fn an_object_is_written_once_and_found_by_its_sum() {
    let (held, end) = read(&two_and_an_object());

    assert_eq!(held.len(), 3);
    let Held::Blob(digest, _) = &held[1] else { panic!("the object comes second: {held:?}") };
    assert!(matches!(&held[2], Held::Sample(sample) if sample.content == Ok(*digest)));
    assert_eq!(end.expect("whole"), Counts { samples: 2, blobs: 1, blob_bytes: 13 });
}

#[test]
fn the_header_says_when_where_and_what_was_left_out() {
    let bytes = two_and_an_object();

    let reader = Reader::new(&bytes[..]).expect("a recording");

    assert_eq!(reader.header(), &header());
}

#[test]
fn a_recording_that_was_cut_off_is_read_up_to_the_cut_and_says_where_that_is() {
    let whole = two_and_an_object();
    for len in 0..whole.len() {
        let (held, end) = read(&whole[..len]);

        let error = end.expect_err("it has no end");
        assert!(matches!(error, RecordingError::Cut { offset } if offset == len as u64), "{error}");
        assert!(held.len() <= 3);
    }
}

#[test]
fn a_bit_that_was_turned_anywhere_is_noticed() {
    let whole = two_and_an_object();
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;

        assert!(read(&bytes).1.is_err(), "byte {at} was changed and nobody noticed");
    }
}

#[test]
fn what_follows_the_end_is_not_read() {
    let mut bytes = two_and_an_object();
    bytes.extend(b"\x01\0\0\0\xff\xff\xff\xff");

    assert_eq!(read(&bytes).1.expect("whole").samples, 2);
}

#[test]
fn lengths_are_refused_before_they_are_believed() {
    let mut bytes = two_and_an_object();
    let first = 16 + usize::from(bytes[12]);
    assert_eq!(bytes[first..first + 4], [1, 0, 0, 0], "a sample");
    let table = [
        // kind, what is named, its limit
        (1, "sample", 72 + PATH_MAX),
        (2, "object", 32 + BLOB_MAX),
        (3, "end", 48),
    ];
    for (kind, what, limit) in table {
        bytes[first] = kind;
        bytes[first + 4..first + 8].copy_from_slice(&u32::MAX.to_le_bytes());

        let told = read(&bytes).1.expect_err("over the limit").to_string();

        let expected = format!("{what} of 4294967295 bytes, over the limit of {limit}");
        assert!(told.ends_with(&expected), "{told}");
    }
}

#[test]
fn other_files_and_other_versions_are_told_apart() {
    let mut newer = two_and_an_object();
    newer[8] = 2;

    let told = [&b"#!/bin/sh and more than enough of it\n"[..], &newer]
        .map(|bytes| read(bytes).1.expect_err("no recording of this version").to_string());

    assert_eq!(told[0], "this is no recording: its first bytes are not OUTRGREC");
    assert_eq!(told[1], "recording of version 2, this build reads 1");
}

#[test]
fn an_object_over_the_limit_is_not_written() {
    let mut writer = Writer::new(Vec::new(), &header()).expect("into memory");

    let refused = writer.blob(&vec![0; BLOB_MAX + 1]).expect_err("over the limit");

    assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(refused.to_string(), "an object of 67108865 bytes, over the limit of 67108864");
}

#[test]
fn an_output_without_room_is_an_error_and_not_a_recording() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("it is there");

    let error = Writer::new(full, &header()).expect_err("there is no room");

    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
}

#[test]
fn what_is_redacted_is_not_in_the_file() {
    let redaction = Redaction { paths: vec![PathBuf::from("/home")], credentials: true };
    let digest = Digest { size: 9, sha256: [0x5a; 32] };
    let mut kept = Sample { content: Ok(digest), ..sample("/homes/kept") };
    let mut secret = Sample { content: Ok(digest), ..sample("/home/eve/secret") };
    secret.attributes = Some((0x1122_3344_5566, 0x7788_99aa_bbcc));

    let applied = [&mut kept, &mut secret].map(|sample| redaction.apply(sample));
    let bytes = written(&[Held::Sample(secret.clone())]);

    assert_eq!(applied, [true, true]);
    assert_eq!(kept, Sample { credentials: None, content: Ok(digest), ..sample("/homes/kept") });
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(!has(b"eve") && !has(b"secret") && !has(&[0x5a; 8]), "left in the file");
    assert!(!has(&0x1122_3344_5566_u64.to_le_bytes()), "its size is left in the file");
    assert!(!has(&1000_u32.to_le_bytes()), "its user is left in the file");
    assert_eq!((secret.event, secret.answer), (Event::FileOpen, Some(Answer::Deny)));
}

/// Takes what it is given in small pieces, as a pipe does.
struct Pieces(Vec<u8>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(3);
        self.0.extend(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_same_bytes_are_written_in_pieces_and_at_once() {
    let mut writer = Writer::new(Pieces(Vec::new()), &header()).expect("into memory");
    writer.sample(&sample("/bin/true")).expect("into memory");

    let pieces = writer.end().expect("into memory").0;

    assert_eq!(pieces, written(&[Held::Sample(sample("/bin/true"))]));
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let content = prop_oneof![
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(size, sha256)| Ok(Digest { size, sha256 })),
        (1_u8..=4).prop_map(|number| Err(ContentAbsent::from_number(number).expect("one of four"))),
    ];
    let answer = prop::option::of(prop_oneof![Just(Answer::Allow), Just(Answer::Deny)]);
    (
        prop::sample::select(Event::ALL),
        prop::option::of(any::<(u32, u32)>()),
        prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
        prop::option::of(any::<(u64, u64)>()),
        content,
        any::<(bool, bool)>(),
        answer,
    )
        .prop_map(|(event, credentials, path, attributes, content, standing, answer)| Sample {
            event,
            credentials,
            path,
            attributes,
            content,
            standing: Standing { known_good: standing.0, guarded: standing.1 },
            answer,
        })
}

fn any_items() -> impl Strategy<Value = Vec<Held>> {
    let blob = prop::collection::vec(any::<u8>(), 0..64).prop_map(|bytes| {
        let sha256 = sum(&bytes);
        Held::Blob(Digest { size: bytes.len() as u64, sha256 }, bytes)
    });
    prop::collection::vec(prop_oneof![any_sample().prop_map(Held::Sample), blob], 0..12)
}

proptest! {
    #[test]
    fn what_is_written_is_read(items in any_items()) {
        let (held, end) = read(&written(&items));

        let mut seen = std::collections::HashSet::new();
        let mut once = items;
        once.retain(|item| match item {
            Held::Sample(_) => true,
            Held::Blob(digest, _) => seen.insert(digest.sha256),
        });
        prop_assert_eq!(end.expect("whole").blobs, seen.len() as u64);
        prop_assert_eq!(held, once);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes).1.is_err());
    }

    #[test]
    fn any_records_are_read_or_refused(kind in 0_u8..5, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = written(&[]);
        bytes.truncate(bytes.len() - 56);
        bytes.extend([kind, 0, 0, 0]);
        bytes.extend(u32::try_from(body.len()).expect("short").to_le_bytes());
        bytes.extend(body);
        let (held, end) = read(&bytes);
        prop_assert!(end.is_err() && held.len() <= 1);
    }
}

/// A corpus in a file of its own, of samples about the file at `path` by the sum of `content`.
fn corpus_about(folder: &std::path::Path, path: &std::path::Path, content: &[u8]) -> PathBuf {
    let digest = Digest { size: content.len() as u64, sha256: sum(content) };
    let file = folder.join("corpus.rec");
    let mut writer =
        Writer::new(std::fs::File::create(&file).expect("made"), &header()).expect("written");
    let held = writer.blob(b"held in the corpus").expect("written");
    writer.sample(&Sample { content: Ok(held), ..sample("/nowhere") }).expect("written");
    let path = path.to_str().expect("UTF-8");
    writer.sample(&Sample { content: Ok(digest), ..sample(path) }).expect("written");
    writer.end().expect("written");
    file
}

/// What is read of each sample's content, and how many were not to be had.
fn contents(file: &std::path::Path) -> (Vec<Option<Vec<u8>>>, u64) {
    let corpus = Corpus::open(file, &mut |_, _| ()).expect("whole");
    let mut samples = corpus.samples(true).expect("readable");
    let read = |file: std::os::fd::OwnedFd| {
        let mut bytes = vec![0; 64];
        let file = std::fs::File::from(file);
        let len = std::os::unix::fs::FileExt::read_at(&file, &mut bytes, 0).expect("readable");
        bytes.truncate(len);
        bytes
    };
    let read: Vec<_> = samples.by_ref().map(|(_, content)| content.map(read)).collect();
    assert!(samples.take_failure().is_none(), "it was read to its end");
    (read, samples.lacking())
}

#[test]
fn content_comes_from_the_corpus_or_from_the_file_while_that_has_the_sum() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("program");
    std::fs::write(&path, b"as it was").expect("written");
    let file = corpus_about(folder.path(), &path, b"as it was");

    let unchanged = contents(&file);
    std::fs::write(&path, b"as it is.").expect("written");
    let changed = contents(&file);
    std::fs::remove_file(&path).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", &path).expect("linked");
    let replaced = contents(&file);

    let held = Some(b"held in the corpus".to_vec());
    assert_eq!(unchanged, (vec![held.clone(), Some(b"as it was".to_vec())], 0));
    assert_eq!(changed, (vec![held.clone(), None], 1));
    assert_eq!(replaced, (vec![held, None], 1));
}

#[test]
fn content_from_the_corpus_cannot_be_written_by_who_gets_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = corpus_about(folder.path(), &folder.path().join("gone"), b"");
    let corpus = Corpus::open(&file, &mut |_, _| ()).expect("whole");

    let (_, content) = corpus.samples(true).expect("readable").next().expect("a sample");
    let mut content = std::fs::File::from(content.expect("it is in the corpus"));

    assert!(content.write_all(b"other").is_err() && content.set_len(0).is_err());
}

#[test]
fn a_file_that_was_cut_off_is_no_corpus_but_what_it_holds_can_be_saved() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cut.rec");
    let whole = two_and_an_object();
    std::fs::write(&file, &whole[..whole.len() - 57]).expect("written");

    let refused = Corpus::open(&file, &mut |_, _| ());
    let (saved, ended) = Corpus::salvage(&file, &mut |_, _| ()).expect("it begins as one");

    assert!(matches!(refused, Err(RecordingError::Cut { .. })), "{refused:?}");
    assert!(matches!(ended, Err(RecordingError::Cut { .. })), "{ended:?}");
    assert_eq!(saved.counts(), Counts { samples: 1, blobs: 1, blob_bytes: 13 });
    let mut samples = saved.samples(false).expect("readable");
    assert_eq!(samples.by_ref().count(), 1);
    let Held::Blob(digest, bytes) = &read(&whole).0[1] else { panic!("the object is second") };
    assert_eq!(samples.object(&digest.sha256).expect("readable").as_ref(), Some(bytes));
}
