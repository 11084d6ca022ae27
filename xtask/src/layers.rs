//! Checks that the crates keep to their layers.
//!
//! The rule: a crate depends only on crates of a lower number, and only on those that its row names;
//! the C SDK wraps the Rust one, and an engine links nothing of the platform but an SDK (the one that
//! attacks the platform in tests links the ends of the dock besides). What tests
//! need (`dev-dependencies`, everything under `tests/`, `fuzz/` and `xtask/`) is not looked at.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// One row of the table of layers.
struct Layer {
    /// The crate's folder; `engines/*` stands for every folder in it.
    folder: &'static str,
    /// The crates it may depend on, by folder.
    on: &'static [&'static str],
}

/// The table of layers, lowest first; `docs/architecture.md` draws it.
const LAYERS: &[&[Layer]] = &[
    &[Layer { folder: "crates/api", on: &[] }, Layer { folder: "crates/sandbox", on: &[] }],
    &[
        Layer { folder: "crates/decision", on: &["crates/api"] },
        Layer { folder: "crates/dock", on: &["crates/api"] },
        Layer { folder: "crates/sensor", on: &["crates/api"] },
        Layer { folder: "crates/telemetry", on: &["crates/api"] },
        Layer { folder: "crates/update", on: &["crates/api"] },
        Layer { folder: "crates/fetch", on: &["crates/api", "crates/sandbox"] },
    ],
    &[
        Layer {
            folder: "crates/supervisor",
            on: &["crates/api", "crates/decision", "crates/dock", "crates/sandbox"],
        },
        Layer { folder: "crates/policy", on: &["crates/api", "crates/decision"] },
        Layer { folder: "crates/fleet", on: &["crates/api", "crates/update"] },
        Layer { folder: "sdk/rust", on: &["crates/api", "crates/dock"] },
        Layer { folder: "sdk/c", on: &["sdk/rust"] },
    ],
    &[
        Layer {
            folder: "crates/hostd",
            on: &[
                "crates/api",
                "crates/dock",
                "crates/decision",
                "crates/sensor",
                "crates/sandbox",
                "crates/supervisor",
                "crates/update",
                "crates/telemetry",
            ],
        },
        // A test: it lies to the host through the bare ends of the dock, which no SDK lets it do.
        Layer { folder: "engines/hostile", on: &["crates/api", "crates/dock", "sdk/rust"] },
        Layer { folder: "engines/*", on: &["sdk/rust", "sdk/c"] },
        Layer {
            folder: "crates/cli",
            on: &[
                "crates/api",
                "crates/decision",
                "crates/policy",
                "crates/sensor",
                "crates/supervisor",
                "crates/update",
            ],
        },
    ],
];

/// Folders of crates that ship to nobody.
const FREE: &[&str] = &["tests", "fuzz", "xtask"];

/// What `cargo metadata --no-deps` says, as far as it matters here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    /// Where it lies, if it is one of ours.
    path: Option<PathBuf>,
    /// `None` for an ordinary one, `dev` or `build`.
    kind: Option<String>,
}

/// Checks the workspace at `root`; a summary if it is clean.
///
/// # Errors
///
/// If a crate depends on what it may not, or stands in no layer, each named on a line.
pub(crate) fn run(root: &Path) -> Result<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cargo does not start")?;
    if !output.status.success() {
        bail!("cargo metadata failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    judge(&output.stdout)
}

fn judge(metadata: &[u8]) -> Result<String> {
    let metadata: Metadata =
        serde_json::from_slice(metadata).context("cargo metadata is not what it was")?;
    let mut wrong = Vec::new();
    let mut checked = 0;
    for package in &metadata.packages {
        let folder = folder(&metadata.workspace_root, &package.manifest_path)?;
        if FREE.iter().any(|free| folder.starts_with(free)) {
            continue;
        }
        checked += 1;
        match layer(&folder) {
            Some(layer) => {
                wrong.extend(violations(&metadata.workspace_root, package, &folder, layer)?)
            }
            None => wrong.push(format!(
                "{} stands in no layer: give it a row in xtask/src/layers.rs",
                folder.display()
            )),
        }
    }
    ensure!(wrong.is_empty(), "layers: {} broken\n  {}", wrong.len(), wrong.join("\n  "));
    Ok(format!("layers: {checked} crates depend only on what stands under them"))
}

/// The folder of the crate with this manifest, relative to the workspace.
fn folder(root: &Path, manifest: &Path) -> Result<PathBuf> {
    let folder = manifest.parent().unwrap_or(manifest);
    let inside = folder.strip_prefix(root);
    inside
        .map(Path::to_owned)
        .with_context(|| format!("{} is not in {}", folder.display(), root.display()))
}

fn layer(folder: &Path) -> Option<&'static Layer> {
    LAYERS.iter().copied().flatten().find(|layer| match layer.folder.strip_suffix("/*") {
        Some(parent) => folder.parent() == Some(Path::new(parent)),
        None => folder == Path::new(layer.folder),
    })
}

fn violations(root: &Path, package: &Package, folder: &Path, layer: &Layer) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for dependency in &package.dependencies {
        let Some(path) = &dependency.path else { continue };
        if dependency.kind.as_deref() == Some("dev") {
            continue;
        }
        let on = self::folder(root, &path.join("Cargo.toml"))?;
        if !layer.on.iter().any(|allowed| on == Path::new(allowed)) {
            let allowed =
                if layer.on.is_empty() { "nothing of ours".into() } else { layer.on.join(", ") };
            wrong.push(format!(
                "{} depends on {}; it may depend on {allowed}",
                folder.display(),
                on.display()
            ));
        }
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(folder: &str, dependencies: &[Value]) -> Value {
        json!({
            "name": folder,
            "manifest_path": format!("/repo/{folder}/Cargo.toml"),
            "dependencies": dependencies,
        })
    }

    fn on(folder: &str) -> Value {
        json!({ "name": folder, "path": format!("/repo/{folder}"), "kind": null })
    }

    fn workspace(packages: &[Value]) -> Result<String> {
        let metadata = json!({ "packages": packages, "workspace_root": "/repo" });
        judge(metadata.to_string().as_bytes())
    }

    fn complaint(packages: &[Value]) -> String {
        workspace(packages).expect_err("a layer is broken").to_string()
    }

    #[test]
    fn what_the_table_allows_is_clean() {
        let registry = json!({ "name": "serde", "path": null, "kind": null });
        let packages = [
            package("crates/api", &[registry]),
            package("crates/hostd", &[on("crates/supervisor"), on("crates/api")]),
            package("sdk/c", &[on("sdk/rust")]),
            package("engines/hashlist", &[on("sdk/rust")]),
        ];

        let summary = workspace(&packages).expect("clean");

        assert_eq!(summary, "layers: 4 crates depend only on what stands under them");
    }

    #[test]
    fn a_crate_that_depends_upwards_is_named() {
        let packages = [package("crates/api", &[on("crates/hostd")])];

        assert_eq!(
            complaint(&packages),
            "layers: 1 broken\n  crates/api depends on crates/hostd; it may depend on nothing of ours"
        );
    }

    #[test]
    fn an_engine_links_nothing_but_an_sdk() {
        let packages = [package("engines/yara", &[on("sdk/rust"), on("crates/dock")])];

        assert!(complaint(&packages).contains("engines/yara depends on crates/dock"));
    }

    #[test]
    fn a_build_dependency_counts() {
        let build = json!({ "name": "x", "path": "/repo/crates/hostd", "kind": "build" });

        assert!(complaint(&[package("crates/sensor", &[build])]).contains("crates/hostd"));
    }

    #[test]
    fn tests_may_depend_on_anything() {
        let dev = json!({ "name": "x", "path": "/repo/tests/kit", "kind": "dev" });
        let packages = [
            package("crates/sensor", &[dev]),
            package("tests/system", &[on("crates/hostd"), on("crates/cli")]),
            package("xtask", &[on("crates/decision")]),
        ];

        assert!(workspace(&packages).is_ok());
    }

    #[test]
    fn a_crate_without_a_row_is_named() {
        assert!(complaint(&[package("crates/new", &[])]).contains("crates/new stands in no layer"));
    }

    #[test]
    fn the_table_itself_leads_only_downwards() {
        let number = |folder: &str| {
            LAYERS.iter().position(|row| row.iter().any(|layer| layer.folder == folder))
        };
        for (height, row) in LAYERS.iter().enumerate() {
            for layer in *row {
                let downwards = |on: &&str| number(on).is_some_and(|number| number < height);
                let wrapped = layer.folder == "sdk/c" && layer.on == ["sdk/rust"];
                assert!(wrapped || layer.on.iter().all(downwards), "{}", layer.folder);
            }
        }
    }
}
