//! What is kept, what is left out, and what becomes of what comes too fast or finds no room.

use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use outrigger_sensor::recording::{Corpus, Item, Reader, RecordingError, sum};

use super::super::policy::Ruling;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn config(folder: &Path, record: &str) -> HostConfig {
    let text = format!("host.state_dir = {folder:?}\n[record]\nenabled = true\n{record}");
    HostConfig::parse(&text, Path::new("c.toml")).expect("nothing is wrong")
}

fn recorder(config: &HostConfig) -> Recorder {
    let root = File::open("/").expect("there is a root");
    let root: &'static File = Box::leak(Box::new(root));
    let started = Recorder::start(config, Guard::new(config, &[]), root.as_fd());
    started.expect("a thread can be started").expect("it is enabled")
}

/// A question about `file`, which the kernel says lies at `path`.
fn intake(file: &File, path: &str) -> Intake {
    Intake {
        event: Event::FileOpen,
        file: file.as_raw_fd(),
        pidfd: -1,
        group: 0,
        pid: 1,
        process: None,
        user: None,
        credentials: Some(Credentials { uid: 1234, gid: 4321 }),
        object: identity::object(file.as_fd()).expect("it is open"),
        path: Some(PathBuf::from(path)),
        leased: false,
        may_block: false,
        read_at: 0,
        deadline: 0,
        empty: false,
        stand_in: None,
        ruling: Ruling::default(),
        content: Vec::new(),
    }
}

fn file_of(bytes: &[u8]) -> File {
    use std::io::Write as _;
    let mut file = tempfile::tempfile().expect("a file can be made");
    file.write_all(bytes).expect("and written");
    file
}

type Ended = Result<(), RecordingError>;

/// The samples and the sums of the objects in all files, oldest first, and how each file ended.
fn held(folder: &Path) -> (Vec<Sample>, Vec<[u8; 32]>, Vec<Ended>) {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("it is there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|end| end == "rec"))
        .collect();
    names.sort();
    let (mut samples, mut objects, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let mut reader = Reader::new(File::open(name).expect("readable")).expect("a recording");
        ends.push(loop {
            match reader.next_item() {
                Ok(Some(Item::Sample(sample))) => samples.push(sample),
                Ok(Some(Item::Blob { digest, .. })) => objects.push(digest.sha256),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        });
    }
    (samples, objects, ends)
}

fn settled(recorder: &Recorder) -> Recording {
    assert!(recorder.flush(PATIENCE), "not written within {PATIENCE:?}");
    recorder.status()
}

#[test]
fn nothing_is_kept_unless_it_is_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = HostConfig::parse("", Path::new("c.toml")).expect("nothing is wrong");
    let root = File::open("/").expect("there is a root");
    let root: &'static File = Box::leak(Box::new(root));

    let started = Recorder::start(&config, Guard::new(&config, &[]), root.as_fd());

    assert!(started.expect("nothing to fail").is_none());
    assert_eq!(std::fs::read_dir(folder.path()).expect("it is there").count(), 0);
}

#[test]
fn a_question_is_kept_once_with_the_bytes_of_its_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = recorder(&config(folder.path(), "content = \"bytes\""));
    let file = file_of(b"one and only");

    (0..3).for_each(|_| recorder.offer(&intake(&file, "/srv/a"), Answer::Allow));
    recorder.offer(&intake(&file, "/srv/a"), Answer::Deny);
    let status = settled(&recorder);

    let (samples, objects, _) = held(folder.path());
    assert_eq!((status.kept, status.repeated, status.lost, status.unwritten), (2, 2, 0, 0));
    assert_eq!(objects, [sum(b"one and only")]);
    let content = samples[0].content.expect("its bytes are there");
    assert_eq!((content.size, content.sha256), (12, sum(b"one and only")));
    assert_eq!(samples[0].path.as_deref(), Some(&b"/srv/a"[..]));
    assert_eq!(samples[0].credentials, Some((1234, 4321)));
    let answers: Vec<_> = samples.iter().map(|sample| sample.answer).collect();
    assert_eq!(answers, [Some(Answer::Allow), Some(Answer::Deny)]);
    assert_eq!(recorder.shared.descriptors.load(Ordering::Relaxed), 0, "descriptors are left");
}

#[test]
fn only_sums_are_kept_where_only_sums_are_wanted_and_nothing_where_nothing_is() {
    let table = [("sums", Ok(sum(b"content"))), ("none", Err(ContentAbsent::NotGranted))];
    for (content, expected) in table {
        let folder = tempfile::tempdir().expect("a folder");
        let recorder = recorder(&config(folder.path(), &format!("content = {content:?}")));

        recorder.offer(&intake(&file_of(b"content"), "/srv/a"), Answer::Allow);
        settled(&recorder);

        let (samples, objects, _) = held(folder.path());
        assert_eq!(samples[0].content.map(|digest| digest.sha256), expected, "{content}");
        assert!(objects.is_empty(), "{content}");
    }
}

#[test]
fn what_is_to_be_left_out_is_in_no_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let record = "content = \"bytes\"\ncredentials = false\nredact = [\"/home\"]";
    let recorder = recorder(&config(folder.path(), record));

    recorder.offer(&intake(&file_of(b"dear diary"), "/home/eve/diary"), Answer::Allow);
    recorder.offer(&intake(&file_of(b"a page"), "/srv/page"), Answer::Allow);
    settled(&recorder);

    let (samples, objects, _) = held(folder.path());
    assert_eq!(samples.len(), 2);
    assert_eq!((&samples[0].path, samples[0].attributes), (&None, None));
    assert_eq!(samples[0].content, Err(ContentAbsent::NotGranted));
    assert!(samples.iter().all(|sample| sample.credentials.is_none()));
    assert_eq!(objects, [sum(b"a page")]);
    let name = folder.path().join("recording-0000000001.rec");
    let bytes = std::fs::read(name).expect("it was written");
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(has(b"/home") && has(b"a page"), "the header says what is left out");
    assert!(!has(b"eve") && !has(b"diary"), "left in the file");
}

#[test]
fn key_material_is_kept_by_no_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = recorder(&config(folder.path(), "content = \"bytes\""));
    let file = file_of(b"PRIVATE KEY");
    let mut asked = intake(&file, "/etc/ssl/private/site.key");
    (asked.object.owner, asked.object.mode) = (0, libc::S_IFREG | 0o600);

    recorder.offer(&asked, Answer::Allow);
    settled(&recorder);

    let (samples, objects, _) = held(folder.path());
    assert_eq!(samples[0].content, Err(ContentAbsent::KeyMaterial));
    assert!(objects.is_empty());
}

#[test]
fn a_file_that_has_changed_since_is_kept_without_content() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = recorder(&config(folder.path(), "content = \"bytes\""));
    let file = file_of(b"before");
    let mut asked = intake(&file, "/srv/a");
    asked.object.changed -= 1;

    recorder.offer(&asked, Answer::Allow);
    settled(&recorder);

    let (samples, objects, _) = held(folder.path());
    assert_eq!(samples[0].content, Err(ContentAbsent::Backlog));
    assert!(objects.is_empty());
}

#[test]
fn a_flood_is_bounded_and_what_is_lost_is_counted_exactly() {
    const OFFERED: u64 = 3 * WAITING_MAX as u64;
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = recorder(&config(folder.path(), "content = \"sums\""));
    let file = file_of(b"flood");
    {
        // The thread is held up after its first batch, as by a disk that does not answer.
        let _held_up = lock(&recorder.shared.told);
        for number in 0..OFFERED {
            recorder.offer(&intake(&file, &format!("/srv/{number}")), Answer::Allow);
            let open = recorder.shared.descriptors.load(Ordering::Relaxed);
            assert!(open <= DESCRIPTORS_MAX, "{open} descriptors are held");
        }
    }

    let status = settled(&recorder);

    assert!(status.lost >= OFFERED - 2 * WAITING_MAX as u64, "{status:?}");
    assert!(
        status.unread >= OFFERED - 2 * DESCRIPTORS_MAX as u64 - WAITING_MAX as u64,
        "{status:?}"
    );
    assert_eq!(status.kept + status.lost, OFFERED, "{status:?}");
    assert_eq!(held(folder.path()).0.len() as u64, status.kept);
    assert_eq!(recorder.shared.descriptors.load(Ordering::Relaxed), 0, "descriptors are left");
}

#[test]
fn the_oldest_file_gives_way_and_the_bytes_stay_below_their_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = recorder(&config(folder.path(), "bytes_max = \"1MiB\""));
    let file = file_of(b"");
    let long = "x".repeat(1000);
    for number in 0..3000 {
        recorder.offer(&intake(&file, &format!("/srv/{long}/{number}")), Answer::Allow);
        if number % 500 == 0 {
            settled(&recorder);
        }
    }
    let status = settled(&recorder);

    let sizes = std::fs::read_dir(folder.path()).expect("it is there");
    let sizes = sizes.map(|entry| entry.and_then(|entry| entry.metadata()).expect("a file").len());
    let bytes: u64 = sizes.sum();
    let (samples, _, ends) = held(folder.path());
    assert_eq!((status.kept, status.lost), (3000, 0));
    assert!(bytes <= 1 << 20 && bytes == status.bytes, "{bytes} bytes, {status:?}");
    assert!(bytes > 1 << 19, "{bytes} bytes: more than was needed gave way");
    let last = samples.last().and_then(|sample| sample.path.clone()).expect("a path");
    assert!(last.ends_with(b"/2999"), "the newest was lost");
    // All but the newest, which goes on, are whole.
    assert!(ends.iter().rev().skip(1).all(Result::is_ok), "{ends:?}");
    assert_eq!(ends.len() as u64, status.files);
}

#[test]
fn a_full_disk_is_told_and_got_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = folder.path().join("recording-0000000001.rec");
    std::os::unix::fs::symlink("/dev/full", &name).expect("a link can be made");
    let recorder = recorder(&config(folder.path(), ""));
    // Numbers go on after those that are there.
    std::fs::rename(&name, folder.path().join("recording-0000000002.rec")).expect("renamed");
    let file = file_of(b"");

    recorder.offer(&intake(&file, "/srv/first"), Answer::Allow);
    let full = settled(&recorder);
    recorder.offer(&intake(&file, "/srv/second"), Answer::Allow);
    let paused = settled(&recorder);
    let deadline = std::time::Instant::now() + PATIENCE;
    let mut number = 2;
    let over = loop {
        recorder.offer(&intake(&file, &format!("/srv/{number}")), Answer::Allow);
        number += 1;
        let status = settled(&recorder);
        assert!(std::time::Instant::now() < deadline, "nothing is kept again: {status:?}");
        if status.kept > 0 {
            break status;
        }
    };

    assert!(full.trouble.is_some_and(|why| why.contains("No space left")), "not told");
    assert_eq!((full.kept, full.unwritten, paused.unwritten), (0, 1, 2));
    assert_eq!((over.trouble, over.kept), (None, 1));
    let written = folder.path().join("recording-0000000003.rec");
    assert!(Corpus::open(&written, &mut |_, _| ()).is_err(), "it goes on, so it has no end");
}

#[test]
fn the_next_host_goes_on_after_what_it_finds() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config(folder.path(), "");
    let file = file_of(b"");
    for number in 1..=2 {
        let recorder = recorder(&config);
        recorder.offer(&intake(&file, &format!("/srv/{number}")), Answer::Allow);
        assert_eq!(settled(&recorder).files, number);
    }

    assert_eq!(held(folder.path()).0.len(), 2);
}
