//! What a host says in these tests.

use std::collections::BTreeMap;

use outrigger_api::control::{
    Counters, Decision, Descriptors, EngineState, EngineStatus, Pids, Status, Vote,
};
use outrigger_api::coverage::{EventCoverage, Gap, Level, VolumeCoverage};
use outrigger_api::{Answer, Coverage, EngineName, Mode, Verdict};

pub(crate) fn name(text: &str) -> EngineName {
    text.parse().expect("an engine name")
}

fn counts(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

pub(crate) fn coverage() -> Coverage {
    let event = |name: &str, gap: Gap| EventCoverage {
        event: name.into(),
        level: Level::Ask,
        sensor: "fanotify".into(),
        reason: None,
        told_by: Some("fanotify".into()),
        not_told: None,
        ruled_by: None,
        not_ruled: None,
        gaps: vec![gap],
    };
    Coverage {
        kernel: "6.18.5".into(),
        events: vec![
            event(
                "process.exec",
                Gap {
                    name: "memfd-exec".into(),
                    why: "a program executed from a memfd lies on no marked file system".into(),
                    remedy: None,
                },
            ),
            event(
                "file.open",
                Gap {
                    name: "open-before-mark".into(),
                    why: "a descriptor opened before protection began is not asked about".into(),
                    remedy: Some("restart the programs that hold one".into()),
                },
            ),
        ],
        volumes: vec![VolumeCoverage {
            path: "/run/outrigger/protected".into(),
            fs_type: "tmpfs".into(),
            device: "0:31".into(),
            covered: true,
            cached: true,
            left_out: false,
            reason: None,
        }],
        shrunk: Vec::new(),
    }
}

pub(crate) fn engine() -> EngineStatus {
    EngineStatus {
        name: name("hashlist"),
        vendor: "Outrigger".into(),
        version: "0.1.0".into(),
        state: EngineState::Docked,
        pid: Some(4243),
        events: vec!["process.exec".into(), "file.open".into()],
        told: vec![],
        degraded: vec![],
        required: true,
        content: Some("412 hashes".into()),
        sandbox_missing: vec![],
        starts: 1,
        restarts_left: (5, 5),
        misses: 1,
        asked: 1204,
        allows: 1200,
        denies: 3,
        abstains: 0,
        latency_ns: Some((14_200, 38_000)),
        refused_calls: 0,
        faults: counts(&[("engine-slow", 1)]),
        last_fault: None,
        poisoned_objects: 0,
        rule_denials: 0,
        rule_conflicts: 0,
    }
}

pub(crate) fn status() -> Status {
    Status {
        healthy: true,
        problems: vec![],
        version: "0.1.0".into(),
        uptime_s: 15_000,
        host_starts: 2,
        gate_starts: 1,
        mode: Mode::Enforce,
        coverage: coverage(),
        engines: vec![engine()],
        counters: Counters {
            asked: counts(&[("process.exec", 104), ("file.open", 1100)]),
            allowed: 1201,
            denied: 3,
            would_deny: 0,
            conflicts: 0,
            fallbacks: counts(&[("engine-slow", 1)]),
            faults: BTreeMap::new(),
            cached: 900,
            lease_breaks: 12,
            evicted: 0,
            empty: 640,
        },
        pids: Pids { keeper: 100, gate: 101, host: 4242 },
        descriptors: Descriptors {
            limit: 20_000,
            fixed: 256,
            in_flight: 3,
            in_flight_max: 1024,
            leases: 888,
            leases_max: 16_384,
        },
        recording: None,
        policy: None,
        plane: None,
    }
}

pub(crate) fn decision() -> Decision {
    Decision {
        case: 17,
        time_ms: 1_721_362_140_001,
        event: "file.open".into(),
        process: "00112233445566778899aabbccddeeff".into(),
        pid: 5000,
        uid: Some(1000),
        program: Some("/usr/bin/cat".into()),
        path: Some("/run/outrigger/protected/eicar".into()),
        answer: Answer::Deny,
        decided_by: "engine hashlist".into(),
        watched_rule: None,
        not_enforced: false,
        took_ns: 14_200,
        budget_ns: 50_000_000,
        cached: false,
        votes: vec![
            Vote {
                engine: name("hashlist"),
                required: true,
                verdict: Some(Verdict::Deny),
                missing: None,
                took_ns: Some(12_100),
                detail: Some("deny list: eicar".into()),
            },
            Vote {
                engine: name("slowpoke"),
                required: false,
                verdict: None,
                missing: Some("engine-slow".into()),
                took_ns: None,
                detail: None,
            },
        ],
    }
}

/// A decision that denied nothing.
pub(crate) fn harmless() -> Decision {
    let mut decision = decision();
    decision.case = 18;
    decision.answer = Answer::Allow;
    decision.decided_by = "all engines".into();
    decision.path = Some("/run/outrigger/protected/readme".into());
    decision.cached = true;
    decision.votes.truncate(1);
    decision.votes[0].verdict = Some(Verdict::Allow);
    decision.votes[0].detail = None;
    decision
}
