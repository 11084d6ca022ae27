//! `tuf-client`: the command line that the public TUF conformance suite drives
//! (<https://github.com/theupdateframework/tuf-conformance>, `CLIENT-CLI.md`), over the very code that
//! `outrigger update` uses: the repository, its store, the confined child `outrigger-fetch` beside this program.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, reason = "a command line")]

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use outrigger_update::repository::{ChildTransport, Limits, Refusal, Repository};

/// A TUF client for the conformance suite.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where the trusted metadata is kept.
    #[arg(long, global = true)]
    metadata_dir: Option<PathBuf>,
    /// Where the repository's metadata is.
    #[arg(long, global = true)]
    metadata_url: Option<String>,
    /// A target to download; in this order, until one fails.
    #[arg(long, global = true)]
    target_name: Vec<String>,
    /// Where the repository's targets are.
    #[arg(long, global = true)]
    target_base_url: Option<String>,
    /// Where targets are written.
    #[arg(long, global = true)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Trusts a root.
    Init {
        /// The root's file.
        root: PathBuf,
    },
    /// Brings the trusted metadata up to date.
    Refresh,
    /// The same, then downloads targets.
    Download,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let name = error.downcast_ref().map_or("usage", Refusal::name);
            eprintln!("tuf-client: {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let folder = arguments.metadata_dir.as_deref().context("--metadata-dir is missing")?;
    match &arguments.command {
        Command::Init { root } => {
            let root = std::fs::read(root).context("the root cannot be read")?;
            Repository::adopt(folder, &root)?;
            Ok(())
        }
        Command::Refresh => {
            open(folder, arguments)?.refresh(Timestamp::now()).map(drop).map_err(Into::into)
        }
        Command::Download => download(folder, arguments),
    }
}

fn open(folder: &Path, arguments: &Arguments) -> Result<Repository> {
    let metadata = arguments.metadata_url.as_deref().context("--metadata-url is missing")?;
    let targets = arguments.target_base_url.as_deref().unwrap_or(metadata);
    let root = std::fs::read(folder.join("root.json")).context("no root is trusted: init first")?;
    let child = std::env::current_exe()?.with_file_name("outrigger-fetch");
    let transport = ChildTransport::new(&child, metadata, targets)?;
    Ok(Repository::open(folder, &root, Box::new(transport), Limits::default())?)
}

fn download(folder: &Path, arguments: &Arguments) -> Result<()> {
    let to = arguments.target_dir.as_deref().context("--target-dir is missing")?;
    if arguments.target_name.is_empty() {
        bail!("--target-name is missing");
    }
    let mut repository = open(folder, arguments)?;
    repository.refresh(Timestamp::now())?;
    for name in &arguments.target_name {
        let target = repository.find(name)?;
        let file = to.join(inside(name)?);
        // What is there already, byte for byte, is not asked for again.
        if std::fs::read(&file).is_ok_and(|bytes| target.is(&bytes)) {
            continue;
        }
        let bytes = repository.download(&target, 1 << 30, |_| ())?;
        std::fs::create_dir_all(file.parent().unwrap_or(to))?;
        std::fs::write(&file, bytes)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    Ok(())
}

/// A target's name as a path that stays inside of a folder.
fn inside(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if path.components().all(plain) { Ok(path) } else { bail!("{name:?} leads out of the folder") }
}
