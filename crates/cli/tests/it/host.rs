//! A host that says what the test wants, and the tool run against it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use outrigger_api::control::{Request, Response};
use tempfile::TempDir;

/// A tool that runs longer than this many seconds is killed, and its test fails.
const RUN_LIMIT: &str = "20";

/// A host that takes one connection, sends its answer whatever was asked, and closes.
pub(crate) struct FakeHost {
    folder: TempDir,
    thread: JoinHandle<String>,
}

impl FakeHost {
    /// Answers with `responses`, a line each.
    pub(crate) fn answering(responses: &[Response]) -> Self {
        let line = |response| serde_json::to_string(response).expect("plain data") + "\n";
        Self::sending(responses.iter().map(line).collect::<String>().into_bytes())
    }

    /// Answers with `bytes`, whatever they are.
    pub(crate) fn sending(bytes: Vec<u8>) -> Self {
        let folder = TempDir::new().expect("a folder for the socket");
        let listener = UnixListener::bind(folder.path().join("sock")).expect("a socket in it");
        let thread = thread::spawn(move || {
            let (stream, _) = listener.accept().expect("the tool connects");
            let mut request = String::new();
            BufReader::new(&stream).read_line(&mut request).expect("the request is text");
            // The tool may have had enough before all is sent.
            let _ = (&stream).write_all(&bytes);
            request
        });
        Self { folder, thread }
    }

    /// Answers every connection with `response`, for as long as the test runs.
    pub(crate) fn always(response: &Response) -> Self {
        let line = serde_json::to_string(response).expect("plain data") + "\n";
        let folder = TempDir::new().expect("a folder for the socket");
        let listener = UnixListener::bind(folder.path().join("sock")).expect("a socket in it");
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("the tool connects");
                let mut request = String::new();
                // The tool may be ended in the middle of it.
                let _ = BufReader::new(&stream).read_line(&mut request);
                let _ = (&stream).write_all(line.as_bytes());
            }
            String::new()
        });
        Self { folder, thread }
    }

    /// Answers every connection as `answer` says to its request, for as long as the test runs.
    pub(crate) fn by(answer: impl Fn(&Request) -> Response + Send + 'static) -> Self {
        let folder = TempDir::new().expect("a folder for the socket");
        let listener = UnixListener::bind(folder.path().join("sock")).expect("a socket in it");
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("the tool connects");
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).expect("the request is text");
                let request = serde_json::from_str(&line).expect("a request of the protocol");
                let line = serde_json::to_string(&answer(&request)).expect("plain data") + "\n";
                let _ = (&stream).write_all(line.as_bytes());
            }
            String::new()
        });
        Self { folder, thread }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// Runs the tool against this host; what it asked, and what came of it.
    pub(crate) fn serve(self, arguments: &[&str]) -> (String, Ran) {
        let ran = outrigger(&self.socket(), arguments);
        (self.thread.join().expect("the host saw no surprise"), ran)
    }

    /// As [`serve`](Self::serve), for a test that does not look at the request.
    pub(crate) fn run(self, arguments: &[&str]) -> Ran {
        self.serve(arguments).1
    }
}

/// What a run of the tool left.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs the tool with `arguments` and the host expected at `socket`.
pub(crate) fn outrigger(socket: &Path, arguments: &[&str]) -> Ran {
    finish(command(socket).args(arguments))
}

/// The tool, its host expected at `socket`, its environment without wishes about colours.
pub(crate) fn command(socket: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-s", "KILL", RUN_LIMIT, env!("CARGO_BIN_EXE_outrigger")]);
    command.env("OUTRIGGER_SOCKET", socket).stdout(Stdio::piped()).stderr(Stdio::piped());
    for wish in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
        command.env_remove(wish);
    }
    command
}

/// Runs `command` to its end.
pub(crate) fn finish(command: &mut Command) -> Ran {
    let child = command.spawn().expect("timeout(1) is there");
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("the tool writes UTF-8");
    Ran { code: status.code(), out: text(stdout), err: text(stderr) }
}
