//! Who watches: nobody, a bare responder, one of the other agents, or the platform.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use outrigger_testkit::agent::Agent;
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Setup};

use crate::ground::Ground;
use crate::{clamonacc, fapolicyd};

/// An ordinary user.
pub(crate) const USER: u32 = 1000;
/// How long an agent may take until it refuses what it must.
const START: Duration = Duration::from_secs(60);
/// Where the rules lie that ship with the engine `yara`. They are not part of this program: it would be
/// refused for what is written in them.
pub(crate) const RULES: &str = "/usr/share/outrigger/yara";

/// One of those that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    /// Nobody watches.
    None,
    /// One process allows every question at once: what the kernel's way of asking costs by itself.
    Floor,
    /// fapolicyd, enforcing.
    Fapolicyd,
    /// clamd and clamonacc, preventing.
    Clamonacc,
    /// The platform with its hash lists.
    Hashlist,
    /// The platform with its YARA rules.
    Yara,
    /// The platform with both.
    Both,
}

impl Side {
    pub(crate) const ALL: [Self; 7] = [
        Self::None,
        Self::Floor,
        Self::Fapolicyd,
        Self::Clamonacc,
        Self::Hashlist,
        Self::Yara,
        Self::Both,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Floor => "floor",
            Self::Fapolicyd => "fapolicyd",
            Self::Clamonacc => "clamonacc",
            Self::Hashlist => "hashlist",
            Self::Yara => "yara",
            Self::Both => "both",
        }
    }

    /// Starts it, after a look that nobody refuses anything yet, and waits until it refuses what it must.
    pub(crate) fn start(self, ground: &Ground) -> Result<Running> {
        for (what, outcome) in tries(ground)? {
            ensure!(outcome == Outcome::Through, "{what} with nobody watching: {outcome:?}");
        }
        let running = match self {
            Self::None => Running::None,
            Self::Floor => {
                let mut responder = Agent::start_service("floor", &["/srv", "exec"])?;
                responder.ready()?;
                Running::Floor { _responder: responder }
            }
            Self::Fapolicyd => {
                fapolicyd::start()?;
                Running::Fapolicyd
            }
            Self::Clamonacc => {
                clamonacc::start(ground)?;
                Running::Clamonacc
            }
            Self::Hashlist => Running::platform([hashlist()])?,
            Self::Yara => Running::platform([yara()?])?,
            Self::Both => Running::platform([hashlist(), yara()?])?,
        };
        let refuses = || Ok(running.prove(ground).ok());
        if let Err(late) = wait_for("its first refusal", START, refuses) {
            let why = running.prove(ground).err().unwrap_or(late);
            return Err(why.context(running.log()));
        }
        Ok(running)
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Side {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let side = Self::ALL.into_iter().find(|side| side.name() == name);
        side.with_context(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("{name:?} is no side; there are {names}")
        })
    }
}

/// Who watches, at work.
#[derive(Debug)]
pub(crate) enum Running {
    None,
    Floor { _responder: Agent },
    Fapolicyd,
    Clamonacc,
    Platform(Box<Host>),
}

impl Running {
    /// The platform on the whole of the private root, with what the product does by default.
    fn platform(engines: impl IntoIterator<Item = EngineSetup>) -> Result<Self> {
        let setup = Setup::protecting(Path::new("/srv")).budget_ms(500);
        // Each is told all there is to tell about a question, and reads every file.
        let told = |engine: EngineSetup| {
            ["path", "credentials", "attributes"].into_iter().fold(engine, EngineSetup::field)
        };
        let setup = engines.into_iter().map(told).fold(setup, Setup::engine);
        Ok(Self::Platform(Box::new(Host::start(Path::new("/var/lib/outrigger"), &setup)?)))
    }

    /// Shows that it refuses what it must, and serves a clean file.
    pub(crate) fn prove(&self, ground: &Ground) -> Result<()> {
        let [eicar, untrusted] = tries(ground)?;
        let (refused, served) = match self {
            Self::None | Self::Floor { .. } => (None, vec![eicar, untrusted]),
            Self::Fapolicyd => (Some(untrusted), vec![eicar]),
            Self::Clamonacc | Self::Platform(_) => (Some(eicar), vec![untrusted]),
        };
        if let Some((what, outcome)) = refused {
            ensure!(outcome == Outcome::Refused, "it does not protect: {what}: {outcome:?}");
        }
        for (what, outcome) in served {
            ensure!(outcome == Outcome::Through, "{what}: {outcome:?}");
        }
        Ok(())
    }

    /// Ends the measurement: whether whoever watched was the one who decided, all the time.
    pub(crate) fn finish(self) -> Result<()> {
        let Self::Platform(host) = self else { return Ok(()) };
        let status = host.status()?;
        let fallbacks = &status.counters.fallbacks;
        if !fallbacks.is_empty() {
            bail!("not every question was decided by its engines: {fallbacks:?}\n{}", host.log());
        }
        for engine in &status.engines {
            ensure!(engine.starts == 1, "{} was restarted: {engine:?}", engine.name);
            ensure!(engine.sandbox_missing.is_empty(), "not all of its sandbox: {engine:?}");
        }
        host.end()
    }

    /// What it wrote, for a person who asks why it failed.
    fn log(&self) -> String {
        match self {
            Self::None | Self::Floor { .. } => String::new(),
            Self::Fapolicyd => fapolicyd::log(),
            Self::Clamonacc => clamonacc::log(),
            Self::Platform(host) => host.log(),
        }
    }
}

/// Opens what a scanner must refuse, and has an ordinary user run what nobody vouches for.
fn tries(ground: &Ground) -> Result<[(&'static str, Outcome); 2]> {
    let program = ground.untrusted.to_str().context("the path is not UTF-8")?;
    let untrusted = Agent::start_as("exec", &[program], USER)?.result()?;
    Ok([
        ("opening the EICAR file", ways::open(&ground.eicar)),
        ("running an unknown program", untrusted),
    ])
}

fn hashlist() -> EngineSetup {
    EngineSetup::hashlist()
}

/// With the rules that ship and the limits of the manifest that does.
fn yara() -> Result<EngineSetup> {
    let mut rules = String::new();
    for file in fs::read_dir(RULES)? {
        rules += &fs::read_to_string(file?.path())?;
    }
    let engine = EngineSetup::yara(&rules).memory_bytes(512 << 20);
    Ok(engine.argument("--scan-ms").argument("100").argument("--scan-bytes").argument("8388608"))
}

/// The versions of Debian's packages, in a line.
pub(crate) fn versions(packages: &[&str]) -> Result<String> {
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat", "${Package} ${Version} "])
        .args(packages)
        .output()
        .context("cannot start dpkg-query")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
