//! Where a scenario is played: a protected file system, a host with the release before, a publisher with another.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use outrigger_api::Event;
use outrigger_api::release::Part;
use outrigger_api::sample::Standing;
use outrigger_testkit::publisher::{Publisher, ReleaseFile, Typed, shipped};
use outrigger_testkit::setup::control_socket;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Releases, Setup, Volume, bait, binaries, corpus};

use crate::load::Files;
use crate::scenario::{Act, Engine, Release, Scenario};
use crate::settings::Settings;

/// Files that are in the corpus of what is known to be good, and files that are not.
const KNOWN: usize = 100;
const LIVE: usize = 200;
/// Files that no engine may deny, in neither.
const GUARDED: usize = 4;
/// A file that every sound release denies, by its name or by its content.
const MARKED: &str = "marked";
const MARK: &[u8] = b"denied by every sound release";
/// Denies it, and that alone.
const SOUND_WORDS: &str = "deny-path /marked";
const SOUND_TABLE: &str = "columns\tname\tuid\nmarked\tmarked\t*\n";

/// The first versions, which are in force before.
pub(crate) const CODE: &str = "0.1.0";
pub(crate) const CONTENT: &str = "1.0.0";

/// It.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) volume: Volume,
    pub(crate) host: Host,
    pub(crate) publisher: Publisher,
    pub(crate) releases: Releases,
    /// The machine's `updates.toml`.
    pub(crate) config: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) files: Files,
    /// What every sound release denies; `None` where no denial is enforced.
    pub(crate) marked: Option<PathBuf>,
    engine: EngineSetup,
    kind: Engine,
    manifest: String,
}

impl Engine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Hostile => "hostile",
            Self::Hashlist => "hashlist",
            Self::Channel291 => "channel291",
        }
    }

    /// The type of its content.
    const fn content(self) -> &'static str {
        match self {
            Self::Hostile | Self::Hashlist => "hashlist",
            Self::Channel291 => "table",
        }
    }
}

impl Site {
    /// Makes all of it for `scenario`; `None` if this machine lacks what it is about.
    pub(crate) fn start(
        lab: &Lab,
        scenario: &Scenario,
        settings: &Settings,
    ) -> Result<Result<Self, String>> {
        let volume = lab.tmpfs("protected")?;
        let mut files = lay_files(&volume, scenario)?;
        if let Some(victim) = scenario.victim {
            let Some(path) = victim.bring(&volume)? else {
                return Ok(Err(format!("this machine has no file for {victim:?}")));
            };
            files.guarded.push(path);
        }
        let corpus = lab.path("known-good.rec");
        let runs = |number: usize| scenario.corpus_runs && number.is_multiple_of(2);
        let known: Vec<(Event, PathBuf)> = files.clean[..KNOWN]
            .iter()
            .enumerate()
            .map(|(at, path)| {
                let event = if runs(at) { Event::ProcessExec } else { Event::FileOpen };
                (event, path.clone())
            })
            .collect();
        corpus::write(&corpus, Standing { known_good: true, guarded: false }, &known)?;

        let publisher = Publisher::new(&lab.path("vendor"))?;
        let folder = lab.next_folder();
        let (state, socket) = (folder.join("state"), control_socket(&folder));
        let mut policy = format!(
            "known_good = {corpus:?}\nsamples_min = 50\nsamples_max = 200\ntotal_ms = 8000\np99_ms = 25\n"
        );
        write_policy(scenario, settings.misses_max, &mut policy)?;
        let name = scenario.engine.name();
        let config = publisher.updates(&state, &socket, &[name], &policy)?;

        let engine = engine(scenario, settings);
        let releases = Releases::of(&folder);
        let manifest = scenario.docked.manifest.clone();
        let manifest = manifest.unwrap_or_else(|| "manifest.toml".to_owned());
        let mut site = Before { publisher, engine, kind: scenario.engine, manifest };
        site.install(&releases)?;

        let mut setup = Setup::protecting(volume.path())
            .budget_ms(settings.budget_ms)
            .uncached()
            .updates(&fs::read_to_string(&config)?)
            .engine(site.engine.clone().installed())
            .engine(bystander(scenario.engine));
        for path in &files.guarded {
            setup = setup.guarding(path);
        }
        let host = lab.start(&setup)?;
        host.coverage()?;
        let marked = (!scenario.docked.monitored).then(|| volume.join(MARKED));
        let Before { publisher, engine, kind, manifest } = site;
        Ok(Ok(Self {
            volume,
            host,
            publisher,
            releases,
            config,
            state,
            files,
            marked,
            engine,
            kind,
            manifest,
        }))
    }

    /// Whether what must be refused is let through.
    pub(crate) fn lets_through(&self) -> bool {
        self.marked.as_ref().is_some_and(|marked| ways::open(marked) != Outcome::Refused)
    }

    /// Builds, signs and publishes `release` under `version`.
    pub(crate) fn publish(&self, release: &Release, version: &str) -> Result<()> {
        let files = match release.part {
            Part::Code => self.code(version, &release.words)?,
            Part::Content => self.content(release)?,
        };
        let typed = Typed {
            kind: self.kind.content(),
            interpreter: release.interpreter.as_deref().unwrap_or(">=0.1"),
        };
        let typed = (release.part == Part::Content).then_some(typed);
        self.publisher.release(self.kind.name(), release.part, version, typed, &files)
    }

    /// The package of that release.
    pub(crate) fn package(&self, release: &Release, version: &str) -> PathBuf {
        self.publisher.package(self.kind.name(), release.part, version)
    }

    fn code(&self, version: &str, words: &str) -> Result<Vec<ReleaseFile>> {
        code(&self.engine, self.kind, &self.manifest, version, words)
    }

    fn content(&self, release: &Release) -> Result<Vec<ReleaseFile>> {
        let mut files = Vec::new();
        match self.kind {
            Engine::Hostile => files.extend(behaviour(&sound(&release.words))),
            Engine::Hashlist => {
                let mut list = bait::sha256(MARK) + " marked\n";
                for number in 0..release.entries {
                    let sum = bait::sha256(format!("entry {number}").as_bytes());
                    writeln!(list, "{sum} An.Entry.That.Is.There.For.Its.Size.{number}")?;
                }
                files.push(("tests.deny".to_owned(), list.into_bytes(), false));
            }
            Engine::Channel291 => {}
        }
        for (name, text) in &release.files {
            files.push((name.clone(), self.filled(text)?.into_bytes(), false));
        }
        if files.is_empty() {
            files.push(table(SOUND_TABLE));
        }
        Ok(files)
    }

    /// `text` with the sums that it names.
    fn filled(&self, text: &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("SUM(") {
            let (name, after) = after.split_once(')').context("SUM( has no end")?;
            out += before;
            // The marked file is not to be read here.
            out += &match name {
                MARKED => bait::sha256(MARK),
                name => bait::sha256(&fs::read(self.volume.join(name))?),
            };
            rest = after;
        }
        Ok(out + rest)
    }
}

/// What is there before the host.
struct Before {
    publisher: Publisher,
    engine: EngineSetup,
    kind: Engine,
    manifest: String,
}

impl Before {
    /// Publishes the first releases, and puts them in force as they were packed.
    fn install(&mut self, releases: &Releases) -> Result<()> {
        let (name, kind) = (self.kind.name(), self.kind);
        let code = code(&self.engine, kind, &self.manifest, CODE, "")?;
        self.publisher.release(name, Part::Code, CODE, None, &code)?;
        let content = match kind {
            Engine::Hostile => behaviour(SOUND_WORDS).to_vec(),
            Engine::Hashlist => {
                let list = bait::sha256(MARK) + " marked\n";
                vec![("tests.deny".to_owned(), list.into_bytes(), false)]
            }
            Engine::Channel291 => vec![table(SOUND_TABLE)],
        };
        let typed = Some(Typed { kind: kind.content(), interpreter: ">=0.1" });
        self.publisher.release(name, Part::Content, CONTENT, typed, &content)?;
        for (part, version) in [(Part::Code, CODE), (Part::Content, CONTENT)] {
            let package = fs::read(self.publisher.package(name, part, version))?;
            releases.put_in_force(&releases.stage_package(&package)?)?;
        }
        Ok(())
    }
}

fn lay_files(volume: &Volume, scenario: &Scenario) -> Result<Files> {
    let put = |kind: &str, count: usize| -> Result<Vec<PathBuf>> {
        let file = |number| {
            let name = format!("{kind}-{number}");
            volume.put(&name, format!("{name} of the incidents\n").as_bytes())
        };
        (0..count).map(file).collect()
    };
    let mut clean = put("known", KNOWN)?;
    clean.extend(put("live", LIVE)?);
    let guarded = put("guarded", GUARDED)?;
    volume.put(MARKED, MARK)?;
    let rare = match scenario.rare.map(|rare| rare.act) {
        Some(Act::Open) => Some((Act::Open, volume.put("rare", b"rarely opened\n")?)),
        Some(Act::Exec) => Some((Act::Exec, volume.put("program", &bait::tiny_program(0))?)),
        None => None,
    };
    Ok(Files { clean, guarded, folder: volume.path().to_owned(), rare })
}

/// The lines below `[preflight]` in `updates.toml`, and its other sections.
fn write_policy(scenario: &Scenario, misses: u32, policy: &mut String) -> Result<()> {
    let shadow = [("length_ms", 1000), ("emergency_ms", 1000), ("misses_max", misses)];
    let probation = [("length_ms", 5000), ("misses_max", misses)];
    let sections = [
        ("shadow", &scenario.shadow, &shadow[..]),
        ("probation", &scenario.probation, &probation[..]),
        ("download", &scenario.download, &[]),
    ];
    for (section, own, usual) in sections {
        writeln!(policy, "\n[{section}]")?;
        for (key, value) in usual.iter().filter(|(key, _)| !own.contains_key(*key)) {
            writeln!(policy, "{key} = {value}")?;
        }
        for (key, value) in own {
            writeln!(policy, "{key} = {value}")?;
        }
    }
    Ok(())
}

/// The engine that releases are offered of, as it is docked.
fn engine(scenario: &Scenario, settings: &Settings) -> EngineSetup {
    let docked = &scenario.docked;
    let name = scenario.engine.name();
    let mut setup = match scenario.engine {
        Engine::Hashlist => EngineSetup::hashlist(),
        Engine::Hostile | Engine::Channel291 => EngineSetup::faulty(name, ""),
    };
    setup = setup.field("path").hang_ms(settings.hang_ms()).content_type(scenario.engine.content());
    if docked.monitored {
        setup = setup.monitored();
    }
    if let Some(bytes) = docked.memory_bytes {
        setup = setup.memory_bytes(bytes);
    }
    if let Some(count) = docked.threads {
        setup = setup.threads(count);
    }
    if let Some(ms) = docked.start_ms {
        setup = setup.start_ms(ms);
    }
    setup
}

/// Somebody else's engine, which is not updated and must notice nothing.
fn bystander(engine: Engine) -> EngineSetup {
    match engine {
        Engine::Hashlist => EngineSetup::faulty("bystander", "allow"),
        Engine::Hostile | Engine::Channel291 => EngineSetup::hashlist(),
    }
}

/// Its name.
pub(crate) const fn bystander_name(engine: Engine) -> &'static str {
    match engine {
        Engine::Hashlist => "bystander",
        Engine::Hostile | Engine::Channel291 => "hashlist",
    }
}

fn code(
    setup: &EngineSetup,
    engine: Engine,
    manifest: &str,
    version: &str,
    words: &str,
) -> Result<Vec<ReleaseFile>> {
    let name = engine.name();
    match engine {
        Engine::Hostile if words.is_empty() => setup.clone().release(version, "").code_files(),
        Engine::Hostile => setup.clone().release(version, &sound(words)).code_files(),
        Engine::Hashlist => shipped(name, manifest, binaries::HASHLIST, version),
        Engine::Channel291 => shipped(name, manifest, binaries::CHANNEL291, version),
    }
}

/// `words`, and that the marked file is denied as well, but where they are of the bare ends of the dock, which know
/// no files.
fn sound(words: &str) -> String {
    match words.starts_with("attack") {
        true => words.to_owned(),
        false => format!("{SOUND_WORDS} {words}"),
    }
}

/// Whether a release with these words does not know the marked file.
pub(crate) fn is_blind(words: &str) -> bool {
    words.starts_with("attack")
}

/// Content of the hostile engine: what it does, and a list, since that is its content's type.
fn behaviour(words: &str) -> [ReleaseFile; 2] {
    let list = bait::sha256(MARK) + " marked\n";
    [
        ("behaviour".to_owned(), words.as_bytes().to_vec(), false),
        ("tests.deny".to_owned(), list.into_bytes(), false),
    ]
}

fn table(text: &str) -> ReleaseFile {
    ("tests.table".to_owned(), text.as_bytes().to_vec(), false)
}
