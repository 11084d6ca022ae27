//! The program that is cut off: an install through the store, what is done after it, or a single file replaced.
//!
//! ```text
//! outrigger-test-install store {right|late-files|files-after-commit} STATE VERSION
//! outrigger-test-install look at STATE -
//! outrigger-test-install {trial|roll-back|roll-back-first|withdraw|send-back|notes} {right|part-by-part|early} STATE -
//! outrigger-test-install file {durable|unsynced-file|unsynced-folder} FOLDER VERSION
//! ```

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use outrigger_api::release::Part;
use outrigger_update_tests::deeds::{self, Care, Deed};
use outrigger_update_tests::install::{self, Manner};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outrigger-test-install: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let [what, manner, folder, version] = arguments else {
        bail!("four words are needed: store, look, file or a deed, a manner, a folder, a version");
    };
    match what.as_str() {
        "store" => {
            let manner = Manner::ALL.into_iter().find(|(name, _)| name == manner);
            let (_, manner) = manner.context("no such manner")?;
            install::install(Path::new(folder), Part::Content, version, manner, &say)
        }
        "look" => {
            let version = install::in_force(Path::new(folder), Part::Content)?;
            say(version.as_deref().unwrap_or("nothing"));
            Ok(())
        }
        "file" => replace(Path::new(folder), version, manner),
        deed => {
            let deed = Deed::ALL.into_iter().find(|(name, _)| *name == deed);
            let (_, deed) = deed.context("it is none of store, look, file, and no deed")?;
            let care = Care::ALL.into_iter().find(|(name, _)| name == manner);
            let (_, care) = care.context("no such manner")?;
            deeds::act(Path::new(folder), deed, care, &say)
        }
    }
}

/// A line in one write, so that it stands at one place among the changes.
#[expect(clippy::print_stdout, reason = "what it says is what it promises")]
fn say(line: &str) {
    println!("{line}");
}

/// Replaces a file by a new one of the same name, in a way that a cut leaves whole, or in one that does not.
fn replace(folder: &Path, version: &str, manner: &str) -> Result<()> {
    let (new, name) = (folder.join("version.new"), folder.join("version"));
    let mut file = File::create(&new)?;
    file.write_all(version.repeat(300).as_bytes())?;
    if manner != "unsynced-file" {
        file.sync_all()?;
    }
    say(install::BEFORE);
    std::fs::rename(&new, &name)?;
    if manner != "unsynced-folder" {
        File::open(folder)?.sync_all()?;
    }
    say(install::AFTER);
    Ok(())
}
