//! Who asks, as rules see it.

use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;

use outrigger_decision::rules::Lineage;
use outrigger_sensor::identity;

/// What rules look at of a subject, besides its user and group. What could not be found out is not there.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) exe: Option<Vec<u8>>,
    pub(crate) cgroup: Option<Vec<u8>>,
    pub(crate) lineage: Lineage,
    pub(crate) marks: u64,
}

impl Identity {
    /// What `/proc` tells of a process whose question waits. It does not tell what its ancestors have run, so
    /// its lineage is unknown.
    pub(crate) fn of_waiting(pid: u32) -> Self {
        Self {
            exe: identity::program(pid).map(|path| path.into_os_string().into_vec()),
            cgroup: cgroup(pid),
            lineage: Lineage::UNKNOWN,
            marks: 0,
        }
    }
}

/// The path of its control group of version 2.
pub(crate) fn cgroup(pid: u32) -> Option<Vec<u8>> {
    /// A path in each of the hierarchies.
    const LONGEST: u64 = 64 << 10;
    let mut text = Vec::new();
    let file = std::fs::File::open(format!("/proc/{pid}/cgroup")).ok()?;
    file.take(LONGEST).read_to_end(&mut text).ok()?;
    unified(&text).map(<[u8]>::to_vec)
}

/// The line of version 2 in `/proc/PID/cgroup` (`man 7 cgroups`).
fn unified(text: &[u8]) -> Option<&[u8]> {
    text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_group_is_that_of_version_2() {
        let text = b"3:memory:/a\n0::/system.slice/b.service\n";

        assert_eq!(unified(text), Some(&b"/system.slice/b.service"[..]));
        assert_eq!(unified(b"3:memory:/a\n"), None);
    }

    #[test]
    fn this_process_is_known_by_its_program() {
        let identity = Identity::of_waiting(std::process::id());

        let own = std::env::current_exe().expect("its own path");
        assert_eq!(identity.exe, Some(own.into_os_string().into_vec()));
    }
}
