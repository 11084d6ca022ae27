//! Identities: opaque keys for processes and files, names for engines, numbers for cases.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// Names one process for as long as the host runs, whatever becomes of its pid.
///
/// Opaque: compare it, store it, show it; its bytes have no meaning outside the sensor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct ProcessKey(pub [u8; 16]);

/// Names one file of one volume.
///
/// Opaque, as [`ProcessKey`]. Hard links of a file share its key; a file renamed over another has a
/// key of its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct FileKey(pub [u8; 32]);

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ProcessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not the one form of a [`FileKey`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a file's key is 64 lower-case hexadecimal digits")]
pub struct NoFileKey;

impl FromStr for FileKey {
    type Err = NoFileKey;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, NoFileKey> {
        let digits = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.as_bytes().iter().all(digits) {
            return Err(NoFileKey);
        }
        let mut key = [0; 32];
        for (half, into) in [&text[..32], &text[32..]].into_iter().zip(key.chunks_mut(16)) {
            let number = u128::from_str_radix(half, 16).map_err(|_| NoFileKey)?;
            into.copy_from_slice(&number.to_be_bytes());
        }
        Ok(Self(key))
    }
}

/// The number of a case: a question from its first read to its answer and in the explanations after.
///
/// Never given twice in the life of a host. Never zero, so that a zeroed record names no case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CaseId(pub NonZeroU64);

impl CaseId {
    /// The case with this number; `None` for zero.
    pub const fn new(number: u64) -> Option<Self> {
        match NonZeroU64::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The case's number.
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "case {}", self.0)
    }
}

/// An engine's name: 1 to 32 bytes of `a-z`, `0-9` and `-`, first a letter, last no `-`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EngineName(Box<str>);

/// Longest engine name, in bytes.
pub const ENGINE_NAME_MAX: usize = 32;

/// The text is not an engine's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an engine name: 1 to {ENGINE_NAME_MAX} of a-z, 0-9 and '-', first a letter, last not '-'"
)]
pub struct EngineNameError(pub String);

impl FromStr for EngineName {
    type Err = EngineNameError;

    fn from_str(text: &str) -> Result<Self, EngineNameError> {
        let fits = text.len() <= ENGINE_NAME_MAX
            && text.starts_with(|c: char| c.is_ascii_lowercase())
            && !text.ends_with('-')
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits { Ok(Self(text.into())) } else { Err(EngineNameError(text.to_owned())) }
    }
}

impl EngineName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for EngineName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for EngineName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_key_is_read_as_it_is_written_and_not_otherwise() {
        let key = FileKey(std::array::from_fn(|n| n.to_le_bytes()[0].wrapping_sub(16)));
        let text = key.to_string();

        assert_eq!(text.parse(), Ok(key));
        let signed = format!("+{}", &text[1..]);
        for bad in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), &signed] {
            assert_eq!(bad.parse::<FileKey>(), Err(NoFileKey), "{bad:?} was taken");
        }
    }

    #[test]
    fn engine_names_keep_to_their_alphabet() {
        assert!("hashlist".parse::<EngineName>().is_ok());
        assert!("a-1".parse::<EngineName>().is_ok());
        for bad in ["", "1a", "a-", "A", "a_b", "a/b", &"a".repeat(33)] {
            assert!(bad.parse::<EngineName>().is_err(), "{bad:?} was taken");
        }
    }
}
