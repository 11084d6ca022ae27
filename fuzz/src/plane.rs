//! A record of the second plane's programs, with paths and texts that any user chose.

use outrigger_sensor::plane::parse;

use crate::memory;

/// Bytes of a record without the texts behind it (`plane_record.h`).
const HEADER: usize = 160;
/// Longest path and longest text.
const PATH_MAX: usize = 4096;
const TEXT_MAX: usize = 256;

/// Reads `bytes` as what a program wrote; what comes of it is no longer than they are.
pub fn check(bytes: &[u8]) {
    let (parsed, peak) = memory::peak_of(|| parse(bytes));

    assert!(peak <= bytes.len() + 1024, "{peak} bytes of memory for {}", bytes.len());
    match parsed {
        Ok(notice) => {
            let texts = [&notice.path, &notice.new_path, &notice.text];
            let len: usize = texts.into_iter().flatten().map(Vec::len).sum();
            assert!(bytes.len() >= HEADER && len <= bytes.len() - HEADER, "{notice:?}");
            assert!(notice.path.is_none_or(|path| !path.is_empty() && path.len() <= PATH_MAX));
            assert!(notice.new_path.is_none_or(|path| !path.is_empty() && path.len() <= PATH_MAX));
            assert!(notice.text.is_none_or(|text| text.len() <= TEXT_MAX));
            // A record that is cut is none, never another.
            assert!(parse(&bytes[..bytes.len() - 1]).is_err());
        }
        Err(error) => crate::assert_showable(&error.to_string(), 200),
    }
}
