//! A package, which a vendor builds and anybody may send.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use outrigger_api::settings::check_path;
use outrigger_update::package::{Builder, Package, PackageLimits, Refusal};

use crate::memory;

/// Longest message of a refusal: the errors of a whole `release.toml`.
const MESSAGE_MAX: usize = 128 << 10;
const LIMITS: PackageLimits =
    PackageLimits { packed: 1 << 20, unpacked: 2 << 20, ratio: 100, files: 64 };
/// Memory that one package may take: the archive as it grows, and what its files of settings take, of
/// which the limit of unpacked bytes is the bound.
const MEMORY: usize = 110 << 20;

/// Reads `bytes` as a package and as the archive in one. What was taken is the only archive of its files: to
/// build from them gives it again.
pub fn check(bytes: &[u8]) {
    read(bytes);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).expect("a Vec takes all");
    let packed = encoder.finish().expect("a Vec takes all");
    if let Some(package) = read(&packed) {
        assert_eq!(archive(&rebuilt(&package)), bytes, "another archive of the same files");
    }
}

fn read(packed: &[u8]) -> Option<Package> {
    match memory::within(0, MEMORY, 0, || Package::read(packed, &LIMITS)) {
        Ok(package) => {
            assert!(package.release().files.len() <= LIMITS.files);
            assert!(package.release().files.iter().all(|file| check_path(&file.path).is_ok()));
            assert!(package.size() <= LIMITS.unpacked);
            Some(package)
        }
        Err(refusal) => {
            assert_told(&refusal);
            None
        }
    }
}

fn assert_told(refusal: &Refusal) {
    crate::assert_showable(&refusal.to_string(), MESSAGE_MAX);
    let name = refusal.name();
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    assert!(!name.is_empty() && name.bytes().all(plain), "{name}");
}

fn rebuilt(package: &Package) -> Vec<u8> {
    let mut builder = Builder::new(package.release().clone());
    for (path, bytes, executable) in package.files().skip(1) {
        builder.add(path, bytes.to_vec(), executable).expect("a path that was taken");
    }
    builder.build(&mut |_, _| {}).expect("a package that was taken")
}

fn archive(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).expect("what was built");
    bytes
}
