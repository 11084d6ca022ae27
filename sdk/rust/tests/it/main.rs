//! The engine's side of a dock, driven by a host that the test plays.

mod dock;
mod fuse;
mod judging;
mod loading;
mod notices;
mod orders;
mod shifts;
mod slow;

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use outrigger_sdk::{CaseId, Engine, Judgement, Question};

/// An engine whose judge and loader the test holds in its hands.
struct Puppet {
    /// Every question that the judge is given, as it is given.
    asked: Sender<CaseId>,
    /// The judgement for each; the judge waits for it.
    judgements: Receiver<Judgement>,
    /// What the loader answers, in turn; `Ok("fine")` when there is no more.
    loads: Receiver<Result<String, String>>,
}

/// The test's ends of a [`Puppet`].
struct Strings {
    asked: Receiver<CaseId>,
    judge: Sender<Judgement>,
    load: Sender<Result<String, String>>,
}

fn puppet() -> (Puppet, Strings) {
    let (asked, test_asked) = channel();
    let (test_judge, judgements) = channel();
    let (test_load, loads) = channel();
    let strings = Strings { asked: test_asked, judge: test_judge, load: test_load };
    (Puppet { asked, judgements, loads }, strings)
}

impl Strings {
    /// The next question that the judge has in its hands.
    fn asked(&self) -> CaseId {
        self.asked.recv_timeout(Duration::from_secs(20)).expect("the judge is asked")
    }

    fn judge(&self, judgement: Judgement) {
        self.judge.send(judgement).expect("the engine lives");
    }
}

impl Engine for Puppet {
    fn name(&self) -> &str {
        "puppet"
    }

    fn version(&self) -> &str {
        "1.0"
    }

    fn load(&mut self, _content: &Path) -> Result<String, String> {
        self.loads.try_recv().unwrap_or_else(|_| Ok("fine".to_owned()))
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        self.asked.send(question.case()).expect("the test listens");
        self.judgements.recv().expect("the test judges")
    }
}

/// An engine that judges by a function.
struct Judge<F>(F);

impl<F: FnMut(&Question<'_>) -> Judgement + 'static> Engine for Judge<F> {
    fn name(&self) -> &str {
        "judge"
    }

    fn version(&self) -> &str {
        "1.0"
    }

    fn judge(&mut self, question: &Question<'_>) -> Judgement {
        self.0(question)
    }
}

/// The content as text, or why there is none, or why it could not be read.
fn text(question: &Question<'_>) -> String {
    let content = match question.content() {
        Ok(content) => content,
        Err(absent) => return absent.to_string(),
    };
    let mut text = Vec::new();
    match content.each_chunk(&mut [0; 3], |chunk| text.extend_from_slice(chunk)) {
        Ok(len) => assert_eq!(content.len().ok(), Some(len)),
        Err(error) => return error.to_string(),
    }
    String::from_utf8(text).expect("the tests write text")
}

/// A judge without objections.
fn allow(_question: &Question<'_>) -> Judgement {
    Judgement::allow()
}
