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
    /// Behind a function of the kernel's own with so many arguments: it can only tell.
    Exit(&'static str, usize),
    /// The root of the control groups: where no program at a security hook is called.
    Group,
}

impl Hook {
    /// Whether rules can decide there.
    pub(super) const fn decides(self) -> bool {
        !matches!(self, Self::Exit(..))
    }
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

const fn exit(
    event: Event,
    program: &'static str,
    function: &'static str,
    arguments: usize,
) -> Row {
    Row { event, family: "namespace", program, hook: Hook::Exit(function, arguments) }
}

const fn group(event: Event, program: &'static str) -> Row {
    Row { event, family: "cgroup", program, hook: Hook::Group }
}

/// Every program. An event may have several: of those that this kernel has the hook for, all
/// are needed.
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
    lsm(Event::ProcessSignal, "process", "process_signal", "task_kill", 4),
    lsm(Event::ProcessPtrace, "trace", "process_ptrace", "ptrace_access_check", 2),
    lsm(Event::ProcessPtrace, "trace", "process_ptrace_traceme", "ptrace_traceme", 1),
    lsm(Event::ProcessMemory, "trace", "process_memory", "ptrace_access_check", 2),
    lsm(Event::ProcessCredentials, "credentials", "credentials_user", "task_fix_setuid", 3),
    lsm(Event::ProcessCredentials, "credentials", "credentials_group", "task_fix_setgid", 3),
    lsm(Event::ProcessCredentials, "credentials", "credentials_groups", "task_fix_setgroups", 2),
    lsm(Event::ProcessCredentials, "credentials", "credentials_capabilities", "capset", 5),
    lsm(Event::ProcessCredentials, "credentials", "credentials_exec", "bprm_creds_from_file", 2),
    lsm(Event::ProcessLimits, "process", "process_limits", "task_setrlimit", 3),
    lsm(Event::FileSetxattr, "xattr", "file_setxattr", "inode_setxattr", 6),
    lsm(Event::FileSetxattr, "xattr", "file_setxattr_acl", "inode_set_acl", 4),
    lsm(Event::FileRemovexattr, "xattr", "file_removexattr", "inode_removexattr", 3),
    lsm(Event::FileRemovexattr, "xattr", "file_removexattr_acl", "inode_remove_acl", 3),
    lsm(Event::MemoryMprotectExec, "memory", "memory_mprotect_exec", "file_mprotect", 3),
    lsm(Event::MemoryMprotectExec, "memory", "memory_mmap_exec", "mmap_file", 4),
    lsm(Event::MountMount, "mount", "mount_mount", "sb_mount", 5),
    lsm(Event::MountUmount, "mount", "mount_umount", "sb_umount", 2),
    lsm(Event::MountMove, "mount", "mount_move", "move_mount", 2),
    lsm(Event::MountMove, "mount", "mount_move_old", "sb_mount", 5),
    lsm(Event::MountRemount, "mount", "mount_remount", "sb_mount", 5),
    lsm(Event::MountRemount, "mount", "mount_remount_new", "sb_remount", 2),
    lsm(Event::MountPivot, "mount", "mount_pivot", "sb_pivotroot", 2),
    lsm(Event::MountChroot, "mount", "mount_chroot", "path_chroot", 1),
    lsm(Event::KernelModuleLoad, "kernel", "kernel_module_load", "kernel_read_file", 3),
    lsm(Event::KernelModuleLoad, "kernel", "kernel_module_load_memory", "kernel_load_data", 2),
    lsm(Event::KernelBpfLoad, "kernel", "kernel_bpf_load", "bpf", 3),
    lsm(Event::KernelBpfLoad, "kernel", "kernel_bpf_load", "bpf", 4),
    lsm(Event::KernelLockdown, "kernel", "kernel_lockdown", "locked_down", 1),
    lsm(Event::KernelModuleRequest, "kernel", "kernel_module_request", "kernel_module_request", 1),
    lsm(Event::KernelKexec, "kernel", "kernel_kexec", "kernel_read_file", 3),
    lsm(Event::KernelKexec, "kernel", "kernel_kexec_memory", "kernel_load_data", 2),
    lsm(Event::KernelSettime, "kernel", "kernel_settime", "settime", 2),
    lsm(Event::KernelPerfOpen, "kernel", "kernel_perf_open", "perf_event_open", 2),
    lsm(Event::KernelPerfOpen, "kernel", "kernel_perf_open_bare", "perf_event_open", 1),
    lsm(Event::NetConnect, "net", "net_connect", "socket_connect", 3),
    lsm(Event::NetConnect, "net", "net_connect_fast", "socket_sendmsg", 3),
    lsm(Event::NetBind, "net", "net_bind", "socket_bind", 3),
    lsm(Event::NetListen, "net", "net_listen", "socket_listen", 2),
    lsm(Event::NetAccept, "net", "net_accept", "socket_accept", 2),
    lsm(Event::NetSocket, "net", "net_socket", "socket_create", 4),
    lsm(Event::NetSend, "net", "net_send", "socket_sendmsg", 3),
    lsm(Event::UnixConnect, "unix", "unix_connect", "unix_stream_connect", 3),
    lsm(Event::UnixConnect, "unix", "unix_connect_datagram", "unix_may_send", 2),
    lsm(Event::NamespaceCreate, "namespace", "namespace_create", "userns_create", 1),
    exit(Event::NamespaceCreate, "namespace_create_clone", "copy_namespaces", 2),
    exit(Event::NamespaceCreate, "namespace_create_unshare", "unshare_nsproxy_namespaces", 4),
    exit(Event::NamespaceEnter, "namespace_enter_mntns", "mntns_install", 2),
    exit(Event::NamespaceEnter, "namespace_enter_cgroupns", "cgroupns_install", 2),
    exit(Event::NamespaceEnter, "namespace_enter_utsns", "utsns_install", 2),
    exit(Event::NamespaceEnter, "namespace_enter_ipcns", "ipcns_install", 2),
    exit(Event::NamespaceEnter, "namespace_enter_userns", "userns_install", 2),
    exit(Event::NamespaceEnter, "namespace_enter_pidns", "pidns_install", 2),
    exit(Event::NamespaceEnter, "namespace_enter_netns", "netns_install", 2),
    exit(Event::NamespaceEnter, "namespace_enter_timens", "timens_install", 2),
    group(Event::NetConnect, "cgroup_connect4"),
    group(Event::NetConnect, "cgroup_connect6"),
    group(Event::NetBind, "cgroup_bind4"),
    group(Event::NetBind, "cgroup_bind6"),
    group(Event::NetSend, "cgroup_sendmsg4"),
    group(Event::NetSend, "cgroup_sendmsg6"),
];

/// Where programs for an event hang, on one kernel or another.
pub fn hooks(event: Event) -> Vec<String> {
    let mut hooks: Vec<String> = Vec::new();
    for row in ROWS.iter().filter(|row| row.event == event) {
        let hook = match row.hook {
            Hook::Lsm(hook, _) => format!("lsm/{hook}"),
            Hook::Exit(function, _) => format!("fexit/{function}"),
            Hook::Group => format!("cgroup/{}", row.program.trim_start_matches("cgroup_")),
        };
        if !hooks.contains(&hook) {
            hooks.push(hook);
        }
    }
    hooks
}

/// What passes unseen of an event although its programs run.
/// `by_group`: programs of a control group stand in for those at security hooks.
pub fn gaps(event: Event, by_group: bool) -> Vec<Gap> {
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
        Event::ProcessCredentials => vec![gap(
            "by-the-kernel",
            "credentials that code of the kernel takes by itself, as an attack on it does, are not seen",
            None,
        )],
        Event::ProcessMemory => vec![gap(
            "direction",
            "an open of /proc/PID/mem by openat2 or io_uring counts as one for writing, whatever it is for",
            None,
        )],
        Event::MountMount | Event::MountRemount => vec![gap(
            "mount-setattr",
            "what mount_setattr changes of a mount is not seen: the kernel asks nobody",
            None,
        )],
        Event::MountMove => vec![gap(
            "from",
            "where a mount was before is not said of a move by mount(2): a rule that asks for it is not \
             applied there",
            None,
        )],
        Event::KernelSettime => vec![gap(
            "adjtimex",
            "what adjtimex and clock_adjtime do to the clock is not seen: the kernel asks nobody",
            None,
        )],
        Event::NamespaceCreate => vec![gap(
            "told-only",
            "rules decide on user namespaces; the other kinds are told of once they are made",
            Some("an unprivileged process needs a user namespace first: write the rule for that"),
        )],
        Event::NetConnect | Event::NetBind | Event::NetSend if by_group => vec![gap(
            "other-protocols",
            "only TCP and UDP are seen: no program at a security hook is called on this kernel",
            Some("boot with lsm=...,bpf on a kernel with CONFIG_BPF_LSM"),
        )],
        _ => Vec::new(),
    }
}
