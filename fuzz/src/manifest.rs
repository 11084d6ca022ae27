//! An engine's manifest, which comes with a vendor's package.

use std::path::Path;

use outrigger_api::ContentType;
use outrigger_api::settings::{Manifest, Need};
use outrigger_api::verdict::VerdictBasis;

use crate::memory;
use crate::settings::{EACH, FIXED, Writer, assert_told};

const NAME: &str = "m.toml";

/// Reads `bytes` as a manifest; what was taken and is written again must read the same.
pub fn check(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let read = memory::within(text.len(), FIXED, EACH, || Manifest::parse(text, Path::new(NAME)));
    match read {
        Ok(manifest) => {
            let (first, last) = (*manifest.contract.start(), *manifest.contract.end());
            assert!(1 <= first && first <= last, "contract {first}-{last}");
            assert!(manifest.limits.heartbeat_ms < manifest.limits.hang_ms);
            assert!(manifest.read.iter().all(|path| path.is_absolute()));
            let written = write(&manifest);
            let again = Manifest::parse(&written, Path::new(NAME));
            assert_eq!(again.as_ref(), Ok(&manifest), "written as:\n{written}");
        }
        Err(errors) => assert_told(&errors, NAME, text),
    }
}

fn write(manifest: &Manifest) -> String {
    let mut out = Writer::default();
    out.text("name", manifest.name.as_str());
    out.text("vendor", &manifest.vendor);
    out.text("version", &manifest.version);
    let contract = format!("{}-{}", manifest.contract.start(), manifest.contract.end());
    out.text("contract", &contract);
    let verdict = match manifest.verdict {
        VerdictBasis::Content => "content",
        VerdictBasis::Subject => "subject",
    };
    out.text("verdict", verdict);
    out.table("[entry]");
    out.path("program", &manifest.program);
    out.texts("arguments", manifest.arguments.iter().map(String::as_str));
    assert!(!manifest.events.is_empty(), "a manifest without an event was taken");
    for subscription in &manifest.events {
        out.table(format_args!("[events.\"{}\"]", subscription.event));
        out.text("needs", need(subscription.needs));
        if let Some(weaker) = subscription.degrade_to {
            assert!(weaker < subscription.needs);
            out.text("degrade_to", need(weaker));
        }
    }
    for filter in &manifest.filters {
        out.table("[[filter]]");
        assert!(
            filter.events.iter().all(|event| manifest.events.iter().any(|it| it.event == event))
        );
        // Without events it would be about all that have what it names; with none at all it is about none.
        if !filter.events.is_empty() {
            out.texts("events", filter.events.iter().map(|event| event.name()));
        }
        out.bare("mute", filter.mute);
        out.bare("invert", filter.invert);
        out.paths("paths", &filter.paths);
        out.paths("programs", &filter.programs);
        out.paths("cgroups", &filter.cgroups);
        let uids: Vec<String> = filter.uids.iter().map(u32::to_string).collect();
        out.bare("uids", format_args!("[{}]", uids.join(", ")));
    }
    out.table("[needs]");
    let fields = [
        (manifest.fields.path, "path"),
        (manifest.fields.credentials, "credentials"),
        (manifest.fields.attributes, "attributes"),
        (manifest.fields.arguments, "arguments"),
    ];
    out.texts("fields", fields.iter().filter(|(wanted, _)| *wanted).map(|(_, name)| *name));
    out.bare("content", manifest.content);
    out.paths("read", &manifest.read);
    let limits = &manifest.limits;
    out.table("[limits]");
    out.bare("memory_bytes", limits.memory_bytes);
    out.bare("threads", limits.threads);
    out.bare("descriptors", limits.descriptors);
    out.bare("start_ms", limits.start_ms);
    out.bare("heartbeat_ms", limits.heartbeat_ms);
    out.bare("hang_ms", limits.hang_ms);
    if let Some(interprets) = &manifest.interprets {
        out.table("[content]");
        out.text("type", interprets.kind.name());
        let (first, last) = (interprets.schema.start(), interprets.schema.end());
        out.text("schema", &format!("{first}-{last}"));
        if interprets.kind == ContentType::Table {
            out.texts("inputs", interprets.inputs.iter().map(String::as_str));
        }
    }
    out.0
}

const fn need(need: Need) -> &'static str {
    match need {
        Need::Ask => "ask",
        Need::Rule => "rule",
        Need::Notify => "notify",
    }
}
