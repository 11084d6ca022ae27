//! Content that is made up: what the release could say next, tried before it does.

use std::io;
use std::path::Path;

use crate::content::variants::{self, Question, Trial};
use crate::content::{Body, Content, Lists, Table};
use crate::preflight::course::{Course, INSTANCES_UNTIL, shown, skip};
use crate::preflight::interpreter::{Asked, Object};
use crate::preflight::replay::judge;
use crate::preflight::report::Check;
use crate::preflight::{Progress, Reason};

impl Course<'_, '_> {
    /// Tries content of the release's type in every form that can be made up.
    pub(super) fn instances(&mut self, content: Option<&Content>, check: &mut Check) {
        match content.map(Content::body) {
            None => skip(check, "the engine has no content of a known type"),
            Some(Body::Yara(_)) => {
                let why =
                    "what a YARA rule matches cannot be made up; a release may bring `samples`";
                skip(check, why);
            }
            Some(Body::Hashlist(_)) if !self.candidate.code.manifest.content => {
                skip(
                    check,
                    "the engine is given no bytes, so it cannot tell one object from another",
                );
            }
            Some(Body::Rules) => {
                skip(check, "there is nothing but rules, of which the engine is asked nothing");
            }
            Some(Body::Hashlist(lists)) => self.lists(lists, check),
            Some(Body::Table(tables)) => self.tables(tables, check),
        }
    }

    fn lists(&mut self, lists: &Lists, check: &mut Check) {
        let manifest = self.candidate.code.manifest;
        let written = self
            .fresh_scratch()
            .and_then(|()| variants::write_lists(self.candidate.scratch, lists, manifest));
        let questions = match written {
            Ok(questions) => questions,
            Err(error) => return unwritten(self.candidate.scratch, &error, check),
        };
        if !self.start_on_scratch(check) {
            return;
        }
        for (done, question) in (1..).zip(&questions) {
            let what =
                format!("a listed, an unlisted or a lifted object ({})", question.sample.event);
            if !self.put(question, &what, check) {
                return;
            }
            check.figure("asked", done);
        }
    }

    fn tables(&mut self, tables: &[Table], check: &mut Check) {
        let until = self.limits.share(INSTANCES_UNTIL);
        let all: usize = tables.iter().map(variants::trials_of).sum();
        let all = u64::try_from(all).unwrap_or(u64::MAX);
        let (mut made, mut asked, mut uncertain) = (0_u64, 0_u64, 0_u64);
        let manifest = self.candidate.code.manifest;
        let trials = tables.iter().flat_map(|table| variants::trials(table, manifest));
        for trial in trials {
            if made >= self.limits.trials_max || self.began.elapsed() > until {
                break;
            }
            (self.progress)(Progress { check: check.name, done: made, of: Some(all) });
            made += 1;
            let known = trial.questions.iter().filter(|it| it.expected.is_some()).count();
            uncertain += u64::from(known == 0);
            asked += self.trial(&trial, check);
            if check.failed() {
                break;
            }
        }
        check.figure("trials", made);
        check.figure("asked", asked);
        if made < all && !check.failed() {
            let text = format!("{made} of up to {all} trials were made: the rest was NOT tried");
            check.notes.push(text);
        }
        if uncertain > 0 {
            let text = format!(
                "in {uncertain} trials no instance could be matched for certain: its inputs are the engine's own"
            );
            check.notes.push(text);
        }
        if made == 0 && !check.failed() {
            skip(check, "no trial was made");
        }
    }

    /// Makes one trial; how many questions were put.
    fn trial(&mut self, trial: &Trial, check: &mut Check) -> u64 {
        let written = self
            .fresh_scratch()
            .and_then(|()| variants::write_table(self.candidate.scratch, &trial.table));
        if let Err(error) = written {
            unwritten(self.candidate.scratch, &error, check);
            return 0;
        }
        let field = format!(
            "{}: field {} `{}` {}",
            trial.table.file,
            trial.column,
            trial.field,
            trial.how.words()
        );
        if let Err(broken) = self.interpreter.start(Some(self.candidate.scratch)) {
            check.fail(broken.reason(), format!("{field}: {}", shown(&broken.to_string())));
            return 0;
        }
        let mut asked = 0;
        for question in &trial.questions {
            asked += 1;
            let instance = &trial.table.instances[question.instance];
            let what = format!("{field}, instance {:?}", instance.name);
            let object = Some(Object::Bytes(question.bytes));
            match self.ask(&Asked { sample: &question.sample, object }) {
                Ok(Some(word)) => {
                    if let Some(expected) = question.expected {
                        judge(expected, &word, &what, check);
                    }
                }
                Ok(None) => check.fail(Reason::Slow, format!("{what}: too slow")),
                Err(broken) => {
                    let told = shown(&broken.to_string());
                    let question = Asked { sample: &question.sample, object };
                    let place = self.blame_table(&trial.table, &question);
                    let place =
                        place.map_or(what, |place| format!("{place}, {}", trial.how.words()));
                    check.fail(broken.reason(), format!("{place}: {told}"));
                }
            }
            if check.failed() {
                break;
            }
        }
        asked
    }

    /// Puts one question; whether it may go on.
    fn put(&mut self, question: &Question, what: &str, check: &mut Check) -> bool {
        let object = Some(Object::Bytes(question.bytes));
        match self.ask(&Asked { sample: &question.sample, object }) {
            Ok(Some(word)) => {
                if let Some(expected) = question.expected {
                    judge(expected, &word, what, check);
                }
                true
            }
            Ok(None) => {
                check.fail(Reason::Slow, format!("{what}: too slow"));
                false
            }
            Err(broken) => {
                check.fail(broken.reason(), format!("{what}: {}", shown(&broken.to_string())));
                false
            }
        }
    }

    fn start_on_scratch(&mut self, check: &mut Check) -> bool {
        match self.interpreter.start(Some(self.candidate.scratch)) {
            Ok(_) => true,
            Err(broken) => {
                let text = format!("on content that was made up: {}", shown(&broken.to_string()));
                check.fail(broken.reason(), text);
                false
            }
        }
    }

    /// Empties the folder for made-up content. The engine that runs on it is ended before.
    pub(super) fn fresh_scratch(&mut self) -> io::Result<()> {
        self.interpreter.end();
        for entry in self.candidate.scratch.read_dir()? {
            std::fs::remove_file(entry?.path())?;
        }
        Ok(())
    }
}

/// Reports that made-up content cannot be written: no fault of the release's.
fn unwritten(folder: &Path, error: &io::Error, check: &mut Check) {
    check.fail(Reason::NotTried, format!("{}: cannot be written: {error}", folder.display()));
}
