//! Recordings made, shown, exported and replayed, without a host.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use outrigger_api::record::ContentAbsent;
use outrigger_api::sample::{Digest, Sample, Standing};
use outrigger_api::{Answer, Event};
use outrigger_sensor::recording::{Corpus, Header, Kept, Writer, sum};
use tempfile::TempDir;

use crate::host::{Ran, outrigger};

fn run(arguments: &[&str]) -> Ran {
    outrigger(Path::new("/nonexistent/control.sock"), arguments)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn sample(path: &str) -> Sample {
    Sample {
        event: Event::FileOpen,
        credentials: Some((1000, 100)),
        path: Some(path.as_bytes().to_vec()),
        attributes: None,
        content: Err(ContentAbsent::NotRegular),
        standing: Standing::default(),
        answer: Some(Answer::Allow),
    }
}

/// A host's file of these samples; without an end, as the host leaves it.
fn recorded(folder: &Path, number: u32, samples: &[(Sample, &[u8])]) -> PathBuf {
    let file = folder.join(format!("recording-{number:010}.rec"));
    let header = Header { kept: Kept::Bytes, origin: "a test".to_owned(), ..Header::default() };
    let mut writer = Writer::new(File::create(&file).expect("made"), &header).expect("written");
    for (sample, bytes) in samples {
        writer.blob(bytes).expect("written");
        writer.sample(sample).expect("written");
    }
    file
}

#[test]
fn an_export_holds_each_question_once_and_nothing_that_was_redacted() {
    let folder = TempDir::new().expect("a folder");
    let about = |path: &str, bytes: &[u8]| Sample {
        content: Ok(Digest { size: bytes.len() as u64, sha256: sum(bytes) }),
        ..sample(path)
    };
    let (open, secret) = (&b"for all"[..], &b"for her eyes"[..]);
    recorded(folder.path(), 1, &[(about("/srv/a", open), open), (sample("/srv/b"), b"unasked")]);
    let second = [(about("/srv/a", open), open), (about("/home/eve/x", secret), secret)];
    recorded(folder.path(), 2, &second);
    let out = folder.path().join("out.rec");

    let words = ["record", "export", "--redact", "/home", "--without-credentials", "--json"];
    let paths = ["--state-dir", text(folder.path()), "--out", text(&out)];
    let ran = run(&[&words[..], &paths].concat());

    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""), "{ran:?}");
    let told: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(
        (&told["samples"], &told["objects"], &told["repeated"]),
        (&3.into(), &1.into(), &1.into())
    );
    let corpus = Corpus::open(&out, &mut |_, _| ()).expect("whole");
    assert_eq!(corpus.header().without_paths, [b"/home".to_vec()]);
    let samples: Vec<_> = corpus.samples(false).expect("readable").map(|(it, _)| it).collect();
    assert!(samples.iter().all(|sample| sample.credentials.is_none()), "{samples:?}");
    assert_eq!((&samples[2].path, samples[2].content), (&None, Err(ContentAbsent::NotGranted)));
    let bytes = fs::read(&out).expect("readable");
    let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    assert!(has(open) && !has(secret) && !has(b"unasked") && !has(b"eve"));
    assert_eq!(fs::metadata(&out).expect("there").permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_export_without_a_recording_says_what_to_do() {
    let folder = TempDir::new().expect("a folder");

    let ran = run(&["record", "export", "--state-dir", text(folder.path())]);

    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("is `record.enabled = true` in the host's configuration?"), "{ran:?}");
}

#[test]
fn what_a_path_holds_does_not_reach_the_terminal() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("evil.rec");
    let header = Header { origin: "\u{1b}[2J".to_owned(), ..Header::default() };
    let mut writer = Writer::new(File::create(&file).expect("made"), &header).expect("written");
    writer.sample(&sample("/srv/\u{1b}[31mred\n")).expect("written");
    writer.end().expect("written");

    let ran = run(&["record", "show", "--samples", text(&file)]);

    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("red") && !ran.out.contains('\u{1b}'), "{:?}", ran.out);
}

#[test]
fn a_file_that_is_no_recording_is_told_with_its_name() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("other");
    fs::write(&file, "something else altogether").expect("written");

    let shown = run(&["record", "show", text(&file)]);

    assert_eq!(shown.code, Some(2));
    let told = format!(
        "outrigger: {}: this is no recording: its first bytes are not OUTRGREC\n",
        file.display()
    );
    assert_eq!(shown.err, told);
}

/// A Debian system of two packages, one of them needed.
fn debian() -> TempDir {
    let root = TempDir::new().expect("a folder");
    let put = |path: &str, content: &str, mode: u32| {
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().expect("below the root")).expect("made");
        fs::write(&file, content).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("changed");
    };
    let status = "Package: base\nEssential: yes\nStatus: install ok installed\n\n\
                  Package: game\nStatus: install ok installed\nPriority: optional\n";
    put("var/lib/dpkg/status", status, 0o644);
    // The MD5 of "program", "library" and "changed".
    let sums = "a9c449d4fa44e9e5a41c574ae55ce4d9  usr/bin/program\n\
                d521f765a49c72507257a2620612ee96  usr/lib/library.so\n\
                8977dfac2f8e04cb96e66882235f5aba  usr/bin/changed\n\
                8977dfac2f8e04cb96e66882235f5aba  usr/bin/gone\n\
                8977dfac2f8e04cb96e66882235f5aba  ../../etc/shadow\n";
    put("var/lib/dpkg/info/base.md5sums", sums, 0o644);
    put(
        "var/lib/dpkg/info/game.md5sums",
        "a9c449d4fa44e9e5a41c574ae55ce4d9  usr/bin/game\n",
        0o644,
    );
    put("usr/bin/program", "program", 0o755);
    put("usr/bin/game", "program", 0o755);
    put("usr/lib/library.so", "library", 0o644);
    put("usr/bin/changed", "changed by somebody", 0o755);
    root
}

#[test]
fn the_base_holds_unchanged_files_of_needed_packages_alone() {
    let root = debian();
    let out = root.path().join("base.rec");

    let paths = ["--root", text(root.path()), "--out", text(&out)];
    let ran = run(&[&["record", "base", "--json"][..], &paths].concat());

    assert_eq!(ran.code, Some(0), "{ran:?}");
    let told: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    let counted = ["packages", "files", "programs", "changed", "missing"].map(|key| &told[key]);
    assert_eq!(counted, [1, 2, 1, 1, 1], "{told}");
    let corpus = Corpus::open(&out, &mut |_, _| ()).expect("whole");
    let mut samples = corpus.samples(true).expect("readable");
    let held: Vec<_> = samples.by_ref().collect();
    let name = |sample: &Sample| {
        let path = String::from_utf8(sample.path.clone().expect("a path")).expect("UTF-8");
        (sample.event, path.rsplit('/').next().expect("a name").to_owned())
    };
    let names: Vec<_> = held.iter().map(|(sample, _)| name(sample)).collect();
    let expected = [
        (Event::FileOpen, "program"),
        (Event::ProcessExec, "program"),
        (Event::FileOpen, "library.so"),
    ];
    assert_eq!(names, expected.map(|(event, name)| (event, name.to_owned())));
    assert!(held.iter().all(|(sample, content)| sample.standing.known_good && content.is_some()));
}

#[test]
fn another_system_has_no_base() {
    let root = TempDir::new().expect("a folder");

    let ran = run(&["record", "base", "--root", text(root.path())]);

    assert_eq!(ran.code, Some(1));
    assert!(ran.err.contains("this is no Debian system, or not its root"), "{ran:?}");
}

/// A manifest of an engine whose program is `program`.
fn manifest(folder: &Path, program: &str) -> PathBuf {
    let file = folder.join("manifest.toml");
    let text = format!(
        "name = \"dud\"\nvendor = \"a test\"\nversion = \"1\"\ncontract = \"1\"\nverdict = \"content\"\n\
         [entry]\nprogram = {program:?}\n[events.\"file.open\"]\nneeds = \"ask\"\n"
    );
    fs::write(&file, text).expect("written");
    file
}

#[test]
fn an_engine_that_does_not_dock_is_told_with_why_and_leaves_no_report() {
    let folder = TempDir::new().expect("a folder");
    let corpus = folder.path().join("corpus.rec");
    let mut writer =
        Writer::new(File::create(&corpus).expect("made"), &Header::default()).expect("written");
    writer.sample(&sample("/srv/a")).expect("written");
    writer.end().expect("written");

    for (program, why) in [("/bin/false", "ended with status 1"), ("/nonexistent", "not found")] {
        let manifest = manifest(folder.path(), program);
        let ran = run(&["replay", text(&corpus), "--engine", text(&manifest)]);

        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{program}: {ran:?}");
        assert!(ran.err.starts_with("outrigger: dud did not dock: "), "{program}: {ran:?}");
        assert!(ran.err.contains(why), "{program}: {ran:?}");
    }
}

#[test]
fn a_wrong_manifest_is_told_with_its_line() {
    let folder = TempDir::new().expect("a folder");
    let corpus = folder.path().join("corpus.rec");
    let manifest = folder.path().join("manifest.toml");
    fs::write(&manifest, "nmae = \"x\"\n").expect("written");

    let ran = run(&["replay", text(&corpus), "--engine", text(&manifest)]);

    assert_eq!(ran.code, Some(2));
    assert!(
        ran.err.contains("manifest.toml:1:1: nmae: unknown key; did you mean `name`?"),
        "{ran:?}"
    );
}
