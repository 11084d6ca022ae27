//! What the platform is started with: a configuration and manifests, written as an operator would.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use outrigger_api::verdict::Fallback;

use crate::bait;
use crate::binaries;

/// A configuration of the host. The defaults are those of the product unless said.
#[derive(Debug, Clone)]
pub struct Setup {
    trees: Vec<PathBuf>,
    engines: Vec<EngineSetup>,
    fallback: Fallback,
    budget_ms: u32,
    content_budget_ms: u32,
    cache: bool,
    in_flight_max: Option<u32>,
    without_quarantined: bool,
    monitor: bool,
    guarded: Vec<PathBuf>,
    places: Vec<(PathBuf, &'static str)>,
    types: Vec<(&'static str, &'static str)>,
    recorded: Option<&'static str>,
    updates: Option<String>,
    rules: Vec<(String, String)>,
    rules_watched: bool,
}

/// An engine's manifest and its place in the configuration.
#[derive(Debug, Clone)]
pub struct EngineSetup {
    name: String,
    version: String,
    binary: &'static str,
    /// Event, what it needs of it, and what it may degrade to.
    events: Vec<(&'static str, &'static str, Option<&'static str>)>,
    content_file: (&'static str, String),
    /// Files of rules beside it: name and text.
    rules: Vec<(String, String)>,
    arguments: Vec<String>,
    reads_content: bool,
    /// Whether the administrator grants it what it asks for.
    granted: bool,
    /// Below these paths alone, if there are any.
    content_below: Vec<PathBuf>,
    required: bool,
    fields: Vec<&'static str>,
    misses_max: Option<u32>,
    restarts_max: Option<u32>,
    backoff_ms: Option<u32>,
    hang_ms: u32,
    start_ms: Option<u32>,
    memory_bytes: Option<u64>,
    threads: Option<u32>,
    monitored: bool,
    installed: bool,
    content_type: Option<&'static str>,
    verdict: &'static str,
    filters: Vec<String>,
}

impl Setup {
    /// Protects `tree` and what is mounted below it. Both budgets are 50 ms.
    pub fn protecting(tree: &Path) -> Self {
        Self {
            trees: vec![tree.to_owned()],
            engines: Vec::new(),
            fallback: Fallback::Open,
            budget_ms: 50,
            content_budget_ms: 50,
            cache: true,
            in_flight_max: None,
            without_quarantined: false,
            monitor: false,
            guarded: Vec::new(),
            places: Vec::new(),
            types: Vec::new(),
            recorded: None,
            updates: None,
            rules: Vec::new(),
            rules_watched: false,
        }
    }

    /// Puts `text` into the file `name` of the folder of policies.
    #[must_use]
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        self.rules.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Enforces no rule.
    #[must_use]
    pub fn watching_rules(mut self) -> Self {
        self.rules_watched = true;
        self
    }

    /// Records decided questions, and of their objects `none`, `sums` or `bytes`.
    #[must_use]
    pub fn recording(mut self, content: &'static str) -> Self {
        self.recorded = Some(content);
        self
    }

    /// Has releases tried as `text`, the updates file, says.
    #[must_use]
    pub fn updates(mut self, text: &str) -> Self {
        self.updates = Some(text.to_owned());
        self
    }

    /// Protects the tree at `path` in another mode: `enforce`, `monitor` or `off`.
    #[must_use]
    pub fn tree(mut self, path: &Path, mode: &'static str) -> Self {
        self.places.push((path.to_owned(), mode));
        self
    }

    /// Protects file systems of this type in another mode.
    #[must_use]
    pub fn file_system(mut self, fs_type: &'static str, mode: &'static str) -> Self {
        self.types.push((fs_type, mode));
        self
    }

    /// Docks `engine` too.
    #[must_use]
    pub fn engine(mut self, engine: EngineSetup) -> Self {
        self.engines.push(engine);
        self
    }

    /// Denies where a required verdict does not come.
    #[must_use]
    pub fn fail_closed(mut self) -> Self {
        self.fallback = Fallback::Closed;
        self
    }

    /// Gives every question `ms` milliseconds.
    #[must_use]
    pub fn budget_ms(mut self, ms: u32) -> Self {
        self.budget_ms = ms;
        self.content_budget_ms = ms;
        self
    }

    /// Caches nothing.
    #[must_use]
    pub fn uncached(mut self) -> Self {
        self.cache = false;
        self
    }

    /// Decides at most `count` questions at a time.
    #[must_use]
    pub fn in_flight_max(mut self, count: u32) -> Self {
        self.in_flight_max = Some(count);
        self
    }

    /// Goes on without an engine that is in quarantine.
    #[must_use]
    pub fn without_quarantined(mut self) -> Self {
        self.without_quarantined = true;
        self
    }

    /// Refuses nothing.
    #[must_use]
    pub fn monitor(mut self) -> Self {
        self.monitor = true;
        self
    }

    /// Lets no engine deny `path`.
    #[must_use]
    pub fn guarding(mut self, path: &Path) -> Self {
        self.guarded.push(path.to_owned());
        self
    }

    /// Names of the engines, in order.
    pub fn engine_names(&self) -> impl Iterator<Item = &str> {
        self.engines.iter().map(|engine| engine.name.as_str())
    }

    /// Writes everything below `folder`; gives the configuration file.
    ///
    /// # Errors
    ///
    /// If a file cannot be written or an engine is not built.
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let state = folder.join("state");
        let mut text = String::new();
        let mode = if self.monitor { "monitor" } else { "enforce" };
        writeln!(text, "mode = {mode:?}\n")?;
        writeln!(text, "[host]\ncontrol_socket = {:?}", control_socket(folder).display())?;
        writeln!(text, "state_dir = {:?}", state.display())?;
        if let Some(count) = self.in_flight_max {
            writeln!(text, "in_flight_max = {count}")?;
        }
        if let Some(updates) = &self.updates {
            let file = folder.join("updates.toml");
            fs::write(&file, updates)?;
            writeln!(text, "updates_file = {:?}", file.display())?;
        }
        writeln!(text, "\n[cache]\nenabled = {}\n", self.cache)?;
        let policies = policy_folder(folder);
        let mode = if self.rules_watched { "monitor" } else { "enforce" };
        writeln!(text, "[rules]\ndir = {policies:?}\nmode = {mode:?}\n")?;
        for (name, text) in &self.rules {
            put_policy(folder, name, text)?;
        }
        writeln!(text, "[protect]\ntrees = {:?}\n", self.trees)?;
        for (path, mode) in &self.places {
            writeln!(text, "[[protect.tree]]\npath = {path:?}\nmode = {mode:?}\n")?;
        }
        for (fs_type, mode) in &self.types {
            writeln!(text, "[[protect.file_system]]\ntype = {fs_type:?}\nmode = {mode:?}\n")?;
        }
        if let Some(content) = self.recorded {
            writeln!(text, "[record]\nenabled = true\ncontent = {content:?}")?;
            writeln!(text, "bytes_max = \"4GiB\"\n")?;
        }
        writeln!(text, "[guard]\nextra = {:?}\n", self.guarded)?;
        for event in ["process.exec", "file.open"] {
            self.write_policy(event, &mut text)?;
        }
        for engine in &self.engines {
            engine.write(folder, &mut text)?;
        }
        let file = folder.join("outrigger.toml");
        fs::write(&file, text)?;
        Ok(file)
    }

    fn write_policy(&self, event: &str, text: &mut String) -> Result<()> {
        let fallback = match self.fallback {
            Fallback::Open => "open",
            Fallback::Closed => "closed",
        };
        writeln!(text, "[policy.{event:?}]\nbudget_ms = {}", self.budget_ms)?;
        writeln!(text, "content_budget_ms = {}", self.content_budget_ms)?;
        writeln!(text, "fallback = {fallback:?}")?;
        if self.without_quarantined {
            writeln!(text, "on_quarantine = \"without\"")?;
        }
        Ok(writeln!(text)?)
    }
}

impl EngineSetup {
    /// The engine of the hash lists, which denies the EICAR file and the bad program.
    pub fn hashlist() -> Self {
        let deny = [bait::sha256(&bait::eicar()), bait::sha256(&bait::bad_program())];
        Self::new("hashlist", binaries::HASHLIST, ("tests.deny", deny.join("\n") + "\n"))
    }

    /// Has the hash lists deny `content` too.
    #[must_use]
    pub fn also_denying(mut self, content: &[u8]) -> Self {
        self.content_file.1 += &(bait::sha256(content) + "\n");
        self
    }

    /// The engine of the YARA rules, which denies by `rules`, and takes its time on a busy machine.
    pub fn yara(rules: &str) -> Self {
        let file = ("tests.yar", rules.to_owned());
        Self::new("yara", binaries::YARA, file).argument("--scan-ms").argument("5000").threads(16)
    }

    /// Gives its program one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// The engine that does what its behaviour says (see `engines/hostile`), here without content.
    pub fn faulty(name: &str, behaviour: &str) -> Self {
        let file = ("behaviour", behaviour.to_owned());
        Self { reads_content: false, ..Self::new(name, binaries::HOSTILE, file).argument(name) }
    }

    /// The interpreter of July 2024, with `table`; see `engines/channel291`.
    pub fn channel291(table: &str) -> Self {
        let file = ("pipes.table", table.to_owned());
        let plain = Self::new("channel291", binaries::CHANNEL291, file);
        let fields = vec!["path", "credentials", "attributes"];
        Self { reads_content: false, fields, verdict: "subject", ..plain }
    }

    /// As [`EngineSetup::faulty`], and it is given the content of every file.
    pub fn faulty_reader(name: &str, behaviour: &str) -> Self {
        Self { reads_content: true, ..Self::faulty(name, behaviour) }
    }

    fn new(name: &str, binary: &'static str, content_file: (&'static str, String)) -> Self {
        Self {
            name: name.to_owned(),
            // The engines of this repository have its version.
            version: env!("CARGO_PKG_VERSION").to_owned(),
            binary,
            events: vec![("process.exec", "ask", None), ("file.open", "ask", None)],
            content_file,
            rules: Vec::new(),
            arguments: Vec::new(),
            reads_content: true,
            granted: true,
            content_below: Vec::new(),
            required: true,
            fields: Vec::new(),
            misses_max: None,
            restarts_max: None,
            backoff_ms: None,
            hang_ms: 1000,
            start_ms: None,
            memory_bytes: None,
            threads: None,
            monitored: false,
            installed: false,
            content_type: None,
            verdict: "content",
            filters: Vec::new(),
        }
    }

    /// Subscribes to nothing, until [`Self::subscribed`] says to what.
    #[must_use]
    pub fn without_events(mut self) -> Self {
        self.events.clear();
        self
    }

    /// Subscribes to one more event: what it needs, and what it may degrade to.
    #[must_use]
    pub fn subscribed(
        mut self,
        event: &'static str,
        needs: &'static str,
        degrade_to: Option<&'static str>,
    ) -> Self {
        self.events.push((event, needs, degrade_to));
        self
    }

    /// Asks for a field of the events: `path`, `credentials` or `attributes`.
    #[must_use]
    pub fn field(mut self, field: &'static str) -> Self {
        self.fields.push(field);
        self
    }

    /// Is told only what fits this `[[filter]]` of a manifest, or another one.
    #[must_use]
    pub fn filter(mut self, lines: &str) -> Self {
        self.filters.push(lines.to_owned());
        self
    }

    /// Is given the content of files below `path`, and of others only below other such paths.
    #[must_use]
    pub fn content_below(mut self, path: &Path) -> Self {
        self.content_below.push(path.to_owned());
        self
    }

    /// Is given no content, although it asks for it.
    #[must_use]
    pub fn without_grant(mut self) -> Self {
        self.granted = false;
        self
    }

    /// Its Allow is not needed.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }

    /// May let `count` deadlines pass before it is quarantined.
    #[must_use]
    pub fn misses_max(mut self, count: u32) -> Self {
        self.misses_max = Some(count);
        self
    }

    /// Waits `ms` milliseconds before its second restart, and longer before the next.
    #[must_use]
    pub fn backoff_ms(mut self, ms: u32) -> Self {
        self.backoff_ms = Some(ms);
        self
    }

    /// May be restarted `count` times before it is quarantined.
    #[must_use]
    pub fn restarts_max(mut self, count: u32) -> Self {
        self.restarts_max = Some(count);
        self
    }

    /// Counts as hung after `ms` milliseconds without a sign of life.
    #[must_use]
    pub fn hang_ms(mut self, ms: u32) -> Self {
        self.hang_ms = ms;
        self
    }

    /// Counts as hung if it has not docked `ms` milliseconds after its start.
    #[must_use]
    pub fn start_ms(mut self, ms: u32) -> Self {
        self.start_ms = Some(ms);
        self
    }

    /// Docks what [`crate::Releases`] puts in force, and not what lies in its folder.
    #[must_use]
    pub fn installed(mut self) -> Self {
        self.installed = true;
        self
    }

    /// As another version, which a faulty engine is told to be, with the behaviour that its code brings along; without
    /// `words` it does what its content says.
    #[must_use]
    pub fn release(mut self, version: &str, words: &str) -> Self {
        version.clone_into(&mut self.version);
        self.arguments.truncate(1);
        self.arguments.push(version.to_owned());
        self.arguments.extend(words.split_ascii_whitespace().map(str::to_owned));
        self
    }

    /// Says in its manifest that its content is of this type, so that releases of it can be published.
    #[must_use]
    pub fn content_type(mut self, kind: &'static str) -> Self {
        self.content_type = Some(kind);
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// With other content: of a hash list or rules the text, of a faulty engine its behaviour.
    #[must_use]
    pub fn with_content(mut self, text: &str) -> Self {
        text.clone_into(&mut self.content_file.1);
        self
    }

    /// The files of a release of its code: path, bytes, and whether it is a program.
    ///
    /// # Errors
    ///
    /// If the engine is not built.
    pub fn code_files(&self) -> Result<Vec<(String, Vec<u8>, bool)>> {
        let program = fs::read(binaries::path(self.binary)?)?;
        let manifest = self.manifest(Path::new("engine"))?.into_bytes();
        Ok(vec![
            ("engine".to_owned(), program, true),
            ("manifest.toml".to_owned(), manifest, false),
        ])
    }

    /// The files of a release of its content.
    pub fn content_files(&self) -> Vec<(String, Vec<u8>, bool)> {
        let plain = |name: &str, text: &str| (name.to_owned(), text.to_owned().into_bytes(), false);
        let rules = self.rules.iter().map(|(name, text)| plain(name, text));
        std::iter::once(plain(self.content_file.0, &self.content_file.1)).chain(rules).collect()
    }

    /// With a file of rules in its content.
    #[must_use]
    pub fn rules(mut self, name: &str, text: &str) -> Self {
        self.rules.push((name.to_owned(), text.to_owned()));
        self
    }

    /// None of its denials is enforced.
    #[must_use]
    pub fn monitored(mut self) -> Self {
        self.monitored = true;
        self
    }

    /// May use `bytes` bytes of memory.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// May have `count` threads.
    #[must_use]
    pub fn threads(mut self, count: u32) -> Self {
        self.threads = Some(count);
        self
    }

    /// Writes it below `folder` without a host: its manifest and its content folder.
    ///
    /// # Errors
    ///
    /// If a file cannot be written or the engine is not built.
    pub fn write_alone(&self, folder: &Path) -> Result<(PathBuf, PathBuf)> {
        self.write(folder, &mut String::new())?;
        Ok((folder.join(&self.name).join("manifest.toml"), content_folder(folder, &self.name)))
    }

    fn write(&self, folder: &Path, config: &mut String) -> Result<()> {
        writeln!(config, "[[engine]]")?;
        if self.installed {
            writeln!(config, "installed = {:?}", self.name)?;
        } else {
            let content = content_folder(folder, &self.name);
            fs::create_dir_all(&content)?;
            for (name, bytes, _) in self.content_files() {
                fs::write(content.join(name), bytes)?;
            }
            let manifest = folder.join(&self.name).join("manifest.toml");
            fs::write(&manifest, self.manifest(&binaries::path(self.binary)?)?)?;
            writeln!(config, "manifest = {:?}", manifest.display())?;
            writeln!(config, "content_dir = {:?}", content.display())?;
        }
        writeln!(config, "required = {}", self.required)?;
        if self.monitored {
            writeln!(config, "mode = \"monitor\"")?;
        }
        if self.content_below.is_empty() {
            let all = self.reads_content && self.granted;
            writeln!(config, "content = {:?}", if all { "all" } else { "none" })?;
        } else {
            writeln!(config, "content = {:?}", self.content_below)?;
        }
        if let Some(count) = self.misses_max {
            writeln!(config, "misses_max = {count}")?;
        }
        if let Some(count) = self.restarts_max {
            writeln!(config, "restarts_max = {count}")?;
        }
        if let Some(ms) = self.backoff_ms {
            writeln!(config, "backoff_ms = {ms}\nbackoff_max_ms = {ms}")?;
        }
        Ok(writeln!(config)?)
    }

    fn manifest(&self, program: &Path) -> Result<String> {
        let mut text = String::new();
        writeln!(text, "name = {:?}\nvendor = \"Outrigger tests\"", self.name)?;
        writeln!(text, "version = {:?}\ncontract = \"1\"", self.version)?;
        writeln!(text, "verdict = {:?}\n", self.verdict)?;
        writeln!(text, "[entry]\nprogram = {:?}", program.display())?;
        if !self.arguments.is_empty() {
            writeln!(text, "arguments = {:?}", self.arguments)?;
        }
        writeln!(text)?;
        for (event, needs, degrade_to) in &self.events {
            writeln!(text, "[events.{event:?}]\nneeds = {needs:?}")?;
            if let Some(weaker) = degrade_to {
                writeln!(text, "degrade_to = {weaker:?}")?;
            }
        }
        writeln!(text, "[needs]\nfields = {:?}\ncontent = {}\n", self.fields, self.reads_content)?;
        writeln!(text, "[limits]\nheartbeat_ms = 200\nhang_ms = {}", self.hang_ms)?;
        if let Some(ms) = self.start_ms {
            writeln!(text, "start_ms = {ms}")?;
        }
        if let Some(bytes) = self.memory_bytes {
            writeln!(text, "memory_bytes = {bytes}")?;
        }
        if let Some(count) = self.threads {
            writeln!(text, "threads = {count}")?;
        }
        for lines in &self.filters {
            writeln!(text, "\n[[filter]]\n{lines}")?;
        }
        if let Some(kind) = self.content_type {
            writeln!(text, "\n[content]\ntype = {kind:?}\nschema = \"1\"")?;
        }
        Ok(text)
    }
}

/// Where the host of the setup in `folder` listens.
pub fn control_socket(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

/// The content folder of an engine of the setup in `folder`.
pub(crate) fn content_folder(folder: &Path, engine: &str) -> PathBuf {
    folder.join(engine).join("content")
}

/// Where the policies of a platform whose files lie below `folder` are.
pub fn policy_folder(folder: &Path) -> PathBuf {
    folder.join("policy")
}

/// Writes a file of policies as its owner would, to be put in force later.
///
/// # Errors
///
/// If it cannot be written.
pub fn put_policy(folder: &Path, name: &str, text: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let policies = policy_folder(folder);
    fs::create_dir_all(&policies)?;
    fs::set_permissions(&policies, fs::Permissions::from_mode(0o755))?;
    let file = policies.join(name);
    fs::write(&file, text)?;
    Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?)
}
