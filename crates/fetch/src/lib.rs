//! The confined child that downloads.
//!
//! ```text
//!  updater ──socket (fd 0)──▶ here ──▶ network, or a folder
//!            Start, Get          │
//!          ◀── Ready, Data ──────┘
//! ```
//!
//! It learns where the repository is, reads the certificate authorities of this machine, confines itself
//! ([`confine`]) and only then asks the network for anything. It holds no key, verifies no metadata, writes no
//! file: a bug in TLS, HTTP or name resolution gets a process that can read public files of name resolution,
//! talk to the network and lie to its updater, who verifies what it says.
//!
//! Threat position: the updater is trusted, though its frames are parsed as if it were not. Everything from the
//! network is hostile.
//!
//! A library only so that its tests can confine a process that tries what is forbidden.

#![forbid(unsafe_code)]

pub mod confine;

mod channel;
mod folder;
mod http;
mod source;

use std::io;

use outrigger_api::fetch::{Cause, Reply, Request};

use channel::Channel;
use source::Source;

/// Serves the updater at the other end of standard input until it hangs up.
///
/// Every failure is told there; there is nobody else to tell.
pub fn run() {
    // Whoever started the updater may have left descriptors open. The standard ones stay: a number that is
    // closed would be the next connection's, and a message of the standard library must not go there.
    let closed = outrigger_sandbox::close_inherited(3);
    if let Ok(mut channel) = Channel::standard_input() {
        // `None` is the end of it: the updater has hung up, or is not one.
        let _ended = serve(&mut channel, closed);
    }
}

fn serve(channel: &mut Channel, closed: io::Result<()>) -> Option<()> {
    if let Err(error) = closed {
        let why = format!("inherited descriptors cannot be closed: {error}");
        return channel.say(&Reply::Failed(Cause::Unconfined, why.into()));
    }
    let Request::Start { metadata, targets, silence_ms } = channel.request()? else { return None };
    let mut source = match Source::open(&metadata, &targets, silence_ms) {
        Ok(source) => source,
        Err(why) => return channel.say(&Reply::Failed(Cause::Refused, why.into())),
    };
    match confine::confine(&source.grants()) {
        Ok(weak) => channel.say(&Reply::Ready(weak.into()))?,
        Err(why) => return channel.say(&Reply::Failed(Cause::Unconfined, why.into())),
    }
    while let Request::Get { place, path, limit } = channel.request()? {
        match source.fetch(place, &path, limit, channel) {
            Ok(true) => channel.say(&Reply::End)?,
            Ok(false) => channel.say(&Reply::Missing)?,
            Err((cause, why)) => channel.say(&Reply::Failed(cause, why.into()))?,
        }
    }
    None
}
