//! `updates.toml`, which an administrator writes.

use std::path::Path;

use outrigger_api::settings::{Approval, Pin, Source, UpdatesConfig};

use crate::memory;
use crate::settings::{EACH, FIXED, Writer, assert_told};

const NAME: &str = "updates.toml";

/// Reads `bytes` as such a file; what was taken and is written again must read the same.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read =
        memory::within(text.len(), FIXED, EACH, || UpdatesConfig::parse(text, Path::new(NAME)));
    match read {
        Ok(updates) => {
            let written = write(&updates);
            let again = UpdatesConfig::parse(&written, Path::new(NAME));
            assert_eq!(again.as_ref(), Ok(&updates), "written as:\n{written}");
        }
        Err(errors) => assert_told(&errors, NAME, text),
    }
}

fn write(updates: &UpdatesConfig) -> String {
    let mut out = Writer::default();
    out.path("state_dir", &updates.state_dir);
    out.path("control_socket", &updates.control_socket);
    for repository in &updates.repositories {
        assert!(!repository.engines.is_empty(), "a repository without engines was taken");
        out.table("[[repository]]");
        out.text("name", &repository.name);
        match &repository.source {
            Source::Http(url) => out.text("url", url),
            Source::Folder(path) => out.path("url", path),
        }
        out.path("root", &repository.root);
        out.texts("engines", repository.engines.iter().map(|name| name.as_str()));
    }
    let rollout = &updates.rollout;
    out.table("[rollout]");
    out.bare("ring", rollout.ring);
    if let Some(seed) = &rollout.seed {
        out.text("seed", seed);
    }
    out.bare("ring_hours", rollout.ring_hours);
    let freeze: Vec<String> = rollout.freeze.iter().map(ToString::to_string).collect();
    out.texts("freeze", freeze.iter().map(String::as_str));
    let approval = match rollout.approval {
        Approval::Nothing => "none",
        Approval::Code => "code",
        Approval::Content => "content",
        Approval::All => "all",
    };
    out.text("approval", approval);
    for pin in &updates.pins {
        out.table("[[pin]]");
        out.text("engine", pin.engine.as_str());
        out.text("part", pin.part.name());
        match &pin.to {
            Pin::Version(version) => out.text("version", &version.to_string()),
            Pin::Behind(count) => out.bare("behind", count),
        }
    }
    out.table("[download]");
    out.bare("package_bytes", updates.download.package_bytes);
    out.bare("unpacked_bytes", updates.download.unpacked_bytes);
    out.bare("files_max", updates.download.files_max);
    out.bare("stall_ms", updates.download.stall_ms);
    out.bare("total_ms", updates.download.total_ms);
    out.table("[preflight]");
    if let Some(path) = &updates.preflight.known_good {
        out.path("known_good", path);
    }
    out.bare("samples_min", updates.preflight.samples_min);
    out.bare("samples_max", updates.preflight.samples_max);
    out.bare("total_ms", updates.preflight.total_ms);
    out.bare("p99_ms", updates.preflight.p99_ms);
    write_trials(&mut out, updates);
    out.0
}

fn write_trials(out: &mut Writer, updates: &UpdatesConfig) {
    let shadow = &updates.shadow;
    out.table("[shadow]");
    out.bare("length_ms", shadow.length_ms);
    out.bare("emergency_ms", shadow.emergency_ms);
    out.bare("events_min", shadow.events_min);
    out.bare("longest_ms", shadow.longest_ms);
    out.bare("new_denials_max", shadow.new_denials_max);
    out.bare("misses_max", shadow.misses_max);
    let probation = &updates.probation;
    out.table("[probation]");
    out.bare("length_ms", probation.length_ms);
    out.bare("crashes_max", probation.crashes_max);
    out.bare("misses_max", probation.misses_max);
    out.bare("new_denials_max", probation.new_denials_max);
    out.bare("latency_percent", probation.latency_percent);
    out.bare("cpu_percent", probation.cpu_percent);
    out.bare("memory_percent", probation.memory_percent);
    out.table("[boot]");
    out.bare("unclean_max", updates.boot.unclean_max);
    out.bare("healthy_ms", updates.boot.healthy_ms);
    if let Some(key) = &updates.repair.key {
        out.table("[repair]");
        out.path("key", key);
    }
}
