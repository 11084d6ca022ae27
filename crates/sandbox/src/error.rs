//! Why a process could not be started, and what to do about it.

use std::io;
use std::path::PathBuf;

/// Why [`start`](crate::start) gave no process. Nothing is left running or mounted.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The name cannot name a control group.
    #[error("the name {0:?} is not 1 to 64 letters, digits, '-', '_' or '.'")]
    Name(String),
    /// The process would be root, or nobody.
    #[error("uid {uid}, gid {gid}: a confined process needs a user and group of its own from 1 up")]
    Identity {
        /// The uid asked for.
        uid: u32,
        /// The gid asked for.
        gid: u32,
    },
    /// No thread allowed.
    #[error("a limit of 0 threads leaves no room for the program itself")]
    Threads,
    /// Too few descriptors to run.
    #[error("a limit of {limit} descriptors is under the {least} that a start needs")]
    Descriptors {
        /// The limit asked for.
        limit: u32,
        /// The least that works for this confinement.
        least: usize,
    },
    /// A bind's target is not a plain absolute path.
    #[error("{0:?} cannot be a place in the root: absolute, without '.' and '..'")]
    Target(PathBuf),
    /// Two binds want the same place, or one lies below the other.
    #[error("{0:?} lies at or below another bind")]
    Overlap(PathBuf),
    /// A path or an argument holds a NUL byte.
    #[error("{0:?} holds a NUL byte")]
    Nul(String),
    /// The program is not what this machine can run.
    #[error("cannot find what {program:?} needs: {reason}")]
    Program {
        /// The program on the host.
        program: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something on the host's side failed before the process existed.
    #[error("cannot {what}")]
    Prepare {
        /// What was tried.
        what: String,
        /// The system call's error.
        #[source]
        source: io::Error,
    },
    /// A step of the confinement failed in the new process.
    #[error("cannot {step} in the new process ({})", step.advice())]
    Step {
        /// The step.
        step: Step,
        /// The system call's error.
        #[source]
        source: io::Error,
    },
    /// The new process ended without a word.
    #[error("the new process ended before its program ran ({0})")]
    Died(String),
    /// The new process took too long.
    #[error("the program did not run within {limit_ms} ms")]
    Late {
        /// The time it had, ms.
        limit_ms: u64,
    },
}

impl StartError {
    pub(crate) fn prepare(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Prepare { what, source }
    }
}

macro_rules! steps {
    ($($name:ident $text:literal $advice:literal,)*) => {
        /// A step of the confinement that happens in the new process.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Step {
            $(#[doc = concat!("To ", $text, ".")] $name,)*
        }

        impl Step {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// What an operator can do if it fails.
            #[must_use]
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }

        impl std::fmt::Display for Step {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

const _: () = assert!(Step::ALL.len() < 64);

steps! {
    ParentDeathSignal "tie its life to the host's" "stock kernels do this; check seccomp filters on the host",
    CloseDescriptors "close the host's descriptors" "needs Linux 5.9 or later",
    PlaceDescriptors "place the granted descriptors" "raise the descriptor limit of the host",
    ResetSignals "reset the signals" "stock kernels do this; check seccomp filters on the host",
    ProcessGroup "begin a process group" "stock kernels do this; check seccomp filters on the host",
    PrivateMounts "make its mounts private" "the host needs CAP_SYS_ADMIN and a mount at its root",
    PlaceMounts "place its mounts" "the host needs CAP_SYS_ADMIN",
    FreezeRoot "make its root read-only" "needs Linux 5.12 or later",
    EnterRoot "enter its root" "the host needs CAP_SYS_ADMIN",
    LeaveOldRoot "let go of the host's root" "the host needs CAP_SYS_ADMIN",
    HostName "hide the machine's name" "the host needs CAP_SYS_ADMIN",
    ResourceLimits "lower its resource limits" "raise the hard limits of the host",
    Personality "take the plain personality" "stock kernels do this; check seccomp filters on the host",
    Groups "leave the host's groups" "the host needs CAP_SETGID",
    WaitForHost "wait for the host" "the host died during the start",
    BoundingSet "empty the bounding set" "the host needs CAP_SETPCAP",
    SecureBits "lock the secure bits" "the host needs CAP_SETPCAP",
    Gid "take its gid" "the host needs CAP_SETGID",
    Uid "take its uid" "the host needs CAP_SETUID",
    Capabilities "drop its capabilities" "stock kernels do this; check seccomp filters on the host",
    NoNewPrivileges "give up new privileges" "stock kernels do this; check seccomp filters on the host",
    WriteOrExecute "refuse memory that turns from written to executed" "stock kernels do this; check seccomp filters on the host",
    Landlock "enter its Landlock domain" "report the kernel's version",
    Seccomp "install its system call filter" "needs Linux 5.19 or later with CONFIG_SECCOMP_FILTER",
    SendListener "hand over the system call listener" "report the kernel's version",
    Execute "run the program" "the program must be an ELF file for this machine, executable for its user, with all libraries in the standard folders",
}

impl Step {
    /// The step with this number, as it came over the channel.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Its number on the channel.
    pub(crate) fn number(self) -> u32 {
        Self::ALL.iter().zip(0..).find_map(|(step, n)| (*step == self).then_some(n)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_survives_the_channel() {
        let again: Vec<_> = Step::ALL.iter().map(|s| Step::from_number(s.number())).collect();

        assert_eq!(again, Step::ALL.iter().map(|s| Some(*s)).collect::<Vec<_>>());
    }
}
