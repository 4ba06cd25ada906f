//! Ranges of IP addresses in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses, such as `10.0.0.0/8` or `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    /// How many leading bits all addresses share with `first`.
    length: u32,
}

/// A text that is no range of addresses: what came and what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{came}\": {wanted}")]
pub struct InvalidNetwork {
    came: String,
    wanted: String,
}

impl Network {
    /// Whether `address` lies in this range. An IPv4 address lies in IPv4 ranges only, and one
    /// that an IPv6 address maps (`::ffff:10.0.0.1`) counts as itself.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.first.is_ipv4() == address.is_ipv4() && masked(address, self.length) == self.first
    }
}

/// `address` with all but its first `length` bits cleared.
fn masked(address: IpAddr, length: u32) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let invalid = |wanted: String| {
            let came = text.chars().take(80).collect();
            Err(InvalidNetwork { came, wanted })
        };
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let Ok(first) = address.parse::<IpAddr>() else {
            return invalid("wanted a range such as 10.0.0.0/8 or fd00::/8".to_owned());
        };
        let most = if first.is_ipv4() { 32 } else { 128 };
        let is_number = |text: &str| text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
        let length = match length {
            None => Some(most),
            Some(text) if is_number(text) => text.parse().ok().filter(|length| *length <= most),
            Some(_) => None,
        };
        let Some(length) = length else {
            return invalid(format!("wanted a length from 0 to {most} after the slash"));
        };
        if masked(first, length) != first {
            return invalid(format!("that range begins at {}", masked(first, length)));
        }
        let is_mapped = |address: Ipv6Addr| address.to_ipv4_mapped().is_some();
        if matches!(first, IpAddr::V6(address) if is_mapped(address)) {
            return invalid(
                "wanted it in IPv4 notation: mapped addresses count as IPv4".to_owned(),
            );
        }
        Ok(Self { first, length })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

/// Some ranges: separated by commas, or the word `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

impl Networks {
    /// Whether `address` lies in one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Whether there is no range at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const NONE: &str = "none";

impl FromStr for Networks {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        if text.trim() == NONE {
            return Ok(Self::default());
        }
        text.split(',').map(|network| network.trim().parse()).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(NONE);
        }
        for (place, network) in self.0.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{network}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_its_addresses_and_no_others() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("192.168.4.0/22", "192.168.7.255", "192.168.8.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ff02::1", "1.2.3.4"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:11.1.2.3"),
            ("fd00::/8", "fdff::1", "fe00::"),
            ("2001:db8::1/128", "2001:db8::1", "2001:db8::2"),
        ] {
            let parsed: Network = network.parse().unwrap();
            assert!(parsed.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!parsed.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(parsed.to_string().parse(), Ok(parsed));
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_the_reason() {
        for (text, wanted) in [
            ("", "such as 10.0.0.0/8"),
            ("localhost", "such as 10.0.0.0/8"),
            ("10.0.0.0/33", "0 to 32"),
            ("fd00::/129", "0 to 128"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("10.0.0.0/8/8", "0 to 32"),
            ("10.0.0.1/8", "begins at 10.0.0.0"),
            ("::ffff:10.0.0.0/104", "IPv4 notation"),
            ("none", "such as 10.0.0.0/8"),
        ] {
            let told = text.parse::<Network>().unwrap_err().to_string();
            assert!(told.contains(wanted) && told.contains(text), "{told}");
        }
    }

    #[test]
    fn a_list_may_be_empty_and_reads_back() {
        let none: Networks = "none".parse().unwrap();
        assert!(none.is_empty() && none == Networks::default());
        let two: Networks = "10.0.0.0/8, ::1".parse().unwrap();
        assert!(two.contains("10.1.1.1".parse().unwrap()) && two.contains("::1".parse().unwrap()));
        assert!(!two.contains("::2".parse().unwrap()));
        for list in [none, two] {
            assert_eq!(list.to_string().parse(), Ok(list));
        }
        for bad in ["", "10.0.0.0/8,", "none,10.0.0.0/8"] {
            assert!(bad.parse::<Networks>().is_err(), "{bad}");
        }
    }
}
