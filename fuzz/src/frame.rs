//! The packets of the control socket, both directions, and the handshake that answers the first.

use outrigger_api::frame::{
    CONTRACT, FRAME_MAX, decode_to_engine, decode_to_host, encode_to_engine, encode_to_host, v1,
};
use outrigger_api::{EngineName, Event};
use outrigger_dock::handshake::{Offer, negotiate};

use crate::memory;

/// Longest error about a packet and longest reason of a refusal, in bytes.
const MESSAGE_MAX: usize = 1024;
/// Memory that reading a packet may take: a fixed part, and for each byte one member of a list of texts
/// that is being grown.
const FIXED: usize = 4096;
const EACH: usize = 64;

/// Reads `bytes` as a packet from either side; what was read and is written again must read the same.
pub fn check(bytes: &[u8]) {
    match memory::within(bytes.len(), FIXED, EACH, || decode_to_host(bytes)) {
        Ok(message) => {
            let written = encode_to_host(message.clone());
            assert!(written.len() <= bytes.len().min(FRAME_MAX));
            assert_eq!(decode_to_host(&written).ok().as_ref(), Some(&message));
            if let v1::to_host::Message::Hello(hello) = message {
                greet(&hello);
            }
        }
        Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
    }
    match memory::within(bytes.len(), FIXED, EACH, || decode_to_engine(bytes)) {
        Ok(message) => {
            let written = encode_to_engine(message.clone());
            // A list of one number is a byte longer where it is packed.
            assert!(written.len() <= bytes.len() + 8);
            if written.len() <= FRAME_MAX {
                assert_eq!(decode_to_engine(&written).ok(), Some(message));
            }
        }
        Err(error) => crate::assert_showable(&error.to_string(), MESSAGE_MAX),
    }
}

/// Answers a `Hello`, as it came and with the name and version that the manifest has.
fn greet(hello: &v1::Hello) {
    let name: EngineName = "scan".parse().expect("an engine's name");
    let offer = Offer {
        name: &name,
        version: "1.0",
        contract: 1..=3,
        capabilities: &["batch", "preview.park"],
        events: &[Event::FileOpen, Event::ProcessExec],
        event_ring_bytes: outrigger_dock::EVENT_RING_BYTES,
        heartbeat_ms: 1000,
    };
    let known = v1::Hello { engine: "scan".to_owned(), version: "1.0".to_owned(), ..hello.clone() };
    for hello in [hello, &known] {
        match negotiate(hello, &offer) {
            Ok(welcome) => {
                assert!(CONTRACT.contains(&welcome.contract));
                assert!((hello.contract_min..=hello.contract_max).contains(&welcome.contract));
                assert!(welcome.capabilities.iter().all(|name| hello.capabilities.contains(name)));
                assert_eq!((&*hello.engine, &*hello.version), ("scan", "1.0"));
                let packet = encode_to_engine(v1::to_engine::Message::Welcome(welcome));
                assert!(packet.len() <= FRAME_MAX);
            }
            Err(refused) => crate::assert_showable(&refused.why, MESSAGE_MAX),
        }
    }
}
