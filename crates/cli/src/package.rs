//! `outrigger package`: a vendor's side of releases. Asks no host and needs no root: it works on files.

mod arguments;
mod show;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use outrigger_api::key::EngineName;
use outrigger_api::release::Part;
use outrigger_api::settings::{
    ContentHead, MANIFEST_FILE, Manifest, RELEASE_FILE, Release, SettingsErrors, package_target,
    release_version,
};
use outrigger_update::package::{BuildError, PackageLimits, Refusal, build_folder};
use outrigger_update::publish::{
    Key, KeyError, Lifetimes, PublicKey, PublishError, Publisher, RootChange, Signed,
    inspect_package, inspect_repository,
};
use semver::Version;
use serde_json::json;

pub(crate) use arguments::PackageCommand;
use arguments::{Build, Given, Publish, Root, Sign};

use crate::run::{Outcome, UsageError};
use crate::steps::{Step, Steps};
use crate::text::counted;

/// Does what `command` says and tells `out`.
///
/// # Errors
///
/// What was refused, or could not be read or written; [`is_refusal`] tells.
pub(crate) fn run(command: &PackageCommand, json: bool, out: &mut impl Write) -> Result<Outcome> {
    let mut steps = Steps::new(out, json);
    match command {
        PackageCommand::NewKey { file } => new_key(file, &mut steps),
        PackageCommand::Build(build) => build_package(build, &mut steps),
        PackageCommand::Root(root) => change_root(root, &mut steps),
        PackageCommand::Sign(sign) => sign_releases(sign, &mut steps),
        PackageCommand::Publish(publish) => publish_releases(publish, &mut steps),
        PackageCommand::Inspect { path } => inspect(path, &mut steps),
    }
}

/// Whether `error` says that something was looked at and refused.
pub(crate) fn is_refusal(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<PublishError>()
            || cause.is::<KeyError>()
            || cause.is::<BuildError>()
            || cause.is::<Refusal>()
            || cause.is::<SettingsErrors>()
            || cause.is::<Unreadable>()
    })
}

/// A file given on the command line cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
struct Unreadable {
    act: &'static str,
    path: PathBuf,
    source: std::io::Error,
}

fn new_key(file: &Path, steps: &mut Steps<'_>) -> Result<Outcome> {
    let key = Key::generate()?;
    let public = key.write_new(file)?;
    if steps.is_json() {
        steps.line(&json!({ "id": key.id(), "private": file, "public": public }))?;
        return Ok(Outcome::Good);
    }
    let (file, public) = (file.display().to_string(), public.display().to_string());
    tell(steps, "private", &file, "sign with it; nobody else needs it")?;
    tell(steps, "public", &public, "give it to whoever changes the root")?;
    tell(steps, "id", key.id(), "")?;
    Ok(Outcome::Good)
}

fn build_package(build: &Build, steps: &mut Steps<'_>) -> Result<Outcome> {
    let head = head(build)?;
    let default = || format!("{}-{}-{}.tar.gz", head.engine, head.part, head.version).into();
    let output = build.output.clone().unwrap_or_else(default);
    steps.bytes(&format!("packing {}", build.folder.display()));
    let packed = build_folder(&build.folder, head, &mut |done, whole| steps.at(done, whole))?;
    fs::write(&output, &packed).map_err(|source| Unreadable {
        act: "write",
        path: output.clone(),
        source,
    })?;
    let view = inspect_package(&packed)?;
    if steps.is_json() {
        let mut view = serde_json::to_value(&view)?;
        view["path"] = json!(output);
        steps.line(&view)?;
        return Ok(Outcome::Good);
    }
    let detail = format!(
        "{} {} {}, {}, {}, SHA-256 {}",
        view.engine,
        view.part,
        view.version,
        counted(view.files.len() as u64, "file"),
        counted(view.packed_bytes, "byte"),
        view.sha256
    );
    tell(steps, "built", &output.display().to_string(), &detail)?;
    Ok(Outcome::Good)
}

/// What the package says it is: by the options, else by the `release.toml` of its folder, else by its
/// engine's manifest.
fn head(build: &Build) -> Result<Release> {
    let Build { folder, template, engine, part, version, kind, schema, interpreter, .. } = build;
    let beside = folder.join(RELEASE_FILE);
    let template = template.as_ref().or_else(|| beside.exists().then_some(&beside));
    let template = template.map(|file| Release::read_template(file)).transpose()?;
    let manifest = folder.join(MANIFEST_FILE);
    let part = part.or_else(|| template.as_ref().map(|template| template.part));
    let part = part.or_else(|| manifest.exists().then_some(Part::Code));
    let part = needed(part, "--part")?;
    let manifest = match part {
        Part::Code if manifest.exists() => Some(Manifest::read(&manifest)?),
        _ => None,
    };
    let of_manifest = manifest.as_ref().map(|manifest| {
        let version = release_version(&manifest.version).with_context(|| {
            UsageError(format!(
                "{}: version {:?} is no semantic version without build metadata, which a release needs",
                folder.join(MANIFEST_FILE).display(),
                manifest.version
            ))
        });
        version.map(|version| (manifest.name.clone(), version))
    });
    let of_manifest = of_manifest.transpose()?;
    let (of_name, of_version) = of_manifest.unzip();
    let (name, known, content) = match template {
        Some(Release { engine, version, content, .. }) => (Some(engine), Some(version), content),
        None => (of_name, of_version, None),
    };
    let content = match part {
        Part::Code => None,
        Part::Content => {
            let (of_kind, of_schema, of_interpreter) = match content {
                Some(ContentHead { kind, schema, interpreter }) => {
                    (Some(kind), Some(schema), Some(interpreter))
                }
                None => (None, None, None),
            };
            Some(ContentHead {
                kind: needed(kind.or(of_kind), "--type")?,
                schema: needed(schema.or(of_schema), "--schema")?,
                interpreter: needed(interpreter.clone().or(of_interpreter), "--interpreter")?,
            })
        }
    };
    Ok(Release {
        part,
        engine: needed(engine.clone().or(name), "--engine")?,
        version: needed(version.clone().or(known), "--version")?,
        content,
        files: Vec::new(),
    })
}

fn needed<T>(value: Option<T>, option: &str) -> Result<T> {
    value.with_context(|| {
        UsageError(format!(
            "{option} is missing, and neither a {RELEASE_FILE} nor a {MANIFEST_FILE} in the folder says it"
        ))
    })
}

fn change_root(root: &Root, steps: &mut Steps<'_>) -> Result<Outcome> {
    let keys = keys(&root.key)?;
    let mut change = RootChange::default();
    for Given { roles, value } in &root.add {
        let key = PublicKey::read(Path::new(value))?;
        change.add.extend(roles.iter().map(|role| (*role, key.clone())));
    }
    for Given { roles, value } in &root.remove {
        // A key that is lost has no file any more.
        let id = match is_id(value) {
            true => value.clone(),
            false => PublicKey::read(Path::new(value))?.id().to_owned(),
        };
        change.remove.extend(roles.iter().map(|role| (*role, id.clone())));
    }
    for Given { roles, value } in &root.threshold {
        let threshold = value.parse().ok().filter(|threshold| (1..=100).contains(threshold));
        let threshold = threshold.with_context(|| {
            UsageError(format!("--threshold: {value:?} is no number from 1 to 100"))
        })?;
        change.thresholds.extend(roles.iter().map(|role| (*role, threshold)));
    }
    let changes = !(root.add.is_empty() && root.remove.is_empty() && root.threshold.is_empty());
    let mut publisher = Publisher::create(&root.repository)?;
    if changes || root.renew {
        publisher.change_root(&change, in_days(root.days))?;
    }
    let signed = publisher.sign_root(&keys)?;
    tell_signed(&signed, steps)
}

fn sign_releases(sign: &Sign, steps: &mut Steps<'_>) -> Result<Outcome> {
    let mut publisher = Publisher::open(&sign.repository)?;
    let keys = keys(&sign.key)?;
    let now = Timestamp::now();
    if sign.discard {
        publisher.discard()?;
    }
    for release in &sign.withdraw {
        let (engine, part, version) = named(release)?;
        publisher.withdraw(&engine, part, &version, now)?;
        if !steps.is_json() {
            tell(steps, "withdrawn", release, "")?;
        }
    }
    for file in &sign.package {
        let packed = read_package(file)?;
        steps.turning(&format!("checking {}", file.display()));
        let release = publisher
            .add(&packed, now)
            .with_context(|| format!("{} is not added", file.display()))?;
        if !steps.is_json() {
            let target = package_target(&release.engine, release.part, &release.version);
            tell(steps, "added", &target, &file.display().to_string())?;
        }
    }
    steps.turning("checking what is new");
    let signed = publisher.sign_targets(&keys, in_days(sign.days), now)?;
    tell_signed(&signed, steps)
}

fn publish_releases(publish: &Publish, steps: &mut Steps<'_>) -> Result<Outcome> {
    let mut publisher = Publisher::open(&publish.repository)?;
    let keys = keys(&publish.key)?;
    let lifetimes = Lifetimes {
        snapshot: in_days(publish.snapshot_days),
        timestamp: in_days(publish.timestamp_days),
    };
    let now = Timestamp::now();
    let published = if publish.refresh {
        publisher.refresh(&keys, lifetimes, now)?
    } else {
        publisher.publish(&keys, lifetimes, now)?
    };
    if steps.is_json() {
        steps.line(&published)?;
        return Ok(Outcome::Good);
    }
    let versions = format!(
        "root {}, targets {}, snapshot {}, timestamp {}, good for {} days",
        published.root,
        published.targets,
        published.snapshot,
        published.timestamp,
        publish.timestamp_days
    );
    tell(steps, "published", &publish.repository.display().to_string(), &versions)?;
    Ok(Outcome::Good)
}

fn inspect(path: &Path, steps: &mut Steps<'_>) -> Result<Outcome> {
    if path.is_dir() {
        let now = Timestamp::now();
        let view = inspect_repository(path, now)?;
        let outcome = if view.problems.is_empty() { Outcome::Good } else { Outcome::Bad };
        if steps.is_json() {
            steps.line(&view)?;
        } else {
            steps.text(&show::repository(&view))?;
        }
        return Ok(outcome);
    }
    let view = inspect_package(&read_package(path)?)
        .with_context(|| format!("{} is no package that a machine takes", path.display()))?;
    if steps.is_json() {
        steps.line(&view)?;
    } else {
        steps.text(&show::package(&view))?;
    }
    Ok(Outcome::Good)
}

fn tell(steps: &mut Steps<'_>, step: &str, of: &str, detail: &str) -> Result<()> {
    Ok(steps.done(&Step { step, of, good: true, detail })?)
}

fn tell_signed(signed: &Signed, steps: &mut Steps<'_>) -> Result<Outcome> {
    if steps.is_json() {
        steps.line(signed)?;
        return Ok(Outcome::Good);
    }
    let of = format!("{} {}", signed.role, signed.version);
    let by = match signed.by.len() {
        0 => "by nobody yet".to_owned(),
        1 => "by 1 key".to_owned(),
        keys => format!("by {keys} keys"),
    };
    let rest = match signed.missing {
        0 if signed.in_force => "; it is in force".to_owned(),
        0 => "; `outrigger package publish` puts it in force".to_owned(),
        missing => format!("; {missing} more must sign before it can be in force"),
    };
    tell(steps, "signed", &of, &(by + &rest))?;
    Ok(Outcome::Good)
}

/// The private keys in `files`.
fn keys(files: &[PathBuf]) -> Result<Vec<Key>, KeyError> {
    files.iter().map(|file| Key::read(file)).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The release that `ENGINE/PART/VERSION` is.
fn named(text: &str) -> Result<(EngineName, Part, Version)> {
    let read = || {
        let (engine, rest) = text.split_once('/')?;
        let (part, version) = rest.split_once('/')?;
        Some((engine.parse().ok()?, part.parse().ok()?, release_version(version)?))
    };
    read().with_context(|| {
        UsageError(format!("{text:?} is no release: write ENGINE/PART/VERSION, as `inspect` does"))
    })
}

/// The bytes of the package in `file`, at most as many as one may have and one more.
fn read_package(file: &Path) -> Result<Vec<u8>> {
    let failed = |source| Unreadable { act: "read", path: file.to_owned(), source };
    let mut packed = Vec::new();
    let max = PackageLimits::default().packed;
    File::open(file)
        .and_then(|open| open.take(max + 1).read_to_end(&mut packed))
        .map_err(failed)?;
    Ok(packed)
}

fn in_days(days: u32) -> Timestamp {
    let now = Timestamp::now();
    now.checked_add(SignedDuration::from_hours(24 * i64::from(days))).unwrap_or(Timestamp::MAX)
}
