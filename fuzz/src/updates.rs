//! `updates.toml`, which an administrator writes.

use std::path::Path;

use outrigger_api::settings::{Source, UpdatesConfig};

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
    out.0
}
