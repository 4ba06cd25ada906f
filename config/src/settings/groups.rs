//! Settings that there may be several of, each under a name of its own: who may ask besides
//! holders of keys, and what a tenant may use.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use url::{Host, Url};

use super::rules::word_of;
use super::units::format_duration;
use crate::scope::Scopes;

/// The tier that always exists.
pub const DEFAULT_TIER: &str = "default";

/// Who signs JSON web tokens that are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// The token's `iss`, exactly.
    pub issuer: String,
    /// One of them must be in the token's `aud`.
    pub audience: Vec<String>,
    /// The only algorithms that are accepted: either `HS256` or some of the others.
    pub algorithms: Vec<Algorithm>,
    pub keys: KeySource,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The claim that says what the token allows.
    pub scope_claim: String,
    /// What a token without that claim allows; `None`: nothing.
    pub scopes: Option<Scopes>,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that names the tier.
    pub tier_claim: String,
    /// The tier of tokens without that claim.
    pub tier: String,
}

/// A client certificate that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// A DNS name, URI or e-mail address of the certificate's alternative names, or its common
    /// name, exactly.
    pub subject: String,
    /// `None`: the group's name; see [`Client::tenant_or`].
    pub tenant: Option<String>,
    pub tier: String,
    /// Never empty.
    pub scopes: Scopes,
}

impl Client {
    /// The tenant of the client whose group is called `name`.
    pub fn tenant_or<'a>(&'a self, name: &'a str) -> &'a str {
        self.tenant.as_deref().unwrap_or(name)
    }
}

/// What a tenant of this tier may use; `None`: without limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tier {
    pub requests: Option<Rate>,
    pub rows: Option<Rate>,
    pub requests_per_day: Option<u64>,
    pub rows_per_day: Option<u64>,
    /// Who goes first when there is not room for all.
    pub priority: Priority,
    /// The share among tenants of the same priority.
    pub weight: u32,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Ps256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// How tokens spell them.
    pub(super) const WORDS: [(&str, Self); 5] = [
        ("HS256", Self::Hs256),
        ("RS256", Self::Rs256),
        ("PS256", Self::Ps256),
        ("ES256", Self::Es256),
        ("EdDSA", Self::EdDsa),
    ];
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word_of(self, &Self::WORDS))
    }
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    /// `https`, or `http` to this machine; without user, password and fragment.
    Url(Url),
}

/// A text that is no source of keys: what was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wanted {0}")]
pub struct InvalidKeySource(&'static str);

impl FromStr for KeySource {
    type Err = InvalidKeySource;

    fn from_str(text: &str) -> Result<Self, InvalidKeySource> {
        if text.is_empty() || text.contains('\0') {
            return Err(InvalidKeySource("the path of a file or an https:// URL"));
        }
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let url = Url::parse(text)
            .map_err(|_| InvalidKeySource("an https:// URL, or a path without \"://\""))?;
        match url.scheme() {
            "https" => {}
            // Whoever can change the keys on their way can sign tokens.
            "http" if is_this_machine(&url) => {}
            "http" => {
                return Err(InvalidKeySource(
                    "https://: over http:// only localhost and loopback addresses are asked",
                ));
            }
            _ => return Err(InvalidKeySource("an https:// URL, or a path without \"://\"")),
        }
        // The URL shows in logs and in print-config.
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidKeySource("a URL without user and password, which would be shown"));
        }
        if url.fragment().is_some() {
            return Err(InvalidKeySource("a URL without \"#\", which is never sent"));
        }
        Ok(Self::Url(url))
    }
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

/// So many in so long, such as `100/s burst 200`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// A second, a minute or an hour.
    pub per: Duration,
    /// How many may come at once; at least 1.
    pub burst: u32,
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "wanted a rate such as 100/s, 6000/m or 1000/h, and how many may come at once if that is \
     another number: 100/s burst 200; each from 1 to 4294967295"
)]
pub struct InvalidRate;

const PERIODS: [(&str, Duration); 3] = [
    ("s", Duration::from_secs(1)),
    ("m", Duration::from_secs(60)),
    ("h", Duration::from_secs(3600)),
];

impl FromStr for Rate {
    type Err = InvalidRate;

    fn from_str(text: &str) -> Result<Self, InvalidRate> {
        let number = |text: &str| {
            let digits = text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|number| digits && *number >= 1).ok_or(InvalidRate)
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (rate, burst) = match words[..] {
            [rate] => (rate, None),
            [rate, "burst", burst] => (rate, Some(number(burst)?)),
            _ => return Err(InvalidRate),
        };
        let (count, unit) = rate.split_once('/').ok_or(InvalidRate)?;
        let (_, per) = PERIODS.iter().find(|(name, _)| *name == unit).ok_or(InvalidRate)?;
        let count = number(count)?;
        Ok(Self { count, per: *per, burst: burst.unwrap_or(count) })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, per, burst } = self;
        match PERIODS.iter().find(|(_, length)| length == per) {
            Some((unit, _)) => write!(f, "{count}/{unit}")?,
            None => write!(f, "{count}/{}", format_duration(*per))?,
        }
        if burst != count {
            write!(f, " burst {burst}")?;
        }
        Ok(())
    }
}

/// Who goes first; the greatest does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    /// What operators write.
    pub(super) const WORDS: [(&str, Self); 3] =
        [("low", Self::Low), ("normal", Self::Normal), ("high", Self::High)];

    /// How many there are.
    pub const COUNT: usize = Self::WORDS.len();

    /// The part of a limit that it may use, where a normal one may use all of it: low priority
    /// is shed first, high last.
    pub fn share(self) -> f64 {
        match self {
            Self::Low => 0.5,
            Self::Normal => 1.0,
            Self::High => 1.25,
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&word_of(self, &Self::WORDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_back() {
        for (text, count, secs, burst, written) in [
            ("100/s", 100, 1, 100, "100/s"),
            ("100/s burst 200", 100, 1, 200, "100/s burst 200"),
            (" 100/s  burst  100 ", 100, 1, 100, "100/s"),
            ("6000/m", 6000, 60, 6000, "6000/m"),
            ("1000/h burst 1", 1000, 3600, 1, "1000/h burst 1"),
            ("4294967295/s", u32::MAX, 1, u32::MAX, "4294967295/s"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate, Rate { count, per: Duration::from_secs(secs), burst }, "{text}");
            assert_eq!(rate.to_string(), written);
            assert_eq!(written.parse(), Ok(rate));
        }
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for bad in [
            "",
            "100",
            "100/",
            "/s",
            "100/d",
            "0/s",
            "+1/s",
            "-1/s",
            "1.5/s",
            "100 / s",
            "100/s 200",
            "100/s burst",
            "100/s burst 0",
            "100/s burst +1",
            "100/s burst 1 2",
            "4294967296/s",
            "none",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(InvalidRate), "{bad}");
        }
    }

    #[test]
    fn keys_come_from_a_file_or_safely_from_the_net() {
        for good in [
            "/etc/keys.json",
            "keys.json",
            "https://login.example.com/keys?policy=a",
            "http://localhost:8080/keys",
            "http://127.0.0.1/keys",
            "http://[::1]/keys",
        ] {
            let source: KeySource = good.parse().unwrap();
            assert_eq!(matches!(source, KeySource::Url(_)), good.contains("://"), "{good}");
            assert_eq!(source.to_string(), good);
            assert_eq!(source.to_string().parse(), Ok(source));
        }
        for (bad, wanted) in [
            ("", "path of a file"),
            ("a\0b", "path of a file"),
            ("http://login.example.com/keys", "https://"),
            ("http://10.0.0.1/keys", "loopback"),
            ("http://localhost.example.com/keys", "loopback"),
            ("file:///etc/keys.json", "without \"://\""),
            ("https://", "an https:// URL"),
            ("https://user@example.com/", "without user"),
            ("https://:secret@example.com/", "without user"),
            ("https://example.com/#keys", "without \"#\""),
        ] {
            let told = bad.parse::<KeySource>().unwrap_err().to_string();
            assert!(told.contains(wanted), "{bad}: {told}");
        }
    }

    #[test]
    fn priorities_are_ordered() {
        assert!(Priority::Low < Priority::Normal && Priority::Normal < Priority::High);
    }
}
