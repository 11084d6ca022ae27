//! Whose turn it is when more ask than can be served.
//!
//! A bounded queue with a line per user, served in turn: who floods it waits behind himself. At the limit
//! the user who holds more than a fair share gives way, with the newest item of his line; the caller
//! answers what was displaced by its fallback.
//!
//! Items, lines and turns are allocated once.

use std::collections::{HashMap, VecDeque};

/// Most items that a queue can be made for.
pub const ITEMS_MAX: usize = 1 << 20;

/// In a link: none.
const END: u32 = u32::MAX;

/// What became of an item that was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a displaced item has to be answered"]
pub enum Pushed<T> {
    /// It waits, and nothing had to give way.
    Kept,
    /// The queue is at its limit, and this item (the one pushed, or one that waited) is out.
    Displaced {
        /// Whose it is.
        user: u32,
        /// The item.
        item: T,
    },
}

/// A bounded queue that serves users in turn.
#[derive(Debug)]
pub struct FairQueue<T> {
    nodes: Box<[Node<T>]>,
    /// First node that holds nothing; they are linked by `newer`.
    free: u32,
    /// The users who wait.
    lines: HashMap<u32, Line>,
    /// The same users, the next to be served in front.
    turns: VecDeque<u32>,
    len: usize,
}

#[derive(Debug)]
struct Node<T> {
    item: Option<T>,
    older: u32,
    newer: u32,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    oldest: u32,
    newest: u32,
    len: usize,
}

impl<T> FairQueue<T> {
    /// A queue of at most `limit` items (1 to [`ITEMS_MAX`]; values beyond are taken as the nearest).
    pub fn with_capacity(limit: usize) -> Self {
        let limit = limit.clamp(1, ITEMS_MAX);
        let count = u32::try_from(limit).expect("ITEMS_MAX fits a u32");
        let next = |at: u32| if at.saturating_add(1) == count { END } else { at.saturating_add(1) };
        Self {
            nodes: (0..count).map(|at| Node { item: None, older: END, newer: next(at) }).collect(),
            free: 0,
            lines: HashMap::with_capacity(limit),
            turns: VecDeque::with_capacity(limit),
            len: 0,
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts `item` at the end of `user`'s line.
    ///
    /// At the limit this looks at every user who waits.
    pub fn push(&mut self, user: u32, item: T) -> Pushed<T> {
        if self.len < self.nodes.len() {
            self.append(user, item);
            return Pushed::Kept;
        }
        let held = self.lines.get(&user).map_or(0, |line| line.len);
        let heaviest = self.lines.iter().max_by_key(|(_, line)| line.len);
        // Equal counts are no flood: who comes last goes.
        match heaviest.filter(|(_, line)| line.len > held.saturating_add(1)) {
            None => Pushed::Displaced { user, item },
            Some((&flooder, line)) => {
                let newest = line.newest;
                let displaced = self.unlink(flooder, newest);
                self.append(user, item);
                Pushed::Displaced { user: flooder, item: displaced }
            }
        }
    }

    /// Whether `user` waits.
    pub fn waits(&self, user: u32) -> bool {
        self.lines.contains_key(&user)
    }

    /// Takes the oldest item of the first user in turn who `may` be served; who may not is passed over
    /// and keeps his turn.
    pub fn pop_for(&mut self, mut may: impl FnMut(u32) -> bool) -> Option<(u32, T)> {
        let place = self.turns.iter().position(|&user| may(user))?;
        let user = *self.turns.get(place)?;
        let oldest = self.lines.get(&user).expect("who has a turn has a line").oldest;
        let item = self.unlink(user, oldest);
        // Whoever has more goes to the back; whoever has not was taken out already.
        if self.lines.contains_key(&user) {
            self.turns.remove(place);
            self.turns.push_back(user);
        }
        Some((user, item))
    }

    /// Takes the oldest item of the user whose turn it is.
    pub fn pop(&mut self) -> Option<(u32, T)> {
        self.pop_for(|_| true)
    }

    /// Takes out every item for which `unwanted` holds; `removed` gets them.
    pub fn remove_if(
        &mut self,
        mut unwanted: impl FnMut(u32, &T) -> bool,
        mut removed: impl FnMut(u32, T),
    ) {
        let mut at_turn = 0;
        while let Some(&user) = self.turns.get(at_turn) {
            let mut at = self.lines.get(&user).map_or(END, |line| line.oldest);
            while let Some(node) = self.nodes.get(at as usize) {
                let next = node.newer;
                if node.item.as_ref().is_some_and(|item| unwanted(user, item)) {
                    removed(user, self.unlink(user, at));
                }
                at = next;
            }
            // A line that became empty has left its turn, and the next user stands there.
            if self.turns.get(at_turn) == Some(&user) {
                at_turn = at_turn.saturating_add(1);
            }
        }
    }

    fn append(&mut self, user: u32, item: T) {
        let at = self.free;
        let node = &mut self.nodes[at as usize];
        self.free = node.newer;
        *node = Node { item: Some(item), older: END, newer: END };
        self.len = self.len.saturating_add(1);
        if let Some(line) = self.lines.get_mut(&user) {
            let before = std::mem::replace(&mut line.newest, at);
            line.len = line.len.saturating_add(1);
            self.nodes[at as usize].older = before;
            self.nodes[before as usize].newer = at;
        } else {
            self.lines.insert(user, Line { oldest: at, newest: at, len: 1 });
            self.turns.push_back(user);
        }
    }

    /// Takes the item at `at` out of `user`'s line, and the user out of the turns if it was the last.
    fn unlink(&mut self, user: u32, at: u32) -> T {
        let free = Node { item: None, older: END, newer: self.free };
        let node = std::mem::replace(&mut self.nodes[at as usize], free);
        self.free = at;
        self.len = self.len.saturating_sub(1);
        let line = self.lines.get_mut(&user).expect("who has an item has a line");
        line.len = line.len.saturating_sub(1);
        match self.nodes.get_mut(node.older as usize) {
            Some(older) => older.newer = node.newer,
            None => line.oldest = node.newer,
        }
        match self.nodes.get_mut(node.newer as usize) {
            Some(newer) => newer.older = node.older,
            None => line.newest = node.older,
        }
        if line.len == 0 {
            self.lines.remove(&user);
            let turn = self.turns.iter().position(|&waiting| waiting == user);
            self.turns.remove(turn.expect("who has a line has a turn"));
        }
        node.item.expect("a linked node holds an item")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(limit: usize, items: &[(u32, u32)]) -> FairQueue<u32> {
        let mut queue = FairQueue::with_capacity(limit);
        for &(user, item) in items {
            assert_eq!(queue.push(user, item), Pushed::Kept);
        }
        queue
    }

    #[test]
    fn users_are_served_in_turn() {
        let mut queue = filled(8, &[(1, 10), (1, 11), (1, 12), (2, 20)]);

        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();

        assert_eq!(order, [(1, 10), (2, 20), (1, 11), (1, 12)]);
    }

    #[test]
    fn who_may_not_be_served_keeps_his_turn() {
        let mut queue = filled(8, &[(1, 10), (2, 20), (2, 21)]);

        assert_eq!(queue.pop_for(|user| user != 1), Some((2, 20)));
        assert_eq!(queue.pop_for(|_| false), None);
        assert_eq!(queue.pop(), Some((1, 10)));
    }

    #[test]
    fn a_flooding_user_loses_his_own_newest() {
        let mut queue = filled(3, &[(1, 10), (1, 11), (2, 20)]);

        let pushed = queue.push(1, 12);

        assert_eq!(pushed, Pushed::Displaced { user: 1, item: 12 });
    }

    #[test]
    fn a_newcomer_displaces_the_newest_of_the_flooding_user() {
        let mut queue = filled(3, &[(1, 10), (1, 11), (1, 12)]);

        let pushed = queue.push(2, 20);

        assert_eq!(pushed, Pushed::Displaced { user: 1, item: 12 });
        assert_eq!(queue.pop(), Some((1, 10)));
        assert_eq!(queue.pop(), Some((2, 20)));
    }

    #[test]
    fn where_all_hold_their_share_the_last_to_come_goes() {
        let mut queue = filled(2, &[(1, 10), (2, 20)]);

        assert_eq!(queue.push(3, 30), Pushed::Displaced { user: 3, item: 30 });
    }

    #[test]
    fn unwanted_items_leave_and_the_turns_stay() {
        let mut queue = filled(8, &[(1, 10), (2, 20), (1, 11), (3, 31), (3, 30)]);
        let mut removed = Vec::new();

        queue.remove_if(|_, item| item % 10 == 0, |user, item| removed.push((user, item)));

        assert_eq!(removed, [(1, 10), (2, 20), (3, 30)]);
        assert_eq!(queue.pop(), Some((1, 11)));
        assert_eq!(queue.pop(), Some((3, 31)));
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_each_line_keeps_its_order(
            limit in 1_usize..12,
            steps in prop::collection::vec(prop::option::weighted(0.7, 0_u32..5), 0..300),
        ) {
            let mut queue = FairQueue::with_capacity(limit);
            let mut model: HashMap<u32, Vec<u32>> = HashMap::new();
            let mut next = 0;
            for step in steps {
                if let Some(user) = step {
                    next += 1;
                    let before: usize = model.values().map(Vec::len).sum();
                    model.entry(user).or_default().push(next);
                    match queue.push(user, next) {
                        Pushed::Kept => prop_assert!(before < limit),
                        Pushed::Displaced { user, item } => {
                            let most = model.values().map(Vec::len).max();
                            let line = model.get_mut(&user).expect("a displaced item has an owner");
                            prop_assert_eq!(before, limit);
                            prop_assert!(Some(line.len()) >= most || line.len() + 1 >= most.unwrap_or(0));
                            prop_assert_eq!(line.pop(), Some(item));
                        }
                    }
                } else {
                    let popped = queue.pop();
                    prop_assert_eq!(popped.is_none(), model.values().all(Vec::is_empty));
                    if let Some((user, item)) = popped {
                        prop_assert_eq!(model.get_mut(&user).map(|line| line.remove(0)), Some(item));
                    }
                }
                prop_assert_eq!(queue.len(), model.values().map(Vec::len).sum::<usize>());
            }
        }
    }
}
