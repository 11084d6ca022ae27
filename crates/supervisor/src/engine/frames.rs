//! What an engine says on its control socket, and what it is told there.

use std::io::ErrorKind::{BrokenPipe, ConnectionReset};

use outrigger_api::FailureReason;
use outrigger_api::control::EngineState;
use outrigger_api::frame::v1;
use outrigger_api::frame::v1::to_engine::Message as ToEngine;
use outrigger_api::frame::v1::to_host::Message as ToHost;
use outrigger_dock::handshake::{Offer, negotiate};

use super::{Engine, FRAMES_PER_SECOND, READS_MAX, STOP_NS};
use crate::happening::{Happening, Level};
use crate::text::clean;
use crate::unit::{Received, Unit};

impl Engine {
    /// Reads what it said, at most [`READS_MAX`] packets of it.
    pub(super) fn read_control(&mut self, now: u64, out: &mut Vec<Happening>) {
        for _ in 0..READS_MAX {
            let Some(unit) = &mut self.unit else { return };
            let received = unit.receive();
            match received {
                Received::Nothing => return,
                Received::Closed => {
                    // Nothing follows: no process that means to go on closes it.
                    unit.closed = Some(now);
                    unit.process.kill();
                    return;
                }
                Received::Message(_) | Received::Garbage(_) if self.frames.add(1, now) => {
                    let text = format!("{FRAMES_PER_SECOND} control frames within a second");
                    return self.lose(FailureReason::Garbage, &text, now, out);
                }
                Received::Garbage(what) => self.abuse(FailureReason::Garbage, &what, now, out),
                Received::Message(message) => self.message(message, now, out),
            }
        }
    }

    /// Sends `nonce`. If the engine does not take it, it will be late with its answer: no other
    /// consequence.
    pub(super) fn send_ping(&self, nonce: u64) {
        if let Some(unit) = &self.unit {
            let _ = unit.send(ToEngine::Ping(v1::Ping { nonce }));
        }
    }

    /// Tells it to finish. If it does not take that, it is killed a moment later like one that does.
    pub(super) fn say_stop(&self, unit: &Unit) {
        if let Err(error) = unit.send(ToEngine::Stop(v1::Stop {})) {
            tracing::debug!(engine = %self.spec.manifest.name, %error, "Stop was not taken");
        }
    }

    /// Tells it to read its content again.
    pub(super) fn send_reload(&self) -> std::io::Result<()> {
        match &self.unit {
            Some(unit) => unit.send(ToEngine::Reload(v1::Reload {})),
            None => Err(std::io::ErrorKind::NotConnected.into()),
        }
    }

    fn message(&mut self, message: ToHost, now: u64, out: &mut Vec<Happening>) {
        let greeted = self.unit.as_ref().is_some_and(|unit| unit.greeted);
        let docked = self.state() == EngineState::Docked;
        match message {
            ToHost::Hello(hello) if !greeted => self.hello(&hello, now, out),
            _ if !greeted => {
                self.refuse("the first message of an engine is Hello".to_owned(), now, out);
            }
            ToHost::Docked(v1::Docked { content }) if !docked => self.docked(&content, now, out),
            ToHost::Heartbeat(v1::Heartbeat { nonce }) => {
                if !self.life.heartbeat(nonce, now) {
                    let text = format!("a heartbeat that answers no ping: {nonce}");
                    self.abuse(FailureReason::Garbage, &text, now, out);
                }
            }
            ToHost::ContentLoaded(loaded) if docked => self.content_loaded(&loaded, out),
            ToHost::Log(v1::Log { level, text }) => {
                let text = clean(&text);
                self.books.line(&text);
                self.say(level_of(level), text, now, out);
            }
            ToHost::Hello(_) | ToHost::Docked(_) | ToHost::ContentLoaded(_) => {
                let text = "a control message out of turn";
                self.abuse(FailureReason::Garbage, text, now, out);
            }
        }
    }

    fn hello(&mut self, hello: &v1::Hello, now: u64, out: &mut Vec<Happening>) {
        let offer = Offer::new(&self.spec.manifest, &self.spec.events);
        match (negotiate(hello, &offer), &mut self.unit) {
            (Ok(welcome), Some(unit)) => {
                // One that is gone already says more by its exit.
                if let Err(error) = unit.welcome(welcome)
                    && !matches!(error.kind(), BrokenPipe | ConnectionReset)
                {
                    let text = format!("could not be welcomed: {error}");
                    self.lose(FailureReason::NotDocked, &text, now, out);
                }
            }
            (Err(refused), _) => self.refuse(refused.why, now, out),
            (Ok(_), None) => {}
        }
    }

    /// Ends the negotiation, or the engine's work, badly. Another process of the same program would say the same, so none
    /// is started.
    pub(crate) fn refuse(&mut self, why: String, now: u64, out: &mut Vec<Happening>) {
        if let Some(unit) = &self.unit
            && let Err(error) = unit.send(ToEngine::Refused(v1::Refused { why: why.clone() }))
        {
            tracing::debug!(engine = %self.spec.manifest.name, %error, "Refused was not taken");
        }
        self.books.fault(FailureReason::NotDocked, &why);
        // It has a moment to read why.
        self.end(FailureReason::NotDocked, Some(now.saturating_add(STOP_NS)), now, out);
        self.life.fail();
        out.push(Happening::Failed(self.index, why));
    }

    fn docked(&mut self, content: &str, now: u64, out: &mut Vec<Happening>) {
        if let Some(link) = self.unit.as_mut().and_then(Unit::link) {
            self.life.docked(now);
            self.books.content = Some(clean(content));
            out.push(Happening::Docked(self.index, Box::new(link)));
        }
    }

    fn content_loaded(&mut self, loaded: &v1::ContentLoaded, out: &mut Vec<Happening>) {
        if loaded.refused.is_empty() {
            let content = clean(&loaded.content);
            self.books.content = Some(content.clone());
            out.push(Happening::ContentChanged(self.index, content));
        } else {
            let why = clean(&loaded.refused);
            self.books.fault(FailureReason::ContentRejected, &why);
            out.push(Happening::ContentRefused(self.index, why));
        }
    }
}

pub(super) const fn level_of(number: u32) -> Level {
    match number {
        1 => Level::Error,
        2 => Level::Warning,
        _ => Level::Info,
    }
}
