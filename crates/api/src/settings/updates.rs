//! `updates.toml`: where releases come from, and what is asked of them before they decide.

use std::path::{Component, Path, PathBuf};

use crate::key::EngineName;
use crate::release::Part;
use crate::settings::error::{Problem, SettingsErrors, quoted};
use crate::settings::file;
use crate::settings::keys;
use crate::settings::kind::Integer;
use crate::settings::reader::{Report, Section};
use crate::settings::rollout::{self, Pin, PinConfig, RolloutConfig};

/// Where the file lies.
pub const UPDATES_FILE: &str = "/etc/outrigger/updates.toml";

/// What the administrator decided about releases on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatesConfig {
    /// Where slots and journal lie; the host's `state_dir`.
    pub state_dir: PathBuf,
    /// Where the host is asked to put a release in force.
    pub control_socket: PathBuf,
    /// Where releases come from. No engine stands under two of them.
    pub repositories: Vec<RepositoryConfig>,
    /// Which release is taken, and when.
    pub rollout: RolloutConfig,
    /// What is taken in place of the newest. No part of an engine stands there twice.
    pub pins: Vec<PinConfig>,
    /// Limits of what is fetched.
    pub download: DownloadConfig,
    /// What a release must stand before it decides.
    pub preflight: PreflightConfig,
    /// How a release runs beside the one that decides.
    pub shadow: ShadowConfig,
    /// How a release decides under watch.
    pub probation: ProbationConfig,
    /// When a start of the machine counts as healthy, and what follows where none does.
    pub boot: BootConfig,
    /// Whose instructions to repair this machine are obeyed.
    pub repair: RepairConfig,
}

/// A publisher's repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepositoryConfig {
    /// What it is called here; unique.
    pub name: String,
    /// Where it is.
    pub source: Source,
    /// The first root metadata that is trusted, got by another way than from the repository.
    pub root: PathBuf,
    /// The engines that it may release, in the order in which they are looked at.
    pub engines: Vec<EngineName>,
}

/// Where a repository is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An address, without the slash at its end.
    Http(String),
    /// A folder of this machine.
    Folder(PathBuf),
}

/// Limits of what is fetched. A release over one of them is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownloadConfig {
    /// Largest package, in bytes.
    pub package_bytes: u64,
    /// Most bytes that a package may hold when unpacked.
    pub unpacked_bytes: u64,
    /// Most files that it may hold.
    pub files_max: u32,
    /// Longest time without a byte.
    pub stall_ms: u32,
    /// Longest time for one file of the repository.
    pub total_ms: u32,
}

impl DownloadConfig {
    /// The widest that the keys allow: what was fetched and laid down under any policy is within them.
    pub fn widest() -> Self {
        let most = |key: &Integer| u32::try_from(key.max).unwrap_or(u32::MAX);
        Self {
            package_bytes: keys::PACKAGE_BYTES.max,
            unpacked_bytes: keys::UNPACKED_BYTES.max,
            files_max: most(&keys::FILES_MAX),
            stall_ms: most(&keys::STALL_MS),
            total_ms: most(&keys::DOWNLOAD_MS),
        }
    }
}

/// What a release must stand before it decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreflightConfig {
    /// The corpus of what is known to be good; without it only this machine's own recording is replayed.
    pub known_good: Option<PathBuf>,
    /// Fewest recorded events that a release must have been tried on.
    pub samples_min: u32,
    /// Most recorded events that it is tried on, from each source.
    pub samples_max: u32,
    /// Longest time for the whole of it.
    pub total_ms: u32,
    /// Longest verdict of 99 in a hundred.
    pub p99_ms: u32,
}

/// How a release runs beside the one that decides: on live events, its verdicts compared and not enforced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShadowConfig {
    /// How long, in ms of the machine's running time.
    pub length_ms: u32,
    /// How long for an emergency release.
    pub emergency_ms: u32,
    /// Fewest questions that both must have judged; with fewer it goes on, up to `longest_ms`.
    pub events_min: u32,
    /// How long at most; a release that has not seen `events_min` by then is not taken.
    pub longest_ms: u32,
    /// Most different objects that it may deny and the other one not.
    pub new_denials_max: u32,
    /// Most questions that it may leave without a verdict in their budget.
    pub misses_max: u32,
}

/// How a release decides under watch, and what ends that at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbationConfig {
    /// How long, in ms of the machine's running time.
    pub length_ms: u32,
    /// Most times that its process may end by itself or be ended for a fault.
    pub crashes_max: u32,
    /// Most questions that it may leave without a verdict in their budget.
    pub misses_max: u32,
    /// Most different objects that it may deny that were not denied in shadow.
    pub new_denials_max: u32,
    /// Longest verdict of 99 in a hundred, in percent of the release before.
    pub latency_percent: u32,
    /// Most processor time for a question, in percent of the release before.
    pub cpu_percent: u32,
    /// Most memory, in percent of the release before.
    pub memory_percent: u32,
}

/// When a start of the machine counts as healthy, and what follows where none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootConfig {
    /// After so many starts in a row without health only the releases known to be good dock; after as many
    /// more, none.
    pub unclean_max: u32,
    /// How long everything must have gone well for a start to count as healthy, in ms.
    pub healthy_ms: u32,
}

/// Whose instructions to repair this machine are obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RepairConfig {
    /// The administrator's public key; without one no instruction is obeyed.
    pub key: Option<PathBuf>,
}

impl Default for UpdatesConfig {
    /// What an empty file says: nothing is offered.
    fn default() -> Self {
        read_updates(&Section::absent(&Report::new(Path::new(""), ""), &keys::UPDATES_TOP))
    }
}

impl UpdatesConfig {
    /// Reads `text`, which came from `file`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, up to [`crate::settings::ERRORS_MAX`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsErrors> {
        let document = file::document(text, file)?;
        let report = Report::new(file, text);
        let top = Section::top(&report, &document, &keys::UPDATES_TOP, keys::UPDATES);
        let updates = read_updates(&top);
        report.finish(Some(updates))
    }

    /// Reads `file`.
    ///
    /// # Errors
    ///
    /// As [`UpdatesConfig::parse`], and if the file cannot be read, is too long or is not UTF-8.
    pub fn read(file: &Path) -> Result<Self, SettingsErrors> {
        Self::parse(&file::load(file)?, file)
    }

    /// The repository that may release `engine`.
    pub fn repository_of(&self, engine: &EngineName) -> Option<&RepositoryConfig> {
        self.repositories.iter().find(|repository| repository.engines.contains(engine))
    }

    /// What of `engine`'s `part` is taken in place of the newest.
    pub fn pin(&self, engine: &EngineName, part: Part) -> Option<&Pin> {
        let of = |pin: &&PinConfig| pin.engine == *engine && pin.part == part;
        self.pins.iter().find(of).map(|pin| &pin.to)
    }
}

fn read_updates(top: &Section<'_>) -> UpdatesConfig {
    let download = top.section(&keys::DOWNLOAD, &keys::UPDATES_DOWNLOAD, keys::UPDATES);
    let preflight = top.section(&keys::PREFLIGHT, &keys::UPDATES_PREFLIGHT, keys::UPDATES);
    let shadow = top.section(&keys::SHADOW, &keys::UPDATES_SHADOW, keys::UPDATES);
    let probation = top.section(&keys::PROBATION, &keys::UPDATES_PROBATION, keys::UPDATES);
    let boot = top.section(&keys::BOOT, &keys::UPDATES_BOOT, keys::UPDATES);
    let repair = top.section(&keys::REPAIR, &keys::UPDATES_REPAIR, keys::UPDATES);
    UpdatesConfig {
        // Both have defaults, so nothing stands for one that was refused.
        state_dir: top.path(&keys::STATE_DIR).unwrap_or_default(),
        control_socket: top.path(&keys::CONTROL_SOCKET).unwrap_or_default(),
        repositories: read_repositories(top),
        rollout: rollout::read(top),
        pins: rollout::read_pins(top),
        download: DownloadConfig {
            package_bytes: download.long(&keys::PACKAGE_BYTES),
            unpacked_bytes: download.long(&keys::UNPACKED_BYTES),
            files_max: download.number(&keys::FILES_MAX),
            stall_ms: download.number(&keys::STALL_MS),
            total_ms: download.number(&keys::DOWNLOAD_MS),
        },
        preflight: PreflightConfig {
            known_good: preflight.path(&keys::KNOWN_GOOD),
            samples_min: preflight.number(&keys::SAMPLES_MIN),
            samples_max: preflight.number(&keys::SAMPLES_MAX),
            total_ms: preflight.number(&keys::PREFLIGHT_MS),
            p99_ms: preflight.number(&keys::P99_MS),
        },
        shadow: ShadowConfig {
            length_ms: shadow.number(&keys::SHADOW_MS),
            emergency_ms: shadow.number(&keys::EMERGENCY_MS),
            events_min: shadow.number(&keys::EVENTS_MIN),
            longest_ms: shadow.number(&keys::LONGEST_MS),
            new_denials_max: shadow.number(&keys::NEW_DENIALS_MAX),
            misses_max: shadow.number(&keys::TRIAL_MISSES_MAX),
        },
        probation: ProbationConfig {
            length_ms: probation.number(&keys::PROBATION_MS),
            crashes_max: probation.number(&keys::CRASHES_MAX),
            misses_max: probation.number(&keys::TRIAL_MISSES_MAX),
            new_denials_max: probation.number(&keys::NEW_DENIALS_MAX),
            latency_percent: probation.number(&keys::LATENCY_PERCENT),
            cpu_percent: probation.number(&keys::CPU_PERCENT),
            memory_percent: probation.number(&keys::MEMORY_PERCENT),
        },
        boot: BootConfig {
            unclean_max: boot.number(&keys::UNCLEAN_MAX),
            healthy_ms: boot.number(&keys::HEALTHY_MS),
        },
        repair: RepairConfig { key: repair.path(&keys::REPAIR_KEY) },
    }
}

fn read_repositories(top: &Section<'_>) -> Vec<RepositoryConfig> {
    let max = keys::REPOSITORIES_MAX;
    let tables = top.sections(&keys::REPOSITORY, max, &keys::UPDATES_REPOSITORY, keys::UPDATES);
    let mut read: Vec<(RepositoryConfig, &Section<'_>)> = Vec::with_capacity(tables.len());
    for table in &tables {
        let name = table.checked(&keys::REPOSITORY_NAME, |text| text.parse::<EngineName>().ok());
        let source = table.checked(&keys::URL, source);
        let root = table.path(&keys::ROOT);
        let engines = read_engines(table, &read);
        let (Some((name, _)), Some((source, _)), Some(root)) = (name, source, root) else {
            continue;
        };
        // A repository is called by the rule for engines: its name becomes a folder's as well.
        let name = name.as_str().to_owned();
        if let Some((_, first)) = read.iter().find(|(known, _)| known.name == name) {
            table.duplicate(&keys::REPOSITORY_NAME, quoted(&name), first);
        }
        read.push((RepositoryConfig { name, source, root, engines }, table));
    }
    read.into_iter().map(|(repository, _)| repository).collect()
}

/// The engines of `table`, none of which stands there twice or under a repository `before`.
fn read_engines(
    table: &Section<'_>,
    before: &[(RepositoryConfig, &Section<'_>)],
) -> Vec<EngineName> {
    let Some(list) = table.value(&keys::REPOSITORY_ENGINES) else {
        table.missing(&keys::REPOSITORY_ENGINES);
        return Vec::new();
    };
    if list.is_empty_list() {
        list.refuse(|| (Problem::Empty, Some("name the engines that it releases".to_owned())));
    }
    let mut names: Vec<EngineName> = Vec::new();
    for text in table.arguments(&keys::REPOSITORY_ENGINES) {
        let Ok(name) = text.parse::<EngineName>() else {
            list.refuse(|| {
                let (found, allowed) = (quoted(&text), keys::NAME.rule.to_owned());
                (Problem::NotAllowed { found, allowed }, None)
            });
            continue;
        };
        let other = before.iter().find(|(repository, _)| repository.engines.contains(&name));
        if names.contains(&name) {
            table.conflict(
                &keys::REPOSITORY_ENGINES,
                format!("{} stands here twice", quoted(name.as_str())),
            );
        } else if let Some((repository, _)) = other {
            let (name, repository) = (quoted(name.as_str()), quoted(&repository.name));
            table.conflict(
                &keys::REPOSITORY_ENGINES,
                format!("{name} is released by {repository} already"),
            );
        } else {
            names.push(name);
        }
    }
    names
}

/// What `text` points to.
fn source(text: &str) -> Option<Source> {
    let plain = |text: &str| {
        text.len() <= keys::URL_MAX
            && !text.contains("..")
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !br#"?#"\<>^`{|}"#.contains(&byte))
    };
    let web = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    if let Some(rest) = web {
        let host = rest.split('/').next().unwrap_or_default();
        let good = plain(text) && !host.is_empty() && !host.contains('@');
        return good.then(|| Source::Http(text.trim_end_matches('/').to_owned()));
    }
    let path = Path::new(text);
    let normal =
        path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let good = path.is_absolute() && normal && text.len() <= keys::URL_MAX && !text.contains('\0');
    good.then(|| Source::Folder(path.to_owned()))
}
