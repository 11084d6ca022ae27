//! What the second plane remembers of real processes: who they are, what they run and have run.
//!
//! On every kernel that takes programs at tracepoints, whether or not it takes them at security hooks.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use outrigger_sensor::identity::handle;
use outrigger_sensor::plane::{Plane, Settings, Subject};
use siphasher::sip::SipHasher24;

use crate::watch::{LIMIT, key, may_load};

const KEY: [u8; 16] = *b"a key of 16 byte";

/// The plane, attached to nothing; `None` without root, and said so.
fn plane() -> Option<Plane> {
    let settings = Settings { lineage_key: KEY, own: Vec::new(), ..Settings::default() };
    may_load().then(|| Plane::open(&settings).expect("root may remember processes"))
}

fn hash(program: &Path) -> u64 {
    SipHasher24::new_with_key(&KEY).hash(program.as_os_str().as_bytes())
}

fn own_program() -> PathBuf {
    fs::read_link("/proc/self/exe").expect("it has a path")
}

/// A copy of `cat`, which waits for its standard input to be closed.
fn copy_of_cat(to: PathBuf) -> PathBuf {
    let status = Command::new("cp").arg("/bin/cat").arg(&to).status().expect("cp starts");
    assert!(status.success(), "cp ended by {status}");
    to
}

fn waiting(command: &mut Command) -> Child {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts")
}

/// What is known of a process once it has run as many programs. Who spawned it comes back a little before
/// its program is begun.
fn subject(plane: &Plane, pid: u32, execs: u32) -> Subject {
    let pidfd = handle(pid).expect("it lives");
    until(|| plane.subject(pidfd.as_fd()).expect("it is remembered"), |known| known.execs >= execs)
}

/// Looks until what is seen `is_it`.
fn until<T>(look: impl Fn() -> T, is_it: impl Fn(&T) -> bool) -> T {
    let begin = Instant::now();
    loop {
        let seen = look();
        if is_it(&seen) {
            return seen;
        }
        assert!(begin.elapsed() < LIMIT, "it runs no program within {LIMIT:?}");
        thread::yield_now();
    }
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    child.wait().expect("it ends at the end of its words");
}

#[test]
fn a_process_is_known_by_its_program_its_parent_and_what_its_ancestors_run() {
    let Some(plane) = plane() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let program = copy_of_cat(folder.path().join("waits"));

    let child = waiting(&mut Command::new(&program));
    let known = subject(&plane, child.id(), 1);
    end(child);

    assert_eq!(known.exe.as_deref(), Some(program.as_os_str().as_bytes()));
    assert_eq!(known.parent, Some(key(std::process::id())));
    assert!(known.lineage.contains(&hash(&program)));
    assert!(known.lineage.contains(&hash(&own_program())));
    assert_eq!(known.execs, 1);
}

#[test]
fn what_a_process_has_run_stays_in_its_lineage() {
    let Some(plane) = plane() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let program = copy_of_cat(folder.path().join("waits"));
    let shell = fs::canonicalize("/bin/sh").expect("there is a shell");

    let child =
        waiting(Command::new("/bin/sh").arg("-c").arg("read go; exec \"$0\"").arg(&program));
    let before = subject(&plane, child.id(), 1);
    let mut child = child;
    std::io::Write::write_all(child.stdin.as_mut().expect("it is piped"), b"go\n")
        .expect("it reads");
    let after = subject(&plane, child.id(), 2);
    end(child);

    assert!(before.lineage.contains(&hash(&shell)));
    assert!(!before.lineage.contains(&hash(&program)));
    assert!(after.lineage.contains(&hash(&shell)) && after.lineage.contains(&hash(&program)));
    assert_eq!((before.execs, after.execs), (1, 2));
}

#[test]
fn a_process_older_than_the_plane_has_its_lineage_too() {
    if !may_load() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let program = copy_of_cat(folder.path().join("waits"));

    let child = waiting(&mut Command::new(&program));
    let plane = plane().expect("it may load");
    let known = subject(&plane, child.id(), 0);
    end(child);

    assert_eq!(known.exe.as_deref(), Some(program.as_os_str().as_bytes()));
    assert_eq!(known.parent, Some(key(std::process::id())));
    assert!(known.lineage.contains(&hash(&program)));
    assert!(known.lineage.contains(&hash(&own_program())));
}

/// A path of every length modulo the eight bytes that are hashed at a time, and beyond what is kept whole.
#[test]
fn programs_are_hashed_by_siphash_2_4_however_long_their_paths_are() {
    let Some(plane) = plane() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("a".repeat(120)).join("b".repeat(120));
    fs::create_dir_all(&deep).expect("folders");
    let names = (1..9).map(|len| folder.path().join("x".repeat(len)));

    for path in names.chain([deep.join("waits")]) {
        let program = copy_of_cat(path);
        let child = waiting(&mut Command::new(&program));
        let known = subject(&plane, child.id(), 1);
        end(child);

        assert!(known.lineage.contains(&hash(&program)), "{}", program.display());
        let whole = program.as_os_str().as_bytes();
        assert_eq!(known.exe.as_deref(), (whole.len() < 256).then_some(whole));
    }
}

#[test]
fn a_thread_that_runs_a_program_keeps_what_its_process_was() {
    let Some(plane) = plane() else { return };
    let cat = fs::canonicalize("/bin/cat").expect("there is cat");

    let mut command = Command::new(own_program());
    command.args(["--exact", "--ignored", "--quiet", "lineage::run_cat_from_another_thread"]);
    let child = waiting(&mut command);
    let pidfd = handle(child.id()).expect("it lives");
    // From when the thread has taken the first one's place until its program begins nothing is remembered there.
    // Whoever asks about that program was answered before.
    let seen = until(
        || plane.subject(pidfd.as_fd()),
        |seen| seen.as_ref().is_some_and(|known| known.execs >= 2),
    );
    let known = seen.expect("it was seen");
    end(child);

    assert_eq!(known.exe.as_deref(), Some(cat.as_os_str().as_bytes()));
    assert_eq!(known.parent, Some(key(std::process::id())));
    assert!(known.lineage.contains(&hash(&own_program())));
    assert!(known.lineage.contains(&hash(&cat)));
    assert!(!known.lineage_is_cut);
    assert_eq!(known.execs, 2);
}

#[test]
#[ignore = "a process that other tests start"]
fn run_cat_from_another_thread() {
    use std::os::unix::process::CommandExt;
    let run = || panic!("cannot run it: {}", Command::new("/bin/cat").exec());
    thread::spawn(run).join().expect("it does not come back");
}

/// Natively a part of what guests do (`tests/vm/src/guest/identity.rs`): every one of many short processes on
/// both processors is known at its first instruction.
#[test]
fn thousands_of_processes_are_each_known_as_what_they_are() {
    const EACH: usize = 250;
    const THREADS: usize = 4;
    let Some(plane) = plane() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let programs: Vec<PathBuf> =
        (0..THREADS).map(|n| copy_of_cat(folder.path().join(format!("waits-{n}")))).collect();
    let own = own_program();
    let plane = std::sync::Mutex::new(plane);
    let (own, plane, programs) = (&own, &plane, &programs);

    thread::scope(|scope| {
        for program in programs {
            scope.spawn(move || {
                for _ in 0..EACH {
                    let child = waiting(&mut Command::new(program));
                    let known = subject(&plane.lock().expect("no one panics"), child.id(), 1);
                    let exe = known.exe.as_deref();
                    assert_eq!(exe, Some(program.as_os_str().as_bytes()));
                    assert_eq!(known.parent, Some(key(std::process::id())));
                    assert!(known.lineage.contains(&hash(program)));
                    assert!(known.lineage.contains(&hash(own)));
                    let others = programs.iter().filter(|other| *other != program);
                    assert!(others.map(|other| hash(other)).all(|no| !known.lineage.contains(&no)));
                    end(child);
                }
            });
        }
    });
}
