//! Which addresses webhooks may reach: pure, the answer depends on nothing but its arguments.
//!
//! Whoever may start a rollout names URLs that this process then asks. Without limits that would
//! be a way into networks which only this process can reach (server-side request forgery), the
//! credentials service of the cloud machine first of all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};
use weighbridge_config::network::Networks;
use weighbridge_config::rollout::{SpecMistake, Webhook};

/// Longer URLs are no addresses of receivers.
const LONGEST_URL: usize = 2048;

/// What the settings permit.
#[derive(Debug, Clone, Default)]
pub struct AddressPolicy {
    allow: Networks,
}

/// How a webhook travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `http://`: anyone on the way reads and changes it.
    Plain,
    /// `https://`
    Tls,
}

/// Why a webhook may not go where it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("{0} is {1}, which the setting webhooks.allow does not permit")]
    Address(IpAddr, &'static str),
    #[error("{0} is not one of the addresses of the setting webhooks.allow: wanted https://")]
    Plain(IpAddr),
    #[error("wanted https://: the setting webhooks.allow permits no address over plain http://")]
    NothingPlain,
    #[error("{0}")]
    Url(&'static str),
}

/// A URL that may be asked, as far as the URL itself can tell: a name is resolved, and its
/// addresses are checked, at each delivery.
#[derive(Debug, Clone)]
pub struct Target {
    pub url: Url,
    pub scheme: Scheme,
}

impl Target {
    /// Scheme, host and port: what may stand in a log. Paths of webhooks are often secrets.
    pub fn origin(&self) -> String {
        self.url.origin().ascii_serialization()
    }
}

impl AddressPolicy {
    /// What is public, and what lies in `allow`.
    pub fn new(allow: Networks) -> Self {
        Self { allow }
    }

    /// Every webhook whose URL shows that it may not be asked, by its place in the spec.
    pub fn mistakes(&self, webhooks: &[Webhook]) -> Vec<SpecMistake> {
        let checked = webhooks.iter().map(|webhook| self.target(&webhook.url)).enumerate();
        let mistake = |(place, checked): (usize, Result<Target, Forbidden>)| {
            let reason = checked.err()?.to_string();
            Some(SpecMistake { field: format!("webhooks[{place}].url"), reason })
        };
        checked.filter_map(mistake).collect()
    }

    /// Reads a URL and checks what it shows.
    pub fn target(&self, text: &str) -> Result<Target, Forbidden> {
        if text.len() > LONGEST_URL {
            return Err(Forbidden::Url("wanted at most 2048 characters"));
        }
        let Ok(url) = Url::parse(text) else {
            return Err(Forbidden::Url("wanted a URL such as https://hooks.example.com/fraud"));
        };
        let scheme = match url.scheme() {
            "http" => Scheme::Plain,
            "https" => Scheme::Tls,
            _ => return Err(Forbidden::Url("wanted http:// or https://")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::Url("credentials in a URL are shown with the spec"));
        }
        // The parser has turned forms such as 0x7f.1 and 2130706433 into addresses.
        match url.host() {
            Some(Host::Ipv4(address)) => self.admit(scheme, address.into())?,
            Some(Host::Ipv6(address)) => self.admit(scheme, address.into())?,
            Some(Host::Domain(name)) if is_localhost(name) => {
                let first = self.admit(scheme, Ipv4Addr::LOCALHOST.into());
                first.or_else(|_| self.admit(scheme, Ipv6Addr::LOCALHOST.into()))?;
            }
            Some(Host::Domain(_)) if scheme == Scheme::Plain && self.allow.is_empty() => {
                return Err(Forbidden::NothingPlain);
            }
            Some(Host::Domain(_)) => {}
            None => return Err(Forbidden::Url("it names no host")),
        }
        Ok(Target { url, scheme })
    }

    /// Whether a webhook may go to `address`.
    pub fn admit(&self, scheme: Scheme, address: IpAddr) -> Result<(), Forbidden> {
        let address = address.to_canonical();
        if self.allow.contains(address) {
            return Ok(());
        }
        match (kind_of(address), scheme) {
            (Some(kind), _) => Err(Forbidden::Address(address, kind)),
            (None, Scheme::Plain) => Err(Forbidden::Plain(address)),
            (None, Scheme::Tls) => Ok(()),
        }
    }
}

/// Names that mean this machine without any resolver (RFC 6761).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name == "localhost" || name.ends_with(".localhost")
}

/// What an address is other than public; None for a public one.
fn kind_of(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => kind_of_v4(address),
        IpAddr::V6(address) => kind_of_v6(address),
    }
}

/// Ranges that are not on the internet, or not for web servers: first address, length, what.
const V4: [([u8; 4], u32, &str); 18] = [
    ([0, 0, 0, 0], 8, "an unspecified address"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "an address of a carrier's own network"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    // It answers on link-local addresses elsewhere; Azure has given it a public one.
    ([168, 63, 129, 16], 32, "the platform service of a cloud machine"),
    ([169, 254, 0, 0], 16, "a link-local address, where cloud machines find their credentials"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "an address for protocols"),
    ([192, 0, 2, 0], 24, "an address for documentation"),
    ([192, 31, 196, 0], 24, "an address for protocols"),
    ([192, 52, 193, 0], 24, "an address for protocols"),
    ([192, 88, 99, 0], 24, "an address of 6to4 relays"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([192, 175, 48, 0], 24, "an address for protocols"),
    ([198, 18, 0, 0], 15, "an address for benchmarks"),
    ([198, 51, 100, 0], 24, "an address for documentation"),
    ([203, 0, 113, 0], 24, "an address for documentation"),
    ([224, 0, 0, 0], 4, "a multicast address"),
];

fn kind_of_v4(address: Ipv4Addr) -> Option<&'static str> {
    if address.is_broadcast() {
        return Some("the broadcast address");
    }
    if address.octets()[0] >= 240 {
        return Some("a reserved address");
    }
    let is_in = |first: [u8; 4], length: u32| {
        (address.to_bits() ^ Ipv4Addr::from(first).to_bits()) >> (32 - length) == 0
    };
    V4.iter().find(|(first, length, _)| is_in(*first, *length)).map(|(_, _, kind)| *kind)
}

fn kind_of_v6(address: Ipv6Addr) -> Option<&'static str> {
    let segments = address.segments();
    let kind = match segments {
        _ if address.is_loopback() => "a loopback address",
        _ if address.is_unspecified() => "an unspecified address",
        // The gateway behind it reaches the IPv4 address that it carries.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            return kind_of_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
        }
        [first, ..] if first & 0xfe00 == 0xfc00 => "a private address (ULA)",
        [first, ..] if first & 0xffc0 == 0xfe80 => "a link-local address",
        [first, ..] if first & 0xff00 == 0xff00 => "a multicast address",
        // Mapped addresses are IPv4 by now; what else lies here carries one in another way.
        [first, ..] if first & 0xe000 != 0x2000 => "no public address",
        [0x2001, second, ..] if second < 0x200 => "an address for protocols and tunnels",
        [0x2001, 0xdb8, ..] => "an address for documentation",
        [0x2002, ..] => "an address of 6to4 tunnels",
        [0x3fff, second, ..] if second < 0x1000 => "an address for documentation",
        _ => return None,
    };
    Some(kind)
}

#[cfg(test)]
mod tests;
