//! The settings files as a vendor and an administrator meet them: what is taken, and what is said
//! about each way to get them wrong.

mod config;
mod files;
mod hostile;
mod manifest;
mod release;
mod updates;

use std::fmt::Display;
use std::path::Path;

use outrigger_api::settings::{HostConfig, Manifest};

/// A manifest that names every key, none with its default.
const FULL_MANIFEST: &str = r#"
name = "scan-1"
vendor = "Example Security"
version = "2.1.0"
contract = "1-2"
verdict = "subject"

[entry]
program = "bin/scan"
arguments = ["--quiet", ""]

[events."file.open"]
needs = "ask"
degrade_to = "notify"

[events."process.exec"]
needs = "rule"

[events."file.unlink"]
needs = "notify"

[[filter]]
events = ["file.unlink"]
paths = ["/etc", "/usr/bin/"]
programs = ["/usr/sbin/sshd"]
cgroups = ["/system.slice"]
uids = [0, 1000]
invert = true
mute = true

[needs]
fields = ["path", "credentials", "attributes", "arguments"]
content = true
read = ["/usr/share/zoneinfo", "/etc/ssl/certs/"]

[limits]
memory_bytes = "1GiB"
threads = 16
descriptors = 512
start_ms = 10000
heartbeat_ms = 500
hang_ms = 2000

[content]
type = "table"
schema = "2-3"
inputs = ["event", "pipe_name"]
"#;

/// A configuration that names every key, none with its default.
const FULL_CONFIG: &str = r#"
mode = "monitor"

[host]
control_socket = "/run/o/c.sock"
metrics = false
metrics_socket = "/run/o/m.sock"
state_dir = "/srv/state"
in_flight_max = 512

[cache]
enabled = false
max_files = 0

[rules]
enabled = false
dir = "/srv/policy"
mode = "monitor"

[protect]
trees = ["/home", "/srv/./data/"]

[[protect.tree]]
path = "/srv/data/build"
mode = "monitor"

[[protect.tree]]
path = "/home/backup"
mode = "off"

[[protect.file_system]]
type = "nfs4"
mode = "enforce"

[policy."file.open"]
budget_ms = 20
content_budget_ms = 200
fallback = "closed"
on_quarantine = "without"
mode = "monitor"

[[engine]]
manifest = "/opt/a/manifest.toml"
required = false
mode = "monitor"
content = ["/home"]
content_dir = "/srv/rules"
uid = 61001
misses_max = 8
miss_window_ms = 1000
restarts_max = 0
restart_window_ms = 5000
backoff_ms = 50
backoff_max_ms = 1000

[[engine]]
manifest = "/opt/b/manifest.toml"
content = "all"

[guard]
extra = ["/usr/sbin/sshd"]
lifted = ["/usr/bin/dpkg"]

[record]
enabled = true
content = "sums"
bytes_max = "8MiB"
credentials = false
redact = ["/home"]
"#;

/// What is said about the manifest `text`.
fn manifest_errors(text: &str) -> String {
    said(Manifest::parse(text, Path::new("m.toml")))
}

/// What is said about the configuration `text`.
fn config_errors(text: &str) -> String {
    said(HostConfig::parse(text, Path::new("c.toml")))
}

fn said<T, E: Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "nothing is wrong".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

/// `text` with the one occurrence of `from` replaced.
fn with(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} is not there once");
    text.replace(from, to)
}
