//! Writes the seeds that are no text: `RUSTFLAGS="--cfg fuzzing" cargo run --example seeds`, in this folder.

use std::fs;
use std::path::Path;

use outrigger_api::fetch::{Cause, Place, Reply, Request};
use outrigger_api::frame::{encode_to_engine, encode_to_host, v1};
use outrigger_api::record::notice::{NoticeExtra, NoticeTail, write_notice};
use outrigger_api::record::{
    Arguments, Detail, EVENT_MAX, Endpoint, EventHeader, RuleOutcome, VerdictRecord, present,
    write_event,
};
use outrigger_api::sample::{Sample, Standing};
use outrigger_api::{Answer, CaseId, Event, ProcessKey, Verdict};
use outrigger_sensor::recording::{Header, Kept, Writer, encode};
use zerocopy::FromZeros;

fn main() {
    let write = |file: &str, bytes: &[u8]| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(file);
        fs::write(file, bytes).expect("the seeds' folders are there");
    };
    for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Abstain] {
        let name = format!("record/verdict-{}", verdict as u8);
        write(&name, &vote(verdict).to_bytes());
    }
    write("record/event", &event());
    write("record/notice", &notice());
    for (name, bytes) in recordings() {
        write(&format!("recording/{name}"), &bytes);
    }

    let hello = v1::Hello {
        contract_min: 1,
        contract_max: 2,
        capabilities: vec!["batch".to_owned(), "preview.park".to_owned()],
        sdk: "outrigger-sdk 0.1.0".to_owned(),
        engine: "scan".to_owned(),
        version: "1.0".to_owned(),
    };
    use v1::{to_engine::Message as ToEngine, to_host::Message as ToHost};
    let content = "12 deny, 3 allow".to_owned();
    let refused = "a.deny:3: evil".to_owned();
    for (name, message) in [
        ("hello", ToHost::Hello(hello)),
        ("docked", ToHost::Docked(v1::Docked { content: content.clone() })),
        ("heartbeat", ToHost::Heartbeat(v1::Heartbeat { nonce: 7 })),
        ("content-loaded", ToHost::ContentLoaded(v1::ContentLoaded { content, refused })),
        ("log", ToHost::Log(v1::Log { level: 2, text: "slow".to_owned() })),
    ] {
        write(&format!("frame/{name}"), &encode_to_host(message));
    }
    let welcome = v1::Welcome {
        contract: 1,
        capabilities: vec!["batch".to_owned()],
        event_ring_bytes: 1 << 17,
        verdict_ring_bytes: 1 << 14,
        events: vec![1, 2],
        heartbeat_ms: 1000,
    };
    for (name, message) in [
        ("welcome", ToEngine::Welcome(welcome)),
        ("refused", ToEngine::Refused(v1::Refused { why: "no contract".to_owned() })),
        ("ping", ToEngine::Ping(v1::Ping { nonce: 7 })),
        ("stop", ToEngine::Stop(v1::Stop {})),
    ] {
        write(&format!("frame/{name}"), &encode_to_engine(message));
    }

    let [metadata, targets] = ["https://example.org/metadata/", "/srv/targets/"].map(Into::into);
    let start = Request::Start { metadata, targets, silence_ms: 20_000 };
    let get = Request::Get { place: Place::Metadata, path: "1.root.json".into(), limit: 512_000 };
    let whole = [Reply::Ready("".into()), Reply::Begin(Some(3)), Reply::Data(b"{}\n"), Reply::End];
    let failed = [Reply::Begin(None), Reply::Failed(Cause::TooSlow, "nothing came".into())];
    write("fetch/asked", &[start.frame(), get.frame()].concat());
    write("fetch/whole", &whole.map(|reply| reply.frame()).concat());
    write("fetch/failed", &failed.map(|reply| reply.frame()).concat());
    write("fetch/missing", &Reply::Missing.frame());

    write("plane/renamed", &plane(Event::FileRename, b"/srv/a", b"/srv/b", b""));
    write("plane/linked", &plane(Event::FileSymlink, b"/srv/a", b"", b"where it leads"));

    let open = fanotify(0x0001_0000, 9, Some(10));
    let exec = fanotify(0x0004_0000, 11, None);
    let overflow = fanotify(0x4000, -1, None);
    write("fanotify/open-exec-overflow", &[open, exec, overflow.clone()].concat());

    let place = |kind, folder: &[u8], name: &[u8]| {
        info(kind, &[file(folder).as_slice(), name, b"\0"].concat())
    };
    let pidfd = info(4, &10_i32.to_ne_bytes());
    let made = [place(2, b"folder-a", b"new"), info(1, &file(b"the file")), pidfd.clone()].concat();
    let made = change(0x108, &made);
    let renamed = [
        place(10, b"folder-a", b"new"),
        place(12, b"folder-b", b"\xff old"),
        info(1, &file(b"the file, on tmpfs")),
        pidfd,
    ];
    let renamed = change(0x5000_0000, &renamed.concat());
    write("changes/made", &made);
    write("changes/renamed-overflow-made", &[renamed, overflow, made.clone()].concat());
}

/// `struct plane_record` of `plane_record.h`, with its texts.
fn plane(event: Event, path: &[u8], new_path: &[u8], text: &[u8]) -> Vec<u8> {
    let len = |text: &[u8]| u16::try_from(text.len()).expect("it is short").to_ne_bytes();
    let mut bytes = vec![0; 160];
    // has: path, path_known, the text, a number.
    bytes[16..24].copy_from_slice(&(1_u64 << 5 | 1 << 8 | 1 << 18 | 1 << 21).to_ne_bytes());
    bytes[144..148].copy_from_slice(&[2, 0, 53, 0]);
    bytes[148..150].copy_from_slice(&len(path));
    bytes[150..152].copy_from_slice(&len(new_path));
    bytes[152..154].copy_from_slice(&len(text));
    bytes[156..158].copy_from_slice(&event.number().to_ne_bytes());
    bytes[158..160].copy_from_slice(&[2, 7]);
    [&bytes[..], path, new_path, text].concat()
}

fn vote(verdict: Verdict) -> VerdictRecord {
    VerdictRecord {
        case: CaseId::new(7).expect("seven is not zero"),
        verdict,
        spent: 12_000,
        detail: Detail::new("deny list: eicar"),
    }
}

fn event() -> Vec<u8> {
    let mut header = EventHeader::new_zeroed();
    header.event = Event::FileOpen.number().into();
    header.case = 7.into();
    header.sequence = 1.into();
    header.deadline = 50_000_000.into();
    header.present = (present::PID | present::FILE | present::ATTRIBUTES | present::CONTENT).into();
    header.pid = 42.into();
    let mut out = [0; EVENT_MAX];
    let len = write_event(&mut header, Some(b"/srv/try/bad"), &mut out);
    out[..len].to_vec()
}

fn notice() -> Vec<u8> {
    let mut header = EventHeader::new_zeroed();
    header.event = Event::FileRename.number().into();
    header.present = (present::PID | present::PARENT_PID).into();
    header.pid = 42.into();
    let mut extra = NoticeExtra::new_zeroed();
    extra.parent_pid = 41.into();
    let arguments = Arguments {
        target: Some(ProcessKey([7; 16])),
        target_pid: Some(77),
        values: [Some(1), Some(2)],
        endpoint: Some(Endpoint { family: 2, address: Some([192, 0, 2, 1].into()), port: 53 }),
        text: Some(b"text"),
        ruled: Some(RuleOutcome::WouldDeny),
        rule: Some("no-rename"),
    };
    let tail =
        NoticeTail { path: Some(b"/old"), extra: Some(extra), new_path: Some(b"/new"), arguments };
    let mut out = [0; EVENT_MAX];
    let len = write_notice(&mut header, tail, &mut out);
    out[..len].to_vec()
}

fn fanotify(mask: u64, file: i32, pidfd: Option<i32>) -> Vec<u8> {
    let len: u32 = if pidfd.is_some() { 32 } else { 24 };
    let mut bytes = len.to_ne_bytes().to_vec();
    bytes.extend([3, 0, 24, 0]);
    bytes.extend(mask.to_ne_bytes());
    bytes.extend(file.to_ne_bytes());
    bytes.extend(42_i32.to_ne_bytes());
    if let Some(pidfd) = pidfd {
        bytes.extend([4, 0, 8, 0]);
        bytes.extend(pidfd.to_ne_bytes());
    }
    bytes
}

/// An event of the file sensor, with these records behind it.
fn change(mask: u64, infos: &[u8]) -> Vec<u8> {
    let mut bytes = fanotify(mask, -1, None);
    let len = u32::try_from(bytes.len() + infos.len()).expect("short");
    bytes[..4].copy_from_slice(&len.to_ne_bytes());
    bytes.extend(infos);
    bytes
}

/// A file system's id and a handle.
fn file(handle: &[u8]) -> Vec<u8> {
    let mut bytes = [7_u32.to_ne_bytes(), 9_u32.to_ne_bytes()].concat();
    bytes.extend(u32::try_from(handle.len()).expect("short").to_ne_bytes());
    bytes.extend(1_i32.to_ne_bytes());
    bytes.extend(handle);
    bytes
}

/// A record, padded as the kernel does it.
fn info(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = (4 + body.len()).next_multiple_of(4);
    let mut bytes = vec![kind, 0];
    bytes.extend(u16::try_from(len).expect("short").to_ne_bytes());
    bytes.extend(body);
    bytes.resize(len, 0);
    bytes
}

/// A recording with an object, one that was cut off, and the body of a sample.
fn recordings() -> [(&'static str, Vec<u8>); 3] {
    let header = Header {
        made_ms: 1,
        origin: "seed".to_owned(),
        kept: Kept::Bytes,
        without_credentials: true,
        without_paths: vec![b"/home".to_vec()],
    };
    let mut writer = Writer::new(Vec::new(), &header).expect("into memory");
    let digest = writer.blob(b"MZ").expect("into memory");
    let sample = Sample {
        event: Event::FileOpen,
        credentials: Some((0, 0)),
        path: Some(b"/bin/true".to_vec()),
        attributes: Some((2, 3)),
        content: Ok(digest),
        standing: Standing { known_good: true, guarded: true },
        answer: Some(Answer::Deny),
    };
    writer.sample(&sample).expect("into memory");
    let whole = writer.end().expect("into memory");
    let cut = whole[..whole.len() - 60].to_vec();
    let mut body = Vec::new();
    encode(&sample, &mut body);
    [("whole", whole), ("cut", cut), ("sample", body)]
}
