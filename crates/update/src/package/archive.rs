//! Reads the archive, and writes its headers.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::Path;

use flate2::bufread::GzDecoder;
use outrigger_api::release::Part;
use outrigger_api::settings::{
    MANIFEST_FILE, Manifest, RELEASE_FILE, Release, ReleaseFile, check_path,
};
use sha2::{Digest, Sha256};

use crate::package::refusal::Kind;
use crate::package::{Package, PackageLimits, RATIO_FREE, Refusal};

/// Length of a header, and of what the bytes of a member are padded to.
pub(super) const BLOCK: usize = 512;
/// Empty blocks that end an archive.
pub(super) const END_BLOCKS: usize = 2;
/// Mode of a file that may not be run, and of one that may.
pub(super) const MODES: [u32; 2] = [0o644, 0o755];
/// Bytes that are unpacked between two looks at the limits.
const STEP: u64 = 64 << 10;

// Where the fields of a header lie (POSIX.1-1988, "ustar Interchange Format").
const NAME: Range<usize> = 0..100;
const MODE: Range<usize> = 100..108;
const UID: Range<usize> = 108..116;
const GID: Range<usize> = 116..124;
const SIZE: Range<usize> = 124..136;
const MTIME: Range<usize> = 136..148;
const CHECKSUM: Range<usize> = 148..156;
const TYPE: usize = 156;
const LINK: Range<usize> = 157..257;
const MAGIC: Range<usize> = 257..265;
const OWNERS: Range<usize> = 265..329;
const DEVICES: Range<usize> = 329..345;
const PREFIX: Range<usize> = 345..500;

/// See [`Package::read`].
pub(super) fn read(packed: &[u8], limits: &PackageLimits) -> Result<Package, Refusal> {
    let bytes = inflate(packed, limits)?;
    let mut members = Members { bytes: &bytes, at: 0 };
    let first = members.next()?.ok_or_else(|| Refusal::NoRelease(String::new()))?;
    if first.path != RELEASE_FILE {
        return Err(Refusal::NoRelease(first.path));
    }
    first.check_canonical(false)?;
    let text = str::from_utf8(&bytes[first.body.clone()]);
    let text = text.map_err(|_| Refusal::NoRelease("bytes that are no text".to_owned()))?;
    let release = Release::parse(text, Path::new(RELEASE_FILE)).map_err(Refusal::Release)?;
    let mut bodies = vec![first.body];
    bodies.extend(read_files(&mut members, &release.files, limits.files)?);
    let end = members.at;
    if let Some(rest @ [_, ..]) = bytes.get(end..) {
        return Err(Refusal::TrailingData { after: "archive", len: rest.len() });
    }
    let package = Package { release, manifest: None, members: bodies, bytes };
    let manifest = read_manifest(&package)?;
    Ok(Package { manifest, ..package })
}

/// The bytes that `packed` unpacks to.
fn inflate(packed: &[u8], limits: &PackageLimits) -> Result<Vec<u8>, Refusal> {
    let len = packed.len() as u64;
    if len > limits.packed {
        return Err(Refusal::TooLong { len, max: limits.packed });
    }
    let by_ratio = len.saturating_mul(limits.ratio).max(RATIO_FREE);
    let mut decoder = GzDecoder::new(packed);
    let mut bytes = Vec::new();
    loop {
        let read = (&mut decoder).take(STEP).read_to_end(&mut bytes);
        let read = read.map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => Refusal::Truncated("the compressed bytes"),
            _ => Refusal::Gzip(error.to_string()),
        })?;
        if bytes.len() as u64 > limits.unpacked {
            return Err(Refusal::BombSize { max: limits.unpacked });
        }
        if bytes.len() as u64 > by_ratio {
            return Err(Refusal::BombRatio { ratio: limits.ratio, len });
        }
        if read == 0 {
            break;
        }
    }
    match decoder.into_inner() {
        [] => Ok(bytes),
        rest => Err(Refusal::TrailingData { after: "compressed bytes", len: rest.len() }),
    }
}

/// Checks the members after the first against `listed`; where their bytes lie, in the order listed.
fn read_files(
    members: &mut Members<'_>,
    listed: &[ReleaseFile],
    max: usize,
) -> Result<Vec<Range<usize>>, Refusal> {
    if listed.len() > max {
        return Err(Refusal::TooManyFiles { max });
    }
    // By path: where it stands in the list, and whether its member was seen.
    let mut places: BTreeMap<&str, (usize, bool)> = BTreeMap::new();
    for (at, file) in listed.iter().enumerate() {
        places.insert(&file.path, (at, false));
    }
    let mut bodies = Vec::with_capacity(listed.len());
    while let Some(member) = members.next()? {
        if bodies.len() == max {
            return Err(Refusal::TooManyFiles { max });
        }
        let fault = |fault| Refusal::Path { path: member.path.clone(), fault };
        check_path(&member.path).map_err(fault)?;
        if member.path == RELEASE_FILE {
            return Err(Refusal::Duplicate(member.path));
        }
        let Some((at, seen)) = places.get_mut(member.path.as_str()) else {
            return Err(Refusal::Unlisted(member.path));
        };
        if std::mem::replace(seen, true) {
            return Err(Refusal::Duplicate(member.path));
        }
        let expected = listed.get(bodies.len()).unwrap_or(&listed[*at]);
        if expected.path != member.path {
            let expected = expected.path.clone();
            return Err(Refusal::Order { found: member.path, expected });
        }
        bodies.push(member.check_file(members.bytes, expected)?);
    }
    match listed.get(bodies.len()) {
        Some(file) => Err(Refusal::Missing(file.path.clone())),
        None if !listed.is_sorted_by(|one, next| one.path < next.path) => {
            let expected = "the files of release.toml, by path".to_owned();
            Err(Refusal::Order { found: RELEASE_FILE.to_owned(), expected })
        }
        None => Ok(bodies),
    }
}

/// Checks that the engine of a package of code is the one that the package says, and lies in it.
fn read_manifest(package: &Package) -> Result<Option<Manifest>, Refusal> {
    let release = &package.release;
    if release.part == Part::Content {
        return Ok(None);
    }
    let refuse = |why: String| Err(Refusal::Manifest(why));
    let Some(bytes) = package.file(MANIFEST_FILE) else {
        return refuse(format!("a package of code holds a {MANIFEST_FILE}, and this one does not"));
    };
    let Ok(text) = str::from_utf8(bytes) else {
        return refuse(format!("{MANIFEST_FILE} is not UTF-8"));
    };
    let manifest = match Manifest::parse(text, Path::new(MANIFEST_FILE)) {
        Ok(manifest) => manifest,
        Err(errors) => return refuse(errors.to_string()),
    };
    if manifest.name != release.engine {
        let (name, engine) = (&manifest.name, &release.engine);
        return refuse(format!("{MANIFEST_FILE} names the engine {name}, release.toml {engine}"));
    }
    if manifest.version != release.version.to_string() {
        let (own, version) = (&manifest.version, &release.version);
        return refuse(format!("{MANIFEST_FILE} says version {own:?}, release.toml {version}"));
    }
    let program = release.files.iter().find(|file| Path::new(&file.path) == manifest.program);
    if !program.is_some_and(|file| file.executable) {
        let program = manifest.program.display().to_string();
        return refuse(format!(
            "{MANIFEST_FILE} starts the program {program:?}, which is no executable file of the package"
        ));
    }
    Ok(Some(manifest))
}

/// The members of an unpacked archive, one after the other.
struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One member: its header, and where its bytes lie.
struct Member<'a> {
    header: &'a [u8; BLOCK],
    path: String,
    size: u64,
    body: Range<usize>,
}

impl<'a> Members<'a> {
    /// The next member, a plain file; none at the archive's end, which is then behind.
    fn next(&mut self) -> Result<Option<Member<'a>>, Refusal> {
        let truncated = Refusal::Truncated("the archive");
        let Some(header) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<BLOCK>())
        else {
            return Err(truncated);
        };
        let end = self.at + BLOCK;
        if *header == [0; BLOCK] {
            let last = self.bytes.get(end..end + BLOCK * (END_BLOCKS - 1));
            if last.ok_or(truncated)?.iter().any(|byte| *byte != 0) {
                return Err(Refusal::TrailingData {
                    after: "archive",
                    len: self.bytes.len() - end,
                });
            }
            self.at = end + BLOCK * (END_BLOCKS - 1);
            return Ok(None);
        }
        let path = path_of(header);
        let Some(size) = octal(&header[SIZE]) else {
            return Err(Refusal::Header { path, what: "size" });
        };
        // What is no file is refused by its kind; its size may mean anything.
        let mut member = Member { header, path, size, body: end..end };
        member.check_kind()?;
        let body = usize::try_from(size).ok().and_then(|size| end.checked_add(size));
        let padded = body.and_then(|body| body.checked_next_multiple_of(BLOCK));
        let (Some(body), Some(padded)) = (body, padded) else { return Err(truncated) };
        let Some(padding) = self.bytes.get(body..padded) else { return Err(truncated) };
        if padding.iter().any(|byte| *byte != 0) {
            return Err(Refusal::Header { path: member.path, what: "padding after its bytes" });
        }
        member.body = end..body;
        self.at = padded;
        Ok(Some(member))
    }
}

impl Member<'_> {
    /// Refuses what is no plain file.
    fn check_kind(&self) -> Result<(), Refusal> {
        let kind = match self.header[TYPE] {
            b'0' => return Ok(()),
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'3' | b'4' => Kind::Device,
            b'5' => Kind::Folder,
            b'6' => Kind::Fifo,
            b'S' => Kind::Sparse,
            // PAX, of one member and global; Solaris'; GNU's long link and long name; volume labels and parts.
            b'x' | b'g' | b'X' | b'K' | b'L' | b'V' | b'M' | b'N' => Kind::Extension,
            _ => Kind::Unknown,
        };
        Err(Refusal::Kind { path: self.path.clone(), kind })
    }

    /// Checks the member against `listed`; where its bytes lie.
    fn check_file(self, bytes: &[u8], listed: &ReleaseFile) -> Result<Range<usize>, Refusal> {
        self.check_canonical(listed.executable)?;
        let digest = &listed.digest;
        if self.size != digest.size {
            let (found, listed) = (self.size, digest.size);
            return Err(Refusal::Size { path: self.path, found, listed });
        }
        if <[u8; 32]>::from(Sha256::digest(&bytes[self.body.clone()])) != digest.sha256 {
            return Err(Refusal::Sum { path: self.path });
        }
        Ok(self.body)
    }

    /// Refuses a header that is not the one that is written for such a file.
    fn check_canonical(&self, executable: bool) -> Result<(), Refusal> {
        let path = || self.path.clone();
        let mode = octal(&self.header[MODE]).and_then(|mode| u32::try_from(mode).ok());
        let Some(mode) = mode else { return Err(Refusal::Header { path: path(), what: "mode" }) };
        if mode & 0o7000 != 0 {
            return Err(Refusal::SetId { path: path(), mode });
        }
        let expected = MODES[usize::from(executable)];
        if mode != expected {
            return Err(Refusal::Mode { path: path(), mode, expected });
        }
        let belongs = header(&self.path, self.size, executable);
        let belongs = belongs.ok_or_else(|| Refusal::Header { path: path(), what: "path" })?;
        if *self.header == belongs {
            return Ok(());
        }
        let fields = [
            (NAME, "path"),
            (MODE, "mode"),
            (UID, "owner"),
            (GID, "group"),
            (SIZE, "size"),
            (MTIME, "time"),
            (LINK, "link name"),
            (MAGIC, "format"),
            (OWNERS, "owner's and group's names"),
            (DEVICES, "device numbers"),
            (PREFIX, "path's first part"),
            (CHECKSUM, "checksum"),
        ];
        let differs =
            fields.into_iter().find(|(at, _)| self.header[at.clone()] != belongs[at.clone()]);
        Err(Refusal::Header { path: path(), what: differs.map_or("end", |(_, what)| what) })
    }
}

/// The header of a file; none for a path or size that has none.
pub(super) fn header(path: &str, size: u64, executable: bool) -> Option<[u8; BLOCK]> {
    let mut header = [0; BLOCK];
    let (prefix, name) = split(path)?;
    header[NAME][..name.len()].copy_from_slice(name.as_bytes());
    header[PREFIX][..prefix.len()].copy_from_slice(prefix.as_bytes());
    write_octal(&mut header[MODE], MODES[usize::from(executable)].into())?;
    for zero in [UID, GID, MTIME] {
        write_octal(&mut header[zero], 0)?;
    }
    write_octal(&mut header[SIZE], size)?;
    header[TYPE] = b'0';
    header[MAGIC].copy_from_slice(b"ustar\x0000");
    // The sum of all bytes, taken with blanks in its own place; six digits, NUL, blank.
    header[CHECKSUM].fill(b' ');
    let sum: u64 = header.iter().map(|byte| u64::from(*byte)).sum();
    write_octal(&mut header[CHECKSUM][..7], sum)?;
    Some(header)
}

/// `path` as a header holds it: whole, or parted at the first slash that lets both parts fit.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= NAME.len() {
        return Some(("", path));
    }
    let fits =
        |(prefix, name): &(&str, &str)| prefix.len() <= PREFIX.len() && name.len() <= NAME.len();
    path.match_indices('/').map(|(at, _)| (&path[..at], &path[at + 1..])).find(fits)
}

/// The path in `header`, to show or to check: bytes that are no text are stood in for.
fn path_of(header: &[u8; BLOCK]) -> String {
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        String::from_utf8_lossy(&field[..end]).into_owned()
    };
    let (prefix, name) = (text(&header[PREFIX]), text(&header[NAME]));
    if prefix.is_empty() { name } else { format!("{prefix}/{name}") }
}

/// Writes `number` as the octal digits that fill `field` but for a closing NUL.
fn write_octal(field: &mut [u8], number: u64) -> Option<()> {
    let width = field.len().checked_sub(1)?;
    let digits = format!("{number:0width$o}");
    field
        .get_mut(..digits.len())
        .filter(|_| digits.len() == width)?
        .copy_from_slice(digits.as_bytes());
    field[width] = 0;
    Some(())
}

/// The number that [`write_octal`] would have written to `field`.
fn octal(field: &[u8]) -> Option<u64> {
    let (last, digits) = field.split_last()?;
    let digits = str::from_utf8(digits).ok()?;
    let plain = *last == 0 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if plain { u64::from_str_radix(digits, 8).ok() } else { None }
}
