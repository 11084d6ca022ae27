//! An engine under test: a thread of the test, or a process.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{PATIENCE, wait_readable};
use crate::engine::Engine;
use crate::run::{Ended, RunError, run_on};

#[derive(Debug)]
pub(super) enum Running {
    Thread(Receiver<Result<Ended, RunError>>),
    Process(Child),
}

impl Running {
    pub(super) fn thread(
        control: OwnedFd,
        content: OwnedFd,
        engine: impl Engine + Send + 'static,
        content_dir: PathBuf,
    ) -> Self {
        let (report, ended) = channel();
        std::thread::spawn(move || {
            // The test may have ended without asking how the engine did.
            let _ = report.send(run_on(control, content, engine, &content_dir));
        });
        Self::Thread(ended)
    }

    /// Starts `program` with its sockets as descriptors 3 and 4. The shell moves them there: to do it
    /// between fork and exec takes unsafe code.
    pub(super) fn process(
        control: OwnedFd,
        content: OwnedFd,
        program: &Path,
        arguments: &[&str],
    ) -> Self {
        let child = Command::new("/bin/sh")
            .args(["-c", r#"exec 3<&0 4<&1 </dev/null >/dev/null; exec "$0" "$@""#])
            .arg(program)
            .args(arguments)
            .stdin(control)
            .stdout(content)
            .spawn();
        Self::Process(child.expect("/bin/sh starts"))
    }

    /// Waits for the end of the engine that was told to end.
    pub(super) fn end(self) -> Result<Ended, RunError> {
        match self {
            Self::Thread(ended) => {
                ended.recv_timeout(PATIENCE).expect("the engine's thread ends without a panic")
            }
            Self::Process(mut child) => {
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                let pid = pid.expect("a process has an id");
                let pidfd = pidfd_open(pid, PidfdFlags::empty()).expect("a child not waited for");
                wait_readable(pidfd.as_fd(), "the engine's process did not end");
                let status = child.wait().expect("a child of ours");
                assert!(status.success(), "the engine ended by {status}");
                Ok(Ended::Stopped)
            }
        }
    }
}
