//! The control messages of the dock and their codec.
//!
//! One message is one packet of a `SOCK_SEQPACKET` socket, so a frame has no length of its own. The
//! messages come from `proto/outrigger/dock/v1/dock.proto`.
//!
//! Threat position: [`decode_to_host`] reads what a hostile engine wrote. It refuses a packet over
//! [`FRAME_MAX`] before looking at it, so decoding allocates no more than a small multiple of that.

use prost::Message;

/// The messages, generated from the protobuf file.
#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/outrigger.dock.v1.rs"));
}

/// Contract versions that this build speaks, inclusive.
pub const CONTRACT: std::ops::RangeInclusive<u32> = 1..=1;
/// Largest packet, in bytes.
pub const FRAME_MAX: usize = 8192;

/// The packet is no message of the contract.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Over the limit; nothing of it was read.
    #[error("control frame of {len} bytes, over the limit of {FRAME_MAX}")]
    TooLong {
        /// The packet's length, in bytes.
        len: usize,
    },
    /// The bytes are no message.
    #[error("control frame is no message of the contract")]
    Malformed(#[from] prost::DecodeError),
    /// A message without content, or of a kind that this build does not know.
    #[error("control frame is empty or of an unknown kind")]
    Unknown,
}

/// Reads one packet from an engine.
///
/// # Errors
///
/// [`FrameError`] if the packet is no message of the contract.
pub fn decode_to_host(packet: &[u8]) -> Result<v1::to_host::Message, FrameError> {
    decode::<v1::ToHost>(packet)?.message.ok_or(FrameError::Unknown)
}

/// Reads one packet from the host.
///
/// # Errors
///
/// [`FrameError`] if the packet is no message of the contract.
pub fn decode_to_engine(packet: &[u8]) -> Result<v1::to_engine::Message, FrameError> {
    decode::<v1::ToEngine>(packet)?.message.ok_or(FrameError::Unknown)
}

fn decode<M: Message + Default>(packet: &[u8]) -> Result<M, FrameError> {
    if packet.len() > FRAME_MAX {
        return Err(FrameError::TooLong { len: packet.len() });
    }
    Ok(M::decode(packet)?)
}

/// The packet that carries `message` to the host.
pub fn encode_to_host(message: v1::to_host::Message) -> Vec<u8> {
    v1::ToHost { message: Some(message) }.encode_to_vec()
}

/// The packet that carries `message` to an engine.
pub fn encode_to_engine(message: v1::to_engine::Message) -> Vec<u8> {
    v1::ToEngine { message: Some(message) }.encode_to_vec()
}
