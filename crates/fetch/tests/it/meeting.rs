//! The transport of the updater with the real child.

use std::path::Path;
use std::time::{Duration, Instant};

use outrigger_update::repository::{ChildTransport, Place, Progress, Refusal, Transport, Wanted};

/// A transport for this base, for metadata and targets alike.
pub(crate) fn transport(base: &str) -> ChildTransport {
    let program = Path::new(env!("CARGO_BIN_EXE_outrigger-fetch"));
    ChildTransport::new(program, base, base).expect("a place")
}

/// A file of at most a hundred bytes, within a short time.
pub(crate) fn wanted(path: &str) -> Wanted<'_> {
    Wanted {
        place: Place::Targets,
        path,
        limit: 100,
        limit_of: "a test's",
        until: Instant::now() + Duration::from_secs(20),
        silence: Duration::from_millis(500),
        least_rate: 16,
    }
}

pub(crate) fn fetch(base: &str, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
    transport(base).fetch(&wanted(path), &mut |_: Progress| ())
}

/// The file as text, which must be there.
pub(crate) fn text(fetched: Result<Option<Vec<u8>>, Refusal>) -> String {
    String::from_utf8(fetched.expect("no refusal").expect("a file")).expect("text")
}
