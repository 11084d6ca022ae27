//! The facts of an event, as rules see them: `struct facts` of `crates/sensor/bpf/plane.h`.

use std::fmt;
use std::net::IpAddr;

use outrigger_api::Event;
use outrigger_api::attribute::Place;
use siphasher::sip::SipHasher24;

use super::layout::{LINEAGE_MAX, PATH_MAX, SHORT_MAX, TEXTS};
use super::rule::{Number, Text};

/// The secret with which programs' paths are hashed, so that nobody can make two that are taken for one.
#[derive(Clone, PartialEq, Eq)]
pub struct LineageKey(pub [u8; 16]);

impl LineageKey {
    /// What stands for a program in lineages: SipHash-2-4 of its path's bytes.
    pub fn hash(&self, program: &[u8]) -> u64 {
        SipHasher24::new_with_key(&self.0).hash(program)
    }
}

impl fmt::Debug for LineageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LineageKey(..)")
    }
}

/// The programs that a process and its ancestors have run, each once, by [`LineageKey::hash`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lineage {
    programs: [u64; LINEAGE_MAX],
    len: u8,
    cut: bool,
}

impl Lineage {
    /// That of a process of which nothing is known.
    pub const UNKNOWN: Self = Self { programs: [0; LINEAGE_MAX], len: 0, cut: true };

    /// The one of these programs. `cut`: there were more. Beyond [`LINEAGE_MAX`] it is cut.
    pub fn new(programs: &[u64], cut: bool) -> Self {
        let mut this = Self { cut, ..Self::default() };
        for &program in programs {
            this.push(program);
        }
        this
    }

    /// Adds a program, unless it is one of them.
    pub fn push(&mut self, program: u64) {
        if self.programs().contains(&program) {
            return;
        }
        match self.programs.get_mut(usize::from(self.len)) {
            Some(free) => {
                *free = program;
                self.len = self.len.saturating_add(1);
            }
            None => self.cut = true,
        }
    }

    /// The programs that are known.
    pub fn programs(&self) -> &[u64] {
        self.programs.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// Whether there were more, so that whether another one is among them is not known.
    pub const fn is_cut(&self) -> bool {
        self.cut
    }
}

/// The facts of one event. What was not said of it is not there; see [`super::Image::decide`] for what
/// follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// What it is.
    pub event: Event,
    /// The numbers at their places.
    pub(super) numbers: [u64; Place::NUMBERS],
    /// IPv4 as `::ffff:a.b.c.d`.
    pub(super) address: [u8; 16],
    /// A bit per place: the value is there.
    pub(super) has: u64,
    /// The subject's marks, by their bits.
    pub marks: u64,
    /// The object's.
    pub object_marks: u64,
    /// The texts, from [`Place::FIRST_TEXT`] on.
    pub(super) texts: [&'a [u8]; TEXTS],
    /// The subject's lineage.
    pub lineage: Lineage,
    /// That of the process that is the object.
    pub target_lineage: Lineage,
}

impl<'a> Facts<'a> {
    /// Those of an event of which nothing else is known: the lineages are [`Lineage::UNKNOWN`].
    pub const fn new(event: Event) -> Self {
        Self {
            event,
            numbers: [0; Place::NUMBERS],
            address: [0; 16],
            has: 0,
            marks: 0,
            object_marks: 0,
            texts: [&[]; TEXTS],
            lineage: Lineage::UNKNOWN,
            target_lineage: Lineage::UNKNOWN,
        }
    }

    /// Says a number.
    pub fn set_number(&mut self, which: Number, value: u64) {
        if let Some(place) = self.numbers.get_mut(which.place() as usize) {
            *place = value;
            self.has |= bit(which.place());
        }
    }

    /// Says a text. One that is longer than [`longest`] is not known, as one that was cut is not.
    pub fn set_text(&mut self, which: Text, value: &'a [u8]) {
        if value.len() <= longest(which)
            && let Some(place) = self.texts.get_mut(index(which))
        {
            *place = value;
            self.has |= bit(which.place());
        }
    }

    /// Says the object's path, or that it cannot be had: then it is empty, and
    /// [`Number::PathKnown`] is 0.
    pub fn set_path(&mut self, path: Option<&'a [u8]>) {
        let known = path.filter(|path| path.len() <= PATH_MAX);
        self.set_number(Number::PathKnown, known.is_some().into());
        self.set_text(Text::Path, known.unwrap_or_default());
    }

    /// Says the address.
    pub fn set_address(&mut self, address: IpAddr) {
        self.address = mapped(address);
        self.has |= bit(Place::Address);
    }

    /// A number, where it is there.
    pub fn number(&self, which: Number) -> Option<u64> {
        let place = which.place();
        self.has(place).then(|| self.numbers.get(place as usize).copied()).flatten()
    }

    /// A text, where it is there.
    pub fn text(&self, which: Text) -> Option<&'a [u8]> {
        self.has(which.place()).then(|| self.texts.get(index(which)).copied()).flatten()
    }

    /// The address, IPv4 as `::ffff:a.b.c.d`, where it is there.
    pub fn address(&self) -> Option<[u8; 16]> {
        self.has(Place::Address).then_some(self.address)
    }

    /// Whether the value of this place is there.
    pub const fn has(&self, place: Place) -> bool {
        self.has & bit(place) != 0
    }
}

/// A place's bit among those that are there.
pub(super) const fn bit(place: Place) -> u64 {
    1 << (place as u64)
}

/// A text's place among the texts.
pub(super) const fn index(which: Text) -> usize {
    which as usize
}

/// Longest text of this place that is known whole, bytes.
pub const fn longest(which: Text) -> usize {
    match which {
        Text::Path | Text::NewPath => PATH_MAX,
        Text::Exe | Text::Cgroup | Text::TargetExe | Text::Text => SHORT_MAX,
    }
}

/// An address as facts have it.
pub(super) const fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS_IN_ORDER: [Text; TEXTS] =
        [Text::Exe, Text::Cgroup, Text::Path, Text::TargetExe, Text::NewPath, Text::Text];

    #[test]
    fn texts_stand_in_the_order_of_their_places() {
        for (at, text) in TEXTS_IN_ORDER.into_iter().enumerate() {
            assert_eq!(index(text), at);
            assert_eq!(text.place() as usize, Place::FIRST_TEXT + at);
        }
    }

    /// The reference value of SipHash-2-4 for the key 00..0f and the message 00..0e.
    #[test]
    fn programs_are_hashed_by_siphash_2_4() {
        let counting: [u8; 16] = std::array::from_fn(|at| u8::try_from(at).expect("below 16"));

        assert_eq!(LineageKey(counting).hash(&counting[..15]), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn a_lineage_has_each_program_once_and_says_when_it_is_full() {
        let many: Vec<u64> = (0..40).map(|at| at % 36).collect();

        assert_eq!(Lineage::new(&[3, 3, 5], false), Lineage::new(&[3, 5], false));
        assert!(!Lineage::new(&many[..LINEAGE_MAX], false).is_cut());
        assert!(Lineage::new(&many, false).is_cut());
        assert_eq!(Lineage::new(&many, false).programs(), &many[..LINEAGE_MAX]);
    }

    #[test]
    fn a_text_that_is_too_long_is_not_known() {
        let long = vec![b'a'; SHORT_MAX + 1];
        let mut facts = Facts::new(Event::FileOpen);

        facts.set_text(Text::Exe, &long);
        assert_eq!(facts.text(Text::Exe), None);
        facts.set_text(Text::Exe, &long[1..]);
        assert_eq!(facts.text(Text::Exe), Some(&long[1..]));
    }

    #[test]
    fn a_path_that_cannot_be_had_is_empty_and_said_to_be_unknown() {
        let mut facts = Facts::new(Event::FileOpen);

        facts.set_path(None);

        assert_eq!(facts.number(Number::PathKnown), Some(0));
        assert_eq!(facts.text(Text::Path), Some(&[][..]));
    }
}
