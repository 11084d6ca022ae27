//! The main thread's part: it looks at the clock, follows the host's orders, and sees that somebody judges.

use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex};

use outrigger_dock::{Doorbell, sleep};

use super::clock::Clock;
use super::{End, Holder, Judges, LATE_MAX, Post, Seat};
use crate::clock::now;
use crate::desk::Desk;
use crate::engine::{Engine, Judgement};
use crate::loading::Loading;
use crate::run::{Ended, RunError};
use crate::table::{Table, Taken};

/// How long the alarm goes on after the last judgement, ns.
const LINGER: u64 = 1_000_000_000;

/// The main thread.
struct Watch<'a, 'b, E> {
    post: Arc<Post>,
    desk: Desk,
    engine: &'a mut E,
    loading: Loading<'b, E>,
    /// What the next shift judges by.
    judges: Judges,
    /// Shifts started so far.
    started: u64,
    /// What is to be told of the content as soon as this shift has been in charge.
    untold: Option<(u64, String)>,
    is_docked: bool,
    /// Judgements begun when last looked, and when that had changed.
    traffic: (u64, u64),
}

/// Has the questions of `table` judged by shifts until there is an end. Orders and loads ring `bell`.
pub(crate) fn serve<E: Engine>(
    desk: Desk,
    table: Table,
    bell: Doorbell,
    engine: &mut E,
    judges: Judges,
    loading: Loading<'_, E>,
    content: String,
) -> Result<Ended, RunError> {
    let seat = Seat {
        table,
        holder: Holder::Nobody,
        reached: 0,
        ready: None,
        awaited: None,
        at_hand: None,
        late: 0,
        end: None,
    };
    let post =
        Post { seat: Mutex::new(seat), changed: Condvar::new(), clock: Clock::default(), bell };
    let post = Arc::new(post);
    let mut watch = Watch {
        post: Arc::clone(&post),
        desk,
        engine,
        loading,
        judges,
        started: 0,
        untold: None,
        is_docked: false,
        traffic: (0, 0),
    };
    watch.start(&mut post.lock()).map_err(RunError::Thread)?;
    watch.untold = Some((watch.started, content));
    let ended = watch.run();
    let mut seat = post.lock();
    post.finish(&mut seat, End::Told);
    ended
}

impl<E: Engine> Watch<'_, '_, E> {
    fn run(&mut self) -> Result<Ended, RunError> {
        let post = Arc::clone(&self.post);
        let table_bell = post.lock().table.bell();
        loop {
            let armed = post.bell.arm();
            if let Some(ended) = self.desk.follow_orders(&mut self.loading)? {
                return Ok(ended);
            }
            let mut bells = vec![(post.bell.clone(), armed)];
            let mut until = None;
            {
                let mut seat = post.lock();
                match seat.end.take() {
                    None => {}
                    Some(End::Failed(error)) => return Err(error),
                    Some(End::Panicked(payload)) => {
                        drop(seat);
                        resume_unwind(payload);
                    }
                    Some(End::Told) => return Ok(Ended::Stopped),
                }
                self.relieve(&mut seat)?;
                if seat.holder == Holder::Main {
                    bells.push((table_bell.clone(), table_bell.arm()));
                    abstain_from_all(&mut seat)?;
                    until = seat.table.wake_at();
                }
            }
            let keep_on = self.tell_content()?;
            if !keep_on {
                return Ok(Ended::HostGone);
            }
            let alarm = self.alarm();
            if post.clock.set_alarm(alarm) {
                let until = until.map_or(alarm, |until: u64| until.min(alarm));
                sleep(&bells, Some(until).filter(|until| *until != u64::MAX))
                    .map_err(RunError::Rings)?;
            }
            post.clock.clear_alarm();
            bells.iter().for_each(|(bell, _)| bell.disarm());
        }
    }

    /// Answers for a judge who is late, and sees that somebody is in charge.
    fn relieve(&mut self, seat: &mut Seat) -> Result<(), RunError> {
        let late = self.post.clock.running().filter(|(_, until)| *until <= now());
        if let Some((ticket, _)) = late
            && self.post.clock.end(ticket)
        {
            seat.late += 1;
            seat.holder = Holder::Nobody;
            if let Some((due, limit)) = seat.at_hand.take() {
                let words = format!("took longer than {} ms", limit.as_millis());
                seat.table.answer(due, Judgement::abstain(words))?;
            }
        }
        if matches!(seat.holder, Holder::Shift(_)) || self.post.hand_over(seat) {
            return Ok(());
        }
        if seat.awaited.is_none() && (seat.late >= LATE_MAX || self.start(seat).is_err()) {
            // At the limit of threads it is tried again when a question comes or a judge is back.
            seat.holder = Holder::Main;
        }
        Ok(())
    }

    /// Starts a shift.
    fn start(&mut self, seat: &mut Seat) -> std::io::Result<()> {
        self.post.start(self.started + 1, Arc::clone(&self.judges))?;
        self.started += 1;
        seat.awaited = Some(self.started);
        Ok(())
    }

    /// Says what is in force, and has what was read meanwhile put in force; whether the host is there.
    fn tell_content(&mut self) -> Result<bool, RunError> {
        let (reached, awaited) = {
            let seat = self.post.lock();
            (seat.reached, seat.awaited)
        };
        if self.untold.as_ref().is_some_and(|(shift, _)| *shift <= reached)
            && let Some((_, content)) = self.untold.take()
        {
            let there = match std::mem::replace(&mut self.is_docked, true) {
                false => self.desk.report_docked(content)?,
                true => self.desk.report_loaded(Ok(content))?,
            };
            if !there {
                return Ok(false);
            }
        }
        while self.untold.is_none() && awaited.is_none() {
            let told = match self.loading.next(self.engine) {
                None => break,
                Some(Ok(content)) => self.change_judges(content),
                Some(Err(why)) => Err(why),
            };
            if let Err(why) = told
                && !self.desk.report_loaded(Err(why))?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Starts a shift by the engine's new judges, which takes over when it is ready.
    fn change_judges(&mut self, content: String) -> Result<(), String> {
        let judges = self.engine.judges().ok_or("the engine has no judges any more")?;
        let before = std::mem::replace(&mut self.judges, judges);
        let post = Arc::clone(&self.post);
        if let Err(error) = self.start(&mut post.lock()) {
            self.judges = before;
            return Err(format!("cannot start a thread to judge by the new content: {error}"));
        }
        self.untold = Some((self.started, content));
        Ok(())
    }

    /// When to look at the clock again, ns of `CLOCK_MONOTONIC`.
    fn alarm(&mut self) -> u64 {
        let (now, (begun, span)) = (now(), self.post.clock.traffic());
        if begun != self.traffic.0 {
            self.traffic = (begun, now);
        }
        match self.post.clock.running() {
            Some((_, until)) => until,
            None if now.saturating_sub(self.traffic.1) > LINGER => u64::MAX,
            None => now.saturating_add(span),
        }
    }
}

/// Nobody is there to judge.
fn abstain_from_all(seat: &mut Seat) -> Result<(), RunError> {
    while let Some(taken) = seat.table.take()? {
        match taken {
            Taken::Task(task) => {
                let busy = "every judge is held up by a question that is late";
                seat.table.answer(task.due, Judgement::abstain(busy))?;
            }
            Taken::Notice(_, len) | Taken::Gap(_, len) | Taken::Pressure(_, len) => {
                seat.table.handled(len);
            }
        }
    }
    Ok(())
}
