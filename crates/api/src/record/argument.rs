//! What a notice says of its event besides who, when and which file: its arguments.
//!
//! They stand behind everything else of a notice, so that an engine built before they were there reads
//! the rest and skips them by the record's length. Which value means what follows from the event:
//! [`crate::attribute::arguments`].

use std::net::{IpAddr, Ipv6Addr};

use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::{PATH_MAX, present};
use crate::key::ProcessKey;

/// Longest text of an event, in bytes; a longer one is cut and said to be.
pub const TEXT_MAX: usize = PATH_MAX;
/// Longest name of a rule, in bytes of UTF-8; a longer one is cut at a character's edge.
pub const RULE_NAME_MAX: usize = 128;

const LAYOUT: usize = size_of::<ArgumentsLayout>();
/// Most bytes that arguments take, a multiple of eight.
pub(super) const ARGUMENTS_MAX: usize = (LAYOUT + TEXT_MAX + RULE_NAME_MAX).next_multiple_of(8);

/// The address of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// As `AF_*`.
    pub family: u16,
    /// Of IPv4 and IPv6; an IPv4 address mapped into IPv6 stands as the IPv4 address that it is.
    pub address: Option<IpAddr>,
    /// Of IPv4 and IPv6, in the machine's byte order; 0 where the socket has none.
    pub port: u16,
}

/// What a rule did about an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RuleOutcome {
    /// The event was allowed by it.
    Allowed = 1,
    /// The event was denied.
    Denied = 2,
    /// The event would have been denied: the rule is in Monitor mode.
    WouldDeny = 3,
}

impl RuleOutcome {
    /// The one with this number on the wire.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Allowed),
            2 => Some(Self::Denied),
            3 => Some(Self::WouldDeny),
            _ => None,
        }
    }
}

/// The arguments of an event as a host knows them. What is not known, or is not of this event, is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arguments<'a> {
    /// The object, where it is a process.
    pub target: Option<ProcessKey>,
    /// Its process id in the host's pid namespace; to show, never a key.
    pub target_pid: Option<u32>,
    /// First and second number.
    pub values: [Option<u64>; 2],
    /// The object, where it is an address.
    pub endpoint: Option<Endpoint>,
    /// The text; cut at [`TEXT_MAX`].
    pub text: Option<&'a [u8]>,
    /// What a rule did about it.
    pub ruled: Option<RuleOutcome>,
    /// That rule's name; cut at [`RULE_NAME_MAX`].
    pub rule: Option<&'a str>,
}

/// The fixed part of arguments; the text follows it, and the rule's name follows the text. Written by the
/// host, read by one engine. What a field holds counts only where its bit of [`present`] is set.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ArgumentsLayout {
    target: [u8; 16],
    /// In network byte order; an IPv4 address as `::ffff:a.b.c.d`.
    address: [u8; 16],
    values: [U64; 2],
    target_pid: U32,
    text_len: U32,
    family: U16,
    port: U16,
    rule_len: U16,
    /// A [`RuleOutcome`] number, or 0.
    ruled: u8,
    reserved: u8,
}

/// Arguments as an engine reads them.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) target: Option<ProcessKey>,
    pub(super) target_pid: Option<u32>,
    pub(super) values: [Option<u64>; 2],
    pub(super) endpoint: Option<Endpoint>,
    pub(super) text: Option<Vec<u8>>,
    pub(super) ruled: Option<RuleOutcome>,
    pub(super) rule: Option<String>,
}

/// The bits that arguments set.
pub(super) const BITS: u64 = present::ARGUMENTS
    | present::TARGET
    | present::TARGET_PID
    | present::VALUE0
    | present::VALUE1
    | present::ENDPOINT
    | present::ADDRESS
    | present::TEXT
    | present::TEXT_CUT
    | present::RULED
    | present::RULE_NAME;

impl Arguments<'_> {
    /// The bits of [`present`] for what is known; 0 if nothing is, and then nothing is written.
    pub(super) fn bits(&self) -> u64 {
        let Self { target, target_pid, values, endpoint, text, ruled, rule } = self;
        let address = endpoint.and_then(|endpoint| endpoint.address);
        let cut = text.is_some_and(|text| text.len() > TEXT_MAX);
        let bits = [
            (target.is_some(), present::TARGET),
            (target_pid.is_some(), present::TARGET_PID),
            (values[0].is_some(), present::VALUE0),
            (values[1].is_some(), present::VALUE1),
            (endpoint.is_some(), present::ENDPOINT),
            (address.is_some(), present::ADDRESS),
            (text.is_some(), present::TEXT),
            (cut, present::TEXT_CUT),
            (ruled.is_some(), present::RULED),
            (ruled.is_some() && rule.is_some(), present::RULE_NAME),
        ];
        let bits = bits.iter().filter(|(known, _)| *known).fold(0, |all, (_, bit)| all | bit);
        if bits == 0 { 0 } else { bits | present::ARGUMENTS }
    }

    /// Writes them to the front of `out`; the bytes written, a multiple of eight.
    ///
    /// # Panics
    ///
    /// If `out` is shorter than [`ARGUMENTS_MAX`].
    pub(super) fn write(&self, out: &mut [u8]) -> usize {
        let mut layout = ArgumentsLayout::new_zeroed();
        let text = self.text.unwrap_or_default();
        let text = &text[..text.len().min(TEXT_MAX)];
        let rule = self.rule.filter(|_| self.ruled.is_some()).unwrap_or_default();
        let rule = &rule[..rule.floor_char_boundary(RULE_NAME_MAX)];
        layout.target = self.target.map_or([0; 16], |target| target.0);
        layout.target_pid = self.target_pid.unwrap_or(0).into();
        layout.values = self.values.map(|value| value.unwrap_or(0).into());
        if let Some(endpoint) = self.endpoint {
            layout.family = endpoint.family.into();
            layout.port = endpoint.port.into();
            layout.address = match endpoint.address {
                Some(IpAddr::V4(address)) => address.to_ipv6_mapped().octets(),
                Some(IpAddr::V6(address)) => address.octets(),
                None => [0; 16],
            };
        }
        layout.ruled = self.ruled.map_or(0, |ruled| ruled as u8);
        layout.text_len = u32::try_from(text.len()).expect("cut at TEXT_MAX").into();
        layout.rule_len = u16::try_from(rule.len()).expect("cut at RULE_NAME_MAX").into();
        let text_end = LAYOUT + text.len();
        let end = text_end + rule.len();
        out[..LAYOUT].copy_from_slice(layout.as_bytes());
        out[LAYOUT..text_end].copy_from_slice(text);
        out[text_end..end].copy_from_slice(rule.as_bytes());
        let whole = end.next_multiple_of(8);
        out[end..whole].fill(0);
        whole
    }
}

impl Read {
    /// Reads arguments from the front of `bytes`, by the bits of the record's header.
    ///
    /// # Errors
    ///
    /// How many bytes there would have to be, if there are fewer.
    pub(super) fn parse(bytes: &[u8], bits: u64) -> Result<Self, usize> {
        let has = |bit: u64| bits & bit != 0;
        let (layout, rest) = ArgumentsLayout::ref_from_prefix(bytes).map_err(|_| LAYOUT)?;
        let text_len = layout.text_len.get() as usize;
        let rule_len = usize::from(layout.rule_len.get());
        let want = LAYOUT.saturating_add(text_len).saturating_add(rule_len);
        let text = rest.get(..text_len).filter(|_| text_len <= TEXT_MAX).ok_or(want)?;
        let rule = rest[text_len..].get(..rule_len).filter(|_| rule_len <= RULE_NAME_MAX);
        let rule = rule.ok_or(want)?;
        let address = IpAddr::from(Ipv6Addr::from(layout.address)).to_canonical();
        let ruled = RuleOutcome::from_number(layout.ruled).filter(|_| has(present::RULED));
        Ok(Self {
            target: has(present::TARGET).then_some(ProcessKey(layout.target)),
            target_pid: has(present::TARGET_PID).then(|| layout.target_pid.get()),
            values: [
                has(present::VALUE0).then(|| layout.values[0].get()),
                has(present::VALUE1).then(|| layout.values[1].get()),
            ],
            endpoint: has(present::ENDPOINT).then(|| Endpoint {
                family: layout.family.get(),
                address: has(present::ADDRESS).then_some(address),
                port: layout.port.get(),
            }),
            text: has(present::TEXT).then(|| text.to_vec()),
            ruled,
            rule: (ruled.is_some() && has(present::RULE_NAME))
                .then(|| String::from_utf8_lossy(rule).into_owned()),
        })
    }
}
