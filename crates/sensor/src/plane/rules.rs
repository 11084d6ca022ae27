//! Puts a set of rules into the kernel and replaces it there.
//!
//! A set is the image that `outrigger_decision::rules` compiles (`bpf/rules.h`), in a map of its own. The
//! programs find it through the one entry of another map, so replacing a set is one call: whatever began
//! before is judged by the old set, whatever begins after it returned by the new one, and nothing by
//! neither.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{ErrorKind, MapCore, MapFlags, MapHandle, MapType};
use libbpf_sys::{BPF_F_INNER_MAP, bpf_map_create_opts};

/// Bytes of a page of an image (`rules.h`: `RULES_PAGE`).
pub const PAGE: usize = 4096;
/// Most pages of an image (`rules.h`: `RULES_PAGES`).
pub const PAGES: usize = 4096;

/// The place of the one entry.
const ENTRY: [u8; 4] = [0; 4];

/// Makes `image` the set in force in the programs that share `rules`.
///
/// When it returns, no program works with the set before any more: the kernel waits for those that run.
/// Callers take turns, so that a program that runs sees one replacement at most.
///
/// # Errors
///
/// `InvalidInput` if it is not as long as an image can be (nothing else of it is looked at); whatever the
/// kernel says, `ENOMEM` for one. The set before is then in force still.
pub fn replace(rules: &mut MapHandle, image: &[u8]) -> io::Result<()> {
    let pages = image.len() / PAGE;
    if pages == 0 || pages > PAGES || !image.len().is_multiple_of(PAGE) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("an image of {} bytes: it has 1 to {PAGES} pages of {PAGE}", image.len()),
        ));
    }
    let pages = u32::try_from(pages).map_err(io::Error::other)?;
    let options = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as _,
        map_flags: BPF_F_INNER_MAP,
        ..bpf_map_create_opts::default()
    };
    let set = MapHandle::create(MapType::Array, Some("rules_set"), 4, 4096, pages, &options)
        .map_err(io::Error::other)?;
    let keys: Vec<u8> = (0..pages).flat_map(u32::to_ne_bytes).collect();
    set.update_batch(&keys, image, pages, MapFlags::ANY, MapFlags::ANY)
        .map_err(io::Error::other)?;
    let set = set.as_fd().as_raw_fd().to_ne_bytes();
    rules.update(&ENTRY, &set, MapFlags::ANY).map_err(io::Error::other)
}

/// Takes the set in force away: the programs decide nothing and filter nothing.
///
/// # Errors
///
/// Whatever the kernel says. That there was no set is none.
pub fn clear(rules: &mut MapHandle) -> io::Result<()> {
    match rules.delete(&ENTRY) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map_err(io::Error::other),
    }
}
