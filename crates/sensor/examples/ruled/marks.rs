//! A process that read a file may not connect, nor may the children that it makes from then on; and the
//! mark of another ends by its time.

use std::net::UdpSocket;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use outrigger_api::Event;
use outrigger_decision::rules::{Condition, Effect, Mark, Process};

use crate::{Outcome, PLACE, Ruling, opens, rule, under};

/// How long the mark that ends stays, in seconds.
const LIFETIME: u32 = 2;

pub(crate) fn run(mut ruling: Ruling, _: u64) -> Outcome {
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
    for part in ["reads", "inherits", "forgets", "file"] {
        let status = Command::new(std::env::current_exe()?).args(["child", part]).status()?;
        if !status.success() {
            return Err(format!("{part}: not as it should be").into());
        }
        println!("{part}: as it should be");
    }
    if !connects() {
        return Err("a process that read nothing is marked".into());
    }
    Ok(())
}

fn at(name: &str) -> String {
    format!("{PLACE}/{name}")
}

/// What one process does that has no mark when it begins; ends with 1 if it is not treated as it should.
pub(crate) fn child(part: &str) -> ExitCode {
    let right = match part {
        "reads" => connects() && opens(at("other")).is_ok() && connects() && reads() && !connects(),
        "inherits" => {
            let grandchild = || Command::new("/proc/self/exe").args(["child", "connects"]).status();
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

fn reads() -> bool {
    opens(at("secret")).unwrap_or(false)
}

fn connects() -> bool {
    UdpSocket::bind("127.0.0.1:0").is_ok_and(|socket| socket.connect("127.0.0.1:9").is_ok())
}
