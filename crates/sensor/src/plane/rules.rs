//! Puts a set of rules into the kernel and replaces it there.
//!
//! A set is the image that `outrigger_decision::rules` compiles (`bpf/rules.h`), in a map of its own. The
//! programs find it through the one entry of another map, so replacing a set is one call: whatever began
//! before is judged by the old set, whatever begins after it returned by the new one, and nothing by
//! neither.
//!
//! Most events come to nothing, which the programs see from one page that they look at first (`struct
//! plane_front`). It is of the set whose generation it names. Before a set is replaced the page is made to name none, so
//! that what is seen there is only ever of one set; the call that replaces it waits for whoever has seen another.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::Ordering;

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, MapType};
use libbpf_sys::{BPF_F_INNER_MAP, bpf_map_create_opts};
use zerocopy::{FromBytes, Immutable, KnownLayout};

use crate::bpf::sys::{Front, Pages};

/// Bytes of a page of an image (`rules.h`: `RULES_PAGE`).
pub const PAGE: usize = 4096;
/// Most pages of an image (`rules.h`: `RULES_PAGES`).
pub const PAGES: usize = 4096;
/// Events that there is room for (`plane_record.h`: `PLANE_EVENTS`).
const EVENTS: usize = super::KINDS;
/// Words of a vector of clauses (`plane_record.h`: `PLANE_WORDS`).
const WORDS: usize = 32;

/// The page that programs look at first.
pub(super) type Page = Front<EVENTS, WORDS>;

/// The place of the one entry.
const ENTRY: [u8; 4] = [0; 4];

/// `enum plane_by`.
mod by {
    pub(super) const ARGUMENTS: u32 = 1;
    pub(super) const SUBJECT: u32 = 2;
    pub(super) const MARKS: u32 = 4;
    pub(super) const FILE: u32 = 8;
}

/// `rules.h`: what depends on the subject alone, and on an object that is a file.
mod depends {
    pub(super) const SUBJECT_NUMBERS: u32 = 0x00c03;
    pub(super) const SUBJECT_TABLES: u32 = 0x143;
    pub(super) const OBJECT_NUMBERS: u32 = 0x01030;
    pub(super) const OBJECT_TABLES: u32 = 0x204;
    pub(super) const SUBJECT_MARKS: u32 = 1 << 8;
    pub(super) const OBJECT_MARKS: u32 = 1 << 9;
}

/// `struct rules_event`.
#[derive(Debug, Clone, Copy, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct RawEvent {
    pub(super) vector_at: u32,
    pub(super) numbers: u32,
    pub(super) tables: u32,
    pub(super) acting_at: u32,
}

/// `struct rules_header`, up to its events.
#[derive(Debug, FromBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct RawHeader {
    pub(super) magic: u64,
    pub(super) generation: u64,
    unused: [u32; 4],
    pub(super) words: u32,
    unused_too: [u32; 11],
    inherited: u64,
    seconds: [u32; 8],
    since: [u64; 64],
    pub(super) events: [RawEvent; EVENTS],
}

/// The set in force, and the page by which programs see that an event comes to nothing.
#[derive(Debug)]
pub(super) struct Rules {
    set: MapHandle,
    front: Pages<Page>,
}

impl Rules {
    /// `set` leads to the image, `front` holds the page.
    pub(super) fn new(set: MapHandle, front: &MapHandle) -> io::Result<Self> {
        Ok(Self { set, front: Pages::map(front.as_fd())? })
    }

    /// Who wants the event at this place (`enum plane_want`).
    pub(super) fn set_want(&self, event: usize, want: u32) {
        if let Some(place) = self.front.get().want.get(event) {
            place.store(want, Ordering::Release);
        }
    }

    /// As [`replace`].
    ///
    /// # Errors
    ///
    /// As [`replace`]; `InvalidInput` also if the image has not the vectors that it names.
    pub(super) fn replace(&mut self, image: &[u8]) -> io::Result<()> {
        let acting = Acting::read(image).ok_or_else(|| {
            let what = format!("an image whose header leads outside of its {} bytes", image.len());
            io::Error::new(io::ErrorKind::InvalidInput, what)
        })?;
        let before = self.front.get().generation.swap(0, Ordering::SeqCst);
        let replaced = replace(&mut self.set, image);
        match &replaced {
            Ok(()) => acting.show(self.front.get()),
            Err(_) => self.front.get().generation.store(before, Ordering::Release),
        }
        replaced
    }

    /// Takes the set in force away: the programs decide nothing and filter nothing.
    ///
    /// # Errors
    ///
    /// Whatever the kernel says. That there was no set is none.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.front.get().generation.store(0, Ordering::SeqCst);
        match self.set.delete(&ENTRY) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other.map_err(io::Error::other),
        }
    }
}

/// Makes `image` the set in force in the programs that share `rules`.
///
/// When it returns, no program works with the set before any more: the kernel waits for those that run.
/// Callers take turns, so that a program that runs sees one replacement at most.
///
/// # Errors
///
/// `InvalidInput` if it is not as long as an image can be (nothing else of it is looked at); whatever the
/// kernel says, `ENOMEM` for one. The set before is then in force still.
pub fn replace(rules: &mut MapHandle, image: &[u8]) -> io::Result<()> {
    let pages = image.len() / PAGE;
    if pages == 0 || pages > PAGES || !image.len().is_multiple_of(PAGE) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("an image of {} bytes: it has 1 to {PAGES} pages of {PAGE}", image.len()),
        ));
    }
    let pages = u32::try_from(pages).map_err(io::Error::other)?;
    let options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as _,
        map_flags: BPF_F_INNER_MAP,
        ..bpf_map_create_opts::default()
    };
    let set = MapHandle::create(MapType::Array, Some("rules_set"), 4, 4096, pages, &options)
        .map_err(io::Error::other)?;
    let keys: Vec<u8> = (0..pages).flat_map(u32::to_ne_bytes).collect();
    set.update_batch(&keys, image, pages, MapFlags::ANY, MapFlags::ANY)
        .map_err(io::Error::other)?;
    let set = set.as_fd().as_raw_fd().to_ne_bytes();
    rules.update(&ENTRY, &set, MapFlags::ANY).map_err(io::Error::other)
}

/// What of an image the programs look at first.
struct Acting {
    generation: u64,
    words: u32,
    events: [(u32, [u64; WORDS]); EVENTS],
}

impl Acting {
    /// `None` if a vector lies outside of the image.
    fn read(image: &[u8]) -> Option<Self> {
        let (header, _) = RawHeader::read_from_prefix(image).ok()?;
        let words = usize::try_from(header.words).ok().filter(|&words| words <= WORDS)?;
        let mut events = [(0, [0; WORDS]); EVENTS];
        for (event, (by, vector)) in header.events.iter().zip(&mut events) {
            if event.acting_at == 0 {
                continue;
            }
            *by = event.by();
            let bytes = image.get(event.acting_at as usize..)?.get(..words * 8)?;
            for (word, bytes) in vector.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = u64::from_ne_bytes(bytes.try_into().ok()?);
            }
        }
        Some(Self { generation: header.generation, words: header.words, events })
    }

    /// Has the programs look at it, who look at nothing there before.
    fn show(&self, front: &Page) {
        front.words.store(self.words, Ordering::Relaxed);
        for ((by, vector), (place, acting)) in
            self.events.iter().zip(front.by.iter().zip(&front.acting))
        {
            place.store(*by, Ordering::Relaxed);
            for (word, place) in vector.iter().zip(acting) {
                place.store(*word, Ordering::Relaxed);
            }
        }
        front.generation.store(self.generation, Ordering::Release);
    }
}

impl RawEvent {
    /// What its clauses need to know (`enum plane_by`).
    fn by(self) -> u32 {
        let numbers = |mask| self.numbers & mask != 0;
        let tables = |mask| self.tables & mask != 0;
        let file = numbers(depends::OBJECT_NUMBERS) || tables(depends::OBJECT_TABLES);
        [
            (true, by::ARGUMENTS),
            (numbers(depends::SUBJECT_NUMBERS) || tables(depends::SUBJECT_TABLES), by::SUBJECT),
            (tables(depends::SUBJECT_MARKS), by::MARKS),
            (file && !tables(depends::OBJECT_MARKS), by::FILE),
        ]
        .into_iter()
        .filter_map(|(so, bit)| so.then_some(bit))
        .fold(0, |all, bit| all | bit)
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use outrigger_api::{Event, Mode};
    use outrigger_decision::rules::{
        Comparison, Condition, Effect, LineageKey, MarkNames, Number, Pattern, Process, Rule,
        Source, Text, compile,
    };

    use super::*;

    /// An image of one rule on `file.open`.
    fn image(effect: Effect, when: Condition) -> Vec<u8> {
        let rule = Rule {
            name: "one".to_owned(),
            source: Source::Administrator,
            mode: Mode::Enforce,
            effect,
            events: vec![Event::FileOpen],
            when,
        };
        let set = compile(&[rule], &LineageKey([0; 16]), 7, &MarkNames::default());
        set.expect("it compiles").image.bytes().to_vec()
    }

    fn path() -> Condition {
        Condition::Text { place: Text::Path, is: Pattern::Begins("/etc/".to_owned()) }
    }

    fn acting(image: &[u8]) -> Acting {
        Acting::read(image).expect("it is an image")
    }

    #[test]
    fn what_clauses_need_to_know_is_read_from_the_image() {
        let user = Condition::Number { place: Number::SubjectUid, is: Comparison::Is, value: 1000 };
        let write = Condition::Number { place: Number::Value0, is: Comparison::Is, value: 1 };
        let descends =
            Condition::Descends { process: Process::Subject, program: "/bin/sh".to_owned() };
        let marked = |whose| Condition::Marked { whose, mark: "m".to_owned() };
        let by = |when| acting(&image(Effect::Deny, when)).events[Event::FileOpen.index()].0;
        let of = by::ARGUMENTS;

        assert_eq!(by(path()), of | by::FILE);
        assert_eq!(by(user.clone()), of | by::SUBJECT);
        assert_eq!(by(descends), of | by::SUBJECT);
        assert_eq!(by(write), of);
        assert_eq!(by(marked(Process::Subject)), of | by::SUBJECT | by::MARKS);
        assert_eq!(by(Condition::All(vec![path(), user])), of | by::SUBJECT | by::FILE);
        assert_eq!(by(Condition::All(vec![path(), marked(Process::Object)])), of);
    }

    #[test]
    fn clauses_that_only_allow_do_not_act() {
        let allowing = acting(&image(Effect::Allow, path()));
        let denying = acting(&image(Effect::Deny, path()));

        assert_eq!((allowing.generation, denying.generation), (7, 7));
        assert_eq!(allowing.events[Event::FileOpen.index()], (0, [0; WORDS]));
        assert_eq!(denying.events[Event::FileOpen.index()].1[0], 1);
        assert_eq!(denying.events[Event::FileUnlink.index()], (0, [0; WORDS]));
    }

    #[test]
    fn a_vector_outside_of_the_image_is_refused() {
        let mut image = image(Effect::Deny, path());
        let at = offset_of!(RawHeader, events)
            + Event::FileOpen.index() * size_of::<RawEvent>()
            + offset_of!(RawEvent, acting_at);
        let end = u32::try_from(image.len()).expect("it is short");
        for outside in [end, end - 4, u32::MAX] {
            image[at..at + 4].copy_from_slice(&outside.to_le_bytes());
            assert!(Acting::read(&image).is_none(), "{outside}");
        }

        assert!(Acting::read(&image[..100]).is_none());
    }
}
