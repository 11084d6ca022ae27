//! The host's configuration, which an administrator writes.

use std::path::Path;

use outrigger_api::Event;
use outrigger_api::settings::{
    ContentGrant, EngineConfig, EngineSource, HostConfig, OnQuarantine, ProtectMode,
};
use outrigger_api::verdict::{Fallback, Mode};

use crate::memory;
use crate::settings::{EACH, FIXED, Writer, assert_told};

const NAME: &str = "c.toml";

/// Reads `bytes` as a configuration; what was taken and is written again must read the same.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read = memory::within(text.len(), FIXED, EACH, || HostConfig::parse(text, Path::new(NAME)));
    match read {
        Ok(config) => {
            let written = write(&config);
            let again = HostConfig::parse(&written, Path::new(NAME));
            assert_eq!(again.as_ref(), Ok(&config), "written as:\n{written}");
        }
        Err(errors) => assert_told(&errors, NAME, text),
    }
}

fn write(config: &HostConfig) -> String {
    let mut out = Writer::default();
    out.text("mode", mode(config.mode));
    out.table("[host]");
    out.path("control_socket", &config.control_socket);
    out.path("state_dir", &config.state_dir);
    out.bare("in_flight_max", config.in_flight_max);
    out.table("[cache]");
    out.bare("enabled", config.cache.enabled);
    out.bare("max_files", config.cache.max_files);
    out.table("[protect]");
    out.paths("trees", &config.protect.trees);
    for place in &config.protect.places {
        out.table("[[protect.tree]]");
        out.path("path", &place.path);
        out.text("mode", protect_mode(place.mode));
    }
    for kind in &config.protect.types {
        out.table("[[protect.file_system]]");
        out.text("type", &kind.fs_type);
        out.text("mode", protect_mode(kind.mode));
    }
    for event in Event::askable() {
        let policy = config.policy(event);
        out.table(format_args!("[policy.\"{event}\"]"));
        out.bare("budget_ms", policy.budget_ms);
        out.bare("content_budget_ms", policy.content_budget_ms);
        out.text(
            "fallback",
            match policy.fallback {
                Fallback::Open => "open",
                Fallback::Closed => "closed",
            },
        );
        out.text(
            "on_quarantine",
            match policy.on_quarantine {
                OnQuarantine::Fallback => "fallback",
                OnQuarantine::Without => "without",
            },
        );
        if let Some(of_event) = policy.mode {
            out.text("mode", mode(of_event));
        }
    }
    for engine in &config.engines {
        write_engine(&mut out, engine);
    }
    out.table("[guard]");
    out.paths("extra", &config.guard.extra);
    out.paths("lifted", &config.guard.lifted);
    out.0
}

fn write_engine(out: &mut Writer, engine: &EngineConfig) {
    assert!(engine.backoff_ms <= engine.backoff_max_ms);
    out.table("[[engine]]");
    match &engine.source {
        EngineSource::Manifest(file) => {
            assert!(file.is_absolute());
            out.path("manifest", file);
        }
        EngineSource::Installed(name) => {
            assert_eq!(engine.content_dir, None, "two places for one content");
            out.text("installed", name.as_str());
        }
    }
    out.bare("required", engine.required);
    out.text("mode", mode(engine.mode));
    match &engine.content {
        ContentGrant::None => out.text("content", "none"),
        ContentGrant::All => out.text("content", "all"),
        ContentGrant::Paths(paths) => out.paths("content", paths),
    }
    if let Some(folder) = &engine.content_dir {
        out.path("content_dir", folder);
    }
    if let Some(uid) = engine.uid {
        assert_ne!(uid, 0, "an engine may run as root");
        out.bare("uid", uid);
    }
    out.bare("misses_max", engine.misses_max);
    out.bare("miss_window_ms", engine.miss_window_ms);
    out.bare("restarts_max", engine.restarts_max);
    out.bare("restart_window_ms", engine.restart_window_ms);
    out.bare("backoff_ms", engine.backoff_ms);
    out.bare("backoff_max_ms", engine.backoff_max_ms);
}

const fn protect_mode(mode: ProtectMode) -> &'static str {
    match mode {
        ProtectMode::Enforce => "enforce",
        ProtectMode::Monitor => "monitor",
        ProtectMode::Off => "off",
    }
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Monitor => "monitor",
    }
}
