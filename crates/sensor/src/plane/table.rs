//! The one table of the plane's programs: which event each is for, and where it hangs.

use outrigger_api::Event;
use outrigger_api::coverage::Gap;

/// One program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// What it tells of or decides.
    pub(super) event: Event,
    /// The file of `bpf/lsm/` that it stands in, without `.bpf.c`.
    pub(super) family: &'static str,
    /// Its name there.
    pub(super) program: &'static str,
    /// Where it hangs.
    pub(super) hook: Hook,
}

/// Where a program hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// A security hook with so many arguments: a kernel whose hook has another number of them has another
    /// program, or none.
    Lsm(&'static str, usize),
    /// A tracepoint of the kernel: it can only tell.
    Trace,
}

const fn lsm(
    event: Event,
    family: &'static str,
    program: &'static str,
    hook: &'static str,
    arguments: usize,
) -> Row {
    Row { event, family, program, hook: Hook::Lsm(hook, arguments) }
}

/// Every program. An event may have several: of those whose hook this kernel has, all are needed.
pub(super) const ROWS: &[Row] = &[
    lsm(Event::ProcessExec, "file", "process_exec", "file_open", 1),
    lsm(Event::FileOpen, "file", "file_open", "file_open", 1),
    lsm(Event::FileCreate, "file", "file_create", "path_mknod", 4),
    lsm(Event::FileMknod, "file", "file_mknod", "path_mknod", 4),
    lsm(Event::FileMkdir, "file", "file_mkdir", "path_mkdir", 3),
    lsm(Event::FileSymlink, "file", "file_symlink", "path_symlink", 3),
    lsm(Event::FileLink, "file", "file_link", "path_link", 3),
    lsm(Event::FileRename, "file", "file_rename", "path_rename", 5),
    lsm(Event::FileUnlink, "file", "file_unlink", "path_unlink", 2),
    lsm(Event::FileRmdir, "file", "file_rmdir", "path_rmdir", 2),
    lsm(Event::FileSetattr, "file", "file_setattr", "path_chmod", 2),
    lsm(Event::FileChown, "file", "file_chown", "path_chown", 3),
    lsm(Event::FileTruncate, "file", "file_truncate", "inode_setattr", 2),
    lsm(Event::FileTruncate, "file", "file_truncate_idmap", "inode_setattr", 3),
    lsm(Event::FileMmapExec, "file", "file_mmap_exec", "mmap_file", 4),
    lsm(Event::FileReceive, "file", "file_receive", "file_receive", 1),
];

/// What passes unseen of an event although its programs run.
pub(super) fn gaps(event: Event) -> Vec<Gap> {
    let gap = |name: &str, why: &str, remedy: Option<&str>| Gap {
        name: name.to_owned(),
        why: why.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    match event {
        Event::FileCreate => vec![gap(
            "no-name",
            "a file made without a name (O_TMPFILE, memfd_create) is seen when it gets one, as file.link",
            Some("write the rule for file.link too"),
        )],
        Event::FileSetattr => vec![gap(
            "times",
            "times and attributes of the file system (utimensat, chattr) are not seen, only permission bits",
            None,
        )],
        Event::FileUnlink | Event::FileRename | Event::FileMkdir | Event::FileRmdir => vec![gap(
            "by-the-kernel",
            "what the kernel does to a file system by itself, as its NFS server does, is not seen",
            None,
        )],
        _ => Vec::new(),
    }
}
