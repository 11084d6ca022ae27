//! Images of rules: bytes that the host hands to BPF programs, and evaluates itself.
//!
//! An input is an image, or changes to a good one: few random bytes get past the check of where everything
//! stands, and those that do are what is to be seen.

use outrigger_api::Event;
use outrigger_decision::rules::generate::{Generator, OwnedFacts};
use outrigger_decision::rules::{Image, LineageKey, MarkNames, compile};

use crate::memory;

const KEY: LineageKey = LineageKey([7; 16]);

/// Checks an image, and evaluates it if it is one. A first byte of zero: the rest are the image's. Else
/// two bytes say which set is compiled, and every five that follow change a byte: where, then what.
pub fn check(bytes: &[u8]) {
    let (image, rules) = match bytes {
        [] => return,
        [0, image @ ..] => (image.to_vec(), Vec::new()),
        [_, rest @ ..] => {
            let Some((seed, changes)) = rest.split_first_chunk() else { return };
            let mut random = Generator::new(u16::from_le_bytes(*seed).into());
            let event = *random.one_of(Event::ALL);
            let rules = random.rules(event, 8);
            let compiled = compile(&rules, &KEY, 1, &MarkNames::default()).expect("it was tried");
            let mut image = compiled.image.bytes().to_vec();
            for change in changes.chunks_exact(5) {
                let [at @ .., byte] = change else { continue };
                let at: [u8; 4] = at.try_into().expect("four");
                let end = image.len();
                image[u32::from_le_bytes(at) as usize % end] = *byte;
            }
            (image, rules)
        }
    };
    // Besides the bytes, which it is given, an image has its header once more.
    match memory::within(0, 16_384, 0, || Image::check(image)) {
        Ok(image) => evaluate(&image, &rules),
        Err(error) => crate::assert_showable(&error.to_string(), 200),
    }
}

fn evaluate(image: &Image, rules: &[outrigger_decision::rules::Rule]) {
    let mut random = Generator::new(0);
    for &event in Event::ALL {
        let owned: [OwnedFacts; 3] =
            [random.facts(rules, event), random.facts(rules, event), OwnedFacts::new(event)];
        for owned in owned {
            let facts = owned.facts(&KEY);
            let (decision, peak) = memory::peak_of(|| image.decide(&facts));
            assert_eq!(peak, 0, "a decision took memory");
            assert_eq!(decision, image.decide(&facts));
            assert!(decision.deny.is_none() || decision.allow.is_none());
        }
    }
    assert_eq!(Image::check(image.bytes().to_vec()).as_ref(), Ok(image));
}
