//! `outrigger top` on a terminal: what it shows, and that it gives the terminal back.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outrigger_api::control::Response;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::host::FakeHost;

/// Longest wait for what the tool must show.
const PATIENCE: Duration = Duration::from_secs(15);
/// What a terminal is told to show another screen.
const OTHER: &str = "\u{1b}[?1049h";
/// What it is told to show its own again.
const OWN: &str = "\u{1b}[?1049l";

/// A terminal with `outrigger top` on it.
struct Screen {
    master: File,
    slave: OwnedFd,
    tool: Child,
    seen: String,
    _host: FakeHost,
}

impl Screen {
    /// Starts the tool on a terminal of this size, and waits until it shows something.
    fn start(columns: u16) -> Self {
        let ledger: Response =
            serde_json::from_str(include_str!("pages/ledger.json")).expect("a response");
        let host = FakeHost::always(&ledger);
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it opens");
        let name = ptsname(&master, Vec::new()).expect("it has a name");
        let slave =
            open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).expect("its other end");
        resize(&slave, columns);
        let end = || Stdio::from(slave.try_clone().expect("a copy"));
        // A session of its own, so that the terminal's changes of size are told to it.
        let tool = Command::new("setsid")
            .args(["--ctty", env!("CARGO_BIN_EXE_outrigger"), "top", "--every", "0.1"])
            .env("OUTRIGGER_SOCKET", host.socket())
            .env("TERM", "xterm-256color")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("setsid(1) is there");
        let mut screen =
            Self { master: master.into(), slave, tool, seen: String::new(), _host: host };
        screen.wait_for("openers wait most for yara");
        assert!(screen.seen.contains(OTHER), "{:?}", screen.seen);
        assert!(!screen.is_cooked(), "keys are not read one by one");
        screen
    }

    /// Reads until `text` is there; gives what was read and forgets it.
    fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            assert!(Instant::now() < until, "no {text:?} in {:?}", self.seen);
            self.read();
        }
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        let limit = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let mut polled = [PollFd::new(&self.master, PollFlags::IN)];
        if poll(&mut polled, Some(&limit)).expect("it can be polled") > 0 {
            let len = self.master.read(&mut bytes).expect("it can be read");
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
    }

    fn press(&mut self, key: &[u8]) {
        self.master.write_all(key).expect("it takes keys");
    }

    /// Waits for the tool's end; its exit status.
    fn end(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        loop {
            self.read();
            if let Some(status) = self.tool.try_wait().expect("it is our child") {
                self.read();
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end: {:?}", self.seen);
        }
    }

    /// Whether the terminal edits lines and echoes, as a shell wants it.
    fn is_cooked(&self) -> bool {
        let modes = tcgetattr(&self.slave).expect("it is a terminal").local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Fails unless the terminal is as it was.
    fn assert_restored(&self) {
        assert!(self.is_cooked(), "the terminal is left raw");
        let (shown, hidden) = (self.seen.rfind(OWN), self.seen.rfind(OTHER));
        assert!(shown > hidden, "the other screen is left: {:?}", self.seen);
        assert!(self.seen.rfind("\u{1b}[?25h") > self.seen.rfind("\u{1b}[?25l"), "no cursor");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has ended but where the test failed.
        let _ = self.tool.kill();
        let _ = self.tool.wait();
    }
}

fn resize(terminal: &OwnedFd, columns: u16) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(terminal, size).expect("it has a size");
}

#[test]
fn q_ends_top_and_the_terminal_is_as_it_was() {
    let mut screen = Screen::start(160);

    screen.press(b"q");

    assert_eq!(screen.end(), Some(0));
    screen.assert_restored();
}

#[test]
fn ctrl_c_ends_top_and_the_terminal_is_as_it_was() {
    let mut screen = Screen::start(160);

    screen.press(b"\x03");

    assert_eq!(screen.end(), Some(0));
    screen.assert_restored();
}

#[test]
fn a_signal_ends_top_and_the_terminal_is_as_it_was() {
    let mut screen = Screen::start(160);
    let pid = i32::try_from(screen.tool.id()).ok().and_then(Pid::from_raw).expect("a pid");

    kill_process(pid, Signal::TERM).expect("it runs");

    assert_eq!(screen.end(), Some(0));
    screen.assert_restored();
}

#[test]
fn a_terminal_that_becomes_narrow_gets_the_narrow_table() {
    let mut screen = Screen::start(160);
    screen.wait_for("RESTARTS");
    screen.seen.clear();

    resize(&screen.slave, 80);

    // Where the cache's line breaks in 80 columns, a line begins with this.
    screen.wait_for("room;");
    assert!(!screen.seen.contains("RESTARTS"), "{:?}", screen.seen);
    screen.press(b"q");
    assert_eq!(screen.end(), Some(0));
}
