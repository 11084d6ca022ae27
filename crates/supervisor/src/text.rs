//! Texts that an engine wrote, made fit for a journal and a terminal.

/// Longest text that is passed on, in bytes.
pub(crate) const TEXT_MAX: usize = 1024;

/// `text` without control characters, cut to [`TEXT_MAX`] bytes.
pub(crate) fn clean(text: &str) -> String {
    let kept = &text[..text.floor_char_boundary(TEXT_MAX)];
    kept.trim_end().chars().map(|c| if harmless(c) { c } else { ' ' }).collect()
}

/// Neither a control character nor one that changes the direction or joins of others.
const fn harmless(c: char) -> bool {
    !matches!(
        c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}' | '\u{feff}'
    )
}

/// Makes lines of bytes as they come. A line longer than [`TEXT_MAX`] is cut.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// Of the line that has not ended; at most [`TEXT_MAX`] bytes.
    begun: Vec<u8>,
}

impl Lines {
    /// Takes `bytes`; the lines that ended in them, empty ones left out.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut ended = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = TEXT_MAX - self.begun.len();
            self.begun.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                ended.extend(self.finish());
            }
        }
        ended
    }

    /// The line that has not ended, if it holds anything.
    pub(crate) fn finish(&mut self) -> Option<String> {
        let line = clean(&String::from_utf8_lossy(&std::mem::take(&mut self.begun)));
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(clean("a\x1b[31m\u{202e}b\n"), "a [31m b");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(clean(&"ä".repeat(1000)).len(), TEXT_MAX);
    }

    #[test]
    fn lines_come_whole_however_the_bytes_come() {
        let mut lines = Lines::default();

        assert_eq!(lines.take(b"one\ntw"), ["one"]);
        assert_eq!(lines.take(b"o\n\nthree"), ["two"]);
        assert_eq!(lines.finish().as_deref(), Some("three"));
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn an_endless_line_takes_bounded_memory() {
        let mut lines = Lines::default();

        (0..100).for_each(|_| drop(lines.take(&[b'x'; 4096])));

        assert_eq!(lines.take(b"\n"), ["x".repeat(TEXT_MAX)]);
    }
}
