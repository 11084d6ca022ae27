//! Instructions to repair, which anybody may drop, and the record of starts, which a cut may leave half.

use std::path::Path;
use std::sync::OnceLock;

use outrigger_api::settings::{ACTIONS_MAX, Instruction, MACHINES_MAX};
use outrigger_update::boot::{RECORD_BYTES, Record};
use outrigger_update::publish::Key;
use outrigger_update::repair::{REPAIR_FILE_MAX, open, sign};

use crate::memory;
use crate::settings::{EACH, FIXED, assert_told};

const NAME: &str = "dropped.repair";

/// Reads `bytes` as a file that was dropped, as an instruction, and as a record.
pub fn check(bytes: &[u8]) {
    let file = Path::new(NAME);
    let dropped = memory::within(bytes.len(), FIXED, EACH, || open(bytes, key().public(), file));
    // Nobody but the key's holder makes one that is opened.
    let refusal = dropped.expect_err("bytes without a signature were taken for an instruction");
    crate::assert_showable(&refusal.to_string(), 1 << 16);
    if let Ok(text) = str::from_utf8(bytes) {
        check_instruction(text, file);
    }
    if let Ok(record) = memory::within(bytes.len(), FIXED, EACH, || Record::parse(bytes)) {
        assert!(record.to_bytes().len() == RECORD_BYTES);
    }
}

fn check_instruction(text: &str, file: &Path) {
    match memory::within(text.len(), FIXED, EACH, || Instruction::parse(text, file)) {
        Ok(instruction) => {
            assert!((1..=ACTIONS_MAX).contains(&instruction.actions.len()));
            assert!(instruction.serial > 0 && instruction.machines.len() <= MACHINES_MAX);
            let written = instruction.to_toml();
            assert_eq!(Instruction::parse(&written, file).as_ref(), Ok(&instruction), "{written}");
            if let Ok(signed) = sign(key(), text, file) {
                assert!(signed.len() <= REPAIR_FILE_MAX);
                let opened = open(&signed, key().public(), file);
                assert_eq!(opened.ok().as_ref(), Some(&instruction));
            }
        }
        Err(errors) => assert_told(&errors, NAME, text),
    }
}

/// One for the whole run: to make one takes longer than to check.
fn key() -> &'static Key {
    static KEY: OnceLock<Key> = OnceLock::new();
    KEY.get_or_init(|| Key::generate().expect("the system's cryptography makes keys"))
}
