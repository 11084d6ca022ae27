//! What a package says about itself (`release.toml`), and which packages an engine's publisher offers
//! (`releases.toml`).
//!
//! Both are written by `outrigger package` and are read on every machine that is offered a release: the
//! first comes out of a package whose signature was checked, the second is a signed target of its own.
//! A signature says who wrote a file, not that it is well made, so both are read as any hostile file.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use semver::{Version, VersionReq};

use crate::content::ContentType;
use crate::key::EngineName;
use crate::release::Part;
use crate::sample::Digest;
use crate::settings::error::{Problem, SettingsErrors, quoted};
use crate::settings::file;
use crate::settings::keys;
use crate::settings::kind::{Group, Table};
use crate::settings::reader::{Report, Section};

/// Name of the file that describes a package, in it and in the slot that it is unpacked to.
pub const RELEASE_FILE: &str = "release.toml";
/// Name of the file that lists an engine's releases, below the engine's folder of a repository.
pub const RELEASES_FILE: &str = "releases.toml";
/// Name of an engine's manifest in a package of its code.
pub const MANIFEST_FILE: &str = "manifest.toml";
/// Version of both formats.
pub const RELEASE_FORMAT: u32 = 1;
/// Most files of a package.
pub const RELEASE_FILES_MAX: usize = 4096;
/// Most releases that a publisher offers at a time, of both parts of an engine.
pub const RELEASES_MAX: usize = 1024;
/// Longest path in a package, in bytes. With [`NAME_MAX`] it always fits the header of a plain tar member.
pub const PATH_MAX: usize = 160;
/// Longest name of a file or folder in a package, in bytes.
pub const NAME_MAX: usize = 80;
/// Most names in a path of a package.
pub const DEPTH_MAX: usize = 8;

/// What a package holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Code or content.
    pub part: Part,
    /// Whose.
    pub engine: EngineName,
    /// Its version, without build metadata: of two different versions one is always the later.
    pub version: Version,
    /// What kind of content it is; present just where `part` is content.
    pub content: Option<ContentHead>,
    /// Its files, by path; never empty in what was parsed.
    pub files: Vec<ReleaseFile>,
}

/// What kind of content a package holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentHead {
    /// The content's type.
    pub kind: ContentType,
    /// Version of the schema that the content was written to.
    pub schema: u32,
    /// Versions of the engine's code that interpret it.
    pub interpreter: VersionReq,
}

/// One file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseFile {
    /// Where it lies: see [`check_path`].
    pub path: String,
    /// Its bytes.
    pub digest: Digest,
    /// Whether it may be run: mode 0755, else 0644.
    pub executable: bool,
}

/// What a publisher offers of one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releases {
    /// Whose releases.
    pub engine: EngineName,
    /// By part and version; no two are of one part and version.
    pub releases: Vec<Offered>,
}

/// One release that is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// Code or content.
    pub part: Part,
    /// Its version.
    pub version: Version,
    /// When it was added, RFC 3339 in UTC and whole seconds: texts in the order of their times.
    pub published: String,
}

/// Why a path may not stand in a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// It begins at the root.
    #[error("begins at the root")]
    Absolute,
    /// It has a part `..`.
    #[error("leads upwards")]
    Upwards,
    /// It breaks another rule for paths.
    #[error(
        "is no path of a package: at most {PATH_MAX} bytes and {DEPTH_MAX} names of 1 to {NAME_MAX} of \
         a-z, A-Z, 0-9 and ._+-, the first a letter, a digit or '_'"
    )]
    Unfit,
}

/// Checks that `path` may stand in a package: relative, downwards, and of names that mean the same to
/// every file system, shell and terminal.
///
/// # Errors
///
/// The rule that it breaks.
pub fn check_path(path: &str) -> Result<(), PathFault> {
    if path.starts_with('/') {
        return Err(PathFault::Absolute);
    }
    if path.split('/').any(|name| name == "..") {
        return Err(PathFault::Upwards);
    }
    let fits = path.len() <= PATH_MAX && path.split('/').count() <= DEPTH_MAX;
    if fits && path.split('/').all(is_name) { Ok(()) } else { Err(PathFault::Unfit) }
}

fn is_name(name: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._+-".contains(byte);
    let first = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = name.as_bytes();
    bytes.len() <= NAME_MAX && bytes.first().is_some_and(first) && bytes.iter().all(plain)
}

/// The target of a repository that is the package of `version`.
pub fn package_target(engine: &EngineName, part: Part, version: &Version) -> String {
    format!("{engine}/{part}/{version}.tar.gz")
}

/// The target of a repository that lists the releases of `engine`.
pub fn releases_target(engine: &EngineName) -> String {
    format!("{engine}/{RELEASES_FILE}")
}

/// The version that `text` is, if a release may have it.
pub fn release_version(text: &str) -> Option<Version> {
    let version = Version::parse(text).ok().filter(|_| text.len() <= keys::LABEL_MAX)?;
    version.build.is_empty().then_some(version)
}

impl Release {
    /// Reads the `release.toml` of a package; `file` is how errors call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, up to [`crate::settings::ERRORS_MAX`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsErrors> {
        let document = file::document(text, file)?;
        let report = Report::new(file, text);
        let top = Section::top(&report, &document, &keys::RELEASE_TOP, keys::RELEASE);
        let head = read_head(&top);
        let files = read_files(&top, head.as_ref().map(|head| head.part));
        report.finish(head.map(|head| Self { files, ..head }))
    }

    /// Reads a `release.toml` that a package is to be built from: all of one but the files.
    ///
    /// # Errors
    ///
    /// As [`Release::parse`], and if the file cannot be read.
    pub fn read_template(file: &Path) -> Result<Self, SettingsErrors> {
        let text = file::load(file)?;
        let document = file::document(&text, file)?;
        let report = Report::new(file, &text);
        let top = Section::top(&report, &document, &keys::TEMPLATE_TOP, keys::TEMPLATE);
        let head = read_head(&top);
        report.finish(head)
    }

    /// The text of the `release.toml` that reads as this.
    pub fn to_toml(&self) -> String {
        let Self { part, engine, version, content, files } = self;
        let mut out = format!(
            "format = {RELEASE_FORMAT}\npart = \"{part}\"\nengine = \"{engine}\"\nversion = \"{version}\"\n"
        );
        if let Some(ContentHead { kind, schema, interpreter }) = content {
            out += &format!(
                "\n[content]\ntype = \"{kind}\"\nschema = {schema}\ninterpreter = \"{interpreter}\"\n"
            );
        }
        for ReleaseFile { path, digest, executable } in files {
            let Digest { size, sha256 } = digest;
            write!(out, "\n[[file]]\npath = \"{path}\"\nsize = {size}\nsha256 = \"")
                .expect("a String takes all");
            sha256.iter().for_each(|byte| write!(out, "{byte:02x}").expect("a String takes all"));
            out += if *executable { "\"\nexecutable = true\n" } else { "\"\n" };
        }
        out
    }
}

impl Releases {
    /// Reads a `releases.toml`; `file` is how errors call it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, up to [`crate::settings::ERRORS_MAX`].
    pub fn parse(text: &str, file: &Path) -> Result<Self, SettingsErrors> {
        let document = file::document(text, file)?;
        let report = Report::new(file, text);
        let top = Section::top(&report, &document, &keys::RELEASES_TOP, keys::RELEASES);
        let format = top.required(&keys::FORMAT);
        let engine = top.checked(&keys::OF_ENGINE, |text| text.parse::<EngineName>().ok());
        let sections =
            top.sections(&keys::OFFERED, RELEASES_MAX, &keys::RELEASES_OFFERED, keys::RELEASES);
        let engine = engine.map(|(engine, _)| engine);
        let releases = read_offers(&sections, engine.as_ref());
        report.finish(format.zip(engine).map(|(_, engine)| Self { engine, releases }))
    }

    /// The text of the `releases.toml` that reads as this.
    pub fn to_toml(&self) -> String {
        let Self { engine, releases } = self;
        let mut out = format!("format = {RELEASE_FORMAT}\nengine = \"{engine}\"\n");
        for Offered { part, version, published } in releases {
            let target = package_target(engine, *part, version);
            out += &format!(
                "\n[[release]]\npart = \"{part}\"\nversion = \"{version}\"\ntarget = \"{target}\"\n\
                 published = \"{published}\"\n"
            );
        }
        out
    }

    /// The latest release of `part`; one before its final version only where no other is offered.
    pub fn latest(&self, part: Part) -> Option<&Offered> {
        let of_part = self.releases.iter().filter(|offered| offered.part == part);
        of_part.max_by_key(|offered| (offered.version.pre.is_empty(), &offered.version))
    }

    /// The release of `part` with `version`.
    pub fn find(&self, part: Part, version: &Version) -> Option<&Offered> {
        self.releases.iter().find(|offered| offered.part == part && offered.version == *version)
    }
}

/// Everything but the files; `None` if something that must be there is not, which is then reported.
fn read_head(top: &Section<'_>) -> Option<Release> {
    let format = top.required(&keys::FORMAT);
    let part = top.chosen(&keys::PART);
    let engine = top.checked(&keys::OF_ENGINE, |text| text.parse::<EngineName>().ok());
    let version = top.checked(&keys::RELEASE_VERSION, release_version);
    let content = match part? {
        Part::Code => {
            if let Some(value) = top.value(&keys::CONTENT_HEAD) {
                let what = "only a package of content has it, and `part` is \"code\"".to_owned();
                value.refuse(|| (Problem::Conflict(what), None));
            }
            None
        }
        Part::Content => Some(read_content(top)?),
    };
    format?;
    Some(Release {
        part: part?,
        engine: engine?.0,
        version: version?.0,
        content,
        files: Vec::new(),
    })
}

fn read_content(top: &Section<'_>) -> Option<ContentHead> {
    if top.value(&keys::CONTENT_HEAD).is_none() {
        top.missing(&keys::CONTENT_HEAD);
        return None;
    }
    let section = top.section(&keys::CONTENT_HEAD, &keys::RELEASE_CONTENT, keys::RELEASE);
    let kind = section.chosen(&keys::CONTENT_TYPE);
    let schema = section.required(&keys::SCHEMA);
    let interpreter = section.checked(&keys::INTERPRETER, |text| {
        VersionReq::parse(text).ok().filter(|_| text.len() <= keys::REQUIREMENT_MAX)
    });
    Some(ContentHead {
        kind: kind?,
        schema: u32::try_from(schema?).unwrap_or(u32::MAX),
        interpreter: interpreter?.0,
    })
}

fn read_files(top: &Section<'_>, part: Option<Part>) -> Vec<ReleaseFile> {
    let group: &'static Group = &keys::FILE;
    let table: &'static Table = &keys::RELEASE_FILE;
    let sections = top.sections(group, RELEASE_FILES_MAX, table, keys::RELEASE);
    match top.value(group) {
        None => top.missing(group),
        Some(value) if value.is_empty_list() => value.refuse(|| (Problem::Empty, None)),
        Some(_) => {}
    }
    // By path: the file's section, or `None` for a folder that a file lies in.
    let mut taken: BTreeMap<String, Option<&Section<'_>>> = BTreeMap::new();
    let mut files = Vec::with_capacity(sections.len());
    for section in &sections {
        let Some(file) = read_file(section, part) else { continue };
        let folders = file.path.match_indices('/').map(|(at, _)| &file.path[..at]);
        for folder in folders {
            if let Some(Some(first)) = taken.insert(folder.to_owned(), None) {
                section.duplicate(&keys::MEMBER, quoted(folder), first);
            }
        }
        match taken.get(&file.path) {
            None => _ = taken.insert(file.path.clone(), Some(section)),
            Some(Some(first)) => section.duplicate(&keys::MEMBER, quoted(&file.path), first),
            Some(None) => section.conflict(&keys::MEMBER, "is a folder of another file".to_owned()),
        }
        files.push(file);
    }
    files
}

fn read_file(section: &Section<'_>, part: Option<Part>) -> Option<ReleaseFile> {
    let path = section.checked(&keys::MEMBER, |text| {
        (check_path(text).is_ok() && text != RELEASE_FILE).then(|| text.to_owned())
    });
    let size = section.required(&keys::SIZE);
    let sha256 = section.checked(&keys::SHA256, sum);
    let executable = section.flag(&keys::EXECUTABLE);
    if executable && part == Some(Part::Content) {
        let what = "content is not run: a package of content has no executable files".to_owned();
        section.conflict(&keys::EXECUTABLE, what);
    }
    let digest = Digest { size: size?, sha256: sha256?.0 };
    Some(ReleaseFile { path: path?.0, digest, executable })
}

fn read_offers(sections: &[Section<'_>], engine: Option<&EngineName>) -> Vec<Offered> {
    let mut taken: BTreeMap<(Part, Version), &Section<'_>> = BTreeMap::new();
    let mut offers = Vec::with_capacity(sections.len());
    for section in sections {
        let part = section.chosen(&keys::PART);
        let version = section.checked(&keys::RELEASE_VERSION, release_version);
        let target = section.checked(&keys::TARGET, |text| Some(text.to_owned()));
        let published = section.checked(&keys::PUBLISHED, time);
        let (Some(part), Some((version, _)), Some((target, _)), Some((published, _))) =
            (part, version, target, published)
        else {
            continue;
        };
        let Some(engine) = engine else { continue };
        let belongs = package_target(engine, part, &version);
        if target != belongs {
            let what = format!("{} is not the package of this release: {belongs}", quoted(&target));
            section.conflict(&keys::TARGET, what);
        }
        if let Some(first) = taken.insert((part, version.clone()), section) {
            section.duplicate(&keys::RELEASE_VERSION, quoted(&version.to_string()), first);
        }
        offers.push(Offered { part, version, published });
    }
    offers.sort_by(|one, other| (one.part, &one.version).cmp(&(other.part, &other.version)));
    offers
}

/// The sum that 64 lower-case hexadecimal digits are.
pub(super) fn sum(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut sum = [0; 32];
    if text.len() != 2 * sum.len() {
        return None;
    }
    for (pair, byte) in text.as_bytes().chunks_exact(2).zip(&mut sum) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(sum)
}

/// `text`, if it is a time as a release has it.
pub(super) fn time(text: &str) -> Option<String> {
    // The form first: what the parser takes besides it would not sort as its time does.
    const FORM: &[u8] = b"0000-00-00T00:00:00Z";
    let same = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        sign => byte == *sign,
    };
    let formed = text.len() == FORM.len() && text.bytes().zip(FORM).all(same);
    (formed && text.parse::<toml_edit::Datetime>().is_ok()).then(|| text.to_owned())
}
