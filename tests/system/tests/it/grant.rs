//! Whose content an engine gets: none, that below some paths, all, and key material never.
//!
//! The engine denies the test file when it can read it and abstains when it cannot; the policy fails open.
//! So a refusal says that the content was shown.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Result, ensure};
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, Volume, bait};
use rustix::mount::mount_bind;

use crate::scene::expect;

const ENGINE: &str = "reader";
const SHOWN: Outcome = Outcome::Refused;
const NOT_SHOWN: Outcome = Outcome::Through;

fn start(lab: &Lab, volume: &Volume, engine: EngineSetup) -> Result<Host> {
    let setup = Setup::protecting(volume.path()).budget_ms(1000).uncached();
    lab.start(&setup.engine(engine))
}

fn reader() -> EngineSetup {
    EngineSetup::faulty_reader(ENGINE, "deny-marked")
}

/// Content that was not shown is an abstention, which is counted.
fn expect_abstained(host: &Host, at_least: u64) -> Result<()> {
    let fallbacks = host.counters()?.fallbacks;
    let counted = fallbacks.get("abstained").copied().unwrap_or(0);
    ensure!(counted >= at_least, "{counted} abstentions are counted: {fallbacks:?}");
    Ok(())
}

pub(crate) fn none_shows_nothing(lab: &Lab) -> Result<()> {
    let volume = lab.tmpfs("protected")?;
    let file = volume.put("eicar.com", &bait::eicar())?;
    let host = start(lab, &volume, reader().without_grant())?;

    expect("a file", ways::open(&file), NOT_SHOWN)?;

    expect_abstained(&host, 1)?;
    host.end()
}

pub(crate) fn all_shows_everything_but_key_material(lab: &Lab) -> Result<()> {
    let volume = lab.tmpfs("protected")?;
    let file = volume.put("eicar.com", &bait::eicar())?;
    let key = volume.put("host.key", &bait::eicar())?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let readable = volume.put("public.key", &bait::eicar())?;
    fs::set_permissions(&readable, fs::Permissions::from_mode(0o644))?;
    let persons = volume.put("id_rsa", &bait::eicar())?;
    fs::set_permissions(&persons, fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::chown(&persons, Some(1234), Some(1234))?;
    let host = start(lab, &volume, reader())?;

    expect("a file", ways::open(&file), SHOWN)?;
    expect("root's private key", ways::open(&key), NOT_SHOWN)?;
    expect("a key that all may read", ways::open(&readable), SHOWN)?;
    expect("a file that a person calls a key", ways::open(&persons), SHOWN)?;

    expect_abstained(&host, 1)?;
    host.end()
}

/// What decides is the path by which the file was opened, links resolved: another name is another path.
pub(crate) fn paths_go_by_the_path_as_opened(lab: &Lab) -> Result<()> {
    let volume = lab.tmpfs("protected")?;
    let (granted, elsewhere) = (volume.join("granted"), volume.join("elsewhere"));
    for folder in [&granted, &elsewhere] {
        fs::create_dir(folder)?;
    }
    let inside = volume.put("granted/eicar.com", &bait::eicar())?;
    let outside = volume.put("elsewhere/eicar.com", &bait::eicar())?;
    fs::create_dir(volume.join("granted-not"))?;
    let beside = volume.put("granted-not/eicar.com", &bait::eicar())?;
    let (link, hard_link) = (elsewhere.join("link"), elsewhere.join("hard-link"));
    symlink(&inside, &link)?;
    fs::hard_link(&inside, &hard_link)?;
    let from_outside = granted.join("from-outside");
    symlink(&outside, &from_outside)?;
    let bound = volume.join("bound");
    fs::create_dir(&bound)?;
    mount_bind(&granted, &bound)?;
    let host = start(lab, &volume, reader().content_below(&granted))?;

    let open = |path: &Path| ways::open(path);
    expect("a file below the path", open(&inside), SHOWN)?;
    expect("a symbolic link that leads there", open(&link), SHOWN)?;
    expect("a symbolic link that leads away", open(&from_outside), NOT_SHOWN)?;
    expect("a file below a path that begins alike", open(&beside), NOT_SHOWN)?;
    expect("a file elsewhere", open(&outside), NOT_SHOWN)?;
    expect("another name of the file, elsewhere", open(&hard_link), NOT_SHOWN)?;
    expect("the folder mounted elsewhere", open(&bound.join("eicar.com")), NOT_SHOWN)?;
    expect("dots that lead there", open(&elsewhere.join("../granted/eicar.com")), SHOWN)?;

    expect_abstained(&host, 5)?;
    host.end()
}
