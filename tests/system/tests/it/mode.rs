//! What is protected otherwise than the rest: trees, file systems, kinds of file system.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::control::Request;
use outrigger_testkit::host::Part;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, bait};
use rustix::process::Signal;

use crate::scene::{Scene, expect};

/// How long a new host may take.
const BACK: Duration = Duration::from_secs(5);

fn setup(scene: &Scene) -> Setup {
    Setup::protecting(scene.path()).budget_ms(1000).engine(EngineSetup::hashlist())
}

/// Puts another configuration in force.
fn reload(host: &Host, setup: &Setup) -> Result<()> {
    let old = host.pids()?.host;
    setup.write(host.folder())?;
    host.ask(&Request::Reload)?;
    host.wait_successor(old, BACK)?;
    host.wait_engine("hashlist", outrigger_api::control::EngineState::Docked, BACK)?;
    Ok(())
}

pub(crate) fn a_monitored_tree_refuses_nothing(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let tree = scene.path().join("tree");
    fs::create_dir_all(tree.join("strict"))?;
    bait::put(&tree.join("eicar.com"), &bait::eicar())?;
    bait::put(&tree.join("bad-program"), &bait::bad_program())?;
    bait::put(&tree.join("strict/eicar.com"), &bait::eicar())?;
    let setup = setup(&scene).tree(&tree, "monitor").tree(&tree.join("strict"), "enforce");
    let host = lab.start(&setup)?;

    expect("outside the tree", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("in the tree", ways::open(&tree.join("eicar.com")), Outcome::Through)?;
    expect("run in the tree", ways::exec(&tree.join("bad-program")), Outcome::Through)?;
    expect("deeper", ways::open(&tree.join("strict/eicar.com")), Outcome::Refused)?;
    // Somebody who may mount has a file of another place appear under the tree's name.
    let script = format!("mount --bind {} \"$1\" && cat \"$1\"/eicar.com", scene.path().display());
    let spoofed = ways::unshared(&["-m"], &script, &tree, None)?;
    expect("another file under its name", spoofed, Outcome::Refused)?;
    ensure!(host.counters()?.would_deny >= 2, "what would have been refused was not counted");
    host.end()
}

pub(crate) fn a_file_system_left_out_is_not_asked_about(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let other = lab.tmpfs("protected/other")?;
    let bad = other.put("eicar.com", &bait::eicar())?;
    let out = setup(&scene).tree(other.path(), "off");
    let host = lab.start(&out)?;
    let left_out = |host: &Host| -> Result<bool> {
        let volumes = host.coverage()?.volumes;
        let found = volumes.iter().find(|volume| Path::new(&volume.path) == other.path());
        let found = found.context("coverage does not name it")?;
        Ok(found.left_out && !found.covered)
    };

    expect("left out", ways::open(&bad), Outcome::Through)?;
    expect("the rest", ways::open(&scene.eicar), Outcome::Refused)?;
    ensure!(left_out(&host)?, "coverage does not say that it is left out");
    let status = host.status()?;
    ensure!(status.healthy, "not healthy: {:?}", status.problems);

    reload(&host, &setup(&scene))?;
    expect("no longer left out", ways::open(&bad), Outcome::Refused)?;
    // The marks of the host before must go.
    reload(&host, &out)?;
    expect("left out again", ways::open(&bad), Outcome::Through)?;
    reload(&host, &setup(&scene).file_system("tmpfs", "off"))?;
    expect("left out as its kind", ways::open(&scene.eicar), Outcome::Through)?;
    host.end()
}

/// What the host had read is answered by the gate as the file system's mode says.
pub(crate) fn a_monitored_file_system_is_served_by_the_gate(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 1)?;
    let setup = |mode| {
        Setup::protecting(scene.path())
            .budget_ms(200)
            .fail_closed()
            .tree(scene.path(), mode)
            .engine(EngineSetup::faulty("silent", "silent").misses_max(1000))
    };
    for (mode, wanted) in [("enforce", Outcome::Refused), ("monitor", Outcome::Through)] {
        let host = lab.start(&setup(mode))?;
        expect("by the host's fallback", ways::open(&scene.clean[0]), wanted)?;

        let opener = {
            let path = scene.clean[0].clone();
            std::thread::spawn(move || ways::open(&path))
        };
        outrigger_testkit::clock::wait_for("a question", BACK, || {
            Ok((host.status()?.descriptors.in_flight > 0).then_some(()))
        })?;
        host.signal(Part::Host, Signal::KILL)?;

        let outcome = opener.join().ok().context("the opener panicked")?;
        expect(&format!("by the gate, {mode}"), outcome, wanted)?;
        drop(host);
    }
    Ok(())
}
