//! The command line.

use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use outrigger_api::control::{EngineAction, SOCKET};
use outrigger_api::key::EngineName;
use outrigger_api::release::Part;
use outrigger_api::settings::UPDATES_FILE;
use semver::Version;

use crate::package::PackageCommand;
use crate::policy::PolicyCommand;
use crate::repair::RepairCommand;

/// Exit status when the host answered and what was asked for is bad.
pub(crate) const BAD: u8 = 1;
/// Exit status for arguments that make no request; clap's own.
pub(crate) const USAGE: u8 = 2;
/// Exit status when no host answered.
pub(crate) const UNREACHABLE: u8 = 3;

const EXIT_CODES: &str = "\
Exit status:
  0  done, and what was asked for is good
  1  the host answered: not healthy, coverage incomplete, case unknown, or refused;
     `package`, `policy`, `update`: refused, or something needs attention
  2  the arguments, or updates.toml, are wrong; nothing was asked
  3  no host answered";

/// Shows and steers the Outrigger host of this machine.
#[derive(Debug, Parser)]
#[command(name = "outrigger", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Print the host's answer as one line of JSON (one per decision for `watch`, per refresh for `top`)
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The host's control socket
    #[arg(long, global = true, value_name = "PATH", env = "OUTRIGGER_SOCKET", default_value = SOCKET)]
    pub(crate) socket: PathBuf,

    /// How long to wait for the host; `upgrade` waits six times as long
    #[arg(long, global = true, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) timeout: Duration,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say whether everything that should protect does, and why not
    Status {
        /// Show the coverage of every event, not only of those that engines are asked about
        #[arg(long)]
        events: bool,
    },
    /// Show every engine: its state, votes, times, faults and sandbox
    Engines,
    /// Show what each engine costs, live, the most expensive first; `q` or Ctrl-C ends it
    Top {
        /// Print one table and end
        #[arg(long)]
        once: bool,
        /// How often the host is asked
        #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
        every: Duration,
    },
    /// Show every decision from now on, a line each, until interrupted
    Watch {
        /// Only what was denied, or would have been if denials were enforced
        #[arg(long)]
        denied: bool,
    },
    /// Show how one case was decided: its votes, their times, and what decided
    Explain {
        /// The case's number, as `watch` shows it
        #[arg(value_name = "CASE")]
        case: NonZeroU64,
    },
    /// Show what this kernel lets Outrigger see and stop, what passes unseen, and what to do; without
    /// a host, root is told what a trial finds
    Doctor {
        /// Show every event, not only those that engines are asked about
        #[arg(long)]
        events: bool,
    },
    /// Do something to one engine
    Engine {
        #[command(subcommand)]
        action: EngineCommand,
    },
    /// Read the host's configuration again
    Reload,
    /// Say what of this machine's coverage is as it should be
    Coverage {
        #[command(subcommand)]
        command: CoverageCommand,
    },
    /// Drop every cached verdict, so that no file of a protected volume is held open
    Flush,
    /// Write, show and make recordings of events; asks no host
    Record {
        #[command(subcommand)]
        command: crate::record::RecordCommand,
    },
    /// Feed recorded events to one engine, started here without a sandbox, and report what it says;
    /// asks no host and needs no root
    Replay(crate::replay::ReplayArguments),
    /// Try an engine and its content as an update would before it decides, and install nothing
    Preflight(crate::preflight::PreflightArguments),
    /// Ask for releases of engines, take and try them, look at them, go back
    Update {
        #[command(subcommand)]
        command: UpdateCommand,
        /// Where releases come from
        #[arg(long, global = true, value_name = "FILE", default_value = UPDATES_FILE)]
        config: PathBuf,
    },
    /// Repair a machine that does not come to health: safe mode, and signed instructions
    Repair {
        #[command(subcommand)]
        command: RepairCommand,
        /// The settings of updates, which say whose instructions are obeyed
        #[arg(long, global = true, value_name = "FILE", default_value = UPDATES_FILE)]
        config: PathBuf,
    },
    /// Check, try and explain policies, the text of rules; asks no host
    Policy {
        #[command(subcommand)]
        command: PolicyCommand,
    },
    /// Hand over to a new build of the host, without a gap
    Upgrade {
        /// The new binary; the running binary's own path if not given
        #[arg(value_name = "BINARY")]
        binary: Option<PathBuf>,
    },
    /// Build, sign and publish releases of an engine; for vendors, needs no host
    Package {
        #[command(subcommand)]
        action: PackageCommand,
    },
}

/// What is done about releases.
#[derive(Debug, Subcommand)]
pub(crate) enum UpdateCommand {
    /// Ask every repository what it offers; takes nothing
    Check {
        /// Only these engines
        #[arg(value_name = "ENGINE")]
        engines: Vec<EngineName>,
    },
    /// Take what is newer: get it, verify it, try it out, and look on while the host runs it in shadow, then on
    /// probation; Ctrl-C ends the looking, not the trial
    Apply {
        /// Only these engines
        #[arg(value_name = "ENGINE")]
        engines: Vec<EngineName>,
        /// Only this part of them
        #[arg(long, value_name = "code|content")]
        part: Option<Part>,
        /// Wait for no ring and no time without updates, and run the shadow short; pins and approval hold
        #[arg(long)]
        emergency: bool,
        /// Return when the shadow runs
        #[arg(long)]
        no_wait: bool,
    },
    /// Say what is on its trial and how it goes, what waits and why, what is in force, what is known to be bad
    Status,
    /// End an engine's trial: what was in force before decides on; the release may be offered again
    Stop {
        /// Which engine
        #[arg(value_name = "ENGINE")]
        engine: EngineName,
    },
    /// Put in force again what was before; what decides now is not taken again
    Back {
        /// Which engine
        #[arg(value_name = "ENGINE")]
        engine: EngineName,
        /// Only this part of it
        #[arg(long, value_name = "code|content")]
        part: Option<Part>,
    },
    /// Say yes to what passed preflight and waits for it
    Approve {
        /// Which engine
        #[arg(value_name = "ENGINE")]
        engine: EngineName,
        /// Only this version
        #[arg(value_name = "VERSION")]
        version: Option<Version>,
        /// Only this part of it
        #[arg(long, value_name = "code|content")]
        part: Option<Part>,
    },
    /// Let a release be taken again that failed here
    ForgetBad {
        /// The SHA-256 of its package, or its engine
        #[arg(value_name = "DIGEST|ENGINE")]
        what: String,
        /// Its version, after an engine
        #[arg(value_name = "VERSION")]
        version: Option<Version>,
    },
    /// Tell what became of each release on this machine, a line each, the newest last
    History {
        /// Only this engine's
        #[arg(value_name = "ENGINE")]
        engine: Option<EngineName>,
        /// The whole story of this version
        #[arg(value_name = "VERSION")]
        version: Option<Version>,
    },
}

/// What is said about coverage.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum CoverageCommand {
    /// What there is of each event now is to be so: less than before is no problem of the status any more
    Accept,
}

/// What is done to an engine.
#[derive(Debug, Subcommand)]
pub(crate) enum EngineCommand {
    /// End it and start it again; its restart budget is not touched
    Restart(Named),
    /// Take it off the dock until it is released
    Quarantine(Named),
    /// Let it dock again, with a fresh restart budget
    Release(Named),
    /// Tell it to read its content again
    Reload(Named),
}

/// Which engine.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The engine's name, as `outrigger engines` shows it
    #[arg(value_name = "NAME")]
    name: EngineName,
}

impl EngineCommand {
    /// The engine meant and what is done to it.
    pub(crate) fn parts(&self) -> (&EngineName, EngineAction) {
        match self {
            Self::Restart(engine) => (&engine.name, EngineAction::Restart),
            Self::Quarantine(engine) => (&engine.name, EngineAction::Quarantine),
            Self::Release(engine) => (&engine.name, EngineAction::Release),
            Self::Reload(engine) => (&engine.name, EngineAction::Reload),
        }
    }
}

/// Seconds from `text`, fractions allowed, more than zero and at most an hour.
fn seconds(text: &str) -> Result<Duration, String> {
    let limit = "a number of seconds, more than 0 and at most 3600";
    let seconds: f64 = text.parse().map_err(|_| limit.to_owned())?;
    if seconds > 0.0 && seconds <= 3600.0 {
        Ok(Duration::from_secs_f64(seconds).max(Duration::from_millis(1)))
    } else {
        Err(limit.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_timeout_is_more_than_nothing_and_at_most_an_hour() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        assert_eq!(seconds("3600"), Ok(Duration::from_secs(3600)));
        assert!(seconds("0").is_err());
        assert!(seconds("3601").is_err());
        assert!(seconds("NaN").is_err());
        assert!(seconds("soon").is_err());
    }
}
