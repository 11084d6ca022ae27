//! A shell that is asked to do one thing after another: does it still answer?

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use outrigger_testkit::clock::{as_ms, now};

/// A running shell; it is killed when the value is dropped.
#[derive(Debug)]
pub(crate) struct Shell {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Shell {
    pub(crate) fn start() -> Result<Self> {
        let mut child = Command::new("/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let orders = child.stdin.take().context("its input is a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("its output is a pipe")?);
        Ok(Self { child, orders, answers })
    }

    /// Has it open a file for reading; ms until it says that it has done that, whatever came of it.
    pub(crate) fn open(&mut self, path: &Path) -> Result<f64> {
        self.does(&format!("read line <{}", path.display()))
    }

    /// Has it run a program, which needs no other file.
    pub(crate) fn execute(&mut self, path: &Path) -> Result<f64> {
        self.does(&path.display().to_string())
    }

    /// Has it add a line to a file, which a cached verdict may have to be dropped for.
    pub(crate) fn append(&mut self, path: &Path) -> Result<f64> {
        self.does(&format!("echo more >>{}", path.display()))
    }

    fn does(&mut self, what: &str) -> Result<f64> {
        let start = now();
        // In braces: what the shell itself cannot open is no reason for it to end.
        writeln!(self.orders, "{{ {what}; }} 2>/dev/null; echo done")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let took = as_ms(now() - start);
        ensure!(answer == "done\n", "the shell said {answer:?} to {what:?}");
        Ok(took)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
