//! The verdict cache, from the host's side: what goes in, what gives way, and the flush.
//!
//! The cache itself is in the kernel (`outrigger_sensor::lease`); this is the order in which files give
//! way when descriptors run short: the one asked about longest ago first (a cached open makes no event,
//! so later use cannot be seen).

use std::collections::VecDeque;

use outrigger_sensor::group::Mask;
use outrigger_sensor::page::{MarkOwner, Page, Slot, SlotState, Tally};
use outrigger_sensor::process::close_number;
use outrigger_sensor::{Group, lease};

/// The cached files, oldest first.
#[derive(Debug)]
pub(crate) struct Cache {
    page: Page,
    group: Group,
    /// What a file that is put in is not asked about any more.
    mask: Mask,
    /// What any file in it may be unasked about: that is taken back.
    every: Mask,
    order: VecDeque<i32>,
    max: usize,
}

impl Cache {
    /// An empty cache of at most `max` files.
    pub(crate) fn new(page: Page, group: Group, mask: Mask, max: usize) -> Self {
        Self { page, group, mask, every: mask, order: VecDeque::new(), max }
    }

    /// Files that are put in from now on are still asked about what `mask` has not.
    pub(crate) fn pass(&mut self, mask: Mask) {
        self.mask = mask;
    }

    /// Most files at a time.
    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Makes later opens of a leased, answered question's file pass. True if the cache has taken the
    /// descriptor; false if a writer came, and then the lease is gone and the caller closes it.
    pub(crate) fn put(&mut self, file: i32) -> bool {
        let Some(slot) = self.page.slot(file) else { return false };
        if self.max == 0 {
            return false;
        }
        let _lock = self.page.lock_marks(MarkOwner::Host);
        if !lease::holds(file) || self.group.ignore_file(file, self.mask).is_err() {
            return false;
        }
        slot.set(SlotState::Cached);
        if !lease::holds(file) {
            // A writer has come meanwhile; he waits until this is undone.
            slot.set(SlotState::Dropping);
            lease::forget(self.group, file, self.every);
            return false;
        }
        self.page.header().add(Tally::Cached, 1);
        self.page.header().add(Tally::Leases, 1);
        self.order.push_back(file);
        true
    }

    /// Drops the oldest until at most `allowed` are held.
    pub(crate) fn shrink_to(&mut self, allowed: usize) {
        while self.held() > allowed {
            let Some(file) = self.order.pop_front() else { return };
            if self.drop_file(file) {
                self.page.header().add(Tally::Evicted, 1);
            }
        }
        // What the gate has dropped leaves its number here; it must not pile up.
        if self.order.len() > 2 * self.max.max(64) {
            let page = self.page;
            self.order.retain(|&file| {
                page.slot(file).is_some_and(|slot| slot.view().state == SlotState::Cached)
            });
        }
    }

    /// Drops up to `count` of the oldest; how many were there to drop. Everything is dropped so, some at
    /// a time, since whoever answers questions needs the cache meanwhile.
    pub(crate) fn drop_some(&mut self, count: usize) -> usize {
        let oldest: Vec<i32> = self.order.drain(..count.min(self.order.len())).collect();
        oldest.iter().for_each(|&file| {
            self.drop_file(file);
        });
        oldest.len()
    }

    /// Drops the file that was put in last.
    pub(crate) fn drop_newest(&mut self) {
        if let Some(file) = self.order.pop_back() {
            self.drop_file(file);
        }
    }

    /// Files in line, some of which the gate may have dropped.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Files held now.
    pub(crate) fn held(&self) -> usize {
        usize::try_from(self.page.header().tally(Tally::Leases)).unwrap_or(usize::MAX)
    }

    fn drop_file(&self, file: i32) -> bool {
        let Some(slot) = self.page.slot(file) else { return false };
        let _lock = self.page.lock_marks(MarkOwner::Host);
        if !slot.exchange(SlotState::Cached, SlotState::Dropping) {
            return false;
        }
        lease::forget(self.group, file, self.every);
        free_and_close(slot, file);
        self.page.header().take(Tally::Leases);
        true
    }
}

/// Gives a number back. Free before closed: once closed, it can be a new question's.
pub(crate) fn free_and_close(slot: &Slot, file: i32) {
    slot.set(SlotState::Free);
    close_number(file);
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use outrigger_api::{Event, EventSet};

    use super::*;

    /// A cache over a group without any mark: leases are real, marks touch nobody.
    fn cache(max: usize) -> Option<(Page, Cache)> {
        let page = Page::create(1024).expect("memory can be mapped");
        let Ok(group) = Group::open(false) else {
            eprintln!("SKIPPED: needs root and fanotify permission events");
            return None;
        };
        let mask = Mask::of(EventSet::EMPTY.with(Event::FileOpen));
        Some((page, Cache::new(page, group, mask, max)))
    }

    fn leased_question(page: Page, folder: &std::path::Path, name: &str) -> i32 {
        let path = folder.join(name);
        std::fs::write(&path, "x").expect("a file can be written");
        let file = std::fs::File::open(&path).expect("it can be opened").into_raw_fd();
        page.note_used(file);
        page.slot(file).expect("it has a slot").question(Event::FileOpen, false, 0, 0);
        page.slot(file).expect("it has a slot").set(SlotState::LeasedQuestion);
        lease::take(file, std::process::id()).expect("nobody writes it");
        file
    }

    #[test]
    fn the_oldest_gives_way() {
        let Some((page, mut cache)) = cache(8) else { return };
        let folder = tempfile::tempdir().expect("a folder can be made");
        let first = leased_question(page, folder.path(), "a");
        let second = leased_question(page, folder.path(), "b");
        assert!(cache.put(first) && cache.put(second));

        cache.shrink_to(1);

        assert_eq!(page.slot(first).map(|slot| slot.view().state), Some(SlotState::Free));
        assert_eq!(page.slot(second).map(|slot| slot.view().state), Some(SlotState::Cached));
        assert_eq!(cache.held(), 1);
    }

    #[test]
    fn a_file_that_somebody_began_to_write_is_not_taken() {
        let Some((page, mut cache)) = cache(8) else { return };
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = leased_question(page, folder.path(), "a");
        lease::release(file);

        assert!(!cache.put(file));
        assert_eq!(cache.held(), 0);
    }

    #[test]
    fn dropping_all_leaves_nothing() {
        let Some((page, mut cache)) = cache(8) else { return };
        let folder = tempfile::tempdir().expect("a folder can be made");
        let file = leased_question(page, folder.path(), "a");
        assert!(cache.put(file));

        assert_eq!(cache.drop_some(8), 1);

        assert_eq!(cache.held(), 0);
        assert_eq!(page.slot(file).map(|slot| slot.view().state), Some(SlotState::Free));
    }
}
