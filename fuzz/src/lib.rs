//! What is fed to the parsers of hostile bytes, and what must hold of each.
//!
//! One module per target, each with a `check` that takes any bytes at all and panics if a promise is
//! broken. The promises are more than "no panic": what was read and is written again reads the same, a
//! message about what was not read is short, safe to print and names what it speaks of, and no input
//! makes a parser allocate more than its length accounts for ([`memory`]).

pub mod changes;
pub mod config;
pub mod content;
pub mod fanotify;
pub mod fetch;
pub mod frame;
pub mod hashlist;
pub mod log;
pub mod manifest;
pub mod memory;
pub mod mounts;
pub mod package;
pub mod plane;
#[cfg(feature = "policy_text")]
pub mod policy_text;
pub mod record;
pub mod recording;
pub mod release;
pub mod repair;
pub mod request;
pub mod ring;
pub mod rules_image;
pub mod rules_json;
mod settings;
pub mod updates;
#[cfg(feature = "yara")]
pub mod yara;

/// Panics unless `message` is one that an operator may be shown: short, and safe to print.
fn assert_showable(message: &str, longest: usize) {
    assert!(!message.is_empty(), "an error without a message");
    assert!(message.len() <= longest, "a message of {} bytes: {message:.200}…", message.len());
    let moves = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{202a}'..='\u{202e}');
    assert!(!message.contains(moves), "a message that moves the cursor: {message:?}");
}
