//! The open cases, ordered by deadline.
//!
//! A binary heap over slot numbers that knows where each slot stands, so that a case which ends before
//! its deadline is taken out at once and the earliest deadline is always exact. Both arrays have one
//! place per slot and are allocated once.

/// In `places`: the slot is not in the heap.
const OUT: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Deadlines {
    /// Deadline and slot; the children of `i` are `2i + 1` and `2i + 2`.
    heap: Vec<(u64, u32)>,
    /// Where each slot stands in `heap`.
    places: Box<[u32]>,
}

impl Deadlines {
    pub(super) fn with_slots(slots: usize) -> Self {
        Self { heap: Vec::with_capacity(slots), places: vec![OUT; slots].into_boxed_slice() }
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    /// The earliest deadline, with its slot.
    pub(super) fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().copied()
    }

    /// Puts in `slot`, which is not in it.
    pub(super) fn insert(&mut self, deadline: u64, slot: u32) {
        let last = self.heap.len();
        self.heap.push((deadline, slot));
        self.rise(last);
    }

    /// Takes out `slot`, if it is in it.
    pub(super) fn remove(&mut self, slot: usize) {
        let place = self.places[slot] as usize;
        if place >= self.heap.len() {
            return;
        }
        self.places[slot] = OUT;
        let removed = self.heap.swap_remove(place);
        // What came from the end to this place belongs above it or below it.
        if let Some(&moved) = self.heap.get(place) {
            if moved.0 < removed.0 { self.rise(place) } else { self.sink(place) }
        }
    }

    fn rise(&mut self, mut place: usize) {
        let entry = self.heap[place];
        while let Some(parent) = place.checked_sub(1).map(|above| above / 2) {
            if self.heap[parent].0 <= entry.0 {
                break;
            }
            self.set(place, self.heap[parent]);
            place = parent;
        }
        self.set(place, entry);
    }

    #[expect(clippy::arithmetic_side_effects, reason = "twice a place in memory fits a usize")]
    fn sink(&mut self, mut place: usize) {
        let entry = self.heap[place];
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let Some(&(mut least)) = self.heap.get(left) else { break };
            let mut child = left;
            if let Some(&other) = self.heap.get(right)
                && other.0 < least.0
            {
                (least, child) = (other, right);
            }
            if entry.0 <= least.0 {
                break;
            }
            self.set(place, least);
            place = child;
        }
        self.set(place, entry);
    }

    fn set(&mut self, place: usize, entry: (u64, u32)) {
        self.heap[place] = entry;
        self.places[entry.1 as usize] =
            u32::try_from(place).expect("the heap has one place per slot, and slots fit a u32");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_is_always_the_earliest(steps in prop::collection::vec((0_u32..32, prop::option::of(0_u64..50)), 0..400)) {
            let mut deadlines = Deadlines::with_slots(32);
            let mut model: [Option<u64>; 32] = [None; 32];
            for (slot, step) in steps {
                let at = slot as usize;
                deadlines.remove(at);
                model[at] = step;
                if let Some(deadline) = step {
                    deadlines.insert(deadline, slot);
                }

                let first = deadlines.first();
                prop_assert_eq!(first.map(|(deadline, _)| deadline), model.iter().flatten().min().copied());
                prop_assert!(first.is_none_or(|(deadline, slot)| model[slot as usize] == Some(deadline)));
                prop_assert_eq!(deadlines.len(), model.iter().flatten().count());
            }
        }
    }
}
