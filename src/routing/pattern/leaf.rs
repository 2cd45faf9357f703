//! The condition on a field's own value: the alternatives of one list, by type, so that a long list costs one lookup.

use std::net::IpAddr;

use super::{
    caseless::Caseless,
    number::{Exact, Range},
    set::Set,
    wildcard::Wildcard,
};
use crate::event::Scalar;

/// The alternatives of one list. A scalar matches when any of them does.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// `{"exists": false}`
    pub(super) absent: bool,
    /// `{"exists": true}`
    pub(super) present: bool,
    /// `true` and `false`, and `None` for `null`.
    pub(super) constants: Box<[Option<bool>]>,
    pub(super) texts: Set<Box<str>>,
    /// Exact strings that are addresses: compared as addresses, in any spelling.
    pub(super) addresses: Set<IpAddr>,
    pub(super) numbers: Set<Exact>,
    pub(super) ranges: Box<[Range]>,
    pub(super) networks: Box<[Network]>,
    pub(super) tests: Box<[TextTest]>,
    pub(super) anything_but: Box<[AnythingBut]>,
    /// How much there is of it: the alternatives of a `$or` share it, and each is weighed.
    pub(super) weight: usize,
    /// The list as it was written, as JSON, for messages; a long one is shortened.
    pub(super) source: Box<str>,
}

/// The alternatives of a list while it is read.
#[derive(Debug, Default)]
pub(super) struct Alternatives {
    pub(super) absent: bool,
    pub(super) present: bool,
    pub(super) constants: Vec<Option<bool>>,
    pub(super) texts: Vec<Box<str>>,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) numbers: Vec<Exact>,
    pub(super) ranges: Vec<Range>,
    pub(super) networks: Vec<Network>,
    pub(super) tests: Vec<TextTest>,
    pub(super) anything_but: Vec<AnythingBut>,
}

impl Alternatives {
    /// The whole list, with its source.
    pub(super) fn finish(self, source: Box<str>) -> Leaf {
        let mut leaf = Leaf {
            weight: 0,
            absent: self.absent,
            present: self.present,
            constants: self.constants.into(),
            texts: self.texts.into(),
            addresses: self.addresses.into(),
            numbers: self.numbers.into(),
            ranges: self.ranges.into(),
            networks: self.networks.into(),
            tests: self.tests.into(),
            anything_but: self.anything_but.into(),
            source,
        };
        leaf.weight = leaf.weigh();
        leaf
    }
}

/// A test of a string.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TextTest {
    Prefix(Box<str>),
    Suffix(Box<str>),
    Wildcard(Wildcard),
    Caseless(Caseless),
    CaselessPrefix(Caseless),
    CaselessSuffix(Caseless),
}

impl TextTest {
    /// In bytes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Prefix(text) | Self::Suffix(text) => text.len(),
            Self::Wildcard(wildcard) => wildcard.parts().iter().map(String::len).sum(),
            Self::Caseless(caseless) | Self::CaselessPrefix(caseless) | Self::CaselessSuffix(caseless) => {
                caseless.len()
            }
        }
    }

    fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Prefix(prefix) => text.starts_with(prefix.as_ref()),
            Self::Suffix(suffix) => text.ends_with(suffix.as_ref()),
            Self::Wildcard(wildcard) => wildcard.matches(text),
            Self::Caseless(caseless) => caseless.equals(text),
            Self::CaselessPrefix(caseless) => caseless.starts(text),
            Self::CaselessSuffix(caseless) => caseless.ends(text),
        }
    }
}

/// Any scalar but these. A scalar of another type differs from all of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum AnythingBut {
    Texts(Set<Box<str>>),
    Numbers(Set<Exact>),
    Tests(Vec<TextTest>),
}

impl AnythingBut {
    fn accepts(&self, scalar: Scalar<'_>) -> bool {
        match (self, scalar) {
            (Self::Texts(texts), Scalar::Text(text)) => !texts.contains(text),
            (Self::Numbers(numbers), Scalar::Number(number)) => !numbers.contains(&Exact::of(number)),
            (Self::Tests(tests), Scalar::Text(text)) => !tests.iter().any(|test| test.accepts(text)),
            _ => true,
        }
    }
}

/// A CIDR block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::routing) struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Reads `10.0.0.0/24` or `2001:db8::/32`; bits of the host are ignored.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Some((address, bits)) = text.split_once('/') else {
            return Err(format!("expected an address, a slash and a number of bits, found {text:?}: add /32 or /128"));
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("expected an IPv4 or IPv6 address before the slash, found {address:?}"))?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        match bits.parse::<u8>() {
            Ok(bits) if bits <= most => Ok(Self { address, bits }),
            _ => Err(format!("expected 0 to {most} bits after the slash, found {bits:?}")),
        }
    }

    /// Whether it is of version 4 or 6, and the bits that its addresses share: the first of these, and how many.
    pub(in crate::routing) fn shared(self) -> (bool, u128, u8) {
        let (is_v4, shared) = first_bits(self.address, self.bits);
        (is_v4, shared, self.bits)
    }

    fn contains(self, other: IpAddr) -> bool {
        first_bits(self.address, self.bits) == first_bits(other, self.bits)
    }
}

/// Whether an address is of version 4, and its first so many bits.
pub(in crate::routing) fn first_bits(address: IpAddr, bits: u8) -> (bool, u128) {
    let (is_v4, all, length) = match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits()), 32),
        IpAddr::V6(address) => (false, address.to_bits(), 128),
    };
    (is_v4, all.checked_shr(u32::from(length - bits.min(length))).unwrap_or(0))
}

impl Leaf {
    /// Whether a field may be absent.
    pub(super) fn accepts_absence(&self) -> bool {
        self.absent
    }

    /// Whether a scalar matches.
    pub(super) fn accepts(&self, scalar: Scalar<'_>) -> bool {
        let itself = match scalar {
            Scalar::Null => self.constants.contains(&None),
            Scalar::Bool(value) => self.constants.contains(&Some(value)),
            Scalar::Number(number) => {
                let number = Exact::of(number);
                self.numbers.contains(&number) || self.ranges.iter().any(|range| range.contains(number))
            }
            Scalar::Text(text) => self.accepts_text(text),
        };
        itself || self.present || self.anything_but.iter().any(|but| but.accepts(scalar))
    }

    fn accepts_text(&self, text: &str) -> bool {
        if self.texts.contains(text) || self.tests.iter().any(|test| test.accepts(text)) {
            return true;
        }
        if self.addresses.is_empty() && self.networks.is_empty() {
            return false;
        }
        text.parse().is_ok_and(|address: IpAddr| {
            self.addresses.contains(&address) || self.networks.iter().any(|network| network.contains(address))
        })
    }
}
