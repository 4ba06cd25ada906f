//! Durations and sizes. Both carry a unit: a bare number is a mistake, since nobody can see
//! whether it means seconds or milliseconds, bytes or mebibytes.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes, written with a unit: `64MiB`.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

/// Only binary units: one way to write a size, and no confusion of MB with MiB. The longest
/// suffix comes first, since every one of them ends in `B`.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

const DURATION_UNITS: [(&str, u128); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

impl ByteSize {
    /// A size in bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size in KiB (1024 bytes).
    pub const fn kib(count: u32) -> Self {
        Self((count as u64) << 10)
    }

    /// A size in MiB (1024 KiB).
    pub const fn mib(count: u32) -> Self {
        Self((count as u64) << 20)
    }

    /// A size in GiB (1024 MiB).
    pub const fn gib(count: u32) -> Self {
        Self((count as u64) << 30)
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The size in bytes as an index; the largest index where it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    /// In the largest unit that leaves no fraction, so that the text reads back as the same size.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let divides = |(_, bytes): &&(&str, u64)| self.0 != 0 && self.0.is_multiple_of(*bytes);
        let (unit, bytes) = SIZE_UNITS.iter().find(divides).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl fmt::Debug for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wanted a whole number with a unit of B, KiB, MiB, GiB or TiB, such as 64MiB")]
pub struct InvalidSize;

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let split = SIZE_UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?.trim_end(), bytes)));
        let (number, unit) = split.ok_or(InvalidSize)?;
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidSize);
        }
        let number: u64 = number.parse().map_err(|_| InvalidSize)?;
        number.checked_mul(*unit).map(Self).ok_or(InvalidSize)
    }
}

/// A duration with its unit: `250ms`, `30s`, `5m`, `1h 30m`. None for anything else; a bare
/// number is refused, zero too, whose unit costs nothing to write.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    has_unit.then(|| humantime::parse_duration(text).ok()).flatten()
}

/// A duration in the largest unit that leaves no fraction, so that the text reads back as the
/// same duration.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    let (unit, length) = DURATION_UNITS
        .iter()
        .find(|(_, length)| nanos.is_multiple_of(*length))
        .unwrap_or(&("ns", 1));
    format!("{}{unit}", nanos / length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_written_in_the_largest_unit_that_fits() {
        for (text, bytes) in [
            ("0B", 0),
            ("1B", 1),
            ("1KiB", 1024),
            ("1025B", 1025),
            ("64MiB", 64 << 20),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), text);
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
        }
        assert_eq!("64 MiB".parse(), Ok(ByteSize::mib(64)));
    }

    #[test]
    fn sizes_without_a_known_unit_are_refused() {
        for bad in [
            "",
            "64",
            "MiB",
            "64MB",
            "64Mi",
            "64mib",
            "-1B",
            "+1B",
            "1.5GiB",
            "99999999TiB",
            "1 2B",
        ] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_need_a_unit_and_are_written_in_the_largest_that_fits() {
        for (text, millis) in
            [("0s", 0), ("250ms", 250), ("30s", 30_000), ("5m", 300_000), ("24h", 86_400_000)]
        {
            assert_eq!(format_duration(Duration::from_millis(millis)), text);
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)));
        }
        assert_eq!(parse_duration("1h 30m"), Some(Duration::from_secs(5400)));
        for bad in ["", "0", "30", "30x", "-1s", "s", "1 h 30"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn durations_and_sizes_round_trip(nanos in 0..u64::MAX / 2, shift in 0..60u32, bytes: u64) {
            let duration = Duration::from_nanos(nanos >> shift);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            let size = ByteSize(bytes >> shift << (shift / 2));
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }
    }
}
