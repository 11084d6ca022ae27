//! What the file sensor tells of changes on file systems of the test's own.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Command, Stdio};
use std::thread;

use outrigger_api::coverage::Level;
use outrigger_api::{Event, EventSet, LossCause, Lost};
use outrigger_sensor::changes::{self, FileSensor, MarkError};
use outrigger_sensor::identity::{self, Subjects};
use outrigger_sensor::notice::Seen;
use outrigger_sensor::process::enter_new_mount_namespace;

use crate::harness::{Scene, below, drain, mark, notices, told};

use Event::{FileCloseWrite, FileCreate, FileRename, FileUnlink};

#[test]
fn each_event_comes_with_its_path() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir_all(scene.at("a/b")).unwrap();
    let mut sensor = scene.sensor();

    let mut file = File::create(scene.at("a/b/new")).unwrap();
    let created = notices(&mut sensor);
    file.write_all(b"content").unwrap();
    drop(file);
    let written = notices(&mut sensor);
    fs::rename(scene.at("a/b/new"), scene.at("a/moved")).unwrap();
    let renamed = notices(&mut sensor);
    fs::remove_file(scene.at("a/moved")).unwrap();
    let unlinked = notices(&mut sensor);

    assert_eq!(told(&scene, &created), [(FileCreate, Some("a/b/new"))]);
    assert_eq!(told(&scene, &written), [(FileCloseWrite, Some("a/b/new"))]);
    assert_eq!(told(&scene, &renamed), [(FileRename, Some("a/b/new"))]);
    assert_eq!(below(&scene, renamed[0].new_path.as_deref()), Some("a/moved"));
    assert_eq!(told(&scene, &unlinked), [(FileUnlink, Some("a/moved"))]);
}

#[test]
fn file_and_process_have_the_keys_that_questions_carry() {
    let Some(scene) = Scene::tmpfs() else { return };
    keys_are_those_of_questions(&scene);
}

#[test]
fn keys_are_right_on_ext4_too() {
    let Some(scene) = Scene::ext4() else { return };
    keys_are_those_of_questions(&scene);
}

fn keys_are_those_of_questions(scene: &Scene) {
    let mut sensor = scene.sensor();

    let file = File::create(scene.at("file")).expect("a file");
    let wanted = identity::object(file.as_fd()).expect("its key").key;
    drop(file);
    fs::remove_file(scene.at("file")).expect("removed");
    let notices = notices(&mut sensor);

    let pid = std::process::id();
    let own = identity::handle(pid).expect("it lives");
    let process = Subjects::probe().key(pid, own.as_fd());
    let events: Vec<Event> = notices.iter().map(|notice| notice.event).collect();
    assert_eq!(events, [FileCreate, FileCloseWrite, FileUnlink]);
    assert!(notices.iter().all(|notice| notice.file == Some(wanted)));
    assert!(notices.iter().all(|notice| notice.process == Some(process) && notice.pid == pid));
    assert!(notices.iter().all(|notice| notice.credentials.map(|who| who.uid) == Some(0)));
}

#[test]
fn a_process_that_is_gone_has_its_pid_only() {
    let Some(scene) = Scene::tmpfs() else { return };
    let mut sensor = scene.sensor();

    let mut child = Command::new("touch").arg(scene.at("file")).spawn().unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    let notices = notices(&mut sensor);

    assert_eq!(notices[0].event, FileCreate);
    assert_eq!(below(&scene, notices[0].path.as_deref()), Some("file"));
    assert_eq!((notices[0].pid, notices[0].process, notices[0].credentials), (pid, None, None));
}

#[test]
fn every_name_of_a_file_is_told_with_the_same_key() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir(scene.at("folder")).unwrap();
    fs::write(scene.at("first"), b"").unwrap();
    let mut sensor = scene.sensor();

    fs::hard_link(scene.at("first"), scene.at("folder/second")).unwrap();
    let mut file = File::options().append(true).open(scene.at("folder/second")).unwrap();
    file.write_all(b"more").unwrap();
    drop(file);
    fs::remove_file(scene.at("first")).unwrap();
    let notices = notices(&mut sensor);

    // Made and written by one process under one name: merged, and told as one of each.
    assert_eq!(
        told(&scene, &notices),
        [
            (FileCreate, Some("folder/second")),
            (FileCloseWrite, Some("folder/second")),
            (FileUnlink, Some("first")),
        ]
    );
    let left = identity::object(File::open(scene.at("folder/second")).unwrap().as_fd()).unwrap();
    assert!(notices.iter().all(|notice| notice.file == Some(left.key)));
}

#[test]
fn folders_links_and_pipes_are_files() {
    let Some(scene) = Scene::tmpfs() else { return };
    let mut sensor = scene.sensor();

    fs::create_dir(scene.at("folder")).unwrap();
    std::os::unix::fs::symlink("nowhere", scene.at("folder/link")).unwrap();
    fs::rename(scene.at("folder"), scene.at("renamed")).unwrap();
    let before = notices(&mut sensor);
    fs::remove_file(scene.at("renamed/link")).unwrap();
    fs::remove_dir(scene.at("renamed")).unwrap();
    let after = notices(&mut sensor);

    assert_eq!(
        told(&scene, &before),
        [
            (FileCreate, Some("folder")),
            // Paths are those of the moment of reading.
            (FileCreate, Some("renamed/link")),
            (FileRename, Some("folder")),
        ]
    );
    assert_eq!(below(&scene, before[2].new_path.as_deref()), Some("renamed"));
    assert_eq!(after[1].event, FileUnlink);
    assert_eq!(below(&scene, after[1].path.as_deref()), Some("renamed"));
}

#[test]
fn below_a_renamed_folder_paths_are_new() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir_all(scene.at("a/b/c")).unwrap();
    fs::create_dir(scene.at("other")).unwrap();
    let mut sensor = scene.sensor();
    fs::write(scene.at("a/b/c/known"), b"").unwrap();
    let before = notices(&mut sensor);

    fs::rename(scene.at("a/b"), scene.at("other/renamed")).unwrap();
    fs::write(scene.at("other/renamed/c/new"), b"").unwrap();
    let after = notices(&mut sensor);

    assert_eq!(told(&scene, &before)[0], (FileCreate, Some("a/b/c/known")));
    assert_eq!(told(&scene, &after)[0], (FileRename, Some("a/b")));
    assert_eq!(below(&scene, after[0].new_path.as_deref()), Some("other/renamed"));
    assert_eq!(told(&scene, &after)[1], (FileCreate, Some("other/renamed/c/new")));
}

#[test]
fn a_folders_rename_counts_where_renames_are_not_told() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir(scene.at("a")).unwrap();
    let mut sensor = scene.sensor_for(EventSet::EMPTY.with(FileCreate));
    fs::write(scene.at("a/known"), b"").unwrap();
    let before = notices(&mut sensor);

    fs::rename(scene.at("a"), scene.at("b")).unwrap();
    fs::write(scene.at("b/new"), b"").unwrap();
    let after = notices(&mut sensor);

    assert_eq!(told(&scene, &before), [(FileCreate, Some("a/known"))]);
    assert_eq!(told(&scene, &after), [(FileCreate, Some("b/new"))]);
}

#[test]
fn what_two_files_swap_is_told_of_both() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::write(scene.at("one"), b"1").unwrap();
    fs::write(scene.at("two"), b"2").unwrap();
    let mut sensor = scene.sensor();

    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let here = rustix::fs::CWD;
    rustix::fs::renameat_with(here, scene.at("one"), here, scene.at("two"), flags).unwrap();
    let notices = notices(&mut sensor);

    let mut told: Vec<_> = notices
        .iter()
        .map(|notice| (below(&scene, notice.path.as_deref()), notice.new_path.as_deref()))
        .map(|(from, to)| (from.unwrap(), below(&scene, to).unwrap()))
        .collect();
    told.sort_unstable();
    assert_eq!(told, [("one", "two"), ("two", "one")]);
}

#[test]
fn a_folder_that_is_gone_leaves_no_path() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir(scene.at("folder")).unwrap();
    let mut sensor = scene.sensor();

    let held = File::open(scene.at("folder")).unwrap();
    fs::write(scene.at("folder/file"), b"").unwrap();
    let wanted = identity::object(File::open(scene.at("folder/file")).unwrap().as_fd()).unwrap();
    fs::remove_file(scene.at("folder/file")).unwrap();
    fs::remove_dir(scene.at("folder")).unwrap();
    let notices = notices(&mut sensor);
    drop(held);

    assert_eq!(
        told(&scene, &notices),
        [
            (FileCreate, None),
            (FileCloseWrite, None),
            (FileUnlink, None),
            (FileUnlink, Some("folder")),
        ]
    );
    assert_eq!(notices[0].file, Some(wanted.key));
}

#[test]
fn another_folder_of_the_same_name_is_not_taken_for_one_that_is_gone() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir(scene.at("folder")).unwrap();
    let mut sensor = scene.sensor();
    let file = File::create(scene.at("folder/file")).unwrap();
    let before = notices(&mut sensor);

    fs::remove_file(scene.at("folder/file")).unwrap();
    fs::remove_dir(scene.at("folder")).unwrap();
    notices(&mut sensor);
    fs::create_dir(scene.at("folder")).unwrap();
    drop(file);
    let after = notices(&mut sensor);

    assert_eq!(told(&scene, &before), [(FileCreate, Some("folder/file"))]);
    assert_eq!(told(&scene, &after), [(FileCreate, Some("folder")), (FileCloseWrite, None)]);
}

#[test]
fn odd_names_are_told_byte_by_byte() {
    let Some(scene) = Scene::tmpfs() else { return };
    let longest = [0xfe; 255];
    let names: [&[u8]; 6] =
        [b"\xff\xfe", b"new\nline", b"\x1b[31m", b"file (deleted)", "…".as_bytes(), &longest];
    let mut sensor = scene.sensor_for(EventSet::EMPTY.with(FileCreate).with(FileRename));

    for name in names {
        fs::create_dir(scene.at("").join(OsStr::from_bytes(name))).unwrap();
        fs::write(scene.at("").join(OsStr::from_bytes(name)).join("file"), b"").unwrap();
    }
    let old = scene.at("").join(OsStr::from_bytes(names[0]));
    fs::rename(old, scene.at("").join(OsStr::from_bytes(b"\x80 moved"))).unwrap();
    let notices = notices(&mut sensor);

    let path = |name: &[u8], file: &str| {
        let folder = scene.files().join(OsStr::from_bytes(name));
        let path = if file.is_empty() { folder } else { folder.join(file) };
        Some(path.into_os_string().into_vec())
    };
    for (index, name) in names.iter().enumerate().skip(1) {
        assert_eq!(notices[2 * index].path, path(name, ""));
        assert_eq!(notices[2 * index + 1].path, path(name, "file"));
    }
    assert_eq!(notices[12].path, path(names[0], ""));
    assert_eq!(notices[12].new_path, path(b"\x80 moved", ""));
}

#[test]
fn none_of_many_changes_by_many_threads_is_lost() {
    const THREADS: usize = 4;
    const FILES: usize = 2_500;
    let Some(scene) = Scene::tmpfs() else { return };
    let mut sensor = scene.sensor();
    let work = |thread: usize| {
        let folder = scene.at(&format!("t{thread}"));
        move || {
            fs::create_dir(&folder).unwrap();
            for file in 0..FILES {
                let path = folder.join(file.to_string());
                let moved = folder.join(format!("{file}.moved"));
                fs::write(&path, b"x").unwrap();
                fs::rename(&path, &moved).unwrap();
                fs::remove_file(&moved).unwrap();
            }
        }
    };

    let threads: Vec<_> = (0..THREADS).map(|thread| thread::spawn(work(thread))).collect();
    let mut seen = Vec::new();
    while !threads.iter().all(thread::JoinHandle::is_finished) {
        sensor.drain(&mut seen).unwrap();
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    seen.extend(drain(&mut sensor));

    let count = |event: Event| {
        let is = |seen: &&Seen| matches!(seen, Seen::Notice(notice) if notice.event == event);
        seen.iter().filter(is).count()
    };
    let losses = seen.iter().filter(|seen| matches!(seen, Seen::Loss(_))).count();
    let counted = [FileCreate, FileCloseWrite, FileRename, FileUnlink].map(count);
    let all = THREADS * FILES;
    eprintln!("told {counted:?} of {all} each, {losses} losses");
    // A busy machine may keep the reader away until the queue is full. Then that must be said.
    if losses == 0 {
        assert_eq!(counted, [all + THREADS, all, all, all]);
    }
    assert!(counted.iter().all(|told| *told <= all + THREADS));
    assert!(seen.iter().all(|seen| match seen {
        Seen::Notice(notice) => notice.file.is_some() && notice.path.is_some(),
        Seen::Loss(loss) => loss.cause == LossCause::KernelQueue,
    }));
}

#[test]
fn a_full_queue_is_told_where_it_was_full() {
    let Some(scene) = Scene::tmpfs() else { return };
    let limit = fs::read_to_string("/proc/sys/fs/fanotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    if limit > 100_000 {
        eprintln!(
            "SKIPPED: fs.fanotify.max_queued_events is {limit}, which takes too long to fill"
        );
        return;
    }
    let mut sensor = scene.sensor_for(EventSet::EMPTY.with(FileCreate));

    for file in 0..limit + 100 {
        File::create(scene.at(&file.to_string())).unwrap();
    }
    let full = drain(&mut sensor);
    File::create(scene.at("after")).unwrap();
    let after = notices(&mut sensor);

    let is_loss = |seen: &Seen| matches!(seen, Seen::Loss(_));
    assert_eq!(full.len(), limit + 1);
    assert_eq!(full.iter().position(is_loss), Some(limit));
    let Some(Seen::Loss(loss)) = full.last() else { panic!("a loss") };
    assert_eq!((loss.lost, loss.cause), (Lost::Unknown, LossCause::KernelQueue));
    assert_eq!(loss.events, EventSet::EMPTY.with(FileCreate));
    assert_eq!(told(&scene, &after), [(FileCreate, Some("after"))]);
}

#[test]
fn what_the_platform_does_is_left_out_and_nothing_else() {
    let Some(scene) = Scene::tmpfs() else { return };
    let mut sensor = scene.sensor_for(EventSet::EMPTY.with(FileCreate));
    let mut shell = Command::new("sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .current_dir(scene.files())
        .spawn()
        .unwrap();
    let mut order = |words: &str| {
        writeln!(shell.stdin.as_mut().unwrap(), "{words}; echo done").unwrap();
        shell.stdout.as_mut().unwrap().read_exact(&mut [0; 5]).unwrap();
    };

    order(": > before");
    let before = notices(&mut sensor);
    sensor.leave_out(&[before[0].pid]);
    order(": > own");
    File::create(scene.at("other")).unwrap();
    let during = notices(&mut sensor);
    sensor.leave_out(&[]);
    order(": > after");
    let after = notices(&mut sensor);
    drop(shell.stdin.take());
    shell.wait().unwrap();

    assert_eq!(told(&scene, &before), [(FileCreate, Some("before"))]);
    assert_eq!(told(&scene, &during), [(FileCreate, Some("other"))]);
    assert_eq!(told(&scene, &after), [(FileCreate, Some("after"))]);
}

#[test]
fn an_unmarked_file_system_is_told_of_no_more() {
    let Some(scene) = Scene::tmpfs() else { return };
    let mut sensor = scene.sensor();
    let device = identity::object(File::open(scene.files()).unwrap().as_fd()).unwrap().device;
    File::create(scene.at("waits")).unwrap();

    sensor.unmark(device);
    File::create(scene.at("later")).unwrap();
    let after = notices(&mut sensor);
    mark(&mut sensor, scene.files(), "tmpfs").unwrap();
    File::create(scene.at("again")).unwrap();
    let again = notices(&mut sensor);

    assert_eq!(told(&scene, &after), [(FileCreate, None), (FileCloseWrite, None)]);
    assert_eq!(told(&scene, &again)[0], (FileCreate, Some("again")));
}

#[test]
fn a_watched_file_system_can_be_unmounted() {
    let Some(scene) = Scene::tmpfs() else { return };
    let sensor = scene.sensor();

    let unmounted = rustix::mount::unmount(scene.files(), rustix::mount::UnmountFlags::empty());

    drop(sensor);
    assert_eq!(unmounted, Ok(()));
}

#[test]
fn a_file_system_of_another_namespace_has_the_paths_of_that_one() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir(scene.at("folder")).unwrap();
    let point = File::open(scene.files()).unwrap();
    let place = scene.files().to_owned();

    // As the host does: in a namespace of its own, with a descriptor of the other one.
    let sensor = thread::spawn(move || {
        enter_new_mount_namespace().unwrap();
        let mut sensor = FileSensor::open(changes::EVENTS).unwrap();
        sensor.mark(&crate::harness::volume(&place, "tmpfs"), point.as_fd()).unwrap();
        sensor
    });
    let mut sensor = sensor.join().unwrap();
    File::create(scene.at("folder/file")).unwrap();
    let notices = notices(&mut sensor);
    let unmounted = rustix::mount::unmount(scene.files(), rustix::mount::UnmountFlags::empty());

    assert_eq!(told(&scene, &notices)[0], (FileCreate, Some("folder/file")));
    assert_eq!(unmounted, Ok(()));
}

#[test]
fn a_file_system_that_is_not_mounted_here_serves_through_the_mount_it_was_found_by() {
    let Some(scene) = Scene::tmpfs() else { return };
    fs::create_dir(scene.at("folder")).unwrap();
    let point = File::open(scene.files()).unwrap();
    let place = scene.files().to_owned();

    let sensor = thread::spawn(move || {
        enter_new_mount_namespace().unwrap();
        rustix::mount::unmount(&place, rustix::mount::UnmountFlags::DETACH).unwrap();
        let mut sensor = FileSensor::open(changes::EVENTS).unwrap();
        sensor.mark(&crate::harness::volume(&place, "tmpfs"), point.as_fd()).unwrap();
        sensor
    });
    let mut sensor = sensor.join().unwrap();
    File::create(scene.at("folder/file")).unwrap();
    let notices = notices(&mut sensor);
    let unmount = || rustix::mount::unmount(scene.files(), rustix::mount::UnmountFlags::empty());
    let watched = unmount();
    drop(sensor);

    assert_eq!(told(&scene, &notices)[0], (FileCreate, Some("folder/file")));
    assert_eq!(watched, Err(rustix::io::Errno::BUSY));
    assert_eq!(unmount(), Ok(()));
}

#[test]
fn where_a_part_is_mounted_what_lies_outside_of_it_has_no_path() {
    let Some(mut scene) = Scene::tmpfs() else { return };
    fs::create_dir_all(scene.at("part/inner")).unwrap();
    fs::create_dir(scene.at("elsewhere")).unwrap();
    let whole = scene.files().to_owned();
    scene.bind("part");
    let mut sensor = scene.sensor_for(EventSet::EMPTY.with(FileCreate));

    File::create(scene.at("inner/file")).unwrap();
    File::create(scene.at("file")).unwrap();
    File::create(whole.join("elsewhere/file")).unwrap();
    let notices = notices(&mut sensor);

    assert_eq!(
        told(&scene, &notices),
        [(FileCreate, Some("inner/file")), (FileCreate, Some("file")), (FileCreate, None)]
    );
    assert!(notices[2].file.is_some());
}

#[test]
fn a_file_system_with_a_server_is_refused() {
    let Some(scene) = Scene::tmpfs() else { return };
    let mut sensor = FileSensor::open(changes::EVENTS).unwrap();

    let refused = mark(&mut sensor, scene.files(), "fuse");

    assert!(matches!(refused, Err(MarkError::CanBlock(_))), "{refused:?}");
}

#[test]
fn a_file_system_without_handles_is_refused_with_the_reason() {
    let Some(scene) = Scene::overlay() else { return };
    let mut sensor = FileSensor::open(changes::EVENTS).unwrap();

    let refused = mark(&mut sensor, scene.files(), "overlay");

    assert!(matches!(refused, Err(MarkError::Handles(_))), "{refused:?}");
}

#[test]
fn of_two_file_systems_with_one_id_the_second_is_refused() {
    let Some(mut scene) = Scene::ext4() else { return };
    let mut sensor = scene.sensor();
    scene.mount_copy();

    let refused = mark(&mut sensor, scene.files(), "ext4");

    assert!(matches!(refused, Err(MarkError::SameId(_))), "{refused:?}");
}

#[test]
fn this_kernel_tells_every_change() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: needs root");
        return;
    }

    let found = changes::probe();

    let missing: Vec<_> = found.iter().filter(|entry| entry.level != Level::Notify).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
