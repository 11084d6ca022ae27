//! The negotiation that opens a dock: pure, so that every case of it is a line in a table of tests.
//!
//! The engine says which contract versions and capabilities it speaks and who it is; the host answers
//! with the highest version that engine, manifest and host all have and the capabilities that both
//! have, or refuses and says why. A capability is an addition to a contract version that either side
//! can do without; names under `preview.` are not settled and may go again. What the host does not
//! know it drops, so that an engine can offer more than any host has.
//!
//! Threat position: the `Hello` comes from a hostile engine. Its size is bounded by the frame; texts of
//! it that come back in a reason are cut and escaped.

use std::ops::RangeInclusive;

use outrigger_api::frame::{CONTRACT, v1};
use outrigger_api::settings::Manifest;
use outrigger_api::{EngineName, Event};

use crate::{EVENT_RING_BYTES, NOTICE_RING_BYTES, VERDICT_RING_BYTES};

/// Capabilities that this build has. Contract version 1 is complete without any.
pub const CAPABILITIES: &[&str] = &[];
/// Most capabilities that an engine may name.
pub const CAPABILITIES_MAX: usize = 64;

/// What the host offers one engine.
#[derive(Debug, Clone)]
pub struct Offer<'a> {
    /// The engine's name, as its manifest says.
    pub name: &'a EngineName,
    /// The engine's version, as its manifest says.
    pub version: &'a str,
    /// Contract versions that the manifest names.
    pub contract: RangeInclusive<u32>,
    /// Capabilities that the host has.
    pub capabilities: &'a [&'a str],
    /// Events that the engine will be asked about or told of.
    pub events: &'a [Event],
    /// Data bytes of its event ring.
    pub event_ring_bytes: u32,
    /// How often the host wants a sign of life, in milliseconds.
    pub heartbeat_ms: u32,
}

impl<'a> Offer<'a> {
    /// The offer to the engine of `manifest`, which was granted `events`.
    pub fn new(manifest: &'a Manifest, events: &'a [Event]) -> Self {
        Self {
            name: &manifest.name,
            version: &manifest.version,
            contract: manifest.contract.clone(),
            capabilities: CAPABILITIES,
            events,
            event_ring_bytes: event_ring_bytes(manifest),
            heartbeat_ms: manifest.limits.heartbeat_ms,
        }
    }
}

/// Data bytes of the event ring of the engine of `manifest`: more where it may be told of things.
pub fn event_ring_bytes(manifest: &Manifest) -> u32 {
    if manifest.may_be_told() { NOTICE_RING_BYTES } else { EVENT_RING_BYTES }
}

/// Answers an engine's `Hello`.
///
/// # Errors
///
/// The `Refused` to send: the engine is not the one of the manifest, no contract version is common, or
/// the `Hello` makes no sense.
pub fn negotiate(hello: &v1::Hello, offer: &Offer<'_>) -> Result<v1::Welcome, v1::Refused> {
    if hello.engine != offer.name.as_str() {
        return Err(refused(format!(
            "the engine says its name is {}, its manifest says {}",
            shown(&hello.engine),
            offer.name
        )));
    }
    if hello.version != offer.version {
        return Err(refused(format!(
            "the engine says its version is {}, its manifest says {}",
            shown(&hello.version),
            offer.version
        )));
    }
    if hello.capabilities.len() > CAPABILITIES_MAX {
        return Err(refused(format!(
            "the engine names {} capabilities, over the limit of {CAPABILITIES_MAX}",
            hello.capabilities.len()
        )));
    }
    Ok(v1::Welcome {
        contract: highest_common(hello, &offer.contract)?,
        capabilities: common_capabilities(&hello.capabilities, offer.capabilities),
        event_ring_bytes: offer.event_ring_bytes,
        verdict_ring_bytes: VERDICT_RING_BYTES,
        events: offer.events.iter().map(|event| u32::from(event.number())).collect(),
        heartbeat_ms: offer.heartbeat_ms,
    })
}

fn highest_common(hello: &v1::Hello, manifest: &RangeInclusive<u32>) -> Result<u32, v1::Refused> {
    let lowest = hello.contract_min.max(*manifest.start()).max(*CONTRACT.start());
    let highest = hello.contract_max.min(*manifest.end()).min(*CONTRACT.end());
    if lowest > highest {
        return Err(refused(format!(
            "no contract version in common: the engine speaks {} to {}, its manifest says {} to {}, \
             this host speaks {} to {}",
            hello.contract_min,
            hello.contract_max,
            manifest.start(),
            manifest.end(),
            CONTRACT.start(),
            CONTRACT.end()
        )));
    }
    Ok(highest)
}

/// The host's capabilities that the engine asked for, in the host's order, each once.
fn common_capabilities(asked: &[String], had: &[&str]) -> Vec<String> {
    had.iter()
        .filter(|name| asked.iter().any(|other| other == *name))
        .map(|name| (*name).to_owned())
        .collect()
}

/// A text from the engine, fit for a message.
fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 64;
    let cut = text.floor_char_boundary(SHOWN_MAX);
    format!("{:?}{}", &text[..cut], if cut < text.len() { "…" } else { "" })
}

fn refused(why: String) -> v1::Refused {
    v1::Refused { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> v1::Hello {
        v1::Hello {
            contract_min: 1,
            contract_max: 1,
            capabilities: Vec::new(),
            sdk: "outrigger-sdk 0.1.0".to_owned(),
            engine: "hashlist".to_owned(),
            version: "1.2.3".to_owned(),
        }
    }

    fn answer(hello: &v1::Hello, contract: RangeInclusive<u32>) -> Result<v1::Welcome, String> {
        let name = "hashlist".parse().expect("an engine's name");
        let offer = Offer {
            name: &name,
            version: "1.2.3",
            contract,
            capabilities: &["batch", "preview.park"],
            events: &[Event::FileOpen],
            event_ring_bytes: EVENT_RING_BYTES,
            heartbeat_ms: 500,
        };
        negotiate(hello, &offer).map_err(|refused| refused.why)
    }

    #[test]
    fn the_engine_of_the_manifest_is_welcome() {
        let welcome = answer(&hello(), 1..=1).expect("welcome");

        assert_eq!(welcome.contract, 1);
        assert_eq!(welcome.events, [u32::from(Event::FileOpen.number())]);
        assert_eq!(welcome.heartbeat_ms, 500);
        assert_eq!(welcome.event_ring_bytes, EVENT_RING_BYTES);
        assert_eq!(welcome.verdict_ring_bytes, VERDICT_RING_BYTES);
    }

    #[test]
    fn another_engine_than_the_manifest_names_is_refused_with_both_names() {
        let why = answer(&v1::Hello { engine: "yara\n".to_owned(), ..hello() }, 1..=1);

        let told = r#"the engine says its name is "yara\n", its manifest says hashlist"#;
        assert_eq!(why, Err(told.to_owned()));
    }

    #[test]
    fn another_version_than_the_manifest_names_is_refused_with_both_versions() {
        let why = answer(&v1::Hello { version: "2.0".to_owned(), ..hello() }, 1..=1);

        let told = r#"the engine says its version is "2.0", its manifest says 1.2.3"#;
        assert_eq!(why, Err(told.to_owned()));
    }

    #[test]
    fn a_long_name_comes_back_cut() {
        let why = answer(&v1::Hello { engine: "ä".repeat(500), ..hello() }, 1..=1).unwrap_err();

        assert!(why.len() < 200, "{why}");
    }

    #[test]
    fn the_contract_is_the_highest_that_all_three_speak() {
        // engine's range, manifest's range, outcome; this build speaks CONTRACT
        let newest = *CONTRACT.end();
        let table = [
            (1..=1, 1..=1, Some(1)),
            (0..=9, 0..=9, Some(newest)),
            (0..=newest, newest..=9, Some(newest)),
            (newest + 1..=9, 0..=9, None),
            (0..=9, newest + 1..=9, None),
            (0..=0, 0..=9, None),
            (0..=u32::MAX, 0..=u32::MAX, Some(newest)),
        ];
        for (engine, manifest, contract) in table {
            let hello =
                v1::Hello { contract_min: *engine.start(), contract_max: *engine.end(), ..hello() };
            let got = answer(&hello, manifest.clone()).ok().map(|welcome| welcome.contract);
            assert_eq!(got, contract, "engine {engine:?}, manifest {manifest:?}");
        }
    }

    #[test]
    fn a_range_that_runs_backwards_is_refused() {
        assert!(answer(&v1::Hello { contract_min: 1, contract_max: 0, ..hello() }, 1..=1).is_err());
    }

    #[test]
    fn capabilities_are_those_of_both_and_unknown_ones_are_dropped() {
        // asked for, got
        let table: [(&[&str], &[&str]); 6] = [
            (&[], &[]),
            (&["batch"], &["batch"]),
            (&["teleport"], &[]),
            (&["preview.park", "batch", "batch"], &["batch", "preview.park"]),
            (&["preview.other"], &[]),
            (&["park"], &[]),
        ];
        for (asked, got) in table {
            let capabilities = asked.iter().map(|&name| name.to_owned()).collect();
            let welcome = answer(&v1::Hello { capabilities, ..hello() }, 1..=1).expect("welcome");
            assert_eq!(welcome.capabilities, got, "asked for {asked:?}");
        }
    }

    #[test]
    fn too_many_capabilities_are_refused() {
        let capabilities = vec!["x".to_owned(); CAPABILITIES_MAX + 1];

        assert!(answer(&v1::Hello { capabilities, ..hello() }, 1..=1).is_err());
    }
}
