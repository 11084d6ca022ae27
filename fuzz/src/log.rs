//! What an engine writes on its standard error and in `Log` messages, on its way to the journal.

use text::{Lines, TEXT_MAX, clean};

#[path = "../../crates/supervisor/src/text.rs"]
mod text;

/// Reads `bytes` as one text and as lines that come in pieces of any size.
pub fn check(bytes: &[u8]) {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    assert_clean(&clean(&String::from_utf8_lossy(bytes)));

    let at_once = lines([bytes]);
    for line in &at_once {
        assert_clean(line);
        assert!(!line.is_empty());
    }
    assert_eq!(lines(bytes.chunks(usize::from(*piece) + 1)), at_once);
}

fn lines<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let mut reader = Lines::default();
    let mut lines: Vec<String> = pieces.into_iter().flat_map(|bytes| reader.take(bytes)).collect();
    lines.extend(reader.finish());
    lines
}

fn assert_clean(text: &str) {
    assert!(text.len() <= TEXT_MAX, "{} bytes", text.len());
    assert!(!text.contains(char::is_control), "{text:?}");
}
