//! The rules of a content folder, compiled.
//!
//! Input: rule files, by whoever sells them. Bounded in number and size before YARA-X sees them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use yara_x::errors::CompileError;
use yara_x::{Compiler, Rules, SourceCode};

/// Most rule files in a folder.
pub const FILES_MAX: usize = 4096;
/// Longest rule file, in bytes.
pub const FILE_BYTES_MAX: usize = 8 << 20;
/// Most bytes of all rule files together.
pub const ALL_BYTES_MAX: usize = 32 << 20;

/// Longest text of YARA-X's that is passed on, in bytes.
const TOLD_MAX: usize = 500;

/// Modules of YARA-X that this engine does not have: for other systems' files, or (`time`, `vt`, …) for what
/// is not in the file. A rule that needs one is left out and counted; any other unknown module is an error.
const LEFT_OUT: &[&str] = &[
    "console", "crx", "cuckoo", "dex", "dotnet", "lnk", "macho", "magic", "msi", "olecf", "pe",
    "time", "vba", "vt", "zip",
];

/// A folder's rules.
#[derive(Debug)]
pub struct RuleSet {
    rules: Rules,
    files: usize,
    left_out: usize,
    /// The first of those that YARA-X gave, and how many there were.
    warnings: (Option<String>, usize),
}

/// Why a folder's rules are not taken.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The folder cannot be listed.
    #[error("{}: cannot be listed: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A rule file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More rule files than are taken.
    #[error("{}: over {FILES_MAX} rule files", folder.display())]
    Files {
        /// The folder.
        folder: PathBuf,
    },
    /// A rule file is too long.
    #[error("{}: over {FILE_BYTES_MAX} bytes", file.display())]
    FileBytes {
        /// The file.
        file: PathBuf,
    },
    /// All rule files together are too long.
    #[error("{}: over {ALL_BYTES_MAX} bytes in all rule files", file.display())]
    AllBytes {
        /// The file in which it happened.
        file: PathBuf,
    },
    /// YARA-X refused a file.
    #[error("{}:{line}: {what}", file.display())]
    Compile {
        /// The file.
        file: PathBuf,
        /// The line's number, from one.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

impl RuleSet {
    /// Compiles every `*.yar` and `*.yara` of `folder`, in the order of their names.
    ///
    /// # Errors
    ///
    /// [`RulesError`] at the first thing that is wrong.
    pub fn compile(folder: &Path) -> Result<Self, RulesError> {
        let files = rule_files(folder)?;
        let mut compiler = Compiler::new();
        compiler.enable_includes(false);
        for module in LEFT_OUT {
            compiler.ignore_module(*module);
        }
        let mut left = ALL_BYTES_MAX;
        for file in &files {
            let source = read(file)?;
            left = left
                .checked_sub(source.len())
                .ok_or_else(|| RulesError::AllBytes { file: file.clone() })?;
            add(&mut compiler, file, &source)?;
        }
        let left_out = compiler.ignored_rules().count();
        let rules = compiler.build();
        let first = rules.warnings().first().map(|warning| {
            let label = warning.labels().next();
            let origin = label.as_ref().and_then(|label| label.origin()).unwrap_or("a rule");
            shown(&format!("{origin}: {}", warning.title()))
        });
        let warnings = (first, rules.warnings().len());
        Ok(Self { rules, files: files.len(), left_out, warnings })
    }

    /// Whether nothing is denied.
    pub fn is_empty(&self) -> bool {
        self.rules.iter().len() == 0
    }

    /// What is in force, for the operator.
    pub fn description(&self) -> String {
        let rules = count(self.rules.iter().len(), "rule");
        let mut text = format!("{rules} of {}", count(self.files, "file"));
        if self.left_out > 0 {
            text += &format!(", {} left out for want of a module", self.left_out);
        }
        if let (Some(first), warnings) = &self.warnings {
            text += &format!(", {} ({first})", count(*warnings, "warning"));
        }
        text
    }

    pub(crate) fn into_rules(self) -> Rules {
        self.rules
    }
}

/// `1 rule`, `2 rules`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn rule_files(folder: &Path) -> Result<Vec<PathBuf>, RulesError> {
    let unlisted = |source| RulesError::Folder { folder: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in folder.read_dir().map_err(unlisted)? {
        let file = entry.map_err(unlisted)?.path();
        if file.extension().is_some_and(|extension| extension == "yar" || extension == "yara") {
            if files.len() == FILES_MAX {
                return Err(RulesError::Files { folder: folder.to_owned() });
            }
            files.push(file);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read(file: &Path) -> Result<Vec<u8>, RulesError> {
    let unreadable = |source| RulesError::Read { file: file.to_owned(), source };
    let mut bytes = Vec::new();
    // One more than fits, so that too long a file shows.
    let mut piece = File::open(file).map_err(unreadable)?.take(FILE_BYTES_MAX as u64 + 1);
    piece.read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(RulesError::FileBytes { file: file.to_owned() });
    }
    Ok(bytes)
}

/// Compiles one file, in a namespace of its own: two vendors may call their rules alike.
fn add(compiler: &mut Compiler<'_>, file: &Path, source: &[u8]) -> Result<(), RulesError> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    compiler.new_namespace(&name);
    match compiler.add_source(SourceCode::from(source).with_origin(name)) {
        Ok(_) => Ok(()),
        Err(error) => {
            let (line, what) = told(&error, source);
            Err(RulesError::Compile { file: file.to_owned(), line, what })
        }
    }
}

/// The line of an error, from one, and what is wrong there.
fn told(error: &CompileError, source: &[u8]) -> (usize, String) {
    let Some(label) = error.labels().next() else { return (1, shown(error.title())) };
    let before = source.get(..label.span().start()).unwrap_or(source);
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    (line, shown(&format!("{}: {}", error.title(), label.text())))
}

/// What YARA-X says, on one line and safe to print: it quotes from the rule file. Cut at [`TOLD_MAX`].
fn shown(text: &str) -> String {
    let mut out = String::new();
    for c in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            // What moves a terminal's cursor, or is not seen.
            _ if c.is_control() => out.extend(c.escape_unicode()),
            '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}' => {
                out.extend(c.escape_unicode());
            }
            _ => out.push(c),
        }
        if out.len() > TOLD_MAX {
            out.truncate(out.floor_char_boundary(TOLD_MAX));
            return out + "…";
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULE: &str = "rule one { strings: $a = \"evil\" condition: $a }\n";

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        folder
    }

    /// What is said of the folder, good or bad, without its path.
    fn compile(files: &[(&str, &[u8])]) -> Result<String, String> {
        let folder = folder(files);
        let told = |error: RulesError| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        };
        RuleSet::compile(folder.path()).map(|set| set.description()).map_err(told)
    }

    #[test]
    fn every_rule_file_is_compiled_and_nothing_else() {
        let said = compile(&[
            ("a.yar", RULE.as_bytes()),
            ("b.yara", RULE.as_bytes()),
            ("README", b"no rule"),
            ("c.yar.bak", b"no rule"),
        ]);

        assert_eq!(said, Ok("2 rules of 2 files".to_owned()));
    }

    #[test]
    fn an_empty_folder_has_no_rules() {
        let set = RuleSet::compile(folder(&[]).path()).expect("rules");

        assert!(set.is_empty());
        assert_eq!(set.description(), "0 rules of 0 files");
    }

    #[test]
    fn a_syntax_error_is_told_with_file_and_line() {
        let told = compile(&[("a.yar", RULE.as_bytes()), ("b.yar", b"\n\nrule two { oops }\n")]);

        let told = told.expect_err("refused");
        assert!(told.starts_with("b.yar:3: syntax error: "), "{told}");
    }

    #[test]
    fn an_error_in_a_rules_meaning_is_told_with_file_and_line() {
        let told = compile(&[("a.yar", b"rule two {\n  condition:\n    $nowhere\n}\n")]);

        let told = told.expect_err("refused");
        assert!(told.starts_with("a.yar:3: unknown pattern"), "{told}");
    }

    #[test]
    fn bytes_that_are_no_text_are_told_with_their_line() {
        let told = compile(&[("a.yar", b"// fine\n// \xff\xfe\n")]).expect_err("refused");

        assert!(told.starts_with("a.yar:2: "), "{told}");
    }

    #[test]
    fn what_a_rule_file_holds_moves_nobodys_cursor() {
        let told = compile(&[("a.yar", "rule a { condition: \u{8}\u{202e} }".as_bytes())]);

        let told = told.expect_err("refused");
        assert!(told.starts_with("a.yar:1: syntax error: "), "{told}");
        assert!(told.contains("\\u{8}") && !told.contains(char::is_control), "{told:?}");
    }

    #[test]
    fn a_long_error_is_cut() {
        assert_eq!(shown(&"ä".repeat(TOLD_MAX)), "ä".repeat(TOLD_MAX / 2) + "…");
    }

    #[test]
    fn other_files_cannot_be_included() {
        let told = compile(&[("a.yar", b"\ninclude \"/etc/passwd\"\n")]).expect_err("refused");

        assert!(told.starts_with("a.yar:2: include statements not allowed"), "{told}");
    }

    #[test]
    fn a_rule_for_a_module_that_is_not_there_is_left_out_and_counted() {
        let windows = b"import \"pe\"\nrule two { condition: pe.is_dll() }\n";

        let said = compile(&[("a.yar", RULE.as_bytes()), ("b.yar", windows)]).expect("rules");

        assert!(said.starts_with("1 rule of 2 files, 1 left out for want of a module"), "{said}");
    }

    #[test]
    fn a_module_that_nobody_has_is_refused() {
        let told = compile(&[("a.yar", b"\nimport \"pee\"\n")]).expect_err("refused");

        assert!(told.starts_with("a.yar:2: unknown module"), "{told}");
    }

    #[test]
    fn a_slow_pattern_is_taken_with_a_warning() {
        let slow = b"rule slow { strings: $a = { 00 00 00 00 } condition: $a }\n";

        let said = compile(&[("a.yar", slow)]).expect("rules");

        assert!(said.contains("1 warning (a.yar: slow pattern"), "{said}");
    }

    #[test]
    fn a_file_over_the_limit_is_refused_unread() {
        let told = compile(&[("a.yar", &vec![b' '; FILE_BYTES_MAX + 1])]);

        assert_eq!(told, Err("a.yar: over 8388608 bytes".to_owned()));
    }

    #[test]
    fn files_over_the_limit_together_are_refused() {
        let blank = vec![b' '; FILE_BYTES_MAX];
        let names = ["a.yar", "b.yar", "c.yar", "d.yar"];
        let mut files: Vec<(&str, &[u8])> = names.map(|name| (name, blank.as_slice())).into();
        files.push(("e.yar", b" "));

        let told = compile(&files);

        assert_eq!(told, Err("e.yar: over 33554432 bytes in all rule files".to_owned()));
    }

    #[test]
    fn a_folder_that_is_not_there_is_told() {
        let told = RuleSet::compile(Path::new("/nowhere/at/all")).expect_err("refused");

        assert!(told.to_string().starts_with("/nowhere/at/all: cannot be listed: "), "{told}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_rules_or_refused(
            text in "(rule|import|strings|condition|\\$[a-z]|[ :={}()/\"\\\\*\n.]|[a-z0-9]){0,60}"
        ) {
            let _ = compile(&[("a.yar", text.as_bytes())]);
        }

        #[test]
        fn any_bytes_are_rules_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = compile(&[("a.yar", &bytes)]);
        }
    }
}
