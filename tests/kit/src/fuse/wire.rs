//! What of the FUSE protocol the servers of tests speak.
//!
//! The protocol is `include/uapi/linux/fuse.h`, version 7.31; all numbers are the machine's own.

/// The node of the file system's root.
pub const ROOT: u64 = 1;
/// Longest request: a header and more than the largest write announced.
pub const REQUEST_MAX: usize = 1 << 18;

/// A name is looked up in a folder.
pub const LOOKUP: u32 = 1;
/// A node is forgotten; no answer.
pub const FORGET: u32 = 2;
/// A node's attributes are asked for.
pub const GETATTR: u32 = 3;
/// A file is opened.
pub const OPEN: u32 = 14;
/// A file is read.
pub const READ: u32 = 15;
/// An open file has gone.
pub const RELEASE: u32 = 18;
/// A descriptor of an open file is closed.
pub const FLUSH: u32 = 25;
/// The first request.
pub const INIT: u32 = 26;
/// A folder is opened.
pub const OPENDIR: u32 = 27;
/// An open folder has gone.
pub const RELEASEDIR: u32 = 29;
/// Somebody waits no more; no answer.
pub const INTERRUPT: u32 = 36;
/// Nodes are forgotten; no answer.
pub const BATCH_FORGET: u32 = 42;

/// `FOPEN_DIRECT_IO`: every read is the server's.
pub const DIRECT: u64 = 1;

/// `struct fuse_in_header`, and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// What is asked.
    pub opcode: u32,
    /// Of which node.
    pub node: u64,
    unique: u64,
    body: &'a [u8],
}

impl<'a> Request<'a> {
    /// Takes a request of the kernel apart.
    ///
    /// # Panics
    ///
    /// If it is shorter than its header, which the kernel never makes it.
    pub fn parse(bytes: &'a [u8]) -> Self {
        let (header, body) = bytes.split_at(40);
        Self {
            opcode: u32_at(header, 4),
            unique: u64_at(header, 8),
            node: u64_at(header, 16),
            body,
        }
    }

    /// The name of a look-up.
    pub fn name(&self) -> Option<&'a [u8]> {
        self.body.strip_suffix(b"\0")
    }

    /// Where a read begins and how long it is, in bytes.
    pub fn range(&self) -> (u64, u32) {
        (u64_at(self.body, 8), u32_at(self.body, 16))
    }

    /// The answer: what was asked for, or an error number.
    ///
    /// # Panics
    ///
    /// If it is over 4 GiB long.
    pub fn reply(&self, reply: Result<Vec<u8>, i32>) -> Vec<u8> {
        let (error, body) = reply.map_or_else(|errno| (-errno, Vec::new()), |body| (0, body));
        let len = u32::try_from(16 + body.len()).expect("a short answer");
        let unique = self.unique.to_ne_bytes();
        [&len.to_ne_bytes()[..], &error.to_ne_bytes(), &unique, &body].concat()
    }

    /// `struct fuse_init_out`: version, the kernel's read-ahead, no flags, writes of 128 KiB.
    pub fn init(&self) -> Vec<u8> {
        let words = [7, 31, u32_at(self.body, 8), 0, 0x0030_0040, 128 << 10];
        let mut out = words.map(u32::to_ne_bytes).concat();
        out.resize(64, 0);
        out
    }
}

/// `struct fuse_open_out` with these flags.
pub fn opened(flags: u64) -> Vec<u8> {
    [0, flags].map(u64::to_ne_bytes).concat()
}

/// `struct fuse_entry_out` of a file whose name stays valid for `seconds`.
pub fn entry(node: u64, size: u64, seconds: u64) -> Vec<u8> {
    [[node, 0, seconds, 0, 0].map(u64::to_ne_bytes).concat(), attributes(node, size)].concat()
}

/// `struct fuse_attr_out`; the attributes are not valid for any time.
pub fn attributes_now(node: u64, size: u64) -> Vec<u8> {
    [vec![0; 16], attributes(node, size)].concat()
}

/// `struct fuse_attr`.
fn attributes(node: u64, size: u64) -> Vec<u8> {
    let mode = if node == ROOT { 0o40755 } else { 0o100_644 };
    let long = [node, size, 1, 0, 0, 0].map(u64::to_ne_bytes).concat();
    let short = [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat();
    [long, short].concat()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes are four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes"))
}
