//! Instructions to repair a machine: signed by the administrator, opened and judged by the host.
//!
//! ```text
//! outrigger-repair 1 <signature: 128 hexadecimal digits>
//! <the instruction, as it was written: TOML>
//! ```
//!
//! What is signed is [`DOMAIN`] and then every byte after the first line, as it stands: nothing is brought into a
//! canonical form, so there are no two texts of which the signature of one fits the other. The domain keeps a
//! signature that the same key made over anything else from being taken for one of an instruction.
//!
//! Threat position: a file that anybody may have dropped. Its length is bounded before it is read, its signature is
//! checked over the raw bytes before any of them is parsed, and only then is it read as the settings are.
//!
//! A good signature does not make an instruction due: [`judge`] compares it with what the machine knows, which is
//! an argument, as is the time.

use std::path::Path;

use jiff::Timestamp;
use outrigger_api::settings::{Instruction, SettingsErrors};

use crate::publish::{Key, PublicKey, PublishError};

/// Longest file of an instruction, its signature included, in bytes.
pub const REPAIR_FILE_MAX: usize = 64 << 10;
/// How the file of a signed instruction ends in the folder where the host looks for it.
pub const REPAIR_ENDING: &str = "repair";
/// What is signed before the instruction itself.
pub const DOMAIN: &[u8] = b"outrigger: an instruction to repair, format 1\n";

/// What the first line says before the signature.
const HEAD: &str = "outrigger-repair 1 ";
/// Hexadecimal digits of an Ed25519 signature.
const SIGNATURE: usize = 128;

/// Why an instruction is not obeyed.
#[derive(Debug, thiserror::Error)]
pub enum RepairRefusal {
    /// It is longer than any instruction.
    #[error("it is longer than {REPAIR_FILE_MAX} bytes, the limit of an instruction")]
    TooLong,
    /// It is no signed instruction.
    #[error("it is no signed instruction: {0}; sign one with: outrigger repair sign")]
    Garbage(&'static str),
    /// The signature is not the administrator's.
    #[error(
        "its signature is not that of the key {key} over these bytes: it was signed with another key, or changed since"
    )]
    Signature {
        /// The id of the key whose signatures are taken.
        key: String,
    },
    /// It was signed, and what was signed is no instruction.
    #[error("what was signed is no instruction:\n{0}")]
    Unfit(SettingsErrors),
    /// An instruction with this serial, or a later one, was obeyed before.
    #[error(
        "its serial is {serial}, and {last} was obeyed here already: sign it again with a larger one"
    )]
    Replayed {
        /// The instruction's.
        serial: u64,
        /// The last that was obeyed.
        last: u64,
    },
    /// Its time is over.
    #[error("it ended at {not_after}, and this machine's clock shows {now}")]
    Expired {
        /// Its end.
        not_after: String,
        /// The machine's time.
        now: Timestamp,
    },
    /// It is for others.
    #[error("it is for {count} other machines, and this one is {}", machine.as_deref().unwrap_or("without /etc/machine-id"))]
    OtherMachine {
        /// How many it names.
        count: usize,
        /// What this one is.
        machine: Option<String>,
    },
    /// The host ended each time that it obeyed it.
    #[error("the host ended twice while it obeyed it (serial {serial})")]
    Fatal {
        /// The instruction's.
        serial: u64,
    },
    /// Nobody may repair this machine.
    #[error("this machine obeys nobody: `[repair] key` is not written in {0}")]
    NoKey(String),
}

impl RepairRefusal {
    /// What scripts go by: a stable name, in kebab case.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::TooLong => "too-long",
            Self::Garbage(_) => "garbage",
            Self::Signature { .. } => "wrong-signature",
            Self::Unfit(_) => "unfit",
            Self::Replayed { .. } => "replayed",
            Self::Expired { .. } => "expired",
            Self::OtherMachine { .. } => "other-machine",
            Self::Fatal { .. } => "fatal",
            Self::NoKey(_) => "no-key",
        }
    }
}

/// An instruction cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignRepairError {
    /// It would be longer than the host takes.
    #[error("the instruction is longer than {} bytes", REPAIR_FILE_MAX - HEAD.len() - SIGNATURE - 1)]
    TooLong,
    /// It is none.
    #[error("{0}")]
    Unfit(#[from] SettingsErrors),
    /// The key does not sign.
    #[error("it cannot be signed")]
    Key(#[from] PublishError),
}

/// Signs the instruction `text`, which came from `file`; gives the file to be dropped.
///
/// # Errors
///
/// [`SignRepairError`], with every error of the instruction.
pub fn sign(key: &Key, text: &str, file: &Path) -> Result<Vec<u8>, SignRepairError> {
    if HEAD.len() + SIGNATURE + 1 + text.len() > REPAIR_FILE_MAX {
        return Err(SignRepairError::TooLong);
    }
    Instruction::parse(text, file)?;
    let signature = key.sign(&signed(text.as_bytes()))?;
    Ok(format!("{HEAD}{signature}\n{text}").into_bytes())
}

/// The instruction in `bytes`, if it is `key`'s; `file` is how errors call it.
///
/// # Errors
///
/// What it is not; nothing of it was parsed unless the signature is good.
pub fn open(bytes: &[u8], key: &PublicKey, file: &Path) -> Result<Instruction, RepairRefusal> {
    if bytes.len() > REPAIR_FILE_MAX {
        return Err(RepairRefusal::TooLong);
    }
    let (signature, body) = split(bytes).map_err(RepairRefusal::Garbage)?;
    if !key.verifies(&signed(body), signature) {
        return Err(RepairRefusal::Signature { key: key.id().to_owned() });
    }
    let text = str::from_utf8(body).map_err(|_| RepairRefusal::Garbage("it is not UTF-8"))?;
    Instruction::parse(text, file).map_err(RepairRefusal::Unfit)
}

/// What the machine knows that an instruction is for.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The serial of the last instruction that it obeyed; 0 if none.
    pub last: u64,
    /// Whether the host was obeying that one when it ended.
    pub cut_short: bool,
    /// The wall clock.
    pub now: Timestamp,
    /// `/etc/machine-id`, where there is one.
    pub machine: Option<&'a str>,
}

/// Whether `instruction` is to be obeyed.
///
/// # Errors
///
/// Why not.
pub fn judge(instruction: &Instruction, at: Circumstances<'_>) -> Result<(), RepairRefusal> {
    let serial = instruction.serial;
    let again = at.cut_short && serial == at.last;
    if serial <= at.last && !again {
        return Err(RepairRefusal::Replayed { serial, last: at.last });
    }
    let end = instruction.not_after.as_deref();
    if let Some(not_after) = end
        // A time that cannot be read was in the form of one: no calendar has it, and it is over.
        && not_after.parse::<Timestamp>().map_or(true, |end| end < at.now)
    {
        return Err(RepairRefusal::Expired { not_after: not_after.to_owned(), now: at.now });
    }
    let is_this = |name: &String| at.machine == Some(name.as_str());
    if !instruction.machines.is_empty() && !instruction.machines.iter().any(is_this) {
        let machine = at.machine.map(str::to_owned);
        return Err(RepairRefusal::OtherMachine { count: instruction.machines.len(), machine });
    }
    Ok(())
}

fn signed(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

/// Signature and body.
fn split(bytes: &[u8]) -> Result<(&str, &[u8]), &'static str> {
    let rest = bytes.strip_prefix(HEAD.as_bytes()).ok_or("it does not begin as one does")?;
    let (signature, rest) = rest.split_at_checked(SIGNATURE).ok_or("its signature is cut short")?;
    let body = rest.strip_prefix(b"\n").ok_or("its signature is longer than one is")?;
    let digits = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if !signature.iter().all(digits) {
        return Err("its signature is not in hexadecimal digits");
    }
    Ok((str::from_utf8(signature).map_err(|_| "its signature is no text")?, body))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "serial = 5\nnot_after = \"2026-12-01T00:00:00Z\"\n\
        machines = [\"0123456789abcdef0123456789abcdef\"]\n\n\
        [[action]]\ndo = \"leave-safe-mode\"\n";

    fn name() -> &'static Path {
        Path::new("back.repair")
    }

    fn instruction() -> Instruction {
        Instruction::parse(TEXT, name()).expect("it is good")
    }

    fn here() -> Circumstances<'static> {
        Circumstances {
            last: 4,
            cut_short: false,
            now: "2026-11-30T00:00:00Z".parse().expect("a time"),
            machine: Some("0123456789abcdef0123456789abcdef"),
        }
    }

    fn refused(instruction: &Instruction, at: Circumstances<'_>) -> &'static str {
        judge(instruction, at).map_or_else(|refusal| refusal.name(), |()| "obeyed")
    }

    #[test]
    fn what_the_administrator_signed_is_opened_and_nothing_else() {
        let (key, other) = (Key::generate().expect("a key"), Key::generate().expect("a key"));
        let file = sign(&key, TEXT, name()).expect("signed");

        let opened = open(&file, key.public(), name()).expect("opened");
        let foreign = open(&file, other.public(), name()).expect_err("another's");
        // What the key signed for another purpose, made to look like an instruction.
        let bare = format!("{HEAD}{}\n{TEXT}", key.sign(TEXT.as_bytes()).expect("signed"));
        let confused = open(bare.as_bytes(), key.public(), name()).expect_err("no domain");

        assert_eq!(opened, instruction());
        assert_eq!((foreign.name(), confused.name()), ("wrong-signature", "wrong-signature"));
    }

    #[test]
    fn every_reason_not_to_obey_has_its_name() {
        let good = instruction();
        let late = "2026-12-01T00:00:01Z".parse().expect("a time");

        assert_eq!(refused(&good, here()), "obeyed");
        assert_eq!(refused(&good, Circumstances { last: 5, ..here() }), "replayed");
        assert_eq!(refused(&good, Circumstances { last: 9, ..here() }), "replayed");
        assert_eq!(refused(&good, Circumstances { now: late, ..here() }), "expired");
        assert_eq!(refused(&good, Circumstances { machine: None, ..here() }), "other-machine");
        let for_all = Instruction { machines: Vec::new(), not_after: None, ..good };
        assert_eq!(
            refused(&for_all, Circumstances { machine: None, now: late, ..here() }),
            "obeyed"
        );
    }

    #[test]
    fn one_that_was_cut_short_may_be_obeyed_again_and_no_older_one() {
        let cut = Circumstances { last: 5, cut_short: true, ..here() };

        assert_eq!(refused(&instruction(), cut), "obeyed");
        assert_eq!(refused(&Instruction { serial: 4, ..instruction() }, cut), "replayed");
    }

    #[test]
    fn what_is_too_long_is_neither_signed_nor_opened() {
        let key = Key::generate().expect("a key");
        let long = format!("{TEXT}#{}", "x".repeat(REPAIR_FILE_MAX));

        assert!(matches!(sign(&key, &long, name()), Err(SignRepairError::TooLong)));
        let opened = open(long.as_bytes(), key.public(), name()).expect_err("too long");
        assert_eq!(opened.name(), "too-long");
    }

    #[test]
    fn what_is_no_instruction_is_not_signed() {
        let key = Key::generate().expect("a key");

        let error = sign(&key, "serial = 1\n", name()).expect_err("no action").to_string();

        assert!(error.contains("action"), "{error}");
    }

    proptest! {
        #[test]
        fn a_file_of_which_any_byte_was_changed_is_refused(at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let key = Key::generate().expect("a key");
            let mut file = sign(&key, TEXT, name()).expect("signed");
            let at = at.index(file.len());
            prop_assume!(file[at] != to);
            file[at] = to;

            prop_assert!(open(&file, key.public(), name()).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let key = Key::generate().expect("a key");
            let with_head = [HEAD.as_bytes(), &bytes].concat();

            prop_assert!(open(&bytes, key.public(), name()).is_err());
            prop_assert!(open(&with_head, key.public(), name()).is_err());
        }
    }
}
