//! One line of a list.

/// Bytes of a SHA-256.
pub const HASH_BYTES: usize = 32;
/// Longest line, in bytes, its end not counted.
pub const LINE_MAX: usize = 4096;

/// A SHA-256.
pub type Hash = [u8; HASH_BYTES];

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Longer than a line may be.
    #[error("line of over {LINE_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("line is no UTF-8")]
    NotText,
    /// The first word is no hash.
    #[error("{found:?} is no SHA-256: 64 hexadecimal digits")]
    NotHash {
        /// The first word, cut.
        found: String,
    },
}

/// Reads one line, without its end: a hash and its name, or `None` for a comment or a blank.
pub(crate) fn parse(line: &[u8]) -> Result<Option<(Hash, &str)>, LineError> {
    if line.len() > LINE_MAX {
        return Err(LineError::TooLong);
    }
    let line = str::from_utf8(line).map_err(|_| LineError::NotText)?.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let mut hash = Hash::default();
    hex::decode_to_slice(word, &mut hash)
        .map_err(|_| LineError::NotHash { found: word.chars().take(80).collect() })?;
    // `sha256sum` marks a file that it read as binary by a star.
    let name = rest.trim_start();
    Ok(Some((hash, name.strip_prefix('*').unwrap_or(name))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";

    fn name(line: &str) -> Result<Option<String>, LineError> {
        Ok(parse(line.as_bytes())?.map(|(_, name)| name.to_owned()))
    }

    #[test]
    fn a_line_is_a_hash_and_perhaps_a_name() {
        let (hash, bare) = parse(HEX.as_bytes()).expect("a line").expect("an entry");

        assert_eq!((hex::encode(hash).as_str(), bare), (HEX, ""));
        for (rest, want) in [
            (" eicar", "eicar"),
            ("  eicar.com", "eicar.com"),
            (" *eicar.com", "eicar.com"),
            ("\ttwo words # and no comment\r", "two words # and no comment"),
        ] {
            assert_eq!(name(&format!("{HEX}{rest}")), Ok(Some(want.to_owned())));
            assert_eq!(name(&format!("  {}{rest}", HEX.to_uppercase())), Ok(Some(want.to_owned())));
        }
    }

    #[test]
    fn comments_and_blanks_are_no_entries() {
        for line in ["", "   ", "\r", "# a comment", "  # indented"] {
            assert_eq!(name(line), Ok(None));
        }
    }

    #[test]
    fn what_is_no_hash_is_refused_and_shown() {
        for word in ["eicar", &HEX[1..], &format!("{HEX}0"), &HEX.replace('2', "g")] {
            let found = word.to_owned();
            assert_eq!(name(word), Err(LineError::NotHash { found }));
        }
    }

    #[test]
    fn lines_over_the_limit_or_of_no_text_are_refused() {
        let longest = format!("{HEX} {}", "n".repeat(LINE_MAX - HEX.len() - 1));

        assert!(parse(longest.as_bytes()).is_ok());
        assert_eq!(parse(format!("{longest}n").as_bytes()), Err(LineError::TooLong));
        assert_eq!(parse(b"\xff\xfe"), Err(LineError::NotText));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_line_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
