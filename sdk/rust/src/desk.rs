//! The judging thread's work: questions off the ring, verdicts onto it, the host's orders in between.
//!
//! Somebody waits for a question, and nobody for a notice. So the ring is always read to its end, notices
//! are put aside, and one of them is handled when no question is left. What is put aside is bounded by the
//! host: it tells no more than a share of the ring until it hears that some was handled.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use outrigger_api::frame::encode_to_host;
use outrigger_api::frame::v1::{ContentLoaded, Docked, Heartbeat, Log, to_host::Message};
use outrigger_api::record::notice::{GapRecord, NoticeRecord};
use outrigger_dock::{control, sleep};

use crate::engine::Engine;
use crate::listener::Order;
use crate::loading::{Loading, Told};
use crate::notice::{Notice, Pressure};
use crate::run::{Ended, RunError};
use crate::table::{Table, Taken};

/// Longest text of one message, in bytes; the host cuts at the same place.
const TEXT_MAX: usize = 1024;

/// What is said to the host, and what it orders.
#[derive(Debug)]
pub(crate) struct Desk {
    orders: Receiver<Order>,
    control: Arc<OwnedFd>,
}

/// What waits until no question does.
#[derive(Debug)]
enum Aside {
    Notice(Box<NoticeRecord>),
    Gap(GapRecord),
}

impl Desk {
    pub(crate) fn new(orders: Receiver<Order>, control: Arc<OwnedFd>) -> Self {
        Self { orders, control }
    }

    /// Says that the engine is docked, and judges until there is an end.
    pub(crate) fn serve<E: Engine>(
        self,
        mut table: Table,
        engine: &mut E,
        mut loading: Loading<'_, E>,
        content: String,
    ) -> Result<Ended, RunError> {
        if !self.report_docked(content)? {
            return Ok(Ended::HostGone);
        }
        let bell = table.bell();
        // Notices put aside, in their order, each with the length of its record.
        let mut aside: VecDeque<(Aside, usize)> = VecDeque::new();
        loop {
            if let Some(ended) = self.turn(engine, &mut loading)? {
                return Ok(ended);
            }
            let mut taken = table.take()?;
            let mut armed = None;
            if taken.is_none() {
                if let Some((aside, len)) = aside.pop_front() {
                    tell(engine, &aside);
                    table.handled(len);
                    continue;
                }
                armed = Some(bell.arm());
                if let Some(ended) = self.turn(engine, &mut loading)? {
                    return Ok(ended);
                }
                taken = table.take()?;
            }
            match (taken, armed) {
                (Some(Taken::Task(task)), _) => {
                    let due = task.due;
                    if let Some(judgement) = task.ask(|question| engine.judge(question)) {
                        table.answer(due, judgement)?;
                    }
                }
                (Some(Taken::Notice(notice, len)), _) => {
                    aside.push_back((Aside::Notice(notice), len));
                }
                (Some(Taken::Gap(gap, len)), _) => aside.push_back((Aside::Gap(gap), len)),
                (Some(Taken::Pressure(pressure, len)), _) => {
                    engine.pressure(&Pressure::new(&pressure));
                    table.handled(len);
                }
                (None, Some(armed)) => {
                    sleep(&[(bell.clone(), armed)], table.wake_at()).map_err(RunError::Rings)?;
                }
                (None, None) => {}
            }
            if armed.is_some() {
                bell.disarm();
            }
        }
    }

    /// Says that the engine takes questions from now on; whether the host was still there.
    pub(crate) fn report_docked(&self, content: String) -> Result<bool, RunError> {
        self.report(Message::Docked(Docked { content: cut(content) }))
    }

    /// Says what became of a load; whether the host was still there.
    pub(crate) fn report_loaded(&self, told: Told) -> Result<bool, RunError> {
        let loaded = match told {
            Ok(content) => ContentLoaded { content: cut(content), refused: String::new() },
            Err(why) => ContentLoaded { content: String::new(), refused: cut(why) },
        };
        self.report(Message::ContentLoaded(loaded))
    }

    /// What comes between two questions; how it ended, if it did.
    fn turn<E: Engine>(
        &self,
        engine: &mut E,
        loading: &mut Loading<'_, E>,
    ) -> Result<Option<Ended>, RunError> {
        if let Some(ended) = self.follow_orders(loading)? {
            return Ok(Some(ended));
        }
        while let Some(told) = loading.next(engine) {
            if !self.report_loaded(told)? {
                return Ok(Some(Ended::HostGone));
            }
        }
        Ok(None)
    }

    /// Does what the host asked for since the last look; how it ended, if it did.
    pub(crate) fn follow_orders<E: Engine>(
        &self,
        loading: &mut Loading<'_, E>,
    ) -> Result<Option<Ended>, RunError> {
        loop {
            let message = match self.orders.try_recv() {
                Err(TryRecvError::Empty) => return Ok(None),
                Ok(Order::Stop) => return Ok(Some(Ended::Stopped)),
                // The listener ends only after it has said why.
                Ok(Order::Leave) | Err(TryRecvError::Disconnected) => {
                    return Ok(Some(Ended::HostGone));
                }
                Ok(Order::Fail(error)) => return Err(error),
                Ok(Order::Answer { nonce }) => Message::Heartbeat(Heartbeat { nonce }),
                Ok(Order::Reload) => {
                    loading.order();
                    continue;
                }
            };
            if !self.report(message)? {
                return Ok(Some(Ended::HostGone));
            }
        }
    }

    fn report(&self, message: Message) -> Result<bool, RunError> {
        report(self.control.as_fd(), message)
    }
}

/// Gives the engine what was put aside. An event that this SDK does not know is none that it asked for.
fn tell(engine: &mut impl Engine, aside: &Aside) {
    match aside {
        Aside::Gap(gap) => engine.gap(&gap.loss),
        Aside::Notice(notice) => {
            if let Some(event) = notice.event {
                engine.notice(&Notice::new(event, notice));
            }
        }
    }
}

/// Sends the host a message; whether it was still there.
pub(crate) fn report(control: BorrowedFd<'_>, message: Message) -> Result<bool, RunError> {
    match control::send(control, &encode_to_host(message), &[]) {
        Ok(()) => Ok(true),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(RunError::Control(error)),
    }
}

/// An error for the host's journal.
pub(crate) fn error_line(text: &str) -> Message {
    Message::Log(Log { level: 1, text: cut(text.to_owned()) })
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_MAX));
    text
}
