//! What can be said of an event besides who, what and when: the names that rules and filters use.
//!
//! The one table of them. The Cedar schema, the tables that rules compile to, the reference page
//! (`docs/events.md`) and what engines are told follow from it.
//!
//! Every event has a *subject*, the process that does it: its effective `uid` and `gid`, the path of the
//! program it runs (`exe`), its control group's path (`cgroup`), its `marks`, and its lineage: the
//! programs that it and its ancestors have run. What the object is follows from
//! [`Event::object`]: a file has a `path` (empty where [`Place::PathKnown`] is 0), its `owner` and
//! `marks`; a process what the subject has, but for `cgroup`; an endpoint its `family`, `address` and
//! `port`. The rest, `context`, stands here per event.

use crate::catalogue::Event;

/// Where a value stands among the facts of an event; the same for the host and for BPF programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Place {
    /// Effective user of the subject.
    SubjectUid = 0,
    /// Effective group of the subject.
    SubjectGid = 1,
    /// Effective user of the process that is the object.
    TargetUid = 2,
    /// Its effective group.
    TargetGid = 3,
    /// User who owns the file that is the object.
    Owner = 4,
    /// 1 where the object's path is known, else 0.
    PathKnown = 5,
    /// Address family: 2 (IPv4), 10 (IPv6), or another of `AF_*`.
    Family = 6,
    /// Port, in the machine's byte order.
    Port = 7,
    /// First number of the event, see [`arguments`].
    Value0 = 8,
    /// Second number of the event.
    Value1 = 9,
    /// Path of the subject's program, when it was begun.
    Exe = 16,
    /// Path of the subject's control group under the mount of cgroup v2, beginning with `/`.
    Cgroup = 17,
    /// The object's path.
    Path = 18,
    /// Path of the program of the process that is the object.
    TargetExe = 19,
    /// The other path of the event, see [`arguments`].
    NewPath = 20,
    /// The text of the event.
    Text = 21,
    /// IP address; an IPv4 address mapped into IPv6 stands as the IPv4 address that it is.
    Address = 32,
}

impl Place {
    /// Places of numbers are below this.
    pub const NUMBERS: usize = 10;
    /// Places of texts begin here.
    pub const FIRST_TEXT: usize = 16;
    /// Places of texts end before this.
    pub const TEXTS_END: usize = 22;
}

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 0 or 1.
    Bool,
    /// A number from 0 to 2^63 - 1.
    Long,
    /// Bytes that are usually UTF-8.
    Text,
}

/// One value that an event carries besides subject and object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argument {
    /// Its name, in `context`.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// What it is.
    pub kind: Kind,
    /// What it means, one sentence without its full stop.
    pub meaning: &'static str,
}

const fn flag(name: &'static str, place: Place, meaning: &'static str) -> Argument {
    Argument { name, place, kind: Kind::Bool, meaning }
}

const fn number(name: &'static str, place: Place, meaning: &'static str) -> Argument {
    Argument { name, place, kind: Kind::Long, meaning }
}

const fn text(name: &'static str, place: Place, meaning: &'static str) -> Argument {
    Argument { name, place, kind: Kind::Text, meaning }
}

/// The arguments of `event`, at most two numbers and two texts.
pub const fn arguments(event: Event) -> &'static [Argument] {
    use Place::{NewPath, Text, Value0, Value1};
    match event {
        Event::ProcessExec => {
            &[
                const {
                    flag("memory", Value0, "the program lies in memory and has no name in a folder")
                },
            ]
        }
        Event::ProcessSignal => {
            &[const { number("signal", Value0, "the signal's number; 0 only asks whether it may") }]
        }
        Event::ProcessPtrace => {
            &[const { flag("attach", Value0, "to control it, not only to look") }]
        }
        Event::ProcessMemory => &[const { flag("write", Value0, "to write, not only to read") }],
        Event::ProcessCredentials => &[
            const { number("new_uid", Value0, "effective user from now on") },
            const { number("new_gid", Value1, "effective group from now on") },
        ],
        Event::ProcessLimits => &[
            const { number("limit", Value0, "which one, as `RLIMIT_*`") },
            const { number("soft", Value1, "its new soft value, at most 2^63 - 1") },
        ],
        Event::FileOpen => &[
            const { flag("write", Value0, "for writing, or emptied by it") },
            const { flag("execute", Value1, "by the kernel, to run it") },
        ],
        Event::FileCreate | Event::FileMkdir => {
            &[const { number("mode", Value0, "its permission bits before the umask") }]
        }
        Event::FileMknod => &[
            const { number("mode", Value0, "its type and permission bits, as `S_IF*`") },
            const { number("device", Value1, "major << 20 | minor of a device, else 0") },
        ],
        Event::FileRename => &[
            const { text("new_path", NewPath, "its path afterwards") },
            const { flag("replaces", Value0, "something has that name already") },
        ],
        Event::FileLink => &[const { text("new_path", NewPath, "the further name") }],
        Event::FileSymlink => &[const { text("target", Text, "where the link leads") }],
        Event::FileSetattr => &[const { number("mode", Value0, "its permission bits afterwards") }],
        Event::FileChown => &[
            const { number("new_owner", Value0, "user afterwards; 4294967295 if it stays") },
            const { number("new_group", Value1, "group afterwards; 4294967295 if it stays") },
        ],
        Event::FileSetxattr | Event::FileRemovexattr => {
            &[const { text("name", Text, "the attribute's name with its namespace") }]
        }
        Event::FileMmapExec => {
            &[const { flag("write", Value0, "what is written there goes to the file or is kept") }]
        }
        Event::MemoryMprotectExec => &[
            const { flag("anonymous", Value0, "the memory is of no file") },
            const { flag("write", Value1, "it can be written too") },
        ],
        Event::MountMount => &[
            const { text("type", Text, "the file system's type; empty for a bind mount or a change") },
            const { number("flags", Value0, "as `MS_*`") },
        ],
        Event::MountUmount => &[const { number("flags", Value0, "as `MNT_*` and `UMOUNT_*`") }],
        Event::MountMove => &[const { text("from", NewPath, "where it was before") }],
        Event::MountPivot => &[const { text("old_root", NewPath, "where the old root goes") }],
        Event::KernelModuleLoad | Event::KernelKexec => {
            &[const { flag("memory", Value0, "from the caller's memory: there is no file") }]
        }
        Event::KernelModuleRequest => &[const { text("name", Text, "the module's name or alias") }],
        Event::KernelBpfLoad => &[const { number("type", Value0, "as `BPF_PROG_TYPE_*`") }],
        Event::KernelLockdown => &[const { number("what", Value0, "as `enum lockdown_reason`") }],
        Event::KernelSettime => &[const { number("seconds", Value0, "the new time since 1970") }],
        Event::KernelPerfOpen => &[const { number("type", Value0, "as `PERF_TYPE_*`") }],
        Event::NetConnect
        | Event::NetBind
        | Event::NetListen
        | Event::NetAccept
        | Event::NetSocket
        | Event::NetSend => &[
            const { number("protocol", Value0, "as `IPPROTO_*`") },
            const { number("type", Value1, "as `SOCK_*`, without its flags") },
        ],
        Event::UnixConnect => &[
            const { text("name", Text, "an abstract socket's name, which is in no folder") },
            const { number("type", Value1, "as `SOCK_*`, without its flags") },
        ],
        Event::NamespaceCreate | Event::NamespaceEnter => {
            &[const { number("kinds", Value0, "which, as `CLONE_NEW*`") }]
        }
        Event::ProcessFork
        | Event::ProcessExit
        | Event::FileCloseWrite
        | Event::FileUnlink
        | Event::FileTruncate
        | Event::FileRmdir
        | Event::FileReceive
        | Event::MountRemount
        | Event::MountChroot => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_says_two_things_in_one_place_or_by_one_name() {
        for &event in Event::ALL {
            let all = arguments(event);
            for (at, one) in all.iter().enumerate() {
                assert!(all[..at].iter().all(|other| other.place != one.place), "{event}");
                assert!(all[..at].iter().all(|other| other.name != one.name), "{event}");
                let is_text = (one.place as usize) >= Place::FIRST_TEXT;
                assert_eq!(one.kind == Kind::Text, is_text, "{event} {}", one.name);
            }
        }
    }
}
