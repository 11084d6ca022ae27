//! The repository's own tasks: `cargo xtask layers`, `cargo xtask docs [--check]` and `cargo xtask fuzz`.

#![forbid(unsafe_code)]

mod docs;
mod events;
mod fuzz;
mod layers;
mod proofs;
mod readme;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// The repository's own tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check that every crate depends only on the layers under it
    Layers,
    /// Write the reference pages that follow from the code
    Docs {
        /// Write nothing; fail if a page, an example in README.md or a test that a page names is not
        /// what there is
        #[arg(long)]
        check: bool,
    },
    /// Run the fuzz targets, all or those named
    Fuzz {
        /// How long each runs
        #[arg(long, value_name = "N", env = "FUZZ_SECONDS", default_value_t = 60)]
        seconds: u32,
        /// Run the one target named on this input alone
        #[arg(long, value_name = "INPUT")]
        replay: Option<PathBuf>,
        /// The targets
        targets: Vec<String>,
    },
}

fn main() -> Result<()> {
    let summary = match Arguments::parse().task {
        Task::Layers => layers::run(&root()?)?,
        Task::Docs { check: false } => docs::write(&root()?)?,
        Task::Docs { check: true } => {
            let root = root()?;
            let (pages, examples) = (docs::check(&root)?, readme::check(&root)?);
            format!("{pages}\n{examples}\n{}", proofs::check(&root)?)
        }
        Task::Fuzz { replay: Some(input), targets, .. } => {
            fuzz::replay(&root()?, &targets, &input)?
        }
        Task::Fuzz { replay: None, seconds, targets } => fuzz::run(&root()?, seconds, &targets)?,
    };
    writeln!(io::stdout(), "{summary}").context("the output is closed")
}

/// The repository this was built from.
fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent()
        .filter(|root| root.join("Cargo.toml").is_file())
        .map(Path::to_owned)
        .with_context(|| format!("{} does not lie in the repository any more", here.display()))
}
