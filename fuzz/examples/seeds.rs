//! Writes the seeds that are no text: `RUSTFLAGS="--cfg fuzzing" cargo run --example seeds`, in this folder.

use std::fs;
use std::path::Path;

use outrigger_api::frame::{encode_to_engine, encode_to_host, v1};
use outrigger_api::record::{Detail, EVENT_MAX, EventHeader, VerdictRecord, present, write_event};
use outrigger_api::{CaseId, Event, Verdict};
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

    let open = fanotify(0x0001_0000, 9, Some(10));
    let exec = fanotify(0x0004_0000, 11, None);
    let overflow = fanotify(0x4000, -1, None);
    write("fanotify/open-exec-overflow", &[open, exec, overflow].concat());
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
