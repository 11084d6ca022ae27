//! The engine as the SDK runs it: judges as it is told to.

use std::error::Error;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use outrigger_sdk::{Engine, Event, Judgement, Loss, Notice, Pressure, Question};

use crate::act;
use crate::behaviour::Behaviour;
use crate::sys;
use crate::tally::Tally;

/// What marked content holds: a part of the EICAR string, which alone is harmless.
const MARKER: &[u8] = b"EICAR-STANDARD-ANTIVIRUS";
/// How much of a file is looked at, in bytes.
const LOOK: usize = 4096;

struct Hostile {
    name: String,
    version: String,
    started: Instant,
    behaviour: Behaviour,
    loads: usize,
    /// Questions since the behaviour was told.
    judged: u64,
    tally: Tally,
}

/// Docks and judges until the host ends it.
pub(crate) fn run(name: &str, version: &str) -> Result<(), Box<dyn Error>> {
    let engine = Hostile {
        name: name.to_owned(),
        version: version.to_owned(),
        started: Instant::now(),
        behaviour: Behaviour::default(),
        loads: 0,
        judged: 0,
        tally: Tally::default(),
    };
    let (control, content) = outrigger_dock::inherited()?;
    outrigger_sdk::run_on(control, content, engine, Path::new(outrigger_sdk::CONTENT_DIR))?;
    Ok(())
}

impl Engine for Hostile {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn load(&mut self, _content: &Path) -> Result<String, String> {
        self.loads += 1;
        let is_start = self.loads == 1;
        self.behaviour = if is_start { Behaviour::at_start()? } else { Behaviour::told()? };
        self.judged = 0;
        let behaviour = &self.behaviour;
        if behaviour.crashes_at_load {
            std::process::abort();
        }
        if let Some(start) = &behaviour.only_on_kernel
            && !rustix::system::uname().release().to_string_lossy().starts_with(start)
        {
            std::process::abort();
        }
        if let Some(time) = behaviour.load_for {
            act::burn(Some(time));
        }
        if behaviour.loads_memory {
            act::leak();
        }
        let text = behaviour.text.clone();
        if let Some(spawner) = behaviour.tally {
            self.tally.follow(spawner);
            return Ok(format!("{text}: {}", self.tally.line()));
        }
        // What is to be done once is done when it is told, and not again in the engine's next life.
        if is_start {
            return Ok(text);
        }
        Ok(format!("{text}: {}", self.act()))
    }

    fn notice(&mut self, notice: &Notice<'_>) {
        if let Some(time) = self.behaviour.ponder {
            sleep(time);
        }
        self.tally.notice(notice);
    }

    fn gap(&mut self, gap: &Loss) {
        self.tally.gap(gap);
    }

    fn pressure(&mut self, _pressure: &Pressure) {
        self.tally.pressure();
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        if let Some((after, _)) = self.behaviour.later
            && self.started.elapsed() >= after
            && let Some((_, then)) = self.behaviour.later.take()
        {
            self.behaviour = *then;
            self.act();
        }
        self.judged += 1;
        if self.behaviour.crash_after.is_some_and(|count| self.judged >= count) {
            std::process::abort();
        }
        if self.behaviour.crashes_on_exec && question.event() == Event::ProcessExec {
            std::process::abort();
        }
        if ends(question, self.behaviour.crash_on_path.as_slice()) {
            std::process::abort();
        }
        if self.behaviour.loops || ends(question, self.behaviour.burn_on_path.as_slice()) {
            act::burn(None);
        }
        if self.behaviour.leaks_each > 0 {
            act::take(self.behaviour.leaks_each);
        }
        if let Some(time) = self.behaviour.work {
            act::burn(Some(time));
        }
        if self.behaviour.silent {
            // The SDK sends nothing for a question whose deadline has passed.
            sleep(question.remaining().unwrap_or_default() + Duration::from_millis(1));
        }
        if let Some(time) = self.behaviour.slow {
            sleep(time);
        }
        if let Some(time) = self.behaviour.stall.take() {
            sleep(time);
        }
        let is_exempt = self.behaviour.exempt.is_some()
            && self.behaviour.exempt == question.credentials().map(|(uid, _)| uid);
        if is_exempt {
            return Judgement::allow();
        }
        if ends(question, &self.behaviour.denies_paths) {
            return Judgement::deny("it looks bad to me");
        }
        if !self.behaviour.needs_content() {
            return Judgement::allow();
        }
        self.judge_content(question)
    }
}

/// Whether the path of the object ends with one of `ends`.
fn ends(question: &Question<'_>, ends: &[Vec<u8>]) -> bool {
    // Asking for the path where it was not granted is no matter, but takes its time.
    !ends.is_empty()
        && question.path().is_some_and(|path| {
            let path = path.as_os_str().as_bytes();
            ends.iter().any(|end| path.ends_with(end))
        })
}

impl Hostile {
    /// Does what is done once; gives what came of it.
    fn act(&self) -> String {
        let behaviour = &self.behaviour;
        if behaviour.leaks {
            act::leak();
        }
        if behaviour.leaks_descriptors {
            act::leak_descriptors();
        }
        let mut said = behaviour.act.map(act::Act::try_it).unwrap_or_default();
        if behaviour.leaks_threads {
            said += &act::leak_threads();
        }
        if let Some(time) = behaviour.fork_for {
            said += &act::fork_for(time);
        }
        if let Some(time) = behaviour.print_for {
            act::print_for(time);
        }
        said
    }

    fn judge_content(&self, question: &Question<'_>) -> Judgement {
        let content = match question.content() {
            Ok(content) => content,
            Err(absent) => return Judgement::abstain(absent.to_string()),
        };
        if let Some(act) = self.behaviour.content_act {
            let tried = sys::with_content_descriptor(|file| act.try_on(file));
            // An Allow carries no words, and the file is clean: an abstention tells and changes little.
            return Judgement::abstain(tried.unwrap_or_else(|| "no descriptor found".to_owned()));
        }
        let mut bytes = [0; LOOK];
        let len = match content.read_at(&mut bytes, 0) {
            Ok(len) => len,
            Err(error) => return Judgement::abstain(error.to_string()),
        };
        let bytes = &bytes[..len];
        let begins_with =
            |word: &Option<Vec<u8>>| word.as_deref().is_some_and(|word| bytes.starts_with(word));
        if begins_with(&self.behaviour.crash_on) {
            std::process::abort();
        }
        if begins_with(&self.behaviour.burn_on) {
            act::burn(None);
        }
        if self.behaviour.denies_empty && bytes.is_empty() {
            return Judgement::deny("empty");
        }
        let is_marked = bytes.windows(MARKER.len()).any(|window| window == MARKER);
        if self.behaviour.denies_marked && is_marked {
            return Judgement::deny("marked");
        }
        Judgement::allow()
    }
}
