//! Bytes that are no image are refused, and what is not refused can be evaluated.

use super::super::layout::{Header, PAGE, PAGES};
use super::*;

fn image(seed: u64) -> (Image, Vec<generate::OwnedFacts>) {
    let mut random = Generator::new(seed);
    let event = *random.one_of(Event::ALL);
    let rules = random.rules(event, 20);
    let facts = (0..4).map(|_| random.facts(&rules, event)).collect();
    (compile(&rules, &KEY, seed, &MarkNames::default()).expect("it compiles").image, facts)
}

#[test]
fn an_image_is_read_as_it_was_compiled() {
    for seed in 0..100 {
        let (image, _) = image(seed);

        assert_eq!(image.generation(), seed);
        assert_eq!(Image::check(image.bytes().to_vec()), Ok(image));
    }
}

#[test]
fn other_bytes_are_no_image() {
    let (image, _) = image(1);
    let size = |len| Err(ImageError::Size { len });
    let cut = |len| Image::check(image.bytes()[..len].to_vec());
    let whole = image.bytes().len();

    assert_eq!(Image::check(Vec::new()), size(0));
    assert_eq!(cut(whole - 1), size(whole - 1));
    assert_eq!(cut(PAGE), Err(ImageError::Format));
    assert_eq!(Image::check(vec![0; PAGE]), Err(ImageError::Format));
    let large = (PAGES + 1) * PAGE;
    assert_eq!(Image::check(vec![0; large]), size(large));
    let mut other = image.bytes().to_vec();
    other[16] = 2; // the version
    assert_eq!(Image::check(other), Err(ImageError::Format));
}

/// Each field of the header that says where something is, beyond the end and out of line.
#[test]
fn an_offset_that_leads_outside_is_refused() {
    let (image, _) = image(7);
    let outside = u32::try_from(image.bytes().len()).expect("small");
    let refused = |change: &dyn Fn(&mut Header, u32)| {
        for at in [outside, outside - 1, 4096 - 8, u32::MAX - 7] {
            let mut header = (*image.header).clone();
            change(&mut header, at);
            let mut bytes = image.bytes().to_vec();
            bytes[..PAGE].copy_from_slice(&header.write());
            let error = Image::check(bytes).expect_err("it is outside");
            assert!(matches!(error, ImageError::Place { .. }), "{error}");
        }
    };
    let which = image.header.events.iter().position(|event| event.vector_at != 0).expect("one");
    let text = (0..6).find(|text| image.header.automata[*text].states != 0).expect("one");
    let numbers = image.header.numbers.trailing_zeros() as usize;

    refused(&|header, at| header.doubt_at = at);
    refused(&|header, at| header.clauses_at = at);
    refused(&|header, at| header.events[which].vector_at = at);
    refused(&|header, at| header.number_tables[numbers].vectors_at = at);
    refused(&|header, at| header.number_tables[numbers].missing_at = at);
    refused(&|header, at| header.atom_tables[text].base_at = at);
    refused(&|header, at| header.atom_tables[text].missing_at = at);
    refused(&|header, at| header.atom_tables[text].starts_at = at);
    refused(&|header, at| header.atom_tables[text].literals_at = at);
    refused(&|header, at| header.automata[text].next_at = at);
    refused(&|header, at| header.automata[text].outs_at = at);
    refused(&|header, at| header.automata[text].links_at = at);
}

/// Images with bytes changed at random: most are refused, and the others decide something.
#[test]
fn a_changed_image_is_refused_or_evaluated() {
    let mut random = Generator::new(0);
    let (mut refused, mut evaluated) = (0, 0);
    for seed in 0..100 {
        let (image, facts) = image(seed);
        for _ in 0..50 {
            let mut bytes = image.bytes().to_vec();
            for _ in 0..=random.below(3) {
                let end = if random.once_in(2) { bytes.len() } else { PAGE };
                let at = usize::try_from(random.below(end as u64)).expect("below");
                bytes[at] = random.below(256).to_le_bytes()[0];
            }
            match Image::check(bytes) {
                Ok(image) => {
                    for facts in &facts {
                        std::hint::black_box(image.decide(&facts.facts(&KEY)));
                    }
                    evaluated += 1;
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 500 && evaluated > 500, "{refused} refused, {evaluated} evaluated");
}
