//! Rules evaluated in the kernel for facts of one's own choice: `bpf/tests/agree.bpf.c`, which hangs at
//! nothing. Shared by the tests here and `examples/agree.rs`, for machines without cargo.

use std::error::Error;
use std::io;
use std::time::Duration;

use libbpf_rs::btf::{Btf, HasSize, types};
use libbpf_rs::{
    MapCore, MapFlags, MapHandle, Object, ObjectBuilder, PrintLevel, ProgramInput, set_print,
};
use outrigger_api::Event;
use outrigger_decision::rules::generate::{Case, Generator, OwnedFacts, shrink};
use outrigger_decision::rules::{Compiled, Decision, Lineage, LineageKey, MarkNames, compile};
use outrigger_sensor::plane::rules::replace;

const OBJECT: &str = concat!(env!("OUT_DIR"), "/agree.bpf.o");
static BYTES: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/agree.bpf.o")));

#[repr(C, align(8))]
struct Aligned<Bytes: ?Sized>(Bytes);

/// Events that one run of the program evaluates at most (`AT_ONCE`).
pub(crate) const AT_ONCE: usize = 64;
/// `enum ruled`.
const DENY: u32 = 1;
const ALLOW: u32 = 2;
const WOULD_DENY: u32 = 4;
const BROKEN: u32 = 8;
const CHANGED: u32 = 16;
/// Bytes of a `struct outcome`.
const OUTCOME: usize = 48;
/// Rooms of texts in `struct facts`, in the order of their places.
const ROOMS: [&str; 6] = ["exe", "cgroup", "path", "target_exe", "new_path", "text"];
/// Programs of a lineage.
const LINEAGE: usize = 32;

/// The key that the sets here are compiled with.
pub(crate) const KEY: LineageKey = LineageKey([7; 16]);

/// The evaluator in the kernel.
pub(crate) struct Kernel {
    object: Object,
    given: MapHandle,
    made: MapHandle,
    rules: MapHandle,
    layout: Layout,
    generation: u64,
    marks: MarkNames,
}

/// What keeps the evaluator from being tried.
pub(crate) enum Missing {
    /// This kernel does not take the program from this process.
    Refused(libbpf_rs::Error),
    /// Anything else.
    Broken(Box<dyn Error>),
}

impl<E: Into<Box<dyn Error>>> From<E> for Missing {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

impl Kernel {
    /// Loads the evaluator.
    pub(crate) fn load() -> Result<Self, Missing> {
        set_print(None::<(PrintLevel, _)>);
        let object = ObjectBuilder::default().name("outrigger")?.open_memory(&BYTES.0)?;
        let object = object.load().map_err(Missing::Refused)?;
        let map = |name: &str| {
            let map = object.maps().find(|map| map.name() == name);
            let map = map.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            MapHandle::try_from(&map).map_err(io::Error::other)
        };
        let (given, made, rules) = (map("given")?, map("made")?, map("rules")?);
        let layout = Layout::of(OBJECT).or_else(|_| Layout::of_bytes(&BYTES.0))?;
        let marks = MarkNames::default();
        Ok(Self { object, given, made, rules, layout, generation: 0, marks })
    }

    /// Compiles a set and puts it in force.
    pub(crate) fn enforce(
        &mut self,
        rules: &[outrigger_decision::rules::Rule],
    ) -> Result<Compiled, Box<dyn Error>> {
        self.generation += 1;
        let compiled = compile(rules, &KEY, self.generation, &self.marks)?;
        replace(&mut self.rules, compiled.image.bytes())?;
        Ok(compiled)
    }

    /// What the kernel decides of each of these, at most [`AT_ONCE`]; `rounds` times, and how long that
    /// took on the whole.
    pub(crate) fn decide(
        &mut self,
        all: &[OwnedFacts],
        rounds: u32,
    ) -> Result<(Vec<Decision>, Duration), Box<dyn Error>> {
        let count = u32::try_from(all.len())?;
        let keys: Vec<u8> = (0..count).flat_map(u32::to_ne_bytes).collect();
        let given: Vec<u8> = all.iter().flat_map(|facts| self.layout.write(facts)).collect();
        self.given.update_batch(&keys, &given, count, MapFlags::ANY, MapFlags::ANY)?;

        let mut request = [count.to_ne_bytes(), rounds.to_ne_bytes()].concat();
        let program = self.object.progs_mut().find(|program| program.name() == "agree");
        let program = program.ok_or("the object has no program")?;
        let input = ProgramInput { context_in: Some(&mut request), ..ProgramInput::default() };
        let begun = std::time::Instant::now();
        let output = program.test_run(input)?;
        let took = begun.elapsed();
        if output.return_value != count * rounds {
            return Err(format!("{} of {} evaluated", output.return_value, count * rounds).into());
        }

        let decisions = keys.chunks(4).map(|key| {
            let bytes = self.made.lookup(key, MapFlags::ANY)?.ok_or("no outcome")?;
            parse(&bytes, self.generation)
        });
        Ok((decisions.collect::<Result<_, Box<dyn Error>>>()?, took))
    }
}

/// A `struct outcome` as the host's evaluator says the same.
fn parse(bytes: &[u8], generation: u64) -> Result<Decision, Box<dyn Error>> {
    if bytes.len() != OUTCOME {
        return Err(format!("an outcome of {} bytes", bytes.len()).into());
    }
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let rule = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
    let flags = u32::from_ne_bytes(bytes[32..36].try_into().expect("four bytes"));
    if word(0) != generation || flags & (BROKEN | CHANGED) != 0 {
        return Err(format!("generation {} flags {flags}: not evaluated", word(0)).into());
    }
    let if_set = |flag: u32, at: usize| (flags & flag != 0).then(|| rule(at));
    Ok(Decision {
        deny: if_set(DENY, 36),
        would_deny: if_set(WOULD_DENY, 40),
        allow: if_set(ALLOW, 38),
        subject_marks: word(16),
        object_marks: word(24),
        tell: word(8),
    })
}

/// Where the fields of `struct facts` are, from the type information of the program.
struct Layout {
    size: usize,
    numbers: usize,
    address: usize,
    has: usize,
    marks: usize,
    object_marks: usize,
    texts: usize,
    lineage: usize,
    target_lineage: usize,
    event: usize,
    index: usize,
    rooms: [usize; 6],
}

impl Layout {
    fn of(path: &str) -> Result<Self, Box<dyn Error>> {
        Self::read(&Btf::from_path(path)?)
    }

    /// For a machine that the object's file is not on.
    fn of_bytes(bytes: &[u8]) -> Result<Self, Box<dyn Error>> {
        let file = std::env::temp_dir().join(format!("agree-{}.bpf.o", std::process::id()));
        std::fs::write(&file, bytes)?;
        let layout = Self::of(&file.to_string_lossy());
        std::fs::remove_file(&file)?;
        layout
    }

    fn read(btf: &Btf<'_>) -> Result<Self, Box<dyn Error>> {
        let facts: types::Struct<'_> = btf.type_by_name("facts").ok_or("no struct facts")?;
        let at = |field: &str| -> Result<usize, Box<dyn Error>> {
            let member = facts.iter().find(|member| member.name.is_some_and(|name| name == field));
            match member.ok_or_else(|| format!("no field {field}"))?.attr {
                types::MemberAttr::Normal { offset } => Ok(offset as usize / 8),
                types::MemberAttr::BitField { .. } => Err("a bit field".into()),
            }
        };
        let mut rooms = [0; 6];
        for (room, name) in rooms.iter_mut().zip(ROOMS) {
            *room = at(name)?;
        }
        Ok(Self {
            size: facts.size(),
            numbers: at("numbers")?,
            address: at("address")?,
            has: at("has")?,
            marks: at("marks")?,
            object_marks: at("object_marks")?,
            texts: at("texts")?,
            lineage: at("lineage")?,
            target_lineage: at("target_lineage")?,
            event: at("event")?,
            index: at("index")?,
            rooms,
        })
    }

    fn write(&self, facts: &OwnedFacts) -> Vec<u8> {
        let mut bytes = vec![0; self.size];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        let mut has = 0u64;
        for (place, number) in facts.numbers.iter().enumerate() {
            let Some(number) = number else { continue };
            put(self.numbers + place * 8, &number.to_ne_bytes());
            has |= 1 << place;
        }
        if let Some(address) = facts.address {
            let address = match address {
                std::net::IpAddr::V4(four) => four.to_ipv6_mapped(),
                std::net::IpAddr::V6(six) => six,
            };
            put(self.address, &address.octets());
            has |= 1 << 32;
        }
        for (which, text) in facts.texts.iter().enumerate() {
            let Some(text) = text else { continue };
            let path = which == 2 || which == 4;
            let room = if path { 4096 } else { 256 };
            // As a walk leaves it: at the end of its room.
            let at = if path { room - text.len() } else { 0 };
            put(self.rooms[which] + at, text);
            put(self.texts + which * 4, &u16::try_from(at).expect("in its room").to_ne_bytes());
            let len = u16::try_from(text.len()).expect("in its room");
            put(self.texts + which * 4 + 2, &len.to_ne_bytes());
            has |= 1 << (16 + which);
        }
        put(self.has, &has.to_ne_bytes());
        put(self.marks, &facts.marks.to_ne_bytes());
        put(self.object_marks, &facts.object_marks.to_ne_bytes());
        for (at, (programs, cut)) in
            [(self.lineage, &facts.lineage), (self.target_lineage, &facts.target_lineage)]
        {
            let hashes: Vec<u64> =
                programs.iter().map(|program| KEY.hash(program.as_bytes())).collect();
            let lineage = Lineage::new(&hashes, *cut);
            for (place, hash) in lineage.programs().iter().enumerate() {
                put(at + place * 8, &hash.to_ne_bytes());
            }
            let len = u32::try_from(lineage.programs().len()).expect("a few");
            put(at + LINEAGE * 8, &len.to_ne_bytes());
            put(at + LINEAGE * 8 + 4, &u32::from(lineage.is_cut()).to_ne_bytes());
        }
        put(self.event, &facts.event.number().to_ne_bytes());
        put(self.index, &[u8::try_from(facts.event.index()).expect("few events")]);
        bytes
    }
}

/// Compares `pairs` random pairs of a set and facts; the number of them that were compared, or the
/// smallest case on which the two sides do not agree.
pub(crate) fn compare(
    kernel: &mut Kernel,
    pairs: usize,
    seed: u64,
) -> Result<usize, Box<dyn Error>> {
    let mut generator = Generator::new(seed);
    let mut compared = 0;
    while compared < pairs {
        let event = *generator.one_of(Event::ALL);
        let most = if generator.once_in(8) { 200 } else { 12 };
        let rules = generator.rules(event, most);
        let Ok(compiled) = kernel.enforce(&rules) else { continue };
        let all: Vec<OwnedFacts> = (0..AT_ONCE).map(|_| generator.facts(&rules, event)).collect();
        let (decisions, _) = kernel.decide(&all, 1)?;
        for (facts, decision) in all.into_iter().zip(decisions) {
            let wanted = compiled.image.decide(&facts.facts(&KEY));
            if decision != wanted {
                return Err(disagreement(kernel, Case { rules, facts }).into());
            }
            compared += 1;
        }
    }
    Ok(compared)
}

fn disagreement(kernel: &mut Kernel, case: Case) -> String {
    let both = |kernel: &mut Kernel, case: &Case| {
        let compiled = kernel.enforce(&case.rules).ok()?;
        let (made, _) = kernel.decide(std::slice::from_ref(&case.facts), 1).ok()?;
        Some((made[0], compiled.image.decide(&case.facts.facts(&KEY))))
    };
    let case = shrink(case, |case| both(kernel, case).is_some_and(|(made, wanted)| made != wanted));
    match both(kernel, &case) {
        Some((made, wanted)) => {
            format!("the kernel decides {made:?}, the host {wanted:?}: {case:#?}")
        }
        None => "they do not agree every time on the same".to_owned(),
    }
}
