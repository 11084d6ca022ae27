//! The event catalogue: one definition from which everything about events comes.
//!
//! The table at the end of this file is the only place where an event is named. The [`Event`] type,
//! its numbers and names, the sets, and the reference page (`docs/events.md`, written by
//! `cargo xtask docs`) are derived from it. A number, once given, is never given again.
//!
//! Numbers are `family << 8 | member`. Families in use or reserved: 0x01 process, 0x02 file,
//! 0x03 memory, 0x04 mount, 0x05 kernel, 0x06 net, 0x07 unix, 0x08 namespace, 0x0e engine,
//! 0x0f update, 0x10 registry, 0x11 handle, 0x12 thread, 0x13 pipe, 0x14 volume.

use std::fmt;
use std::str::FromStr;

use crate::coverage::Level;

/// What an event acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ObjectKind {
    /// A file, named by a [`crate::FileKey`].
    File,
    /// A process, named by a [`crate::ProcessKey`].
    Process,
    /// The far or near end of a network connection.
    Endpoint,
    /// The machine as a whole, or the subject itself: there is no object besides.
    System,
}

/// The name given is not in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no event is called {0:?}")]
pub struct UnknownEvent(pub String);

macro_rules! catalogue {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal, $object:ident,
        $strongest:ident; )+) => {
        /// One kind of event. Its number and name never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        #[non_exhaustive]
        pub enum Event {
            $( $(#[doc = $doc])+ $variant = $number, )+
        }

        impl Event {
            /// Every event of the catalogue, in the order of its numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];

            /// The event's name, `<object>.<verb>`.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )+ }
            }

            /// What the event acts on.
            pub const fn object(self) -> ObjectKind {
                match self { $( Self::$variant => ObjectKind::$object, )+ }
            }

            /// The strongest level that Outrigger gives on any kernel; what this one gives is in
            /// [`crate::Coverage`].
            pub const fn strongest(self) -> Level {
                match self { $( Self::$variant => Level::$strongest, )+ }
            }

            /// The catalogue's description of the event, one paragraph.
            pub const fn description(self) -> &'static str {
                match self { $( Self::$variant => concat!($($doc),+), )+ }
            }

            /// The event with this number, if the catalogue has one.
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $( $number => Some(Self::$variant), )+ _ => None }
            }
        }

        /// The event's place in [`Event::ALL`], which is its bit in an [`EventSet`].
        #[repr(u8)]
        enum Ordinal { $( $variant, )+ }

        const fn ordinal(event: Event) -> u8 {
            match event { $( Event::$variant => Ordinal::$variant as u8, )+ }
        }
    };
}

impl Event {
    /// The number that stands for the event in records and on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The event's place in [`Event::ALL`]: an index for tables with one row per event. It moves when the
    /// catalogue grows, so it never leaves a build; [`Event::number`] does.
    pub const fn index(self) -> usize {
        ordinal(self) as usize
    }

    /// Whether engines can be asked about it. The others are told after they happened.
    pub const fn can_be_asked(self) -> bool {
        matches!(self.strongest(), Level::Ask)
    }

    /// The events that engines can be asked about, in the order of their numbers.
    pub fn askable() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|event| event.can_be_asked())
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Event {
    type Err = UnknownEvent;

    fn from_str(name: &str) -> Result<Self, UnknownEvent> {
        Self::ALL
            .iter()
            .copied()
            .find(|event| event.name() == name)
            .ok_or_else(|| UnknownEvent(name.to_owned()))
    }
}

/// A set of events.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct EventSet(u64);

impl EventSet {
    /// The set without members.
    pub const EMPTY: Self = Self(0);

    /// This set and `event`.
    #[must_use]
    pub const fn with(self, event: Event) -> Self {
        Self(self.0 | 1 << ordinal(event))
    }

    /// Whether `event` is a member.
    pub const fn contains(self, event: Event) -> bool {
        self.0 & 1 << ordinal(event) != 0
    }

    /// The members of either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The members of both sets.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The members of this set that `other` has not.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set has no member.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        Event::ALL.iter().copied().filter(move |event| self.contains(*event))
    }
}

impl FromIterator<Event> for EventSet {
    fn from_iter<I: IntoIterator<Item = Event>>(events: I) -> Self {
        events.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for EventSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Event::name)).finish()
    }
}

catalogue! {
    /// A process replaces its program by the object. Asked before it does, once per program: the program's
    /// interpreter (`#!`, `ld.so`) is an object of its own and is asked about by itself. Told after it did,
    /// with the new program.
    ProcessExec = 0x0101, "process.exec", File, Ask;
    /// A process, the subject's parent, has made the subject. Threads make no such event.
    ProcessFork = 0x0102, "process.fork", Process, Notify;
    /// The subject has ended, with its last thread.
    ProcessExit = 0x0103, "process.exit", Process, Notify;
    /// The subject sends a signal to the object.
    ProcessSignal = 0x0104, "process.signal", Process, Rule;
    /// The subject traces the object, or looks at what only a tracer may see.
    ProcessPtrace = 0x0105, "process.ptrace", Process, Rule;
    /// The subject reads or writes the object's memory.
    ProcessMemory = 0x0106, "process.memory", Process, Rule;
    /// The subject takes other credentials: user, group or capabilities.
    ProcessCredentials = 0x0107, "process.credentials", System, Rule;
    /// The subject changes a resource limit of the object.
    ProcessLimits = 0x0108, "process.limits", Process, Rule;
    /// A process opens the object for reading, writing or both. Asked before it does, told of after the
    /// answer.
    FileOpen = 0x0201, "file.open", File, Ask;
    /// The object has a name that it had not: it was made, or linked.
    FileCreate = 0x0202, "file.create", File, Rule;
    /// A descriptor of the object that was open for writing has been closed.
    FileCloseWrite = 0x0203, "file.close_write", File, Notify;
    /// The object has another name, or lies in another folder.
    FileRename = 0x0204, "file.rename", File, Rule;
    /// A name of the object is gone, and with its last one the object.
    FileUnlink = 0x0205, "file.unlink", File, Rule;
    /// The object gets a further name.
    FileLink = 0x0206, "file.link", File, Rule;
    /// The object's permission bits change.
    FileSetattr = 0x0207, "file.setattr", File, Rule;
    /// An extended attribute of the object is set.
    FileSetxattr = 0x0208, "file.setxattr", File, Rule;
    /// The object is cut or stretched, other than by an open that empties it.
    FileTruncate = 0x0209, "file.truncate", File, Rule;
    /// The object is mapped as a program's text: a program or library, or a file made executable memory.
    FileMmapExec = 0x020a, "file.mmap_exec", File, Rule;
    /// A folder is made.
    FileMkdir = 0x020b, "file.mkdir", File, Rule;
    /// A folder is removed.
    FileRmdir = 0x020c, "file.rmdir", File, Rule;
    /// A symbolic link is made.
    FileSymlink = 0x020d, "file.symlink", File, Rule;
    /// A device, pipe or socket gets a name in a folder.
    FileMknod = 0x020e, "file.mknod", File, Rule;
    /// An extended attribute of the object is removed.
    FileRemovexattr = 0x020f, "file.removexattr", File, Rule;
    /// The subject takes a descriptor of the object that another process passed to it.
    FileReceive = 0x0210, "file.receive", File, Rule;
    /// The object gets another owner or group.
    FileChown = 0x0211, "file.chown", File, Rule;
    /// Memory of the subject becomes executable that was not: of the object, or of no file.
    MemoryMprotectExec = 0x0301, "memory.mprotect_exec", File, Rule;
    /// A file system or a folder is mounted at the object, or a mount there is changed.
    MountMount = 0x0401, "mount.mount", File, Rule;
    /// What is mounted at the object is unmounted.
    MountUmount = 0x0402, "mount.umount", File, Rule;
    /// A mount is moved to the object, as it is too when made by `fsmount`.
    MountMove = 0x0403, "mount.move", File, Rule;
    /// The file system mounted at the object gets other options.
    MountRemount = 0x0404, "mount.remount", File, Rule;
    /// The subject makes the object the root of its mount namespace.
    MountPivot = 0x0405, "mount.pivot", File, Rule;
    /// The subject makes the object its own root.
    MountChroot = 0x0406, "mount.chroot", File, Rule;
    /// The kernel loads a module from the object, or from memory.
    KernelModuleLoad = 0x0501, "kernel.module_load", File, Rule;
    /// A BPF program is loaded.
    KernelBpfLoad = 0x0502, "kernel.bpf_load", System, Rule;
    /// Something that a locked-down kernel refuses is tried.
    KernelLockdown = 0x0503, "kernel.lockdown", System, Rule;
    /// The kernel asks user space for a module, for something the subject does.
    KernelModuleRequest = 0x0504, "kernel.module_request", System, Rule;
    /// A kernel is loaded to be started in place of this one.
    KernelKexec = 0x0505, "kernel.kexec", File, Rule;
    /// The machine's clock is set.
    KernelSettime = 0x0506, "kernel.settime", System, Rule;
    /// A performance event is opened.
    KernelPerfOpen = 0x0507, "kernel.perf_open", System, Rule;
    /// The subject connects a socket to the object, or fixes where its datagrams go.
    NetConnect = 0x0601, "net.connect", Endpoint, Rule;
    /// The subject gives a socket the object as its own address.
    NetBind = 0x0602, "net.bind", Endpoint, Rule;
    /// A socket bound to the object takes connections from now on.
    NetListen = 0x0603, "net.listen", Endpoint, Rule;
    /// The subject takes a connection that came to the object.
    NetAccept = 0x0604, "net.accept", Endpoint, Rule;
    /// The subject makes a socket.
    NetSocket = 0x0605, "net.socket", Endpoint, Rule;
    /// The subject sends a datagram to the object, by a socket that is not connected.
    NetSend = 0x0606, "net.send", Endpoint, Rule;
    /// The subject connects to the Unix socket that is the object.
    UnixConnect = 0x0701, "unix.connect", File, Rule;
    /// The subject makes a namespace.
    NamespaceCreate = 0x0801, "namespace.create", System, Rule;
    /// The subject enters a namespace that is there.
    NamespaceEnter = 0x0802, "namespace.enter", System, Notify;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_lead_back_to_their_event() {
        for &event in Event::ALL {
            assert_eq!(event.name().parse(), Ok(event));
            assert_eq!(Event::from_number(event.number()), Some(event));
        }
    }

    #[test]
    fn numbers_ascend_so_that_none_is_given_twice() {
        assert!(Event::ALL.windows(2).all(|pair| pair[0].number() < pair[1].number()));
    }

    #[test]
    fn only_what_fanotify_holds_back_can_be_asked_about() {
        let askable: Vec<Event> = Event::askable().collect();

        assert_eq!(askable, [Event::ProcessExec, Event::FileOpen]);
        assert_eq!(Event::ProcessFork.strongest(), Level::Notify);
    }

    #[test]
    fn a_set_holds_what_was_put_in() {
        let set = EventSet::EMPTY.with(Event::FileOpen);

        assert!(set.contains(Event::FileOpen));
        assert!(!set.contains(Event::ProcessExec));
    }
}
