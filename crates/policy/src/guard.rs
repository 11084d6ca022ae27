//! What is refused before Cedar's parser sees it, because it would take too long or nest too deep.
//!
//! One pass over the bytes that knows strings and comments and nothing else of the language. Chains count as
//! depth: Cedar makes a tree of `a && b && c` that is as deep as the chain is long.

use outrigger_decision::rules::reading::{POLICIES_MAX, PolicyError, PolicyFile, TEXT_MAX};

/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 64;
/// Most operators in one policy: `&&`, `||`, `!`, `.`, `if`, and those of arithmetic.
const OPERATORS_MAX: usize = 1024;

/// Refuses what is too large, too deep or too much; every bound that is broken once.
pub(crate) fn check(files: &[PolicyFile]) -> Result<(), Vec<PolicyError>> {
    let all: usize = files.iter().map(|file| file.text.len()).sum();
    if all > TEXT_MAX {
        let largest = files.iter().max_by_key(|file| file.text.len());
        return Err(largest
            .map(|file| PolicyError::of_size(&file.name, all))
            .into_iter()
            .collect());
    }
    let mut policies = 0;
    let mut errors = Vec::new();
    for file in files {
        if let Err(error) = check_file(file, &mut policies) {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn check_file(file: &PolicyFile, policies: &mut usize) -> Result<(), PolicyError> {
    let refuse = |at: usize, what: &str| PolicyError::at(&file.name, &file.text, at, 1, what);
    let bytes = file.text.as_bytes();
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
            b';' if depth == 0 => {
                *policies += 1;
                operators = 0;
            }
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(refuse(at, "the brackets nest too deep here")
                .limit(format!("{DEPTH_MAX} deep"))
                .help("split the policy: several policies with the same effect are one `||`"));
        }
        if operators > 2 * OPERATORS_MAX {
            return Err(refuse(at, "the policy has too many operators up to here")
                .limit(format!("{OPERATORS_MAX} operators"))
                .help("write a list: `[\"a\", \"b\"].contains(…)`; or split the policy in two"));
        }
        if *policies > POLICIES_MAX {
            return Err(refuse(at, "there are too many policies")
                .limit(format!("{POLICIES_MAX} policies in all"))
                .help("policies that differ in a constant are one: `[\"a\", \"b\"].contains(…)`"));
        }
        at += length;
    }
    Ok(())
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
        check(&[file]).err().map(|errors| errors[0].to_string())
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
        assert!(refusal(&chain(1025)).is_some());
        assert!(refusal(&format!("x{};", ".a".repeat(1025))).is_some());
        assert!(refusal(&"if x then y else ".repeat(1025)).is_some());
    }

    #[test]
    fn too_many_policies_and_a_string_without_an_end_are_no_panic() {
        assert!(refusal(&";".repeat(1025)).expect("too many").contains("1024"));
        assert_eq!(refusal("\"\\"), None);
        assert_eq!(refusal("/"), None);
    }
}
