//! What a publisher, or whoever stands between, does to a repository.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::publisher::{Publisher, update};
use outrigger_update::publish::{self, Key, Lifetimes};
use serde_json::Value;

use crate::scenario::Supply;

/// Larger than any limit of metadata.
const ENDLESS: u64 = 1 << 30;
/// How long metadata is good that expires while somebody waits for it.
const SHORT: SignedDuration = SignedDuration::from_secs(2);

/// Does to the repository what `supply` says, after the release of `package` was published; `config` is that of a
/// machine that asks it.
pub(crate) fn spoil(
    supply: Supply,
    publisher: &Publisher,
    before: Option<&Path>,
    package: &Path,
    config: &Path,
) -> Result<()> {
    let repository = publisher.repository();
    let timestamp = repository.join("metadata/timestamp.json");
    match supply {
        Supply::Sound => Ok(()),
        Supply::Unsigned => rewrite(&timestamp, |signatures| signatures.clear()),
        Supply::Forged => rewrite(&timestamp, |signatures| {
            let forged = Value::String("00".repeat(64));
            signatures.iter_mut().for_each(|signature| signature["sig"] = forged.clone());
        }),
        Supply::Expired => expire(publisher, || Ok(())),
        Supply::RolledBack => {
            // The machine has seen the newest before somebody shows it what was.
            update(config, &["check"])?.expect(0)?;
            let before = before.context("a copy of the repository was made")?;
            fs::rename(&repository, repository.with_extension("newest"))?;
            Ok(fs::rename(before, &repository)?)
        }
        // The machine has seen it while it was good.
        Supply::Frozen => expire(publisher, || update(config, &["check"])?.expect(0)),
        Supply::Mixed => {
            let snapshots = numbered(&repository.join("metadata"), "snapshot.json")?;
            let [.., other, newest] = snapshots.as_slice() else {
                anyhow::bail!("the repository has one snapshot")
            };
            fs::copy(other, newest)?;
            Ok(())
        }
        Supply::Endless => Ok(OpenOptions::new().write(true).open(&timestamp)?.set_len(ENDLESS)?),
        Supply::Altered => {
            let file = target(&repository, package)?;
            let open = OpenOptions::new().read(true).write(true).open(&file)?;
            let middle = open.metadata()?.len() / 2;
            let mut byte = [0];
            open.read_exact_at(&mut byte, middle)?;
            Ok(open.write_all_at(&[!byte[0]], middle)?)
        }
        Supply::Truncated => {
            let file = target(&repository, package)?;
            let open = OpenOptions::new().write(true).open(&file)?;
            Ok(open.set_len(open.metadata()?.len() / 2)?)
        }
        Supply::Gone => Ok(fs::rename(&repository, repository.with_extension("gone"))?),
    }
}

/// Copies the repository as it is now.
pub(crate) fn copy(publisher: &Publisher, to: &Path) -> Result<()> {
    fn folder(from: &Path, to: &Path) -> Result<()> {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let (entry, to) = (entry?.path(), to);
            let to = to.join(entry.file_name().context("an entry has a name")?);
            if entry.is_dir() { folder(&entry, &to)? } else { fs::copy(&entry, &to).map(drop)? }
        }
        Ok(())
    }
    folder(&publisher.repository(), to)
}

fn rewrite(file: &Path, change: impl FnOnce(&mut Vec<Value>)) -> Result<()> {
    let mut document: Value = serde_json::from_slice(&fs::read(file)?)?;
    change(document["signatures"].as_array_mut().context("it has signatures")?);
    Ok(fs::write(file, serde_json::to_vec(&document)?)?)
}

/// Signs the newest anew for a short time, does `meanwhile`, and waits until it has expired.
fn expire(publisher: &Publisher, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let key = Key::read(&publisher.folder().join("online.key"))?;
    let until = Timestamp::now() + SHORT;
    let lifetimes =
        Lifetimes { snapshot: Timestamp::now() + SignedDuration::from_hours(24), timestamp: until };
    let mut repository = publish::Publisher::open(&publisher.repository())?;
    repository.refresh(&[key], lifetimes, Timestamp::now())?;
    meanwhile()?;
    wait_for("its expiry", Duration::from_secs(10), || Ok((Timestamp::now() > until).then_some(())))
}

/// The files `NUMBER.name` of `folder`, by number.
fn numbered(folder: &Path, name: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        let number = file.strip_suffix(name).and_then(|rest| rest.strip_suffix('.'));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// The file of the repository that has the bytes of `package`.
fn target(repository: &Path, package: &Path) -> Result<PathBuf> {
    let wanted = fs::read(package)?;
    let mut folders = vec![repository.join("targets")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if File::open(&path)?.metadata()?.len() == wanted.len() as u64
                && fs::read(&path)? == wanted
            {
                return Ok(path);
            }
        }
    }
    anyhow::bail!("{} is not in {}", package.display(), repository.display())
}
