//! **TEST ONLY.** The interpreter of July 2024 as a docked engine, from the same C as the kernel module of the
//! comparison (`tests/vm/module`); never dock it on a machine.

mod sys;

use std::ffi::{CStr, CString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use outrigger_sdk::{Engine, Event, Judgement, Question};

use crate::sys::{Facts, Interpreter};

/// The endings that its content may have: by the first, preflight knows it as a table; by the other it does not.
const ENDINGS: [&str; 2] = ["table", "yar"];

#[derive(Debug, Default)]
struct Channel {
    interpreter: Option<Interpreter>,
}

impl Engine for Channel {
    fn name(&self) -> &str {
        "channel291"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn load(&mut self, content: &Path) -> Result<String, String> {
        let file = only_table(content)?;
        let text = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let read = Interpreter::read(&text);
        self.interpreter = Some(read.map_err(|why| format!("{}:{why}", file.display()))?);
        Ok(format!("{} bytes of a table", text.len()))
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        let Some(interpreter) = &mut self.interpreter else { return Judgement::allow() };
        let path = question.path().map(|path| path.as_os_str().as_bytes()).unwrap_or_default();
        let path = CString::new(path).unwrap_or_default();
        let (uid, gid) = question.credentials().unwrap_or_default();
        let facts = Facts {
            event: event(question.event()),
            path: &path,
            numbers: [
                u64::from(uid),
                u64::from(gid),
                question.size().unwrap_or_default(),
                question.changed().unwrap_or_default(),
            ],
        };
        match interpreter.judge(&facts) {
            Some(instance) => Judgement::deny(format!("instance {instance}")),
            None => Judgement::allow(),
        }
    }
}

/// The one file of a content folder that is a table.
fn only_table(folder: &Path) -> Result<PathBuf, String> {
    let told = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut found = None;
    for entry in folder.read_dir().map_err(told)? {
        let file = entry.map_err(told)?.path();
        let ending = file.extension().unwrap_or_default();
        if ENDINGS.iter().any(|known| ending == *known) && found.replace(file).is_some() {
            return Err("its content has more than one table".to_owned());
        }
    }
    found.ok_or_else(|| "its content has no table".to_owned())
}

/// The event's name, as the module has it.
fn event(event: Event) -> &'static CStr {
    match event {
        Event::ProcessExec => c"process.exec",
        Event::FileOpen => c"file.open",
        _ => c"",
    }
}

fn main() -> ExitCode {
    eprintln!(
        "outrigger-engine-channel291c is a TEST: it crashes on content. Never dock it on a machine that \
         anybody needs"
    );
    outrigger_sdk::run(Channel::default())
}
