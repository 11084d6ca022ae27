//! Judges that are not waited for longer than they may take.
//!
//! A scanner that cannot be stopped from outside may work for minutes on one file. To hand each file to a
//! thread that can be left behind costs two wake-ups per question. So here the thread that takes a question
//! off the ring judges it, and another looks at the clock: it answers for a judge that is late, leaves him
//! behind with what he has in hand, and puts the next one in his place.
//!
//! A *shift* is a thread with a judge; one shift at a time is in charge of the table. The main thread is in
//! charge of nothing while all goes well: it sleeps until the judgement at hand would be late, and follows
//! the host's orders. What holds:
//!
//! 1. Each question is answered once: by its judge, or for him once he is late. Who it is, is settled by one
//!    compare-and-exchange ([`Clock`]).
//! 2. The table changes hands only between two questions, or when its judge is left behind; never while its
//!    holder sleeps on the bell, which has one sleeper.
//! 3. New content is told of when the shift that judges by it is in charge, not before.
//! 4. At most [`LATE_MAX`] shifts are left behind at a time. While there are so many, the main thread abstains
//!    from every question at once.

mod clock;
mod watch;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outrigger_dock::{Doorbell, sleep};

use self::clock::Clock;
pub(crate) use self::watch::serve;
use crate::clock::now;
use crate::engine::Judgement;
use crate::question::Question;
use crate::run::RunError;
use crate::table::{Due, Table, Taken};

/// Most judges that may be late at a time.
pub const LATE_MAX: usize = 4;

/// What an engine's judges do, each on a thread of its own: make ready whatever judging needs, call
/// [`Shift::judge`] once, and return when that does.
pub type Judges = Arc<dyn Fn(&mut Shift) + Send + Sync>;

/// One judge's time in charge.
pub struct Shift {
    post: Arc<Post>,
    number: u64,
}

/// What shifts and the main thread share.
struct Post {
    seat: Mutex<Seat>,
    changed: Condvar,
    clock: Clock,
    /// Wakes the main thread.
    bell: Doorbell,
}

/// The table and who is in charge of it.
struct Seat {
    table: Table,
    /// The shift in charge; nobody while one is awaited.
    holder: Holder,
    /// The last shift that was in charge.
    reached: u64,
    /// A shift that is ready to take over.
    ready: Option<u64>,
    /// A shift that was started and is not ready yet.
    awaited: Option<u64>,
    /// What the holder judges.
    at_hand: Option<(Due, Duration)>,
    /// Shifts that were left behind and have not come back.
    late: usize,
    /// Why there is nothing more to judge.
    end: Option<End>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Nobody,
    Main,
    Shift(u64),
}

enum End {
    /// The main thread said so.
    Told,
    Failed(RunError),
    Panicked(Box<dyn std::any::Any + Send>),
}

impl Shift {
    /// Judges questions until this shift ends: others judge by newer content, the engine ends, or this judge
    /// was late. `limit` is how long a question may take; nobody waits for a judgement that takes longer.
    pub fn judge(
        &mut self,
        limit: impl Fn(&Question<'_>) -> Duration,
        mut judge: impl FnMut(&Question<'_>) -> Judgement,
    ) {
        let Some(mut seat) = self.post.wait_for_turn(self.number) else { return };
        let bell = seat.table.bell();
        while seat.end.is_none() && !self.post.hand_over(&mut seat) {
            let mut armed = None;
            let mut taken = seat.table.take();
            if matches!(taken, Ok(None)) {
                armed = Some(bell.arm());
                taken = seat.table.take();
            }
            let done = match taken {
                Ok(Some(Taken::Task(task))) => {
                    let due = task.due;
                    let mut ticket = 0;
                    let mut seat_of_others = Some(seat);
                    let judgement = task.ask(|question| {
                        let limit = limit(question);
                        if let Some(mut seat) = seat_of_others.take() {
                            seat.at_hand = Some((due, limit));
                        }
                        ticket = self.post.begin(limit);
                        judge(question)
                    });
                    if ticket != 0 && !self.post.clock.end(ticket) {
                        // Answered for, and left behind.
                        self.post.lock().late -= 1;
                        self.post.bell.ring();
                        return;
                    }
                    seat = seat_of_others.unwrap_or_else(|| self.post.lock());
                    seat.at_hand = None;
                    judgement.map_or(Ok(()), |judgement| seat.table.answer(due, judgement))
                }
                // An engine with judges is told of nothing.
                Ok(Some(Taken::Notice(_, len) | Taken::Gap(_, len) | Taken::Pressure(_, len))) => {
                    seat.table.handled(len);
                    Ok(())
                }
                Ok(None) => {
                    let until = seat.table.wake_at();
                    drop(seat);
                    let slept =
                        armed.map_or(Ok(()), |armed| sleep(&[(bell.clone(), armed)], until));
                    seat = self.post.lock();
                    slept.map_err(RunError::Rings)
                }
                Err(error) => Err(error),
            };
            if armed.is_some() {
                bell.disarm();
            }
            if let Err(error) = done {
                self.post.finish(&mut seat, End::Failed(error));
            }
        }
    }
}

impl fmt::Debug for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shift").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Post {
    fn lock(&self) -> MutexGuard<'_, Seat> {
        // Nothing is left half changed by a panic, and the engine ends by it.
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that this shift is ready, and waits until it is in charge; `None` at the engine's end.
    fn wait_for_turn(&self, number: u64) -> Option<MutexGuard<'_, Seat>> {
        let mut seat = self.lock();
        seat.ready = Some(number);
        seat.awaited = None;
        // Whoever is in charge may sleep.
        seat.table.bell().ring();
        self.bell.ring();
        let seat = self
            .changed
            .wait_while(seat, |seat| seat.end.is_none() && seat.holder != Holder::Shift(number))
            .unwrap_or_else(PoisonError::into_inner);
        seat.end.is_none().then_some(seat)
    }

    /// Puts the shift that is ready in charge, if there is one.
    fn hand_over(&self, seat: &mut Seat) -> bool {
        let Some(number) = seat.ready.take() else { return false };
        seat.holder = Holder::Shift(number);
        seat.reached = number;
        self.changed.notify_all();
        self.bell.ring();
        true
    }

    fn finish(&self, seat: &mut Seat, end: End) {
        seat.end.get_or_insert(end);
        seat.table.bell().ring();
        self.changed.notify_all();
        self.bell.ring();
    }

    /// A judgement begins that is late after `limit`.
    fn begin(&self, limit: Duration) -> u64 {
        let span = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let (ticket, is_heard) = self.clock.begin(now().saturating_add(span), span);
        if !is_heard {
            self.bell.ring();
        }
        ticket
    }

    /// Starts a shift; it says when it is ready.
    fn start(self: &Arc<Self>, number: u64, judges: Judges) -> std::io::Result<()> {
        let post = Arc::clone(self);
        let thread = std::thread::Builder::new().name("judge".to_owned());
        thread.spawn(move || {
            let mut shift = Shift { post: Arc::clone(&post), number };
            let panicked = catch_unwind(AssertUnwindSafe(|| judges(&mut shift))).err();
            let mut seat = post.lock();
            match panicked {
                Some(payload) => post.finish(&mut seat, End::Panicked(payload)),
                // Nobody would answer any more.
                None if seat.end.is_none()
                    && (seat.holder == Holder::Shift(number) || seat.awaited == Some(number)) =>
                {
                    post.finish(&mut seat, End::Failed(RunError::JudgeLeft));
                }
                None => {}
            }
        })?;
        Ok(())
    }
}
