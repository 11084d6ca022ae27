//! How much of what is served at a time one user may hold.
//!
//! A user alone may hold all of it. As soon as another asks too, each is held to a share, so that a
//! newcomer's question neither stands behind a flood in the engines' hands nor shares the processors with
//! all of the flood at once. Pure: the time is an argument.

/// How long a user counts as asking after a question, ns: 10 ms.
pub const ASKING: u64 = 10_000_000;

/// Who holds how much.
#[derive(Debug)]
pub struct Shares {
    limit: usize,
    share: usize,
    /// The users of what is held, one entry each.
    held: Vec<u32>,
    /// The user who asked last, and the one before who is not the same, with the time of each.
    last: Option<(u32, u64)>,
    other: Option<(u32, u64)>,
}

impl Shares {
    /// At most `limit` are held in all (at least 1), and while several users ask at most `share` of them
    /// by each (1 to `limit`; values beyond are taken as the nearest).
    pub fn new(limit: usize, share: usize) -> Self {
        let limit = limit.max(1);
        Self {
            limit,
            share: share.clamp(1, limit),
            held: Vec::with_capacity(limit),
            last: None,
            other: None,
        }
    }

    /// Notes that `user` asks.
    pub fn note(&mut self, user: u32, now: u64) {
        match self.last {
            Some((last, _)) if last != user => self.other = self.last,
            _ => {}
        }
        self.last = Some((user, now));
    }

    /// Whether `user` may hold one more.
    pub fn may_take(&self, user: u32, now: u64) -> bool {
        if self.held.len() >= self.limit {
            return false;
        }
        self.is_one_user(now)
            || self.held.iter().filter(|&&holder| holder == user).count() < self.share
    }

    /// Whether all who ask now are one user.
    pub fn is_one_user(&self, now: u64) -> bool {
        self.other.is_none_or(|(_, at)| now.saturating_sub(at) > ASKING)
    }

    /// `user` holds one more.
    pub fn take(&mut self, user: u32) {
        self.held.push(user);
    }

    /// `user` holds one less.
    pub fn give_back(&mut self, user: u32) {
        if let Some(place) = self.held.iter().position(|&holder| holder == user) {
            self.held.swap_remove(place);
        }
    }

    /// How many are held.
    pub fn held(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes for `user` what he may have, and tells how many.
    fn fill(shares: &mut Shares, user: u32, now: u64) -> usize {
        let mut count = 0;
        while shares.may_take(user, now) {
            shares.take(user);
            count += 1;
        }
        count
    }

    #[test]
    fn a_user_alone_may_hold_all() {
        let mut shares = Shares::new(8, 2);
        shares.note(1, 0);

        assert_eq!(fill(&mut shares, 1, 0), 8);
    }

    #[test]
    fn two_users_are_held_to_a_share_each() {
        let mut shares = Shares::new(8, 2);
        shares.note(1, 0);
        shares.note(2, 5);
        shares.note(1, 9);

        assert_eq!(fill(&mut shares, 1, 9), 2);
        assert_eq!(fill(&mut shares, 2, 9), 2);
        assert_eq!(fill(&mut shares, 3, 9), 2);
    }

    #[test]
    fn who_has_not_asked_for_a_while_holds_nobody_back() {
        let mut shares = Shares::new(8, 2);
        shares.note(2, 0);
        shares.note(1, 5);
        assert_eq!(fill(&mut shares, 1, ASKING), 2);

        assert_eq!(fill(&mut shares, 1, ASKING + 1), 6);
    }

    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let mut shares = Shares::new(2, 1);
        shares.note(1, 0);
        shares.note(2, 0);
        shares.take(1);
        assert!(!shares.may_take(1, 0));

        shares.give_back(1);

        assert!(shares.may_take(1, 0));
        assert_eq!(shares.held(), 0);
    }
}
