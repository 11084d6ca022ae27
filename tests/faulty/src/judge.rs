//! The engine as the SDK runs it: judges as it is told to.

use std::error::Error;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use outrigger_sdk::{Engine, Judgement, Question};

use crate::act;
use crate::attack::VERSION;
use crate::behaviour::Behaviour;
use crate::sys;

/// What marked content holds: a part of the EICAR string, which alone is harmless.
const MARKER: &[u8] = b"EICAR-STANDARD-ANTIVIRUS";
/// How much of a file is looked at, in bytes.
const LOOK: usize = 4096;

struct Faulty {
    name: String,
    behaviour: Behaviour,
    loads: usize,
}

/// Docks and judges until the host ends it.
pub(crate) fn run(name: &str) -> Result<(), Box<dyn Error>> {
    let engine = Faulty { name: name.to_owned(), behaviour: Behaviour::default(), loads: 0 };
    let (control, content) = outrigger_dock::inherited()?;
    outrigger_sdk::run_on(control, content, engine, Path::new(outrigger_sdk::CONTENT_DIR))?;
    Ok(())
}

impl Engine for Faulty {
    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> &str {
        VERSION
    }

    fn load(&mut self, _content: &Path) -> Result<String, String> {
        let behaviour = Behaviour::read()?;
        if behaviour.crashes_at_load {
            std::process::abort();
        }
        self.behaviour = behaviour;
        self.loads += 1;
        let text = &self.behaviour.text;
        // What is to be done once is done when it is told, and not again in the engine's next life.
        if self.loads == 1 {
            return Ok(text.clone());
        }
        if self.behaviour.leaks {
            act::leak();
        }
        if self.behaviour.leaks_descriptors {
            act::leak_descriptors();
        }
        let said = self.behaviour.act.map(act::Act::try_it).unwrap_or_default();
        Ok(format!("{text}: {said}"))
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        if self.behaviour.loops {
            loop {
                std::hint::spin_loop();
            }
        }
        if self.behaviour.silent {
            // The SDK sends nothing for a question whose deadline has passed.
            sleep(question.remaining().unwrap_or_default() + Duration::from_millis(1));
        }
        if let Some(time) = self.behaviour.slow {
            sleep(time);
        }
        let is_exempt = self.behaviour.exempt.is_some()
            && self.behaviour.exempt == question.credentials().map(|(uid, _)| uid);
        if is_exempt || !self.behaviour.needs_content() {
            return Judgement::allow();
        }
        self.judge_content(question)
    }
}

impl Faulty {
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
        if self.behaviour.crash_on.as_deref().is_some_and(|word| bytes.starts_with(word)) {
            std::process::abort();
        }
        let is_marked = bytes.windows(MARKER.len()).any(|window| window == MARKER);
        if self.behaviour.denies_marked && is_marked {
            return Judgement::deny("marked");
        }
        Judgement::allow()
    }
}
