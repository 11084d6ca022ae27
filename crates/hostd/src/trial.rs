//! `outriggerd try`: the platform on a fresh folder, for somebody who wants to see it work.
//!
//! This process stays outside: it prepares the folder, the engine and a configuration below
//! `/run/outrigger`, starts `outriggerd run` on them as a child, says what to try, and takes everything
//! away again when the child has ended, whatever ended it.

use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};

use anyhow::{Context as _, Result, bail};
use outrigger_api::settings::Manifest;
use outrigger_sensor::process::Signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const HOME: &str = "/run/outrigger";
const FOLDER: &str = "/run/outrigger/try";
const PROTECTED: &str = "/run/outrigger/protected";
const SOCKET: &str = "/run/outrigger/control.sock";
/// SHA-256 of the EICAR test file, the harmless file that every scanner knows as bad.
const EICAR_SHA256: &str = "275a021bbfb6489e54d471899f7db9d1663fc695ec2fe2a2c4538aabf651fd0f";

/// Runs the platform on `protect`'s file system or on a fresh one, with the engine in `engine`.
pub(crate) fn run(protect: Option<PathBuf>, engine: &Path) -> Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("only root may answer for the files of others; run it as root: sudo make run");
    }
    // Before the child exists: Ctrl-C and the end of a terminal reach both, and this process must
    // outlive the child to clean up.
    let signals = Signals::block(&[
        Signal::INT.as_raw(),
        Signal::QUIT.as_raw(),
        Signal::TERM.as_raw(),
        Signal::HUP.as_raw(),
    ])?;
    let tree = match &protect {
        Some(path) => std::fs::canonicalize(path)
            .with_context(|| format!("cannot protect {}", path.display()))?,
        None => PathBuf::from(PROTECTED),
    };
    // Every user must be able to look into what is made here.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let home = Home::claim()?;
    let fresh = protect.is_none().then(FreshVolume::mount).transpose()?;
    let config = prepare(&tree, engine)?;
    let (ready, report) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let child = Command::new(&own)
        .args(["run", "--ready-fd", "0", "--config"])
        .arg(&config)
        .stdin(Stdio::from(report))
        .spawn()
        .context("cannot start outriggerd run")?;
    let tool = shown(&own.with_file_name("outrigger"));
    let say = || say_what_to_try(&tree, fresh.is_some(), &tool);
    let (was_ready, status) = attend(child, ready, &signals, say)?;
    drop((fresh, home));
    if was_ready && status.success() {
        tracing::info!("protection has ended; no mark and no denial is left");
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits for the child's end and passes on what should end it; calls `say` when it is ready.
fn attend(
    mut child: Child,
    ready: OwnedFd,
    signals: &Signals,
    say: impl Fn(),
) -> Result<(bool, ExitStatus)> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    let (mut ready, mut was_ready) = (Some(ready), false);
    loop {
        let mut polled =
            vec![PollFd::new(&handle, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        polled.extend(ready.iter().map(|ready| PollFd::new(ready, PollFlags::IN)));
        // An interruption is as good as an event.
        let _ = poll(&mut polled, None);
        let has_ended = polled[0].revents().contains(PollFlags::IN);
        let is_told = polled.get(2).is_some_and(|told| !told.revents().is_empty());
        if has_ended {
            return Ok((was_ready, child.wait()?));
        }
        if is_told && let Some(pipe) = ready.take() {
            let mut word = [0; 16];
            was_ready = rustix::io::read(&pipe, &mut word).is_ok_and(|len| len > 0);
            if was_ready {
                say();
            }
        }
        let mut end = false;
        // Ctrl-C reached the child by itself, and to be told twice changes nothing.
        signals.read(|_| end = true)?;
        if end {
            match pidfd_send_signal(&handle, Signal::TERM) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error).context("cannot end outriggerd run"),
            }
        }
    }
}

/// `/run/outrigger` while this process has it to itself; emptied when dropped.
struct Home {
    _locked: File,
}

impl Home {
    fn claim() -> Result<Self> {
        folder(Path::new(HOME))?;
        let locked = File::open(HOME).with_context(|| format!("cannot open {HOME}"))?;
        match rustix::fs::flock(&locked, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => bail!("another `outriggerd try` is running; end it first"),
            Err(error) => return Err(error).with_context(|| format!("cannot lock {HOME}")),
        }
        if UnixStream::connect(SOCKET).is_ok() {
            bail!(
                "outriggerd is running already ({SOCKET} answers); \
                 end it first: pkill -x outriggerd"
            );
        }
        clear();
        Ok(Self { _locked: locked })
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        clear();
        // Left where the platform was killed. It is ours: nobody answered there when this began.
        let _ = std::fs::remove_file(SOCKET);
        // Stays where it is not empty: then it is not only ours.
        let _ = std::fs::remove_dir(HOME);
    }
}

/// Removes what a trial made, this one or one that was killed.
fn clear() {
    match std::fs::remove_dir_all(FOLDER) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!("cannot remove {FOLDER}: {error}");
        }
        _ => {}
    }
    while unmount(PROTECTED, UnmountFlags::DETACH).is_ok() {}
    // Only the empty mount point is left.
    let _ = std::fs::remove_dir(PROTECTED);
}

/// A tmpfs of our own, gone when dropped.
struct FreshVolume;

impl FreshVolume {
    fn mount() -> Result<Self> {
        folder(Path::new(PROTECTED))?;
        // Any user may add files of his own.
        let options = Some(c"mode=1777,size=64m");
        mount("outrigger", PROTECTED, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options)
            .with_context(|| {
                format!("cannot mount a tmpfs at {PROTECTED} (needs CAP_SYS_ADMIN)")
            })?;
        Ok(Self)
    }
}

impl Drop for FreshVolume {
    fn drop(&mut self) {
        if let Err(error) = unmount(PROTECTED, UnmountFlags::DETACH) {
            tracing::warn!(
                "cannot unmount {PROTECTED}: {error}; do it by hand: umount -l {PROTECTED}"
            );
        }
    }
}

fn folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// A path as somebody types it who stands in the current folder.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().ok();
    let near = here.as_deref().and_then(|here| path.strip_prefix(here).ok());
    near.unwrap_or(path).display().to_string()
}

/// Writes samples, engine, lists and configuration; returns the configuration's path.
fn prepare(tree: &Path, engine: &Path) -> Result<PathBuf> {
    let place = Path::new(FOLDER);
    let (home, content) = (place.join("engine"), place.join("content"));
    [place, &home, &content].into_iter().try_for_each(folder)?;
    let manifest = Manifest::read(&engine.join("manifest.toml"))?;
    std::fs::copy(engine.join("manifest.toml"), home.join("manifest.toml"))?;
    copy_program(&manifest, &home)?;
    copy_files(&engine.join("content"), &content)?;
    write(&content.join("eicar.deny"), &format!("{EICAR_SHA256} EICAR test file\n"), 0o644)?;
    if tree == Path::new(PROTECTED) {
        write(&tree.join("clean.txt"), "This file is clean.\n", 0o644)?;
        write(&tree.join("clean.sh"), "#!/bin/sh\necho This program is clean.\n", 0o755)?;
        write(&tree.join("eicar.com"), &eicar(), 0o755)?;
    }
    let config = place.join("outrigger.toml");
    let text = format!(
        "mode = \"enforce\"\n\n[host]\nstate_dir = {:?}\n\n[protect]\ntrees = [{:?}]\n\n\
         [[engine]]\nmanifest = {:?}\ncontent = \"all\"\ncontent_dir = {:?}\n",
        place.join("state"),
        tree,
        home.join("manifest.toml"),
        content,
    );
    write(&config, &text, 0o644)?;
    Ok(config)
}

/// The engine's program: where its manifest says, or where it was built, beside this program.
fn copy_program(manifest: &Manifest, home: &Path) -> Result<()> {
    let name = manifest.program.file_name().context("the manifest's program has no name")?;
    let built = std::env::current_exe()?.with_file_name(name);
    let source = if manifest.program.exists() { &manifest.program } else { &built };
    let relative =
        manifest.program.strip_prefix(&manifest.folder).unwrap_or_else(|_| Path::new(name));
    let target = home.join(relative);
    target.parent().map_or(Ok(()), folder)?;
    std::fs::copy(source, &target).with_context(|| {
        format!(
            "the engine's program is not at {} (build it: cargo build --release)",
            source.display()
        )
    })?;
    Ok(())
}

/// Copies the rules that an engine comes with, if it does.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let entries = match from.read_dir() {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", from.display())),
    };
    for entry in entries {
        let entry = entry?;
        let file = entry.path();
        if file.is_file() {
            std::fs::copy(&file, to.join(entry.file_name()))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    Ok(())
}

/// The EICAR test file, in two halves so that no scanner takes this source for it.
fn eicar() -> String {
    let (first, second) =
        (r"X5O!P%@AP[4\PZX54(P^)7CC)7}$", "EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*");
    format!("{first}{second}")
}

#[expect(clippy::print_stdout, reason = "this is what the person at the terminal waits for")]
fn say_what_to_try(tree: &Path, fresh: bool, tool: &str) {
    let tree = tree.display();
    if fresh {
        println!(
            "\n  Protecting {tree}: an engine is asked before a file there is opened or executed.\n"
        );
        println!("  Try in another terminal, as any user:");
        println!("    cat {tree}/clean.txt      a clean file is served");
        println!("    cat {tree}/eicar.com      the bad one is not: Operation not permitted");
        println!("    {tree}/eicar.com          nor executed");
        println!("    cp /bin/ls {tree}/ && {tree}/ls   add files of your own");
    } else {
        println!(
            "\n  Protecting the file system of {tree}: an engine is asked before a file there is"
        );
        println!("  opened or executed. It denies the EICAR test file.\n");
    }
    println!("  and as root:");
    println!("    {tool} status");
    println!("    {tool} watch      every decision, live");
    println!("    {tool} engines");
    println!("\n  Ctrl-C ends it and leaves nothing behind.\n");
    // Asked like anybody's: this process is outside of the platform's own namespaces.
    if fresh && File::open(Path::new(PROTECTED).join("eicar.com")).is_ok() {
        tracing::error!("the bad file was served just now; `{tool} status` says why");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_file_has_its_published_length() {
        assert_eq!(eicar().len(), 68);
    }
}
