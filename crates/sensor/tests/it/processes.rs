//! What the BPF process sensor tells of real processes.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use outrigger_api::{Event, ProcessKey};
use outrigger_sensor::bpf;
use outrigger_sensor::identity::Credentials;
use outrigger_sensor::notice::{Notice, Seen};

use crate::sys;
use crate::watch::{LIMIT, Watch, key, may_load, notices};

use Event::{ProcessExec, ProcessExit, ProcessFork};

fn events(notices: &[impl Borrow<Notice>]) -> Vec<Event> {
    notices.iter().map(|notice| notice.borrow().event).collect()
}

fn text(notice: &Notice) -> String {
    String::from_utf8_lossy(notice.path.as_deref().unwrap_or(b"(none)")).into_owned()
}

/// A program of the test's own. Copied by another process: a child that another test starts meanwhile would
/// hold on to a descriptor of ours, and nobody could run what it writes (`ETXTBSY`).
fn copy_of(program: &str, to: PathBuf) -> PathBuf {
    let status = Command::new("cp").arg(program).arg(&to).status().expect("cp starts");
    assert!(status.success(), "cp ended by {status}");
    to
}

/// A child that waits for its standard input to be closed.
fn waiting_child() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts")
}

#[test]
fn every_program_is_taken_or_refused_with_a_reason() {
    let trials = bpf::probe().expect("the own namespace is known");

    assert_eq!(
        trials.iter().map(|(event, _)| *event).collect::<Vec<_>>(),
        [ProcessFork, ProcessExec, ProcessExit]
    );
    for (event, trial) in trials {
        match (trial, rustix::process::geteuid().is_root()) {
            (Err(why), true) => panic!("root has no {event}: {why:?}"),
            (Ok(()), false) => panic!("{event} is there for everybody"),
            _ => {}
        }
    }
}

#[test]
fn a_child_is_told_of_with_its_key_parent_program_user_and_status() {
    let Some(mut watch) = Watch::open(None) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let program = copy_of("/bin/cat", folder.path().join("waits"));

    let mut command = Command::new(&program);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).uid(12345).gid(54321);
    let mut child = command.spawn().expect("it starts");
    let its_key = key(child.id());
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .expect("it can be ended");
    let status = child.wait().expect("it ends");
    watch.until_exit_of(child.id());

    let told = watch.of(child.id());
    assert_eq!(events(&told), [ProcessFork, ProcessExec, ProcessExit]);
    assert!(told.iter().all(|notice| notice.process == Some(its_key)));
    assert!(told.iter().all(|notice| notice.parent == Some(key(std::process::id()))));
    assert!(told.iter().all(|notice| notice.parent_pid == Some(std::process::id())));
    assert!(told.is_sorted_by_key(|notice| notice.kernel_time));
    let user = Credentials { uid: 12345, gid: 54321 };
    assert_eq!(told[1].credentials, Some(user));
    assert_eq!(told[1].path.as_deref(), Some(program.as_os_str().as_encoded_bytes()));
    assert_eq!(told[2].status, Some(status.into_raw()));
    assert_eq!(told[2].credentials, Some(user));
}

#[test]
fn a_program_is_named_by_the_key_that_questions_carry() {
    let Some(mut watch) = Watch::open(None) else { return };
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder on a tmpfs");
    let program = copy_of("/bin/true", folder.path().join("true"));
    let file = fs::File::open(&program).expect("it can be read");
    let its_key = outrigger_sensor::identity::object(std::os::fd::AsFd::as_fd(&file));

    let mut child = Command::new(&program).spawn().expect("it starts");
    child.wait().expect("it ends");
    watch.until_exit_of(child.id());

    let told = watch.of(child.id());
    assert_eq!(told[1].file, its_key.ok().map(|object| object.key));
    assert_eq!(told[1].path.as_deref(), Some(program.as_os_str().as_encoded_bytes()));
}

#[test]
fn a_program_deep_down_and_one_in_memory_are_named_as_the_kernel_prints_them() {
    let Some(mut watch) = Watch::open(None) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("d/".repeat(300));
    fs::create_dir_all(&deep).expect("folders can be made");
    let program = copy_of("/bin/cat", deep.join("waits"));

    let mut child =
        Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
    let memory = Command::new("/proc/self/fd/0").stdin(in_memory("/bin/true")).spawn();
    let mut memory = memory.expect("a program in memory starts");
    memory.wait().expect("it ends");
    drop(child.stdin.take());
    child.wait().expect("it ends");
    watch.until_exit_of(memory.id());
    watch.until_exit_of(child.id());

    assert_eq!(
        watch.of(child.id())[1].path.as_deref(),
        Some(program.as_os_str().as_encoded_bytes())
    );
    assert_eq!(text(watch.of(memory.id())[1]), "/memfd:some name (deleted)");
}

fn in_memory(program: &str) -> fs::File {
    let file = rustix::fs::memfd_create("some name", rustix::fs::MemfdFlags::empty());
    let mut file = fs::File::from(file.expect("memory"));
    file.write_all(&fs::read(program).expect("it can be read")).expect("it can be written");
    fs::File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file)))
        .expect("it can be opened for reading")
}

/// What one spawner of [`ten_thousand_children_are_each_told_of_once_and_in_order`] did.
struct Spawned {
    program: PathBuf,
    pid: u32,
    status: i32,
}

fn spawn_many(program: &Path, count: usize) -> Vec<Spawned> {
    let one = |_| {
        let mut child = Command::new(program).spawn().expect("it starts");
        let status = child.wait().expect("it ends").into_raw();
        Spawned { program: program.to_owned(), pid: child.id(), status }
    };
    (0..count).map(one).collect()
}

#[test]
fn ten_thousand_children_are_each_told_of_once_and_in_order() {
    const SPAWNERS: usize = 4;
    const EACH: usize = 2_500;
    let Some(mut watch) = Watch::open(None) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let program = |number: usize| {
        let program = if number.is_multiple_of(2) { "/bin/true" } else { "/bin/false" };
        copy_of(program, folder.path().join(format!("program-{number}")))
    };
    let programs: Vec<PathBuf> = (0..SPAWNERS).map(program).collect();
    let over = AtomicBool::new(false);
    let load = || {
        while !over.load(Ordering::Relaxed) {
            thread::spawn(|| std::hint::black_box(fs::read("/proc/self/maps").ok()))
                .join()
                .expect("it ends");
        }
    };

    let (spawned, own) = thread::scope(|scope| {
        let loads = [scope.spawn(load), scope.spawn(load)];
        let spawners: Vec<_> =
            programs.iter().map(|program| scope.spawn(move || spawn_many(program, EACH))).collect();
        let mut exits = 0;
        let mut looked = 0;
        watch.until("every exit", |seen| {
            let ours = |notice: &&Notice| notice.parent_pid == Some(std::process::id());
            exits += notices(&seen[looked..])
                .filter(ours)
                .filter(|notice| notice.event == ProcessExit)
                .count();
            looked = seen.len();
            exits >= SPAWNERS * EACH && spawners.iter().all(thread::ScopedJoinHandle::is_finished)
        });
        over.store(true, Ordering::Relaxed);
        loads.into_iter().for_each(|load| load.join().expect("it ends"));
        let spawned = spawners.into_iter().flat_map(|one| one.join().expect("they all started"));
        (spawned.collect::<Vec<_>>(), key(std::process::id()))
    });

    for event in [ProcessFork, ProcessExec, ProcessExit] {
        assert_eq!(watch.lost(event), 0, "{event}");
    }
    let mut told: HashMap<ProcessKey, Vec<&Notice>> = HashMap::new();
    for notice in notices(&watch.seen) {
        told.entry(notice.process.expect("every process has a key")).or_default().push(notice);
    }
    // Other tests of this process have children too: these here run a program of this folder.
    told.retain(|_, told| told.iter().any(|notice| text(notice).contains("/program-")));
    assert_eq!(told.len(), SPAWNERS * EACH);
    let mut seen: HashMap<(String, u32, i32), usize> = HashMap::new();
    for told in told.into_values() {
        assert_eq!(events(&told), [ProcessFork, ProcessExec, ProcessExit]);
        assert!(told.iter().all(|notice| notice.parent == Some(own)));
        let status = told[2].status.expect("an exit has a status");
        *seen.entry((text(told[1]), told[0].pid, status)).or_default() += 1;
    }
    for Spawned { program, pid, status } in spawned {
        let key = (program.to_string_lossy().into_owned(), pid, status);
        let left = seen.get_mut(&key).unwrap_or_else(|| panic!("{key:?} was not told of"));
        *left = left.checked_sub(1).expect("it was told of once for each");
    }
    assert!(seen.values().all(|&left| left == 0), "more was told than was done");
}

/// The notices of each event.
fn counts(seen: &[Seen]) -> [u64; 3] {
    [ProcessFork, ProcessExec, ProcessExit].map(|event| {
        let count = notices(seen).filter(|notice| notice.event == event).count();
        u64::try_from(count).expect("they were counted")
    })
}

/// A child that ends at once, and its end told by `watch`; another one as long as there was no room for that.
fn landmark(watch: &mut Watch) {
    let begin = Instant::now();
    loop {
        let mut child = Command::new("/bin/true").spawn().expect("it starts");
        child.wait().expect("it ends");
        if watch.exit_told(child.id()) {
            return;
        }
        assert!(begin.elapsed() < LIMIT, "within {LIMIT:?} the sensor did not tell of an exit");
    }
}

#[test]
fn a_ring_that_is_too_small_counts_what_it_drops() {
    const CHILDREN: usize = 300;
    // The machine's other processes are told of too, so a large ring beside the small one counts them:
    // what it sees around the small one's life, and what it sees within.
    let Some(mut large) = Watch::open(Some(1 << 24)) else { return };
    let Some(mut small) = Watch::open(Some(4096)) else { return };
    landmark(&mut large);
    let before = large.seen.len();

    spawn_many(Path::new("/bin/true"), CHILDREN);
    large.drain();
    small.drain();
    small.drain();
    let within = counts(&large.seen[before..]);
    landmark(&mut small);
    landmark(&mut large);

    let around = counts(&large.seen);
    let told = counts(&small.seen);
    for (kind, event) in [ProcessFork, ProcessExec, ProcessExit].into_iter().enumerate() {
        assert_eq!(large.lost(event), 0);
        let lost = small.lost(event);
        assert!(lost > 0, "{event}: 4 KiB hold no {CHILDREN} records");
        assert!(
            lost + told[kind] >= within[kind],
            "{event}: {lost} + {} of {within:?}",
            told[kind]
        );
        assert!(
            lost + told[kind] <= around[kind],
            "{event}: {lost} + {} of {around:?}",
            told[kind]
        );
    }
}

#[test]
fn a_loss_stands_before_what_came_after_it() {
    let Some(mut watch) = Watch::open(Some(4096)) else { return };

    spawn_many(Path::new("/bin/true"), 100);
    watch.drain();
    let full = watch.seen.len();
    landmark(&mut watch);

    let first_loss = watch.seen.iter().position(|seen| matches!(seen, Seen::Loss(_)));
    let first_loss = first_loss.expect("4 KiB hold no 300 records");
    assert!(first_loss > 0, "the ring was empty before");
    assert!(first_loss <= full, "what was lost is said before what came after");
    assert!(notices(&watch.seen[full..]).count() >= 3, "and the stream goes on");
}

#[test]
fn a_lone_event_comes_by_itself() {
    let Some(mut watch) = Watch::open(None) else { return };

    for _ in 0..20 {
        landmark(&mut watch);
    }
}

#[test]
fn the_ends_of_children_do_not_keep_the_sensor_from_opening() {
    if !may_load() {
        return;
    }
    let over = AtomicBool::new(false);
    let spawn = || {
        while !over.load(Ordering::Relaxed) {
            spawn_many(Path::new("/bin/true"), 10);
        }
    };

    let opened = thread::scope(|scope| {
        let spawners = [(); 3].map(|()| scope.spawn(spawn));
        let opened = (0..20).filter(|_| Watch::open(None).is_some()).count();
        over.store(true, Ordering::Relaxed);
        spawners.into_iter().for_each(|spawner| spawner.join().expect("they all started"));
        opened
    });

    assert_eq!(opened, 20);
}

#[test]
fn threads_make_no_notice() {
    let Some(mut watch) = Watch::open(None) else { return };

    let ids: Vec<u32> = (0..500)
        .map(|_| {
            let id = thread::spawn(rustix::thread::gettid).join().expect("it ends");
            id.as_raw_nonzero().get().unsigned_abs()
        })
        .collect();
    landmark(&mut watch);

    let own = key(std::process::id());
    let of_thread = |notice: &Notice| ids.contains(&notice.pid) || notice.process == Some(own);
    assert_eq!(notices(&watch.seen).filter(|notice| of_thread(notice)).count(), 0);
}

#[test]
fn a_process_older_than_the_sensor_has_its_key_and_parent_too() {
    if !may_load() {
        return;
    }
    let mut child = waiting_child();
    let its_key = key(child.id());
    let mut watch = Watch::open(None).expect("root may");

    drop(child.stdin.take());
    child.wait().expect("it ends");
    watch.until_exit_of(child.id());

    let told = watch.of(child.id());
    assert_eq!(told.last().map(|notice| notice.event), Some(ProcessExit));
    assert!(told.iter().all(|notice| notice.process == Some(its_key)));
    assert!(told.iter().all(|notice| notice.parent == Some(key(std::process::id()))));
}

#[test]
fn after_a_double_fork_the_parent_is_the_one_that_forked() {
    let Some(mut watch) = Watch::open(None) else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let (fifo, program) = (folder.path().join("fifo"), folder.path().join("grandchild"));
    copy_of("/bin/true", program.clone());
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, 0o600.into()).expect("a fifo");
    // The shell's child forks once more and ends; its child waits for a word before it goes on.
    let script = r#"( (read word < "$0"; exec "$1") & ); :"#;

    let mut shell = Command::new("/bin/sh");
    let mut shell = shell.args(["-c", script]).arg(&fifo).arg(&program).spawn().expect("it starts");
    shell.wait().expect("it ends");
    watch.until_exit_of(shell.id());
    fs::write(&fifo, "go\n").expect("the grandchild reads");
    let ran = |notice: &Notice| {
        notice.event == ProcessExec
            && notice.path.as_deref() == Some(program.as_os_str().as_encoded_bytes())
    };
    watch.until("the grandchild", |seen| notices(seen).any(ran));
    let grandchild = notices(&watch.seen).find(|notice| ran(notice)).expect("seen").pid;
    watch.until_exit_of(grandchild);

    let shell_key = watch.of(shell.id())[0].process;
    let middle = notices(&watch.seen)
        .find(|notice| notice.event == ProcessFork && notice.parent == shell_key)
        .expect("the shell forks");
    let told = watch.of(grandchild);
    assert_eq!(events(&told), [ProcessFork, ProcessExec, ProcessExit]);
    assert!(told.iter().all(|notice| notice.parent == middle.process));
    assert!(told.iter().all(|notice| notice.parent_pid == Some(middle.pid)));
}

/// Has this very program run one of its ignored tests in a process of its own.
pub(crate) fn again(test: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command.args(["--exact", "--ignored", "--quiet", test]);
    command.stdout(Stdio::null()).spawn().expect("it starts")
}

#[test]
fn a_thread_that_runs_a_program_takes_its_process_with_it() {
    let Some(mut watch) = Watch::open(None) else { return };

    let mut child = again("processes::run_true_from_another_thread");
    let status = child.wait().expect("it ends");
    watch.until_exit_of(child.id());

    let told = watch.of(child.id());
    assert_eq!(status.code(), Some(0));
    assert_eq!(events(&told), [ProcessFork, ProcessExec, ProcessExec, ProcessExit]);
    assert!(text(told[2]).ends_with("/true"), "{}", text(told[2]));
    assert!(told.iter().all(|notice| notice.process == told[0].process));
    assert!(told.iter().all(|notice| notice.parent == Some(key(std::process::id()))));
}

/// What was told of the process that `child` forked.
fn of_its_fork(watch: &mut Watch, child: u32) -> Vec<Notice> {
    let fork = |notice: &&Notice| notice.event == ProcessFork && notice.parent_pid == Some(child);
    watch.until_exit_of(child);
    let pid = notices(&watch.seen).find(fork).expect("it forked").pid;
    watch.of(pid).into_iter().cloned().collect()
}

#[test]
fn a_process_outlives_its_first_thread() {
    let Some(mut watch) = Watch::open(None) else { return };

    let mut runs = again("processes::run_true_after_the_first_thread");
    let mut ends = again("processes::end_with_7_after_the_first_thread");
    let status = [runs.wait(), ends.wait()].map(|status| status.expect("it ends").code());
    let (told_runs, told_ends) =
        (of_its_fork(&mut watch, runs.id()), of_its_fork(&mut watch, ends.id()));

    assert_eq!(status, [Some(0), Some(0)]);
    assert_eq!(events(&told_runs), [ProcessFork, ProcessExec, ProcessExit]);
    assert_eq!(events(&told_ends), [ProcessFork, ProcessExit]);
    assert_eq!(told_runs[2].status, Some(0));
    assert_eq!(told_ends[1].status, Some(7 << 8));
    for (told, child) in [(told_runs, runs.id()), (told_ends, ends.id())] {
        assert!(told.iter().all(|notice| notice.process == told[0].process));
        assert!(told.iter().all(|notice| notice.parent == watch.of(child)[0].process));
    }
}

fn run_true() -> ! {
    let error = Command::new("true").exec();
    panic!("cannot run it: {error}");
}

#[test]
#[ignore = "a process that other tests start"]
fn run_true_from_another_thread() {
    thread::spawn(|| run_true()).join().expect("it does not come back");
}

#[test]
#[ignore = "a process that other tests start"]
fn run_true_after_the_first_thread() {
    let code = sys::in_a_fork(|| {
        thread::spawn(|| {
            wait_for_the_first_threads_end();
            run_true()
        });
    });

    assert_eq!(code, 0);
}

#[test]
#[ignore = "a process that other tests start"]
#[expect(clippy::exit, reason = "that is what it is for")]
fn end_with_7_after_the_first_thread() {
    let code = sys::in_a_fork(|| {
        thread::spawn(|| {
            wait_for_the_first_threads_end();
            std::process::exit(7)
        });
    });

    assert_eq!(code, 7);
}

fn wait_for_the_first_threads_end() {
    let path = format!("/proc/self/task/{}/stat", std::process::id());
    while !fs::read_to_string(&path).is_ok_and(|stat| stat.contains(") Z ")) {
        thread::yield_now();
    }
}

#[test]
fn a_program_on_a_mount_below_another_is_named_from_the_root() {
    let Some(mut watch) = Watch::open(None) else { return };
    let shm = fs::metadata("/dev/shm").expect("it is there").dev();
    assert_ne!(shm, fs::metadata("/dev").expect("it is there").dev(), "a mount in a mount");
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder");
    let program = copy_of("/bin/true", folder.path().join("below"));

    let mut child = Command::new(&program).spawn().expect("it starts");
    child.wait().expect("it ends");
    watch.until_exit_of(child.id());

    assert_eq!(text(watch.of(child.id())[1]), program.to_string_lossy());
}
