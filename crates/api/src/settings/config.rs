//! The host's configuration: what the administrator wants protected, and how.

use std::path::{Path, PathBuf};

use crate::catalogue::Event;
use crate::control::METRICS;
use crate::key::EngineName;
use crate::settings::error::{Place, Problem, SettingsError, SettingsErrors, quoted, shown};
use crate::settings::file;
use crate::settings::keys;
use crate::settings::manifest::Manifest;
use crate::settings::protect::{PlaceConfig, ProtectConfig, TypeConfig};
use crate::settings::reader::{Report, Section, Value};
use crate::verdict::{Fallback, Mode};

/// What the administrator decided for this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct HostConfig {
    /// Whether denials are enforced. Monitor here wins over every policy and engine.
    pub mode: Mode,
    /// Where the operator's tool is listened to.
    pub control_socket: PathBuf,
    /// Where the metrics are served; `None` if they are not.
    pub metrics_socket: Option<PathBuf>,
    /// Where the host keeps what it must remember.
    pub state_dir: PathBuf,
    /// What the administrator decided about releases: [`crate::settings::UpdatesConfig`].
    pub updates_file: PathBuf,
    /// What is protected, and how.
    pub protect: ProtectConfig,
    /// Most questions that may be decided at a time.
    pub in_flight_max: u32,
    /// The verdict cache.
    pub cache: CacheConfig,
    /// The rules.
    pub rules: RulesConfig,
    /// One policy per event, in the order of [`Event::ALL`]; see [`HostConfig::policy`]. Events that nobody
    /// can be asked about keep the defaults, which decide nothing.
    pub policies: [EventPolicy; Event::ALL.len()],
    /// The engines that dock here.
    pub engines: Vec<EngineConfig>,
    /// What no engine may deny.
    pub guard: GuardConfig,
    /// What is kept of decided questions.
    pub record: RecordConfig,
}

/// The verdict cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheConfig {
    /// Whether verdicts are cached at all.
    pub enabled: bool,
    /// Most files that are cached at a time; the descriptor limit may allow fewer.
    pub max_files: u32,
}

/// The rules, which decide without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesConfig {
    /// Whether any are in force.
    pub enabled: bool,
    /// The folder of their text: every `*.cedar` file in it.
    pub dir: PathBuf,
    /// Whether what they deny is refused. Monitor here wins over every rule.
    pub mode: Mode,
}

/// How questions about one event are decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPolicy {
    /// Longest wait of a question for which no engine reads content.
    pub budget_ms: u32,
    /// Longest wait of a question for which an engine reads content.
    pub content_budget_ms: u32,
    /// The answer when a required verdict did not come in time.
    pub fallback: Fallback,
    /// What becomes of a required verdict whose engine is in quarantine.
    pub on_quarantine: OnQuarantine,
    /// The mode for this event; the host's if absent.
    pub mode: Option<Mode>,
}

/// What becomes of a required verdict whose engine is in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum OnQuarantine {
    /// It stays required, so the fallback decides.
    #[default]
    Fallback,
    /// The others decide without it.
    Without,
}

/// One engine that docks here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// Where its program, its manifest and its content come from.
    pub source: EngineSource,
    /// Whether its Allow is needed.
    pub required: bool,
    /// Whether its denials are enforced.
    pub mode: Mode,
    /// Which files it may read the content of.
    pub content: ContentGrant,
    /// The folder with its rules or signatures, shown to it read-only. None is configured for one that is
    /// installed: what is in force is shown to it.
    pub content_dir: Option<PathBuf>,
    /// The user that it runs as; chosen by the host if absent.
    pub uid: Option<u32>,
    /// Deadlines that it may miss within `miss_window_ms` before it is quarantined.
    pub misses_max: u32,
    /// The window in which misses are counted.
    pub miss_window_ms: u32,
    /// Restarts that it may use within `restart_window_ms` before it is quarantined.
    pub restarts_max: u32,
    /// The window in which restarts are counted.
    pub restart_window_ms: u32,
    /// Wait before its second restart (the first is at once); doubled for each that follows.
    pub backoff_ms: u32,
    /// Longest wait before a restart.
    pub backoff_max_ms: u32,
}

/// Where an engine comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineSource {
    /// From the folder of this manifest, kept by the administrator.
    Manifest(PathBuf),
    /// From the releases of the engine of this name, of which one is in force at a time.
    Installed(EngineName),
}

/// Which files an engine may read the content of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ContentGrant {
    /// None.
    #[default]
    None,
    /// Every file but key material.
    All,
    /// Those below these paths.
    Paths(Vec<PathBuf>),
}

/// Changes to the list of files that no engine may deny.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuardConfig {
    /// Paths that are guarded besides those that always are.
    pub extra: Vec<PathBuf>,
    /// Paths of the fixed list that engines may deny after all.
    pub lifted: Vec<PathBuf>,
}

/// What is kept of decided questions, to feed engines with later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordConfig {
    /// Whether anything is.
    pub enabled: bool,
    /// What of the objects.
    pub content: RecordContent,
    /// Most bytes of all files together.
    pub bytes_max: u64,
    /// Whether it is kept who asked.
    pub credentials: bool,
    /// Of what lies under these paths only the event and the answer are kept.
    pub redact: Vec<PathBuf>,
}

/// What of the objects a recording keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RecordContent {
    /// Nothing.
    #[default]
    Nothing,
    /// Their sums.
    Sums,
    /// Their bytes.
    Bytes,
}

impl Default for HostConfig {
    /// What an empty file says.
    fn default() -> Self {
        read_config(&Section::absent(&Report::new(Path::new(""), ""), &keys::CONFIG_TOP))
    }
}

impl Default for EventPolicy {
    /// What a file that does not name the event says.
    fn default() -> Self {
        read_policy(&Section::absent(&Report::new(Path::new(""), ""), &keys::CONFIG_POLICY))
    }
}

impl HostConfig {
    /// Reads the configuration `text`, which came from `file`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, up to [`crate::settings::ERRORS_MAX`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsErrors> {
        let document = file::document(text, file)?;
        let report = Report::new(file, text);
        let top = Section::top(&report, &document, &keys::CONFIG_TOP, keys::CONFIG);
        let config = read_config(&top);
        report.finish(Some(config))
    }

    /// Reads the configuration in `file`.
    ///
    /// # Errors
    ///
    /// As [`HostConfig::parse`], and if the file cannot be read, is too long or is not UTF-8.
    pub fn read(file: &Path) -> Result<Self, SettingsErrors> {
        Self::parse(&file::load(file)?, file)
    }

    /// Reads the manifests that it names, in the order of the engines; `None` for one that is installed, whose
    /// manifest is in the release in force.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with any of them, and if two engines have the same name.
    pub fn read_manifests(&self) -> Result<Vec<Option<Manifest>>, SettingsErrors> {
        let mut read: Vec<Option<Manifest>> = Vec::with_capacity(self.engines.len());
        let mut errors: Option<SettingsErrors> = None;
        for EngineConfig { source, .. } in &self.engines {
            let EngineSource::Manifest(file) = source else {
                read.push(None);
                continue;
            };
            let result = Manifest::read_placed(file).and_then(|(manifest, place)| {
                match self.first_called(&manifest.name, &read) {
                    Some(first) => Err(same_name(&manifest, file, first, place)),
                    None => Ok(manifest),
                }
            });
            match (result, &mut errors) {
                (Ok(manifest), _) => read.push(Some(manifest)),
                (Err(more), Some(errors)) => {
                    errors.join(more);
                    read.push(None);
                }
                (Err(first), None) => {
                    errors = Some(first);
                    read.push(None);
                }
            }
        }
        errors.map_or(Ok(read), Err)
    }

    /// The engine that is called `name` by its configuration or by the manifests `read` so far.
    fn first_called(&self, name: &EngineName, read: &[Option<Manifest>]) -> Option<String> {
        let known =
            |manifest: &Option<Manifest>| manifest.as_ref().is_some_and(|m| m.name == *name);
        self.engines.iter().enumerate().find_map(|(place, engine)| match &engine.source {
            EngineSource::Installed(installed) => {
                (installed == name).then(|| format!("engine[{place}].installed"))
            }
            EngineSource::Manifest(file) => read.get(place).is_some_and(known).then(|| shown(file)),
        })
    }

    /// The policy for `event`.
    pub fn policy(&self, event: Event) -> &EventPolicy {
        &self.policies[event.index()]
    }
}

fn read_config(top: &Section<'_>) -> HostConfig {
    let host = top.section(&keys::HOST, &keys::CONFIG_HOST, keys::CONFIG);
    let cache = top.section(&keys::CACHE, &keys::CONFIG_CACHE, keys::CONFIG);
    let rules = top.section(&keys::RULES, &keys::CONFIG_RULES, keys::CONFIG);
    let protect = top.section(&keys::PROTECT, &keys::CONFIG_PROTECT, keys::CONFIG);
    let guard = top.section(&keys::GUARD, &keys::CONFIG_GUARD, keys::CONFIG);
    let record = top.section(&keys::RECORD, &keys::CONFIG_RECORD, keys::CONFIG);
    // Both paths have defaults, so nothing stands for one that was refused.
    let control_socket = host.path(&keys::CONTROL_SOCKET).unwrap_or_default();
    HostConfig {
        mode: top.choice(&keys::MODE),
        metrics_socket: read_metrics(&host, &control_socket),
        control_socket,
        state_dir: host.path(&keys::STATE_DIR).unwrap_or_default(),
        updates_file: host.path(&keys::UPDATES_PATH).unwrap_or_default(),
        in_flight_max: host.number(&keys::IN_FLIGHT_MAX),
        cache: CacheConfig {
            enabled: cache.flag(&keys::ENABLED),
            max_files: cache.number(&keys::MAX_FILES),
        },
        rules: RulesConfig {
            enabled: rules.flag(&keys::ENABLED),
            dir: rules.path(&keys::RULES_DIR).unwrap_or_default(),
            mode: rules.choice(&keys::MODE),
        },
        protect: read_protect(&protect),
        policies: read_policies(top),
        engines: read_engines(top),
        guard: GuardConfig { extra: guard.paths(&keys::EXTRA), lifted: guard.paths(&keys::LIFTED) },
        record: RecordConfig {
            enabled: record.flag(&keys::RECORD_ENABLED),
            content: record.choice(&keys::RECORD_CONTENT),
            bytes_max: record.long(&keys::BYTES_MAX),
            credentials: record.flag(&keys::RECORD_CREDENTIALS),
            redact: record.paths(&keys::REDACT),
        },
    }
}

fn read_protect(section: &Section<'_>) -> ProtectConfig {
    let tables = |key, known| section.sections(key, keys::PLACES_MAX, known, keys::CONFIG);
    let mut places: Vec<(PlaceConfig, Section<'_>)> = Vec::new();
    for table in tables(&keys::TREE, &keys::CONFIG_TREE) {
        let mode = table.choice(&keys::PLACE_MODE);
        let Some(path) = table.path(&keys::PLACE) else { continue };
        if let Some((_, first)) = places.iter().find(|(known, _)| known.path == path) {
            table.duplicate(&keys::PLACE, quoted(&path.to_string_lossy()), first);
        }
        places.push((PlaceConfig { path, mode }, table));
    }
    let mut types: Vec<(TypeConfig, Section<'_>)> = Vec::new();
    for table in tables(&keys::FILE_SYSTEM, &keys::CONFIG_FILE_SYSTEM) {
        let mode = table.choice(&keys::PLACE_MODE);
        let Some((fs_type, _)) = table.checked(&keys::FS_TYPE, fs_type) else { continue };
        if let Some((_, first)) = types.iter().find(|(known, _)| known.fs_type == fs_type) {
            table.duplicate(&keys::FS_TYPE, quoted(&fs_type), first);
        }
        types.push((TypeConfig { fs_type, mode }, table));
    }
    ProtectConfig {
        trees: section.paths(&keys::TREES),
        places: places.into_iter().map(|(place, _)| place).collect(),
        types: types.into_iter().map(|(kind, _)| kind).collect(),
    }
}

/// A type as the kernel names it in `/proc/filesystems`.
fn fs_type(text: &str) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_one = (1..=keys::FS_TYPE_MAX).contains(&text.len()) && text.bytes().all(fits);
    is_one.then(|| text.to_owned())
}

/// Where the metrics are served: beside the control socket unless another path is written.
fn read_metrics(host: &Section<'_>, control_socket: &Path) -> Option<PathBuf> {
    let written = host.path(&keys::METRICS_SOCKET);
    if written.as_deref() == Some(control_socket) {
        let what = "is `control_socket` as well: each needs a path of its own".to_owned();
        host.conflict(&keys::METRICS_SOCKET, what);
    }
    let socket = written.unwrap_or_else(|| control_socket.with_file_name(METRICS));
    host.flag(&keys::METRICS).then_some(socket)
}

fn read_policies(top: &Section<'_>) -> [EventPolicy; Event::ALL.len()] {
    let mut policies = [EventPolicy::default(); Event::ALL.len()];
    for (event, section) in
        top.events(&keys::POLICY, Event::can_be_asked, &keys::CONFIG_POLICY, keys::CONFIG)
    {
        if !event.can_be_asked() {
            section.unfit("is told after it happened, so there is nothing to decide", || {
                let asked: Vec<&str> = Event::askable().map(Event::name).collect();
                format!("the events with a policy are {}", asked.join(", "))
            });
            continue;
        }
        policies[event.index()] = read_policy(&section);
    }
    policies
}

fn read_policy(section: &Section<'_>) -> EventPolicy {
    let budget_ms = section.number(&keys::BUDGET_MS);
    let content_budget_ms = section.number(&keys::CONTENT_BUDGET_MS);
    EventPolicy {
        budget_ms,
        // To read content takes no less time than to do without: a raised budget raises both.
        content_budget_ms: match section.value(&keys::CONTENT_BUDGET_MS) {
            Some(_) => content_budget_ms,
            None => content_budget_ms.max(budget_ms),
        },
        fallback: section.choice(&keys::FALLBACK),
        on_quarantine: section.choice(&keys::ON_QUARANTINE),
        mode: section.chosen(&keys::POLICY_MODE),
    }
}

fn read_engines(top: &Section<'_>) -> Vec<EngineConfig> {
    let tables = top.sections(&keys::ENGINE, keys::ENGINES_MAX, &keys::CONFIG_ENGINE, keys::CONFIG);
    let mut engines: Vec<(EngineConfig, &Section<'_>)> = Vec::with_capacity(tables.len());
    for table in &tables {
        let Some(engine) = read_engine(table) else { continue };
        for (known, first) in &engines {
            match &engine.source {
                _ if known.source != engine.source => {}
                EngineSource::Manifest(file) => {
                    table.duplicate(&keys::MANIFEST_FILE, quoted(&file.to_string_lossy()), first);
                }
                EngineSource::Installed(name) => {
                    table.duplicate(&keys::INSTALLED, quoted(name.as_str()), first);
                }
            }
            // Two engines of one user could signal each other.
            if let (Some(uid), true) = (engine.uid, known.uid == engine.uid) {
                table.duplicate(&keys::UID, uid.to_string(), first);
            }
        }
        engines.push((engine, table));
    }
    engines.into_iter().map(|(engine, _)| engine).collect()
}

fn read_engine(table: &Section<'_>) -> Option<EngineConfig> {
    let source = read_source(table);
    let engine = EngineConfig {
        // Nothing is made of it if it is missing.
        source: source.clone().unwrap_or(EngineSource::Manifest(PathBuf::new())),
        required: table.flag(&keys::REQUIRED),
        mode: table.choice(&keys::MODE),
        content: table.value(&keys::CONTENT).map(|value| read_grant(&value)).unwrap_or_default(),
        content_dir: table.path(&keys::CONTENT_DIR),
        uid: table.optional(&keys::UID).and_then(|uid| u32::try_from(uid).ok()),
        misses_max: table.number(&keys::MISSES_MAX),
        miss_window_ms: table.number(&keys::MISS_WINDOW_MS),
        restarts_max: table.number(&keys::RESTARTS_MAX),
        restart_window_ms: table.number(&keys::RESTART_WINDOW_MS),
        backoff_ms: table.number(&keys::BACKOFF_MS),
        backoff_max_ms: table.number(&keys::BACKOFF_MAX_MS),
    };
    if engine.backoff_max_ms < engine.backoff_ms {
        let (most, first) = (engine.backoff_max_ms, engine.backoff_ms);
        let what = format!("{most} ms is less than `backoff_ms`, {first} ms");
        table.conflict(&keys::BACKOFF_MAX_MS, what);
    }
    if let Some(uid) = engine.uid.filter(|uid| keys::PEOPLE.contains(uid)) {
        let what = format!(
            "{uid} is a person's ({} to {}), who could signal and slow the engine; leave it out, or write one \
             that no account has",
            keys::PEOPLE.start(),
            keys::PEOPLE.end()
        );
        table.conflict(&keys::UID, what);
    }
    // Without a source there is nothing to compare with other engines; it is reported.
    source.map(|_| engine)
}

fn read_source(table: &Section<'_>) -> Option<EngineSource> {
    let manifest = table.path(&keys::MANIFEST_FILE);
    let installed =
        table.checked_if_written(&keys::INSTALLED, |text| text.parse::<EngineName>().ok());
    if table.value(&keys::INSTALLED).is_none() {
        if table.value(&keys::MANIFEST_FILE).is_none() {
            table.missing(&keys::MANIFEST_FILE);
        }
        return manifest.map(EngineSource::Manifest);
    }
    for (key, what) in [(&keys::MANIFEST_FILE, "manifest"), (&keys::CONTENT_DIR, "content")] {
        if table.value(key).is_some() {
            let what = format!(
                "the {what} of an engine with `installed` is that of the release in force; leave one of the \
                 two out"
            );
            table.conflict(key, what);
        }
    }
    installed.map(|(name, _)| EngineSource::Installed(name))
}

fn read_grant(value: &Value<'_>) -> ContentGrant {
    match value.as_text() {
        Some("none") => ContentGrant::None,
        Some("all") => ContentGrant::All,
        Some(text) => {
            value.refuse(|| {
                let allowed = "\"none\", \"all\" or a list of absolute paths".to_owned();
                let meant = text.starts_with('/').then(|| format!("[{}]", quoted(text)));
                let suggestion = meant.map(|list| value.assignment(&list));
                (Problem::NotAllowed { found: quoted(text), allowed }, suggestion)
            });
            ContentGrant::None
        }
        None => {
            if value.is_empty_list() {
                let suggestion = Some(value.assignment("\"none\""));
                value.refuse(|| (Problem::Empty, suggestion));
            }
            ContentGrant::Paths(value.paths(&keys::CONTENT))
        }
    }
}

fn same_name(manifest: &Manifest, file: &Path, first: String, place: Place) -> SettingsErrors {
    SettingsErrors::one(SettingsError {
        file: file.to_owned(),
        place: Some(place),
        key: "name".to_owned(),
        problem: Problem::Duplicate { found: quoted(manifest.name.as_str()), first },
        suggestion: Some("an engine's name is unique on a machine".to_owned()),
    })
}
