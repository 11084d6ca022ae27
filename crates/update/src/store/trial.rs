//! Into force, on probation, and back.

use jiff::Timestamp;
use outrigger_api::EngineName;
use outrigger_api::release::{Part, State};

use super::machine::{self, Standing, Way};
use super::types::{self, Rejection, ReleaseId, WentBack};
use super::{Store, StoreError};

impl Store {
    /// Puts releases that stood their shadow in force, on probation, in one step: all of them or none. They are of
    /// different parts of one engine. Each of those before is retired, and stays in its slot to be gone back to.
    ///
    /// # Errors
    ///
    /// [`StoreError::Transition`] unless each is in shadow, or if one that it would retire is on probation itself;
    /// [`StoreError::NotInSlot`].
    pub fn begin_probation(
        &mut self,
        releases: &[ReleaseId],
        detail: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_in_force(releases, State::Probation, detail, now)
    }

    /// Ends the probation of releases well, in one step: all of them or none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Transition`] unless each is on probation.
    pub fn confirm(
        &mut self,
        releases: &[ReleaseId],
        detail: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.put_in_force(releases, State::Active, detail, now)
    }

    fn put_in_force(
        &mut self,
        releases: &[ReleaseId],
        to: State,
        detail: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // Retired leads to active as well, and not by this way.
        let due = if to == State::Active { State::Probation } else { State::Shadow };
        let detail = types::shortened(detail);
        self.change(|tx| {
            for &release in releases {
                let (offer, from) = machine::find(tx, release)?;
                if from != Some(due) {
                    return Err(StoreError::Transition { release, from, to });
                }
                machine::put_in_force(tx, &offer, release, to, detail.clone(), now)?;
            }
            Ok(())
        })
    }

    /// Ends the probation of every part of an engine that is on it badly, in one step: what is on probation is
    /// rejected, and what was in force before is so again; nothing of that part, if there was nothing before.
    ///
    /// Gives what went back: nothing, if nothing was on probation.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooLong`], or the database's.
    pub fn roll_back(
        &mut self,
        engine: &EngineName,
        rejection: &Rejection,
        now: Timestamp,
    ) -> Result<Vec<WentBack>, StoreError> {
        self.go_back(engine, Way::Before, rejection, now, on_probation)
    }

    /// The same as [`Store::roll_back`] where what was in force before cannot be: nothing is in force of these
    /// parts. What was before stays retired, in its slot.
    ///
    /// # Errors
    ///
    /// As [`Store::roll_back`].
    pub fn withdraw(
        &mut self,
        engine: &EngineName,
        rejection: &Rejection,
        now: Timestamp,
    ) -> Result<Vec<WentBack>, StoreError> {
        self.go_back(engine, Way::Nothing, rejection, now, on_probation)
    }

    /// Goes back by hand, in one step, from what is in force of `part`, or of every part that has something to go
    /// back to, whether on probation or active.
    ///
    /// # Errors
    ///
    /// [`StoreError::NothingBefore`] if there is nothing to go back to; as [`Store::roll_back`].
    pub fn send_back(
        &mut self,
        engine: &EngineName,
        part: Option<Part>,
        rejection: &Rejection,
        now: Timestamp,
    ) -> Result<Vec<WentBack>, StoreError> {
        self.go_back(engine, Way::Before, rejection, now, |standing| {
            standing.retain(|one| part.is_none_or(|part| one.offer.part == part));
            standing.retain(|one| one.before.is_some());
            if standing.is_empty() {
                return Err(StoreError::NothingBefore { engine: engine.clone(), part });
            }
            Ok(())
        })
    }

    fn go_back(
        &mut self,
        engine: &EngineName,
        way: Way,
        rejection: &Rejection,
        now: Timestamp,
        choose: impl Fn(&mut Vec<Standing>) -> Result<(), StoreError>,
    ) -> Result<Vec<WentBack>, StoreError> {
        types::within("a rejection's name", &rejection.name)?;
        self.change_back(|tx| {
            let mut standing = machine::parts_in_force(tx, engine)?;
            choose(&mut standing)?;
            let back = |one| machine::go_back(tx, one, way, rejection, now);
            standing.into_iter().map(back).collect()
        })
    }
}

#[expect(clippy::unnecessary_wraps, reason = "going back by hand can be refused")]
fn on_probation(standing: &mut Vec<Standing>) -> Result<(), StoreError> {
    standing.retain(|one| one.state == Some(State::Probation));
    Ok(())
}
