//! Runs the fuzz targets of `fuzz/`, one after the other, and tells what they found.
//!
//! Why like this: `fuzz/README.md`. The targets are built with the coverage instrumentation that the
//! compiler has on stable; libFuzzer, which is linked into each, does the rest.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

/// One fuzz target, by the name of its binary in `fuzz/`.
struct Target {
    name: &'static str,
    what: &'static str,
    /// Longest input, in bytes: a little over what the parser takes, or enough to get everywhere.
    longest: u32,
    dictionary: Option<&'static str>,
}

/// The targets that a feature of the same name builds, with YARA-X and with Cedar: each is as much work as
/// all others together.
const FEATURES: [&str; 2] = ["yara", "policy_text"];

const TARGETS: &[Target] = &[
    target("manifest", "engine manifest", 16_384, Some("settings")),
    target("config", "host configuration", 16_384, Some("settings")),
    target("content", "released content", 16_384, None),
    target("record", "event and verdict records", 4_400, None),
    target("recording", "recorded events", 16_384, None),
    target("ring", "both rings, step by step, hostile peer", 4_096, None),
    target("frame", "control frames and handshake", 8_256, None),
    target("request", "operator's requests", 12_288, Some("request")),
    target("hashlist", "hash lists", 16_384, None),
    target("yara", "YARA rules", 4_096, Some("yara")),
    target("fanotify", "fanotify event buffers", 4_096, None),
    target("changes", "fanotify records of changes", 8_192, None),
    target("plane", "records of the programs at the kernel's hooks", 8_704, None),
    target("mounts", "mount table", 8_192, None),
    target("updates", "where releases come from", 16_384, Some("settings")),
    target("package", "packages of releases", 65_536, None),
    target("release", "descriptions and lists of releases", 16_384, Some("settings")),
    target("repair", "instructions to repair, records of starts", 32_768, Some("settings")),
    target("fetch", "frames of the child that downloads", 4_096, None),
    target("log", "engines' log lines", 8_192, None),
    target("rules_image", "compiled sets of rules", 8_192, None),
    target("rules_json", "rules that were read", 16_384, Some("rules")),
    target("policy_text", "policies", 4_096, Some("policy")),
];

const fn target(
    name: &'static str,
    what: &'static str,
    longest: u32,
    dictionary: Option<&'static str>,
) -> Target {
    Target { name, what, longest, dictionary }
}

/// Instrumentation for libFuzzer: counters per edge, and comparisons told. None of it needs a nightly.
const INSTRUMENTATION: &str = "--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
     -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
     -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";
/// One input that takes longer is a finding, in seconds.
const TIMEOUT_S: u32 = 10;
/// A target that grows over this is a finding, in MiB. What one input may take, the targets check.
const MEMORY_MIB: u32 = 512;

/// What libFuzzer says of a run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    runs: u64,
    edges: u64,
    corpus: u64,
    finding: Option<String>,
}

/// Runs the targets `chosen` (all, if none is named) for `seconds` each; a summary.
///
/// # Errors
///
/// If a target cannot be built or started, or has found something: the inputs are named.
pub(crate) fn run(root: &Path, seconds: u32, chosen: &[String]) -> Result<String> {
    let targets = choose(chosen)?;
    let programs = build(root, &targets)?;
    let mut findings = Vec::new();
    for target in &targets {
        tell(&format!("fuzz: {:11}  {}, {seconds} s", target.name, target.what))?;
        let outcome = fuzz(root, target, &programs.join(target.name), seconds)?;
        let Outcome { runs, edges, corpus, finding } = outcome;
        let each_second = runs / u64::from(seconds.max(1));
        tell(&format!(
            "fuzz: {:11}  {runs} inputs, {each_second}/s, {edges} edges, {corpus} in the corpus{}",
            target.name,
            if finding.is_some() { ", A FINDING" } else { "" }
        ))?;
        if let Some(input) = finding {
            let name = target.name;
            findings.push(format!("{name}: {input}\n    cargo xtask fuzz {name} --replay {input}"));
        }
    }
    if !findings.is_empty() {
        bail!("fuzz: {} found, replay with\n  {}", findings.len(), findings.join("\n  "));
    }
    Ok(format!("fuzz: {} targets, {seconds} s each, nothing found", targets.len()))
}

/// Runs the one target in `chosen` on `input` alone, with everything it says.
///
/// # Errors
///
/// If none or several are named, or the input is (still) a finding.
pub(crate) fn replay(root: &Path, chosen: &[String], input: &Path) -> Result<String> {
    ensure!(chosen.len() == 1, "--replay needs the one target whose input it is");
    let input = input.canonicalize().with_context(|| format!("cannot find {}", input.display()))?;
    let targets = choose(chosen)?;
    let program = build(root, &targets)?.join(targets[0].name);
    let ended = Command::new(&program).arg(&input).status();
    let ended = ended.with_context(|| format!("cannot start {}", program.display()))?;
    ensure!(ended.success(), "fuzz: {} is a finding", input.display());
    Ok(format!("fuzz: {} is none", input.display()))
}

fn choose(names: &[String]) -> Result<Vec<&'static Target>> {
    if names.is_empty() {
        return Ok(TARGETS.iter().collect());
    }
    let find = |name: &String| {
        let all = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>().join(", ");
        let found = TARGETS.iter().find(|target| target.name == name);
        found.with_context(|| format!("no fuzz target {name:?}: the targets are {}", all()))
    };
    names.iter().map(find).collect()
}

/// Builds `targets`; the folder of their programs.
fn build(root: &Path, targets: &[&Target]) -> Result<PathBuf> {
    // In a folder of its own: what is instrumented is of no use to anybody else.
    let base = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = root.join(base).join("fuzz");
    // With the target named, the flags are not for build scripts, which libFuzzer is not linked to.
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--target", &triple, "--target-dir"]);
    cargo.arg(&folder).arg("--manifest-path").arg(root.join("fuzz/Cargo.toml"));
    for target in targets {
        cargo.args(["--bin", target.name]);
        if FEATURES.contains(&target.name) {
            cargo.args(["--features", target.name]);
        }
    }
    cargo.env("RUSTFLAGS", INSTRUMENTATION).env_remove("CARGO_ENCODED_RUSTFLAGS");
    let built = cargo.status().context("cannot start cargo")?;
    ensure!(built.success(), "fuzz: the targets do not build");
    Ok(folder.join(triple).join("release"))
}

fn fuzz(root: &Path, target: &Target, program: &Path, seconds: u32) -> Result<Outcome> {
    let name = target.name;
    let [corpus, artifacts] = ["corpus", "artifacts"].map(|kind| format!("fuzz/{kind}/{name}/"));
    for folder in [&corpus, &artifacts] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("cannot make {folder}"))?;
    }
    let mut fuzzer = Command::new(program);
    fuzzer.current_dir(root).args([corpus, format!("fuzz/seeds/{name}")]);
    if let Some(dictionary) = target.dictionary {
        fuzzer.arg(format!("-dict=fuzz/dictionaries/{dictionary}.dict"));
    }
    fuzzer.args([
        format!("-artifact_prefix={artifacts}"),
        format!("-max_len={}", target.longest),
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-timeout={TIMEOUT_S}"),
        "-print_final_stats=1".to_owned(),
    ]);
    let mut running = fuzzer
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let said = running.stderr.take().context("its output was piped")?;
    let mut outcome = Outcome::default();
    let mut last = Vec::new();
    for line in BufReader::new(said).split(b'\n') {
        let line = String::from_utf8_lossy(&line.context("its output is lost")?).into_owned();
        outcome.take(&line);
        // Of a finding, what was said last; of a run without, nothing.
        if last.len() == 60 {
            last.remove(0);
        }
        last.push(line);
    }
    let ended = running.wait().context("it cannot be waited for")?;
    if !ended.success() {
        tell(&last.join("\n"))?;
        ensure!(outcome.finding.is_some(), "fuzz: {name} ended by itself: {ended}");
    }
    Ok(outcome)
}

impl Outcome {
    /// Takes what one line of libFuzzer's output says.
    fn take(&mut self, line: &str) {
        if let Some(file) = line.split_once("Test unit written to ").map(|(_, file)| file.trim()) {
            self.finding = Some(file.to_owned());
        }
        if let Some(runs) = line.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or(self.runs);
        }
        // `#1048576 pulse  cov: 114 ft: 170 corp: 22/2910b lim: 4096 exec/s: 349525 rss: 27Mb`
        if line.starts_with('#') {
            let mut words = line.split_whitespace();
            self.runs = number(words.next(), self.runs);
            while let Some(word) = words.next() {
                match word {
                    "cov:" => self.edges = number(words.next(), self.edges),
                    "corp:" => self.corpus = number(words.next(), self.corpus),
                    _ => {}
                }
            }
        }
    }
}

/// The number at the beginning of `word`, a `#` before it left out.
fn number(word: Option<&str>, otherwise: u64) -> u64 {
    let digits = word.unwrap_or_default().trim_start_matches('#');
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(otherwise)
}

fn tell(line: &str) -> Result<()> {
    writeln!(io::stdout(), "{line}").context("the output is closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(said: &str) -> Outcome {
        let mut outcome = Outcome::default();
        said.lines().for_each(|line| outcome.take(line));
        outcome
    }

    #[test]
    fn a_run_without_a_finding_is_counted() {
        let said = "#2\tINITED cov: 30 ft: 31 corp: 1/1b exec/s: 0 rss: 26Mb\n\
                    #64\tNEW    cov: 110 ft: 160 corp: 21/2kb lim: 40 exec/s: 0 rss: 27Mb L: 4/9\n\
                    #512\tDONE   cov: 114 ft: 170 corp: 22/2910b lim: 96 exec/s: 51 rss: 27Mb\n\
                    stat::number_of_executed_units: 513\n";

        assert_eq!(outcome(said), Outcome { runs: 513, edges: 114, corpus: 22, finding: None });
    }

    #[test]
    fn a_finding_is_told_with_its_input() {
        let said = "#64\tNEW    cov: 110 ft: 160 corp: 21/2kb lim: 40 exec/s: 0 rss: 27Mb L: 4/9\n\
                    artifact_prefix='fuzz/artifacts/ring/'; Test unit written to fuzz/artifacts/ring/crash-1\n";

        let found = outcome(said);

        assert_eq!(found.finding.as_deref(), Some("fuzz/artifacts/ring/crash-1"));
        assert_eq!(found.runs, 64);
    }

    #[test]
    fn every_target_has_its_program_and_seeds() {
        let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
        let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("the manifest");

        let bins = manifest.matches("[[bin]]").count();
        assert_eq!(bins, TARGETS.len(), "targets in fuzz/Cargo.toml and here");
        for target in TARGETS {
            let seeds = fuzz.join("seeds").join(target.name);
            let some = seeds.read_dir().is_ok_and(|mut seeds| seeds.next().is_some());
            assert!(some, "{} has no seed", target.name);
            assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
            let dictionary = |name| fuzz.join("dictionaries").join(format!("{name}.dict")).exists();
            assert!(target.dictionary.is_none_or(dictionary), "{} has no dictionary", target.name);
        }
    }

    #[test]
    fn a_target_that_is_not_there_is_told_with_those_that_are() {
        let told = choose(&["rings".to_owned()]).map(|_| ()).expect_err("no such target");

        assert!(told.to_string().contains("the targets are manifest, config,"), "{told}");
    }

    #[test]
    fn what_is_fuzzed_is_what_is_linked() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let [ours, theirs] = ["Cargo.lock", "fuzz/Cargo.lock"]
            .map(|file| fs::read_to_string(root.join(file)).expect("a lock file"));

        // The parsers and codecs below ours; a crate that only libFuzzer needs may differ.
        for parser in ["hex", "prost", "rustix", "serde_json", "toml_edit", "yara-x", "zerocopy"] {
            let version = |lock: &str| {
                let at = lock.find(&format!("name = \"{parser}\"\n")).expect("it is there");
                lock[at..].lines().nth(1).map(str::to_owned)
            };
            assert_eq!(version(&ours), version(&theirs), "{parser}: copy Cargo.lock to fuzz/");
        }
    }
}
