//! Sets of numbers as ranges: what a condition leaves of a number, a length or an address.

#![expect(clippy::arithmetic_side_effects, reason = "a bound is only moved where it can be")]

use std::net::IpAddr;
use std::rc::Rc;

use super::facts::mapped;
use super::rule::Cidr;

/// Ascending ranges, first and last, with room between any two. Shared, since a large set stands in many
/// clauses.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ranges(Rc<[(u128, u128)]>);

impl Ranges {
    /// The numbers from `first` to `last`; none if `last` is less.
    pub(super) fn of(first: u128, last: u128) -> Self {
        Self(if first <= last { Rc::new([(first, last)]) } else { Rc::new([]) })
    }

    /// The addresses of a network, as facts have them; nothing if it has more bits than an address.
    ///
    /// An IPv4 address is in no IPv6 network, though it stands as a mapped one; a network of mapped
    /// addresses is the IPv4 network that it maps.
    pub(super) fn network(cidr: Cidr) -> Option<Self> {
        const FOUR: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);
        let (bits, is_four) = match cidr.address {
            IpAddr::V4(_) if cidr.prefix <= 32 => (cidr.prefix + 96, true),
            IpAddr::V6(six) if cidr.prefix <= 128 => {
                (cidr.prefix, cidr.prefix >= 96 && six.to_ipv4_mapped().is_some())
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        let rest = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
        let first = u128::from_be_bytes(mapped(cidr.address)) & !rest;
        let network = Self::of(first, first | rest);
        Some(if is_four { network } else { network.and(&Self::of(FOUR.0, FOUR.1).not(u128::MAX)) })
    }

    /// What is in neither, up to `max`.
    pub(super) fn not(&self, max: u128) -> Self {
        let mut gaps = Vec::with_capacity(self.0.len() + 1);
        let mut next = Some(0);
        for &(first, last) in self.0.iter() {
            if let Some(begin) = next.filter(|begin| *begin < first) {
                gaps.push((begin, first - 1));
            }
            next = last.checked_add(1);
        }
        if let Some(begin) = next.filter(|begin| *begin <= max) {
            gaps.push((begin, max));
        }
        Self(gaps.into())
    }

    /// What is in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let (mut these, mut those) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut both = Vec::new();
        while let (Some(&&(first, last)), Some(&&(other_first, other_last))) =
            (these.peek(), those.peek())
        {
            let (begin, end) = (first.max(other_first), last.min(other_last));
            if begin <= end {
                both.push((begin, end));
            }
            if last <= other_last {
                these.next();
            } else {
                those.next();
            }
        }
        Self(both.into())
    }

    /// What is in any of them.
    pub(super) fn any<'a>(sets: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all: Vec<(u128, u128)> =
            sets.into_iter().flat_map(|set| set.0.iter().copied()).collect();
        all.sort_unstable();
        let mut union: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match union.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => union.push((first, last)),
            }
        }
        Self(union.into())
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this is in it.
    pub(super) fn has(&self, number: u128) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&number))
    }

    /// The largest that is in it.
    pub(super) fn largest(&self) -> Option<u128> {
        self.0.last().map(|(_, last)| *last)
    }

    /// The ranges.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u128, u128)> {
        self.0.iter().copied()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Ranges {
        let (address, prefix) = text.split_once('/').expect("a prefix");
        let address = address.parse().expect("an address");
        Ranges::network(Cidr { address, prefix: prefix.parse().expect("a number") }).expect("fits")
    }

    fn has(set: &Ranges, address: &str) -> bool {
        set.has(u128::from_be_bytes(mapped(address.parse().expect("an address"))))
    }

    #[test]
    fn sets_are_joined_cut_and_turned_round() {
        let small = Ranges::of(0, 4);
        let large = Ranges::of(9, u128::MAX);
        let both = Ranges::any([&large, &small, &Ranges::of(5, 5)]);

        assert_eq!(both.iter().collect::<Vec<_>>(), [(0, 5), (9, u128::MAX)]);
        assert_eq!(both.not(u128::MAX), Ranges::of(6, 8));
        assert_eq!(both.not(u128::MAX).not(u128::MAX), both);
        assert_eq!(both.and(&Ranges::of(4, 10)).iter().collect::<Vec<_>>(), [(4, 5), (9, 10)]);
        assert!(small.and(&large).is_empty());
    }

    #[test]
    fn a_network_has_the_addresses_of_its_own_family_only() {
        assert!(has(&network("10.1.2.3/8"), "10.255.255.255"));
        assert!(!has(&network("10.0.0.0/8"), "11.0.0.0"));
        assert!(has(&network("0.0.0.0/0"), "255.255.255.255"));
        assert!(!has(&network("0.0.0.0/0"), "::1"));
        assert!(has(&network("::/0"), "::1"));
        assert!(has(&network("::/0"), "ffff::"));
        assert!(!has(&network("::/0"), "10.0.0.1"));
        assert!(has(&network("fe80::/10"), "febf:ffff::1"));
        assert_eq!(network("::ffff:10.0.0.0/104"), network("10.0.0.0/8"));
    }

    #[test]
    fn a_network_of_more_bits_than_an_address_is_none() {
        let cidr = |address: &str, prefix| Cidr { address: address.parse().expect("one"), prefix };

        assert_eq!(Ranges::network(cidr("10.0.0.0", 33)), None);
        assert_eq!(Ranges::network(cidr("::", 129)), None);
    }
}
