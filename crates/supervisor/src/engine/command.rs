//! What an operator may do to an engine.

use outrigger_api::control::{EngineAction, EngineState};
use outrigger_api::{EngineName, FailureReason};

use super::{Engine, STOP_NS};
use crate::happening::{EngineIndex, Happening};

/// A command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no such engine.
    #[error("there is no engine number {0}")]
    Unknown(EngineIndex),
    /// The engine's state does not allow it.
    #[error("{engine} is {state}: {advice}")]
    State {
        /// The engine.
        engine: EngineName,
        /// Its state.
        state: &'static str,
        /// What can be done instead.
        advice: &'static str,
    },
    /// The engine does not read what it is told.
    #[error("{engine} does not take the command; `restart` ends it and starts it again")]
    Deaf {
        /// The engine.
        engine: EngineName,
        /// Why it could not be sent.
        #[source]
        source: std::io::Error,
    },
}

impl Engine {
    /// Carries `action` out; what was done, for a person.
    pub(crate) fn command(
        &mut self,
        action: EngineAction,
        now: u64,
        out: &mut Vec<Happening>,
    ) -> Result<String, CommandError> {
        let done = match (action, self.state()) {
            (_, EngineState::NotInstalled) => {
                return Err(
                    self.not_now("put a release in force first, with `outrigger update apply`")
                );
            }
            (_, EngineState::Withheld) => {
                return Err(self.not_now(
                    "see `outrigger status` for why; `outrigger repair leave-safe-mode` lets it dock",
                ));
            }
            (EngineAction::Restart, EngineState::Quarantined) => {
                return Err(self.not_now("release it first, with `release`"));
            }
            (EngineAction::Restart, _) => {
                self.end_politely(FailureReason::NotDocked, now, out);
                self.life.start_now(now);
                "is started again"
            }
            (EngineAction::Quarantine, EngineState::Quarantined) => {
                return Err(self.not_now("there is nothing to do"));
            }
            (EngineAction::Quarantine, _) => {
                self.give_up_rival("it was put in quarantine by an operator", now, out);
                self.end_politely(FailureReason::Quarantined, now, out);
                self.quarantined("by an operator".to_owned(), out);
                "is in quarantine until it is released"
            }
            (EngineAction::Release, EngineState::Quarantined) => {
                self.life.release(now);
                self.abuses.clear();
                out.push(Happening::Released(self.index));
                "is released and starts, with a fresh restart budget"
            }
            (EngineAction::Release, _) => {
                return Err(self.not_now("only an engine in quarantine can be released"));
            }
            (EngineAction::Reload, EngineState::Docked) => {
                let engine = self.spec.manifest.name.clone();
                self.send_reload().map_err(|source| CommandError::Deaf { engine, source })?;
                "was told to read its content again"
            }
            (EngineAction::Reload, _) => {
                return Err(self.not_now("only a docked engine can read its content again"));
            }
        };
        Ok(format!("{} {done}", self.spec.manifest.name))
    }

    /// Ends its processes, and starts none for as long as this supervisor lives.
    pub(crate) fn keep_off(&mut self, why: &str, now: u64, out: &mut Vec<Happening>) {
        self.give_up_rival("it is kept off the dock", now, out);
        self.end_shadow(now);
        self.end_politely(FailureReason::NotDocked, now, out);
        self.books.last(why);
        self.life.keep_off();
    }

    pub(super) fn end_politely(
        &mut self,
        reason: FailureReason,
        now: u64,
        out: &mut Vec<Happening>,
    ) {
        if let Some(unit) = &self.unit {
            self.say_stop(unit);
        }
        self.end(reason, Some(now.saturating_add(STOP_NS)), now, out);
    }

    fn not_now(&self, advice: &'static str) -> CommandError {
        CommandError::State {
            engine: self.spec.manifest.name.clone(),
            state: state_name(self.state()),
            advice,
        }
    }
}

const fn state_name(state: EngineState) -> &'static str {
    match state {
        EngineState::Starting => "starting",
        EngineState::Docked => "docked",
        EngineState::Restarting => "waiting for its next start",
        EngineState::Quarantined => "in quarantine",
        EngineState::Failed => "failed",
        EngineState::NotInstalled => "not installed",
        EngineState::Withheld => "kept off the dock",
    }
}
