//! A process that read a file may not connect, nor may the children that it makes from then on; and the
//! mark of another ends by its time.

use std::net::UdpSocket;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use outrigger_api::Event;
use outrigger_decision::rules::{Condition, Effect, Mark, Process};

use super::{Ruling, opens, rule, under};

/// How long the mark that ends stays, in seconds.
const LIFETIME: u32 = 2;
/// What is tried, by a process of its own each.
const PARTS: [&str; 4] = ["reads", "inherits", "forgets", "file"];
/// The word after which this program is one of them.
pub(crate) const WORD: &str = "marked";

/// What each process does, below `place`.
pub(super) fn run(ruling: &mut Ruling, place: &str) -> Result<String> {
    let at = |name: &str| at(place, name);
    for file in ["secret", "brief", "other"] {
        std::fs::write(at(file), "content")?;
    }
    let mark = |name: &str, inherited, seconds| {
        Effect::Mark(Mark { name: name.to_owned(), object: false, inherited, seconds })
    };
    let marked = |name: &str| Condition::Marked { whose: Process::Subject, mark: name.to_owned() };
    let file_mark =
        Effect::Mark(Mark { name: "seen".into(), object: true, inherited: false, seconds: None });
    let seen = Condition::Marked { whose: Process::Object, mark: "seen".into() };
    ruling.enforce(&[
        rule("mark", Event::FileOpen, mark("reader", true, None), under(&at("secret"))),
        rule("brief", Event::FileOpen, mark("briefly", false, Some(LIFETIME)), under(&at("brief"))),
        rule("connect", Event::NetConnect, Effect::Deny, marked("reader")),
        rule("connect-brief", Event::NetConnect, Effect::Deny, marked("briefly")),
        rule("touch", Event::FileSetattr, file_mark, under(&at("other"))),
        rule("seen", Event::FileOpen, Effect::Deny, seen),
    ])?;
    for part in PARTS {
        let own = std::env::current_exe()?;
        let status = Command::new(own).args([WORD, part, place]).status()?;
        ensure!(status.success(), "{part}: not as it should be");
    }
    ensure!(connects(), "a process that read nothing is marked");
    Ok(format!("{}: each as it should be", PARTS.join(", ")))
}

fn at(place: &str, name: &str) -> String {
    format!("{place}/{name}")
}

/// What one process does that has no mark when it begins; ends with 1 if it is not treated as it should.
pub(super) fn child(part: &str, place: &str) -> ExitCode {
    let at = |name: &str| at(place, name);
    let reads = || opens(at("secret")).unwrap_or(false);
    let right = match part {
        "reads" => connects() && opens(at("other")).is_ok() && connects() && reads() && !connects(),
        "inherits" => {
            let words = [WORD, "connects", place];
            let grandchild = || Command::new("/proc/self/exe").args(words).status();
            let free = grandchild().is_ok_and(|status| status.success());
            let bound = reads() && grandchild().is_ok_and(|status| !status.success());
            free && bound
        }
        "connects" => connects(),
        "forgets" => {
            let begun = Instant::now();
            let refused = opens(at("brief")).is_ok() && !connects();
            let lifetime = Duration::from_secs(LIFETIME.into());
            while !connects() && begun.elapsed() < lifetime * 10 {
                std::thread::yield_now();
            }
            refused && connects() && begun.elapsed() >= lifetime
        }
        "file" => {
            use std::os::unix::fs::PermissionsExt;
            let other = at("other");
            let before = opens(&other).unwrap_or(false);
            let changed = std::fs::set_permissions(&other, PermissionsExt::from_mode(0o600));
            before && changed.is_ok() && !opens(&other).unwrap_or(true)
        }
        _ => false,
    };
    if right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn connects() -> bool {
    UdpSocket::bind("127.0.0.1:0").is_ok_and(|socket| socket.connect("127.0.0.1:9").is_ok())
}
