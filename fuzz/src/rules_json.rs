//! What the confined program that reads policies answers: rules as JSON, which the host compiles.

use outrigger_decision::rules::reading::Answer;
use outrigger_decision::rules::{Image, LineageKey, MarkNames, compile};

use crate::memory;

/// Most memory that the rules of an input of some KiB may be compiled in, in bytes: images have at most 16
/// MiB, and what they are made of is no more than twice that.
const COMPILING: usize = 64 << 20;

/// Reads `bytes` as an answer and compiles its rules; what is refused is said in a way that can be shown.
pub fn check(bytes: &[u8]) {
    let answer = match memory::within(bytes.len(), 8192, 256, || Answer::parse(bytes)) {
        Ok(answer) => answer,
        Err(error) => return crate::assert_showable(&error.to_string(), 1000),
    };
    assert_eq!(Answer::parse(&answer.to_json()).as_ref(), Ok(&answer));
    let Answer::Read { rules, .. } = answer else { return };
    let compiled = memory::within(bytes.len(), COMPILING, 256, || {
        compile(&rules, &LineageKey([7; 16]), 1, &MarkNames::default())
    });
    match compiled {
        Ok(compiled) => {
            assert_eq!(compiled.rules.len(), rules.len());
            let again = Image::check(compiled.image.bytes().to_vec());
            assert_eq!(again, Ok(compiled.image));
        }
        // A name of 512 bytes that are all escaped is the longest part.
        Err(error) => crate::assert_showable(&error.to_string(), 8192),
    }
}
