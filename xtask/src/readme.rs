//! Checks that what README.md shows is what there is.
//!
//! A fenced block whose opening line names a file after the language is checked:
//!
//! - `manifest.toml` must be a good manifest, `outrigger.toml` a good configuration;
//! - any other is a file of this repository and must be shown whole, as it is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use outrigger_api::settings::{HostConfig, Manifest};

const PAGE: &str = "README.md";
/// Where the reader is told to put the files whose form is checked.
const FOLDER: &str = "/etc/outrigger";

/// A fenced block of the page that names a file.
#[derive(Debug, PartialEq, Eq)]
struct Block<'a> {
    /// The line of its fence, from one.
    line: usize,
    file: &'a str,
    text: String,
}

/// Checks every block of the page under `root` that names a file.
///
/// # Errors
///
/// If a block is not what it says; its line is named.
pub(crate) fn check(root: &Path) -> Result<String> {
    let page =
        fs::read_to_string(root.join(PAGE)).with_context(|| format!("cannot read {PAGE}"))?;
    let blocks = blocks(&page);
    for block in &blocks {
        check_block(root, block).with_context(|| format!("{PAGE}:{}", block.line))?;
    }
    Ok(format!("docs: {} examples in {PAGE} are as they are", blocks.len()))
}

fn check_block(root: &Path, Block { file, text, .. }: &Block<'_>) -> Result<()> {
    let place = Path::new(FOLDER).join(file);
    match *file {
        "manifest.toml" => drop(Manifest::parse(text, &place)?),
        "outrigger.toml" => drop(HostConfig::parse(text, &place)?),
        _ => {
            let real = fs::read_to_string(root.join(file))
                .with_context(|| format!("cannot read {file}"))?;
            ensure!(*text == real, "not as {file} is: copy it here whole");
        }
    }
    Ok(())
}

fn blocks(page: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let body = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```");
        let text: String = body.flat_map(|line| [line, "\n"]).collect();
        if let Some((_, file)) = info.split_once(' ') {
            blocks.push(Block { line: at + 1, file: file.trim(), text });
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(page: &str) -> String {
        let root = tempfile::tempdir().expect("a folder");
        fs::write(root.path().join("tiny.rs"), "fn main() {}\n").expect("written");
        fs::write(root.path().join(PAGE), page).expect("written");
        check(root.path()).map_or_else(|error| format!("{error:#}"), |_| String::new())
    }

    #[test]
    fn only_blocks_that_name_a_file_are_taken() {
        let page = "a\n```sh\nmake\n```\n```rust tiny.rs\nfn main() {}\n```\n";

        let block = Block { line: 5, file: "tiny.rs", text: "fn main() {}\n".to_owned() };
        assert_eq!(blocks(page), [block]);
    }

    #[test]
    fn a_file_shown_as_it_is_is_good() {
        assert_eq!(complaint("```rust tiny.rs\nfn main() {}\n```\n"), "");
    }

    #[test]
    fn a_file_shown_otherwise_is_named_with_its_line() {
        let complaint = complaint("# Title\n```rust tiny.rs\nfn main() { }\n```\n");

        assert!(complaint.starts_with("README.md:2: not as tiny.rs is"), "{complaint}");
    }

    #[test]
    fn a_configuration_with_an_unknown_key_is_refused() {
        let complaint = complaint("```toml outrigger.toml\nmod = \"enforce\"\n```\n");

        assert!(complaint.contains("did you mean `mode`?"), "{complaint}");
    }

    #[test]
    fn an_incomplete_manifest_is_refused() {
        let complaint = complaint("```toml manifest.toml\nname = \"tiny\"\n```\n");

        assert!(complaint.starts_with("README.md:1: "), "{complaint}");
    }
}
