//! `outriggerd`: keeper, gate and host of the platform, one binary.

#![forbid(unsafe_code)]

mod gate;
mod handover;
mod host;
mod keeper;
mod shared;
mod trial;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use outrigger_api::settings::{EngineSource, HostConfig};

/// The layer above the kernel to which security products dock.
#[derive(Debug, Parser)]
#[command(name = "outriggerd", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Protect this machine as the configuration says, until SIGTERM or Ctrl-C.
    Run {
        /// The configuration file.
        #[arg(long, default_value = "/etc/outrigger/outrigger.toml")]
        config: PathBuf,
        /// Write "ready" to this inherited descriptor once every engine has docked, then close it.
        #[arg(long, value_name = "NUMBER")]
        ready_fd: Option<i32>,
        /// Take over from the running build, whose socket is standard input. Used by `outrigger upgrade`.
        #[arg(long, hide = true)]
        takeover: bool,
    },
    /// Check a configuration and the manifests that it names, and start nothing.
    Check {
        /// The configuration file.
        #[arg(long, default_value = "/etc/outrigger/outrigger.toml")]
        config: PathBuf,
    },
    /// Protect a fresh folder with one engine, to see how it works; nothing is left behind.
    Try {
        /// Protect the file system of this path instead of a fresh one.
        #[arg(long, value_name = "PATH")]
        protect: Option<PathBuf>,
        /// Folder with the engine's manifest.
        #[arg(long, value_name = "FOLDER", default_value = "engines/hashlist")]
        engine: PathBuf,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_target(false)
        .without_time()
        .init();
    match run(arguments.command) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run { config, ready_fd, takeover } => keeper::run(keeper::Options {
            config,
            ready: ready_fd.map(outrigger_sensor::process::own_number),
            predecessor: takeover.then(standard_input).transpose()?,
        }),
        Command::Check { config } => check(&config),
        Command::Try { protect, engine } => trial::run(protect, &engine),
    }
}

fn standard_input() -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3).context("standard input is closed")
}

fn check(path: &std::path::Path) -> Result<ExitCode> {
    let config = HostConfig::read(path)?;
    for (engine, manifest) in config.engines.iter().zip(config.read_manifests()?) {
        match (&engine.source, manifest) {
            (_, Some(manifest)) => tracing::info!(
                "{} {} by {}: the manifest is good",
                manifest.name,
                manifest.version,
                manifest.vendor
            ),
            (EngineSource::Installed(name), None) => {
                tracing::info!("{name}: docks as its release in force says");
            }
            (EngineSource::Manifest(file), None) => {
                anyhow::bail!("{} was not read", file.display())
            }
        }
    }
    tracing::info!("{}: the configuration is good", path.display());
    Ok(ExitCode::SUCCESS)
}
