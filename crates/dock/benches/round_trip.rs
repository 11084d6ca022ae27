//! How long a question and its verdict take through the two rings: an event pushed, published and
//! its reader woken; popped, answered, the answerer's writer woken in turn.
//!
//! Two threads with mappings of their own, as two processes have: both confined to one CPU, and free
//! on all. `cargo bench -p outrigger-dock`.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::time::Instant;

use outrigger_api::CaseId;
use outrigger_api::record::{Detail, EVENT_MAX};
use outrigger_api::record::{EventHeader, EventRecord, VerdictRecord, write_event};
use outrigger_api::verdict::Verdict;
use outrigger_dock::{
    EVENT_RING_BYTES, EventReader, EventWriter, VERDICT_RING_BYTES, VerdictReader, VerdictWriter,
    sleep,
};
use rustix::thread::CpuSet;

const ROUNDS: usize = 200_000;
const WARM_UP: usize = 10_000;

fn main() {
    let (events, event_fd) = EventWriter::create(EVENT_RING_BYTES).expect("an event ring");
    let (verdicts, verdict_fd) = VerdictReader::create(VERDICT_RING_BYTES).expect("a verdict ring");
    let reader = EventReader::map(event_fd, EVENT_RING_BYTES).expect("mapped");
    let writer = VerdictWriter::map(verdict_fd, VERDICT_RING_BYTES).expect("mapped");

    // Set before the thread is made, which inherits it.
    let all = rustix::thread::sched_getaffinity(None).expect("an affinity");
    let cpu = (0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).expect("a CPU");
    let mut one = CpuSet::new();
    one.set(cpu);
    rustix::thread::sched_setaffinity(None, &one).expect("pinned");
    let (ready, engine_id) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        ready.send(rustix::thread::gettid()).expect("the bench waits");
        engine(reader, writer);
    });
    let engine_id = engine_id.recv().expect("the engine's thread has begun");

    let mut host = Host { events, verdicts, case: 0 };
    host.bench("round trip, one CPU");
    host.push_alone();
    rustix::thread::sched_setaffinity(None, &all).expect("free");
    rustix::thread::sched_setaffinity(Some(engine_id), &all).expect("free");
    host.bench("round trip, all CPUs");
}

struct Host {
    events: EventWriter,
    verdicts: VerdictReader,
    case: u64,
}

impl Host {
    fn bench(&mut self, name: &str) {
        for _ in 0..WARM_UP {
            self.round();
        }
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            self.round();
            times.push(start.elapsed().as_nanos());
        }
        times.sort_unstable();
        println!("{name}: p50 {} ns, p99 {} ns", times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
    }

    /// What pushing and publishing takes while the engine is awake, so without a system call.
    fn push_alone(&mut self) {
        let (mut events, _fd) = EventWriter::create(EVENT_RING_BYTES).expect("an event ring");
        let mut out = [0; EVENT_MAX];
        let len = record(1, &mut out);
        let count = EVENT_RING_BYTES as usize / len - 1;
        let start = Instant::now();
        for _ in 0..count {
            events.push(&out[..len]).expect("room");
            events.publish();
        }
        println!("push and publish: {} ns", start.elapsed().as_nanos() / count as u128);
    }

    fn round(&mut self) {
        self.case += 1;
        let mut out = [0; EVENT_MAX];
        let len = record(self.case, &mut out);
        self.events.push(&out[..len]).expect("room for one record");
        if self.events.publish() {
            self.events.waker().wake();
        }
        let bell = self.verdicts.doorbell();
        loop {
            if let Some(bytes) = self.verdicts.pop().expect("an honest ring") {
                let verdict = VerdictRecord::parse(&bytes).expect("a verdict");
                assert_eq!(verdict.case.get(), self.case);
                return;
            }
            let armed = bell.arm();
            if self.verdicts.is_empty() {
                sleep(&[(bell.clone(), armed)], None).expect("asleep");
            }
            bell.disarm();
        }
    }
}

fn record(case: u64, out: &mut [u8]) -> usize {
    let mut header: EventHeader = zerocopy::FromZeros::new_zeroed();
    header.case = case.into();
    write_event(&mut header, Some(b"/run/outrigger/protected/file"), out)
}

fn engine(mut events: EventReader, mut verdicts: VerdictWriter) {
    let bell = events.doorbell();
    let mut buf = Vec::new();
    loop {
        while let Some(bytes) = events.pop(&mut buf).expect("an honest ring") {
            let event = EventRecord::parse(bytes).expect("an event");
            let verdict = VerdictRecord {
                case: CaseId::new(event.case.get()).expect("a case"),
                verdict: Verdict::Allow,
                spent: 0,
                detail: Detail::default(),
            };
            verdicts.push(&verdict.to_bytes()).expect("room");
            verdicts.publish_and_wake();
        }
        let armed = bell.arm();
        if events.is_empty() {
            sleep(&[(bell.clone(), armed)], None).expect("asleep");
        }
        bell.disarm();
    }
}
