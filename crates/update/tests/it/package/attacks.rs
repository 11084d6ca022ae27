//! Attacks on packages, each built byte by byte, and what becomes of it: refused by name, and nothing
//! written anywhere.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use outrigger_update::package::{Package, PackageLimits, Refusal, UnpackError};

use super::tar::{Member, archive, description, file, gzip};
use super::{code, quiet, read};

/// Refused without a file system: reading takes bytes and gives a value.
fn refusal(packed: &[u8]) -> Refusal {
    Package::read(packed, &PackageLimits::default()).expect_err("an attack")
}

/// What becomes of `members` behind a true description of `listed`.
fn named(listed: &[(&str, &[u8])], members: &[Member]) -> &'static str {
    let mut all = vec![description(listed)];
    all.extend_from_slice(members);
    refusal(&gzip(&archive(&all))).name()
}

const LISTED: &[(&str, &[u8])] = &[("list.deny", b"bytes")];

fn of_kind(kind: u8) -> Member {
    Member { kind, link: b"/etc/shadow".to_vec(), bytes: Vec::new(), ..file("list.deny", b"") }
}

#[test]
fn what_the_attacks_differ_from_is_taken() {
    let good = gzip(&archive(&[description(LISTED), file("list.deny", b"bytes")]));

    assert_eq!(read(&good).file("list.deny"), Some(b"bytes".as_slice()));
}

#[test]
fn path_traversal() {
    for path in ["../list.deny", "a/../../list.deny", "..", "a/.."] {
        assert_eq!(named(LISTED, &[file(path, b"bytes")]), "path-traversal", "{path}");
    }
}

#[test]
fn path_traversal_in_the_first_part_of_a_long_path() {
    let mut whole = archive(&[description(LISTED), file("list.deny", b"bytes")]);
    let header = whole.len() - 1024 - 1024;
    whole[header + 345..header + 347].copy_from_slice(b"..");

    assert_eq!(refusal(&gzip(&whole)).name(), "path-traversal");
}

#[test]
fn absolute_path() {
    assert_eq!(named(LISTED, &[file("/etc/cron.d/x", b"bytes")]), "absolute-path");
}

#[test]
fn paths_that_mean_something_else_elsewhere() {
    for path in
        ["a\\b", "a b", "a//b", "./a", "a/", ".hidden", "-rf", "a\nb", "\u{202e}a", "a:b", "~"]
    {
        assert_eq!(named(LISTED, &[file(path, b"bytes")]), "path", "{path:?}");
    }
    let bytes = Member { path: b"\xff\xfe".to_vec(), ..file("", b"bytes") };
    assert_eq!(named(LISTED, &[bytes]), "path");
}

#[test]
fn a_path_of_traversal_in_the_description() {
    let packed = gzip(&archive(&[description(&[("../x", b"")]), file("../x", b"")]));

    let refusal = refusal(&packed);

    assert_eq!(refusal.name(), "release-file");
    assert!(refusal.to_string().contains("file[0].path: \"../x\" is not allowed"), "{refusal}");
}

#[test]
fn links_devices_and_pipes() {
    let expected = [
        (b'1', "hard-link"),
        (b'2', "symlink"),
        (b'3', "device-node"),
        (b'4', "device-node"),
        (b'5', "folder"),
        (b'6', "fifo"),
        (b'7', "unknown-kind"),
        (0, "unknown-kind"),
    ];
    for (kind, name) in expected {
        assert_eq!(named(LISTED, &[of_kind(kind)]), name, "kind {kind}");
    }
    // The description itself as a link to somebody else's file.
    let first = Member { kind: b'2', link: b"/etc/passwd".to_vec(), ..file("release.toml", b"") };
    assert_eq!(refusal(&gzip(&archive(&[first]))).name(), "symlink");
}

#[test]
fn long_names_of_pax_and_gnu_and_sparse_files() {
    let pax =
        Member { kind: b'x', bytes: b"26 path=../../etc/passwd\n".to_vec(), ..file("x", b"") };
    let global = Member { kind: b'g', ..pax.clone() };
    let long =
        Member { kind: b'L', bytes: b"../../etc/passwd\0".to_vec(), ..file("././@LongLink", b"") };
    let long_link = Member { kind: b'K', ..long.clone() };
    let body = file("list.deny", b"bytes");
    for member in [pax, global, long, long_link] {
        assert_eq!(named(LISTED, &[member, body.clone()]), "extended-header");
    }
    let sparse = Member { kind: b'S', size: Some(0o77_777_777_777), ..file("list.deny", b"") };
    assert_eq!(named(LISTED, &[sparse]), "sparse-file");
}

#[test]
fn setuid_bit() {
    for mode in [0o4755, 0o2755, 0o1644, 0o4644] {
        let member = Member { mode, ..file("list.deny", b"bytes") };
        assert_eq!(named(LISTED, &[member]), "setuid", "{mode:o}");
    }
}

#[test]
fn a_mode_that_the_description_does_not_say() {
    for mode in [0o755, 0o666, 0o600, 0o777, 0o000] {
        let member = Member { mode, ..file("list.deny", b"bytes") };
        assert_eq!(named(LISTED, &[member]), "mode", "{mode:o}");
    }
}

#[test]
fn zip_bomb() {
    let zeros = vec![0; 40 << 20];
    let bomb = gzip(&archive(&[description(&[("zeros", &zeros)]), file("zeros", &zeros)]));
    assert!(bomb.len() < 64 << 10, "{} bytes", bomb.len());
    let read = |limits| Package::read(&bomb, &limits).expect_err("a bomb");

    let ratio = read(PackageLimits::default());
    let size = read(PackageLimits { ratio: 10_000, unpacked: 2 << 20, ..PackageLimits::default() });
    let long = read(PackageLimits { packed: 1000, ..PackageLimits::default() });

    assert_eq!(ratio.name(), "zip-bomb-ratio");
    assert_eq!(size, Refusal::BombSize { max: 2 << 20 });
    assert_eq!(long, Refusal::TooLong { len: bomb.len() as u64, max: 1000 });
}

#[test]
fn a_size_that_is_not_there() {
    for size in [1 << 20, 0o77_777_777_777] {
        let member = Member { size: Some(size), ..file("list.deny", b"bytes") };
        assert_eq!(named(LISTED, &[member]), "truncated", "{size}");
    }
    // In base 256, as GNU writes what octal digits cannot.
    let mut whole = archive(&[description(LISTED), file("list.deny", b"bytes")]);
    let header = whole.len() - 1024 - 1024;
    whole[header + 124..header + 136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x05");
    assert_eq!(refusal(&gzip(&whole)).name(), "header");
}

#[test]
fn truncated_at_every_byte() {
    let packed = gzip(&archive(&[description(LISTED), file("list.deny", b"bytes")]));
    for len in 0..packed.len() {
        assert_eq!(refusal(&packed[..len]).name(), "truncated", "{len} of {}", packed.len());
    }
    let whole = archive(&[description(LISTED), file("list.deny", b"bytes")]);
    for len in (0..whole.len()).step_by(64) {
        assert_eq!(refusal(&gzip(&whole[..len])).name(), "truncated", "{len} of {}", whole.len());
    }
}

#[test]
fn trailing_data() {
    let whole = archive(&[description(LISTED), file("list.deny", b"bytes")]);
    let after_gzip = [gzip(&whole), gzip(&whole)].concat();
    let after_archive = gzip(&[whole.as_slice(), &[0; 512]].concat());
    let in_the_end = {
        let mut whole = whole.clone();
        *whole.last_mut().expect("an end") = 1;
        gzip(&whole)
    };
    let in_the_padding = {
        let mut whole = whole.clone();
        let padding = whole.len() - 1024 - 1;
        whole[padding] = 1;
        gzip(&whole)
    };

    assert_eq!(refusal(&after_gzip).name(), "trailing-data");
    assert_eq!(refusal(&after_archive).name(), "trailing-data");
    assert_eq!(refusal(&in_the_end).name(), "trailing-data");
    assert_eq!(refusal(&in_the_padding).name(), "header");
}

#[test]
fn any_flipped_bit_is_refused_or_changes_nothing() {
    let good = gzip(&archive(&[description(LISTED), file("list.deny", b"bytes")]));
    let expected = read(&good).tree();
    for (at, bit) in (0..good.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
        let mut flipped = good.clone();
        flipped[at] ^= 1 << bit;
        // The header of the compressed bytes holds a time and a name for nobody's use.
        if let Ok(package) = Package::read(&flipped, &PackageLimits::default()) {
            assert_eq!(package.tree(), expected, "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn not_gzip() {
    assert_eq!(refusal(b"PK\x03\x04 this is a zip file of some kind").name(), "not-gzip");
    assert_eq!(refusal(&archive(&[description(LISTED)])).name(), "not-gzip");
}

#[test]
fn too_many_files() {
    let names: Vec<String> = (0..20).map(|number| format!("f{number:02}")).collect();
    let listed: Vec<(&str, &[u8])> =
        names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    let mut members = vec![description(&listed)];
    members.extend(names.iter().map(|name| file(name, b"")));
    let packed = gzip(&archive(&members));

    let refused = Package::read(&packed, &PackageLimits { files: 19, ..PackageLimits::default() });

    assert_eq!(refused.expect_err("one too many"), Refusal::TooManyFiles { max: 19 });
    assert!(
        Package::read(&packed, &PackageLimits { files: 20, ..PackageLimits::default() }).is_ok()
    );
}

#[test]
fn files_that_are_not_those_listed() {
    let two: &[(&str, &[u8])] = &[("a", b"1"), ("b", b"2")];
    let (a, b) = (file("a", b"1"), file("b", b"2"));

    assert_eq!(named(two, &[a.clone(), b.clone(), file("c", b"")]), "unlisted-file");
    assert_eq!(named(two, &[a.clone(), a.clone(), b.clone()]), "duplicate-path");
    assert_eq!(named(two, &[a.clone(), b.clone(), b.clone()]), "duplicate-path");
    assert_eq!(named(two, &[a.clone(), file("release.toml", b"")]), "duplicate-path");
    assert_eq!(named(two, &[b.clone(), a.clone()]), "order");
    assert_eq!(named(two, std::slice::from_ref(&a)), "missing-file");
    assert_eq!(named(two, &[a.clone(), file("b", b"three")]), "size");
    assert_eq!(named(two, &[a, file("b", b"3")]), "sum");
    assert_eq!(named(&[two[1], two[0]], &[b, file("a", b"1")]), "order");
}

#[test]
fn headers_that_say_more_than_a_package_does() {
    let good = file("list.deny", b"bytes");
    let odd = [
        Member { owner: 1000, ..good.clone() },
        Member { time: 1_700_000_000, ..good.clone() },
        Member { link: b"/etc/shadow".to_vec(), ..good.clone() },
        Member { magic: *b"ustar  \0", ..good.clone() },
        Member { device: (8, 1), ..good },
    ];
    for member in odd {
        assert_eq!(named(LISTED, &[member]), "header");
    }
}

#[test]
fn no_description_first() {
    assert_eq!(refusal(&gzip(&archive(&[file("list.deny", b"")]))).name(), "no-release-file");
    assert_eq!(refusal(&gzip(&archive(&[]))).name(), "no-release-file");
    let last = [file("list.deny", b"bytes"), description(LISTED)];
    assert_eq!(refusal(&gzip(&archive(&last))).name(), "no-release-file");
}

#[test]
fn another_package_than_the_one_asked_for() {
    let package = read(&code());
    let part = |text: &str| text.parse().expect("a part");
    let (scan, version) = (package.release().engine.clone(), package.release().version.clone());
    let expect = |engine: &str, of: &str, version: &str| {
        let (engine, version) = (engine.parse().expect("one"), version.parse().expect("one"));
        package.expect(&engine, part(of), &version).expect_err("another").to_string()
    };

    assert_eq!(package.expect(&scan, part("code"), &version), Ok(()));
    assert_eq!(expect("scan", "content", "1.2.3"), "the package's part is code, and not content");
    assert_eq!(expect("other", "code", "1.2.3"), "the package's engine is scan, and not other");
    assert_eq!(expect("scan", "code", "1.2.4"), "the package's version is 1.2.3, and not 1.2.4");
}

/// Every path below `folder` but in `except`, with what would show a change.
fn listing(folder: &Path, except: &Path) -> BTreeMap<PathBuf, (u64, u64, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut left = vec![folder.to_owned()];
    while let Some(path) = left.pop() {
        if path == except {
            continue;
        }
        let facts = fs::symlink_metadata(&path).expect("it");
        if facts.is_dir() {
            left.extend(fs::read_dir(&path).expect("it").map(|entry| entry.expect("it").path()));
        }
        found.insert(path, (facts.ino(), facts.len(), facts.mtime(), facts.mtime_nsec()));
    }
    found
}

#[test]
fn swapped_between_check_and_use_a_folder_becomes_a_symlink_while_unpacking() {
    let around = tempfile::tempdir().expect("a folder");
    let (slot, outside) = (around.path().join("slot"), around.path().join("outside"));
    fs::create_dir(&outside).expect("room");
    let before = listing(around.path(), &slot);
    let package = read(&code());
    let ended = AtomicBool::new(false);
    let mut refused = 0;
    let mut rounds = 0;

    thread::scope(|scope| {
        scope.spawn(|| {
            // Puts a link in the place of each folder as soon as it is there.
            while !ended.load(Ordering::Relaxed) {
                for name in ["bin", "lib"] {
                    let (folder, aside) = (slot.join(name), slot.join(format!("{name}-aside")));
                    if fs::rename(&folder, &aside).is_ok() {
                        let _ = symlink(&outside, &folder);
                    }
                }
            }
        });
        while refused < 5 && rounds < 2000 {
            rounds += 1;
            let _ = fs::remove_dir_all(&slot);
            if fs::create_dir(&slot).is_err() {
                continue;
            }
            let folder = File::open(&slot).expect("the slot");
            match package.unpack(folder.as_fd(), &mut quiet) {
                Err(UnpackError::Io { source, .. })
                    if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) =>
                {
                    refused += 1;
                }
                // Not swapped in time, or at another moment: a folder that is gone.
                Ok(()) | Err(UnpackError::Io { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        ended.store(true, Ordering::Relaxed);
    });

    assert!(refused > 0, "the link was never in time, in {rounds} rounds");
    assert_eq!(fs::read_dir(&outside).expect("it").count(), 0, "something was written outside");
    let after = listing(around.path(), &slot);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    assert_eq!(before[&outside], after[&outside]);
}
