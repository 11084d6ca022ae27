//! The dock from outside: both ends of rings and sockets, honest and hostile.

mod hostile;
mod model;
mod sockets;
mod wake;

use outrigger_api::record::{Detail, VerdictRecord};
use outrigger_api::{CaseId, Verdict};

/// A record of `len` bytes, a multiple of eight, whose other bytes are all `fill`.
fn record(len: usize, fill: u8) -> Vec<u8> {
    let mut bytes = vec![fill; len];
    let length = u32::try_from(len).expect("a short record");
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..6].copy_from_slice(&1_u16.to_le_bytes());
    bytes
}

fn verdict(case: u64) -> VerdictRecord {
    VerdictRecord {
        case: CaseId::new(case).expect("cases begin at one"),
        verdict: Verdict::Allow,
        spent: 0,
        detail: Detail::new("fine"),
    }
}

/// Ends the whole test process if the value still lives after `seconds`: no test here may hang.
struct TimeLimit(Option<std::sync::mpsc::Sender<()>>);

impl TimeLimit {
    fn new(seconds: u64) -> Self {
        let (alive, ended) = std::sync::mpsc::channel::<()>();
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        std::thread::spawn(move || {
            let waited = ended.recv_timeout(std::time::Duration::from_secs(seconds));
            if waited == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name} still runs after its limit of {seconds} s");
                std::process::abort();
            }
        });
        Self(Some(alive))
    }
}

impl Drop for TimeLimit {
    fn drop(&mut self) {
        self.0.take();
    }
}
