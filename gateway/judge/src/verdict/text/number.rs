//! Numbers for people.

use std::fmt::{self, Display, Formatter};

/// Evidence as odds, from its natural logarithm.
pub(super) struct Evidence(pub(super) f64);

/// An integer with a space between thousands.
pub(super) struct Count(pub(super) u64);

/// Milliseconds as the two largest units.
pub(super) struct Time(pub(super) u64);

impl Display for Evidence {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let odds = self.0.exp();
        if odds < 0.05 {
            write!(f, "<0.1 : 1")
        } else if odds < 99.95 {
            let text = format!("{odds:.1}");
            write!(f, "{} : 1", text.strip_suffix(".0").unwrap_or(&text))
        } else if odds < 1e6 {
            write!(f, "{} : 1", Count(odds.round() as u64))
        } else {
            write!(f, "10^{:.0} : 1", (self.0 / std::f64::consts::LN_10).floor())
        }
    }
}

impl Display for Count {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                f.write_str(" ")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

impl Display for Time {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000;
        let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
        let first = units.iter().position(|(_, length)| seconds >= *length);
        let Some(first) = first else { return write!(f, "{} ms", self.0) };
        let (unit, length) = units[first];
        write!(f, "{} {unit}", seconds / length)?;
        match units.get(first + 1) {
            Some((unit, part)) if seconds % length / part > 0 => {
                write!(f, " {} {unit}", seconds % length / part)
            }
            _ => Ok(()),
        }
    }
}

/// A share as a percentage with as many decimals as small shares need.
pub(super) fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent == 0.0 || percent == 100.0 {
        format!("{percent:.0}")
    } else if percent < 10.0 {
        format!("{percent:.2}")
    } else {
        format!("{percent:.1}")
    }
}

/// A difference in percentage points, signed, to a tenth (small ones finer).
pub(super) fn points(difference: f64) -> String {
    let points = 100.0 * difference;
    if points != 0.0 && points.abs() < 0.1 {
        format!("{points:+.2}")
    } else {
        format!("{points:+.1}")
    }
}
