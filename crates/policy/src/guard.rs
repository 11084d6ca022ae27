//! What is refused before Cedar's parser sees it, because it would take too long or nest too deep.
//!
//! One pass over the bytes that knows strings and comments and nothing else of the language. Chains count as
//! depth: Cedar makes a tree of `a && b && c` that is as deep as the chain is long.

use outrigger_decision::rules::reading::{POLICIES_MAX, PolicyError, PolicyFile, TEXT_MAX};

/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 64;
/// Most operators in one policy: `&&`, `||`, `!`, `.`, `if`, and those of arithmetic.
const OPERATORS_MAX: usize = 1024;
/// Longest policy, in bytes. Cedar's validator copies and compares the text with every error that it finds.
const POLICY_MAX: usize = 32 << 10;

/// The text of one policy, with what stands before it.
#[derive(Debug)]
pub(crate) struct Piece<'a> {
    /// The file's name.
    pub(crate) name: &'a str,
    /// The text.
    pub(crate) text: &'a str,
    /// Lines of the file before the one that it begins in.
    lines: u32,
    /// Characters of that line before it.
    columns: u32,
}

impl Piece<'_> {
    /// An error about `length` bytes of the piece from `start` on.
    pub(crate) fn error(&self, start: usize, length: usize, what: &str) -> PolicyError {
        let mut error = PolicyError::at(self.name, self.text, start, length, what);
        if error.line == 1 {
            error.column = error.column.saturating_add(self.columns);
            error.text_column = error.text_column.saturating_add(self.columns);
        }
        error.line = error.line.saturating_add(self.lines);
        error
    }
}

/// The policies of all files; or what is too large, too deep or too much, once for each file.
pub(crate) fn pieces(files: &[PolicyFile]) -> Result<Vec<Piece<'_>>, Vec<PolicyError>> {
    let all: usize = files.iter().map(|file| file.text.len()).sum();
    if all > TEXT_MAX {
        let largest = files.iter().max_by_key(|file| file.text.len());
        return Err(largest
            .map(|file| PolicyError::of_size(&file.name, all))
            .into_iter()
            .collect());
    }
    let mut pieces = Vec::new();
    let mut errors = Vec::new();
    for file in files {
        if let Err(error) = split(file, &mut pieces) {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(pieces) } else { Err(errors) }
}

fn split<'a>(file: &'a PolicyFile, pieces: &mut Vec<Piece<'a>>) -> Result<(), PolicyError> {
    let mut rest = Piece { name: &file.name, text: &file.text, lines: 0, columns: 0 };
    while !rest.text.trim().is_empty() {
        let length = length(&rest)?;
        let (text, after) = rest.text.split_at(length);
        if pieces.len() >= POLICIES_MAX && text.ends_with(';') {
            return Err(rest
                .error(length.saturating_sub(1), 1, "there are too many policies")
                .limit(format!("{POLICIES_MAX} policies in all"))
                .help("policies that differ in a constant are one: `[\"a\", \"b\"].contains(…)`"));
        }
        let (lines, columns) = after_text(text, &rest);
        pieces.push(Piece { text, ..rest });
        rest = Piece { text: after, lines, columns, ..rest };
    }
    Ok(())
}

/// Where the text after `text` begins, which is the first of `piece`.
fn after_text(text: &str, piece: &Piece<'_>) -> (u32, u32) {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let lines = count(text.bytes().filter(|byte| *byte == b'\n').count());
    let last = text.rsplit('\n').next().unwrap_or_default();
    let columns = count(last.chars().count());
    let before = if lines == 0 { piece.columns } else { 0 };
    (piece.lines.saturating_add(lines), columns.saturating_add(before))
}

/// The length of the first policy of `piece`, or of all of it if none ends.
fn length(piece: &Piece<'_>) -> Result<usize, PolicyError> {
    let bytes = piece.text.as_bytes();
    let (mut at, mut depth, mut operators) = (0, 0_usize, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        let length = match byte {
            b'"' => string(&bytes[at..]),
            b'/' if bytes.get(at + 1) == Some(&b'/') => until(&bytes[at..], b'\n'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => word(&bytes[at..]),
            _ => 1,
        };
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            // Half an operator: there are two of them in `&&`.
            b'&' | b'|' => operators += 1,
            b'!' | b'.' | b'+' | b'-' | b'*' => operators += 2,
            _ if &bytes[at..at + length] == b"if" => operators += 2,
            b';' if depth == 0 => return Ok(at + 1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(piece
                .error(at, 1, "the brackets nest too deep here")
                .limit(format!("{DEPTH_MAX} deep"))
                .help("split the policy: several policies with the same effect are one `||`"));
        }
        if operators > 2 * OPERATORS_MAX {
            return Err(piece
                .error(at, 1, "the policy has too many operators up to here")
                .limit(format!("{OPERATORS_MAX} operators"))
                .help("write a list: `[\"a\", \"b\"].contains(…)`; or split the policy in two"));
        }
        at += length;
        if at > POLICY_MAX {
            return Err(piece
                .error(at.min(POLICY_MAX), 1, "the policy is too long")
                .limit(format!("{POLICY_MAX} bytes"))
                .help("split the policy in two: policies with the same effect are one `||`"));
        }
    }
    Ok(bytes.len())
}

/// The length of the string that begins here, or of all the rest if it does not end.
fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn until(bytes: &[u8], end: u8) -> usize {
    bytes.iter().position(|byte| *byte == end).unwrap_or(bytes.len())
}

fn word(bytes: &[u8]) -> usize {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    bytes.iter().position(|byte| !is_word(byte)).unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> Option<String> {
        let file = PolicyFile { name: "p.cedar".into(), text: text.into() };
        pieces(&[file]).err().map(|errors| errors[0].to_string())
    }

    #[test]
    fn brackets_in_strings_and_comments_are_none() {
        let text = format!("// {0}\n@id(\"{0}\\\"{0}\") permit (a);", "(".repeat(1000));

        assert_eq!(refusal(&text), None);
    }

    #[test]
    fn what_nests_too_deep_is_refused_where_it_does() {
        let text = format!("permit(principal, action, resource) when {{\n{}", "(".repeat(100));

        let refusal = refusal(&text).expect("too deep");

        assert!(refusal.starts_with("p.cedar:2:64: "), "{refusal}");
    }

    #[test]
    fn a_chain_is_bounded_per_policy_and_not_per_file() {
        let chain = |length| format!("x{};", "&& x ".repeat(length));

        assert_eq!(refusal(&chain(1000).repeat(5)), None);
        assert!(refusal(&format!("[{}];", "1, ".repeat(20_000))).expect("long").contains("32768"));
        assert!(refusal(&chain(1025)).is_some());
        assert!(refusal(&format!("x{};", ".a".repeat(1025))).is_some());
        assert!(refusal(&"if x then y else ".repeat(1025)).is_some());
    }

    #[test]
    fn pieces_know_where_they_begin() {
        let text = "a;\n/* */ ä; b;\n\n c".to_owned();
        let file = [PolicyFile { name: "p".into(), text }];

        let pieces = pieces(&file).expect("nothing is too much");

        let place = |piece: &Piece<'_>| {
            let start = piece.text.len() - piece.text.trim_start().len();
            let error = piece.error(start, 1, "");
            (error.line, error.column)
        };
        let places: Vec<(u32, u32)> = pieces.iter().map(place).collect();
        assert_eq!(places, [(1, 1), (2, 1), (2, 10), (4, 2)]);
    }

    #[test]
    fn too_many_policies_and_a_string_without_an_end_are_no_panic() {
        assert!(refusal(&";".repeat(1025)).expect("too many").contains("1024"));
        assert_eq!(refusal("\"\\"), None);
        assert_eq!(refusal("/"), None);
    }
}
