//! What fanotify cannot see passes, and Coverage says so.

use std::fs;
use std::io::{Read, Seek};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outrigger_api::Event;
use outrigger_testkit::clock::wait_for;
use outrigger_testkit::figures::say;
use outrigger_testkit::volume::mount_overlay;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Host, Lab, Setup, Volume, bait};

use crate::scene::{Scene, expect};

fn start(lab: &Lab, scene: &Scene) -> Result<Host> {
    lab.start(&Setup::protecting(scene.path()).budget_ms(1000).engine(EngineSetup::hashlist()))
}

/// An error unless Coverage names the gap for the event.
fn expect_gap(host: &Host, event: Event, name: &str) -> Result<()> {
    let coverage = host.coverage()?;
    let entry = coverage.event(event).with_context(|| format!("no coverage for {event}"))?;
    let names: Vec<&str> = entry.gaps.iter().map(|gap| gap.name.as_str()).collect();
    ensure!(names.contains(&name), "coverage of {event} tells of {names:?}, not of {name}");
    Ok(())
}

pub(crate) fn a_program_in_memory_is_reported(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let host = start(lab, &scene)?;
    expect("the program as a file", ways::exec(&scene.program), Outcome::Refused)?;

    let outcome = ways::memfd_exec(&bait::bad_program())?;

    expect("the program in memory", outcome, Outcome::Through)?;
    expect_gap(&host, Event::ProcessExec, "memfd-exec")?;
    host.end()
}

/// What lies only in the layers of an overlay that is mounted elsewhere is not asked about.
pub(crate) fn an_overlay_elsewhere_is_reported(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let layers = lab.tmpfs("container")?;
    for folder in ["upper", "work"] {
        fs::create_dir(layers.join(folder))?;
    }
    let host = start(lab, &scene)?;
    let merged = lab.path("merged");
    fs::create_dir(&merged)?;

    mount_overlay(scene.path(), Some((&layers.join("upper"), &layers.join("work"))), &merged)?;
    bait::put(&merged.join("new.com"), &bait::eicar())?;

    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;
    expect("a bad file of the overlay", ways::open(&merged.join("new.com")), Outcome::Through)?;
    expect_gap(&host, Event::FileOpen, "unmarked-file-system")?;
    // Whether the layer's own mark is heard through the overlay depends on the kernel.
    let through = ways::open(&merged.join("eicar.com"));
    say(format_args!("the protected layer's bad file through the overlay: {through:?}"));
    host.end()
}

pub(crate) fn a_file_opened_before_is_reported(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let mut before = fs::File::open(&scene.eicar)?;
    let host = start(lab, &scene)?;
    expect("the bad file", ways::open(&scene.eicar), Outcome::Refused)?;

    let mut content = Vec::new();
    before.rewind()?;
    before.read_to_end(&mut content)?;

    ensure!(content == bait::eicar(), "the descriptor opened before gives other content");
    expect_gap(&host, Event::FileOpen, "open-before-mark")?;
    host.end()
}

/// A file system mounted under the protected tree is asked about soon after.
pub(crate) fn a_file_system_mounted_later_is_covered(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let host = start(lab, &scene)?;
    let later = Volume::tmpfs(lab.world(), "protected/later")?;
    let eicar = later.put("eicar.com", &bait::eicar())?;

    let path = later.path().to_string_lossy();
    wait_for("coverage of the new file system", Duration::from_secs(2), || {
        let volumes = host.status()?.coverage.volumes;
        Ok(volumes.into_iter().find(|volume| volume.path == path && volume.covered))
    })?;

    expect("the bad file on it", ways::open(&eicar), Outcome::Refused)?;
    host.end()
}
