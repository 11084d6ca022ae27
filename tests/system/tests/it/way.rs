//! No way around: whichever way leads to a bad file, it is refused there.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use outrigger_testkit::figures::say;
use outrigger_testkit::ways::{self, Outcome};
use outrigger_testkit::{EngineSetup, Lab, Setup, bait};
use rustix::mount::mount_bind;

use crate::scene::{Scene, expect};

/// A user without any right.
const NOBODY: u32 = 65534;
/// Where the dynamic loader may lie.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];

/// A file, a program and a dynamically linked program, all bad or all clean, and ways to them.
struct Site {
    file: PathBuf,
    program: PathBuf,
    /// Needs the dynamic loader.
    dynamic: PathBuf,
    /// Its first line names `program`.
    interpreted: PathBuf,
    /// A shell's script that is bad itself.
    script: PathBuf,
    hard_link: PathBuf,
    symlink: PathBuf,
    /// A second mount of the file system.
    bound: PathBuf,
    /// An empty folder for others to mount on.
    elsewhere: PathBuf,
}

type Way = (&'static str, fn(&Site) -> Result<Outcome>);

const WAYS: &[Way] = &[
    ("open", |site| Ok(ways::open(&site.file))),
    ("exec", |site| Ok(ways::exec(&site.program))),
    ("exec of a bad script", |site| Ok(ways::exec(&site.script))),
    ("as the interpreter of a script", |site| Ok(ways::exec(&site.interpreted))),
    ("by the dynamic loader", |site| {
        let loader = LOADERS.iter().find(|path| Path::new(path).exists()).context("no loader")?;
        ways::shell(&format!("{loader} \"$1\""), &site.dynamic, None)
    }),
    ("as an ordinary user", |site| ways::shell("cat \"$1\"", &site.file, Some(NOBODY))),
    ("open of a hard link", |site| Ok(ways::open(&site.hard_link))),
    ("open of a symbolic link", |site| Ok(ways::open(&site.symlink))),
    ("open through a bind mount", |site| Ok(ways::open(&site.bound.join("file")))),
    ("exec through a bind mount", |site| Ok(ways::exec(&site.bound.join("program")))),
    ("exec in a chroot", |site| {
        ways::shell("chroot \"$(dirname \"$1\")\" /program", &site.program, None)
    }),
    ("in a mount namespace", |site| unshared(site, &["-m"], None)),
    ("in an ordinary user's mount namespace", |site| {
        unshared(site, &["-U", "-r", "-m"], Some(NOBODY))
    }),
    ("io_uring", |site| Ok(ways::io_uring(&site.file, false))),
    ("io_uring by a worker", |site| Ok(ways::io_uring(&site.file, true))),
    ("open_by_handle_at", |site| ways::handle(&site.file)),
];

/// Every way to the bad file goes before protection, and none after.
pub(crate) fn none_leads_around_a_denial(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let suffix = bait::eicar();
    let site = Site::new(lab, &scene, &suffix)?;
    for (name, way) in WAYS {
        expect(name, way(&site)?, Outcome::Through)?;
    }

    let engine = EngineSetup::hashlist()
        .also_denying(&fs::read(&site.dynamic)?)
        .also_denying(&fs::read(&site.script)?);
    let host = lab.start(&Setup::protecting(scene.path()).budget_ms(1000).engine(engine))?;

    for (name, way) in WAYS {
        let outcome = way(&site).with_context(|| (*name).to_owned())?;
        say(format_args!("{name}: {outcome:?}"));
        expect(name, outcome, Outcome::Refused)?;
    }
    let denied = host.counters()?.denied;
    ensure!(denied >= WAYS.len() as u64, "only {denied} denials were counted");
    host.end()
}

/// What the test above cannot tell: that the ways are closed by the verdict and not by the platform.
pub(crate) fn a_clean_file_is_served_on_every_way(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let site = Site::new(lab, &scene, b"")?;
    let setup = Setup::protecting(scene.path()).budget_ms(1000).fail_closed();
    let host = lab.start(&setup.engine(EngineSetup::hashlist()))?;

    for (name, way) in WAYS {
        expect(name, way(&site).with_context(|| (*name).to_owned())?, Outcome::Through)?;
    }
    host.end()
}

/// The kernel asks twice about an exec, and engines once.
pub(crate) fn an_exec_asks_once(lab: &Lab) -> Result<()> {
    const EXECS: u64 = 10;
    let scene = Scene::new(lab, 0)?;
    let program = scene.volume.put("good-program", &bait::tiny_program(0))?;
    let setup = Setup::protecting(scene.path()).uncached().engine(EngineSetup::hashlist());
    let host = lab.start(&setup)?;
    let before = host.engine("hashlist")?.asked;

    for _ in 0..EXECS {
        expect("a clean program", ways::exec(&program), Outcome::Through)?;
    }

    let asked = host.engine("hashlist")?.asked - before;
    say(format_args!("asked {asked} times about {EXECS} execs"));
    ensure!(asked == EXECS, "asked {asked} times about {EXECS} execs");
    host.end()
}

pub(crate) fn monitor_mode_refuses_nothing_and_counts(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let setup = Setup::protecting(scene.path()).monitor().engine(EngineSetup::hashlist());
    let host = lab.start(&setup)?;

    expect("the bad file", ways::open(&scene.eicar), Outcome::Through)?;
    expect("the bad file again", ways::open(&scene.eicar), Outcome::Through)?;

    let counters = host.counters()?;
    ensure!(counters.would_deny == 2 && counters.denied == 0, "counted: {counters:?}");
    host.end()
}

/// A Deny on what the administrator guards is a conflict that is raised and not enforced.
pub(crate) fn a_guarded_file_is_served_and_the_conflict_counted(lab: &Lab) -> Result<()> {
    let scene = Scene::new(lab, 0)?;
    let setup = Setup::protecting(scene.path()).guarding(&scene.eicar);
    let host = lab.start(&setup.engine(EngineSetup::hashlist()))?;

    expect("the guarded file", ways::open(&scene.eicar), Outcome::Through)?;
    expect("a bad one that is not", ways::exec(&scene.program), Outcome::Refused)?;

    let counters = host.counters()?;
    ensure!(counters.conflicts == 1, "counted: {counters:?}");
    host.end()
}

impl Site {
    /// A site in `scene` whose files all end in `suffix`.
    fn new(lab: &Lab, scene: &Scene, suffix: &[u8]) -> Result<Self> {
        let volume = &scene.volume;
        let with_suffix = |content: &[u8]| [content, suffix].concat();
        let file = volume.put("file", if suffix.is_empty() { b"clean\n" } else { suffix })?;
        let program =
            volume.put("program", &with_suffix(&bait::tiny_program(bait::PROGRAM_STATUS)))?;
        let dynamic = volume.put("dynamic", &with_suffix(&fs::read("/bin/true")?))?;
        let interpreted =
            volume.put("interpreted", format!("#!{}\n", program.display()).as_bytes())?;
        let script = volume.put("script", &with_suffix(b"#!/bin/sh\nexit 0\n"))?;
        let (hard_link, link) = (volume.join("hard-link"), volume.join("symlink"));
        fs::hard_link(&file, &hard_link)?;
        symlink(&file, &link)?;
        let (bound, elsewhere) = (lab.path("bound"), lab.path("elsewhere"));
        fs::create_dir(&bound)?;
        fs::create_dir(&elsewhere)?;
        mount_bind(volume.path(), &bound)?;
        Ok(Self {
            file,
            program,
            dynamic,
            interpreted,
            script,
            hard_link,
            symlink: link,
            bound,
            elsewhere,
        })
    }
}

fn unshared(site: &Site, flags: &[&str], uid: Option<u32>) -> Result<Outcome> {
    let elsewhere = site.elsewhere.display();
    let script = format!("mount --bind \"$(dirname \"$1\")\" {elsewhere} && cat {elsewhere}/file");
    ways::unshared(flags, &script, &site.file, uid)
}
