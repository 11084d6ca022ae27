//! Writes archives byte by byte, with nothing of the product: what it would never build.

use std::fmt::Write as _;
use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

/// A member as it is to be written; every field as it comes.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) path: Vec<u8>,
    pub(crate) mode: u32,
    pub(crate) kind: u8,
    pub(crate) link: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
    /// The size that the header says, where that is another than the bytes have.
    pub(crate) size: Option<u64>,
    pub(crate) owner: u32,
    pub(crate) time: u64,
    pub(crate) magic: [u8; 8],
    pub(crate) device: (u32, u32),
}

pub(crate) fn file(path: &str, bytes: &[u8]) -> Member {
    Member {
        path: path.into(),
        mode: 0o644,
        kind: b'0',
        link: Vec::new(),
        bytes: bytes.to_vec(),
        size: None,
        owner: 0,
        time: 0,
        magic: *b"ustar\x0000",
        device: (0, 0),
    }
}

impl Member {
    fn write(&self, out: &mut Vec<u8>) {
        let mut header = [0; 512];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &self.path);
        put(100, format!("{:07o}\0", self.mode).as_bytes());
        put(108, format!("{:07o}\0", self.owner).as_bytes());
        put(116, format!("{:07o}\0", self.owner).as_bytes());
        put(124, format!("{:011o}\0", self.size.unwrap_or(self.bytes.len() as u64)).as_bytes());
        put(136, format!("{:011o}\0", self.time).as_bytes());
        put(148, b"        ");
        put(156, &[self.kind]);
        put(157, &self.link);
        put(257, &self.magic);
        if self.device != (0, 0) {
            put(329, format!("{:07o}\0", self.device.0).as_bytes());
            put(337, format!("{:07o}\0", self.device.1).as_bytes());
        }
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend(header);
        out.extend(&self.bytes);
        out.resize(out.len().next_multiple_of(512), 0);
    }
}

/// The archive of `members`, with its end.
pub(crate) fn archive(members: &[Member]) -> Vec<u8> {
    let mut out = Vec::new();
    members.iter().for_each(|member| member.write(&mut out));
    out.resize(out.len() + 1024, 0);
    out
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("a Vec takes all");
    encoder.finish().expect("a Vec takes all")
}

/// The `release.toml` of a package of content that lists `files`, true to their bytes.
pub(crate) fn description(files: &[(&str, &[u8])]) -> Member {
    let mut text = "format = 1\npart = \"content\"\nengine = \"scan\"\nversion = \"1.2.3\"\n\
                    [content]\ntype = \"hashlist\"\nschema = 1\ninterpreter = \"1\"\n"
        .to_owned();
    for (path, bytes) in files {
        let sum = hex::encode(Sha256::digest(bytes));
        let size = bytes.len();
        write!(text, "[[file]]\npath = \"{path}\"\nsize = {size}\nsha256 = \"{sum}\"\n")
            .expect("a String takes all");
    }
    file("release.toml", text.as_bytes())
}
