//! What is read of the running kernel before programs are loaded into it.

use std::fs::File;
use std::io::{BufRead, BufReader};

use libbpf_rs::btf::types::{Func, FuncProto};
use libbpf_rs::btf::{Btf, BtfType};

/// The addresses of the locks under which names and mounts change; 0 where they are not to be had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Locks {
    pub(super) renames: u64,
    pub(super) mounts: u64,
}

impl Locks {
    /// Those of this kernel. Needs `CAP_SYSLOG`: to others it says 0.
    pub(super) fn find() -> Self {
        File::open("/proc/kallsyms")
            .map_or_else(|_| Self::default(), |file| Self::of(BufReader::new(file)))
    }

    fn of(lines: impl BufRead) -> Self {
        let mut locks = Self::default();
        for line in lines.split(b'\n').map_while(Result::ok) {
            // `ffffffff83c0a100 D rename_lock`; of a module a further word follows.
            let into = match line.get(18..) {
                Some(b" rename_lock" | b"rename_lock") => &mut locks.renames,
                Some(b" mount_lock" | b"mount_lock") => &mut locks.mounts,
                _ => continue,
            };
            let address = line.get(..16).and_then(|digits| str::from_utf8(digits).ok());
            *into = address.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
            if locks.renames != 0 && locks.mounts != 0 {
                break;
            }
        }
        locks
    }
}

/// How many arguments a function of this kernel has; `None` if it has no such function.
pub(super) fn arguments(kernel: &Btf<'_>, function: &str) -> Option<usize> {
    let function: Func<'_> = kernel.type_by_name(function)?;
    let prototype: BtfType<'_> = function.next_type()?;
    Some(FuncProto::try_from(prototype).ok()?.iter().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_found_by_their_whole_names() {
        let text = b"ffffffff81000000 T my_rename_lock\nffffffff83c0a100 D rename_lock\n\
                     ffffffff83c0a180 d mount_lock_other\nffffffff83c0a140 D mount_lock\n";

        let locks = Locks::of(&text[..]);

        assert_eq!(locks, Locks { renames: 0xffff_ffff_83c0_a100, mounts: 0xffff_ffff_83c0_a140 });
    }

    #[test]
    fn no_address_is_made_of_what_is_none() {
        let locks = Locks::of(&b"zzzz D rename_lock\n\n\xff\xff D mount_lock\nshort\n"[..]);

        assert_eq!(locks, Locks::default());
    }
}
