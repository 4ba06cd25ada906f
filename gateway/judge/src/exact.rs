//! Numbers of stored evidence: written so that they read back bit for bit (JSON numbers need
//! not, and cannot hold −∞).

use serde::{Deserialize, Deserializer, Serializer, de};

pub(crate) fn serialize<S: Serializer>(of: &[f64], to: S) -> Result<S::Ok, S::Error> {
    let text: Vec<String> = of.iter().map(f64::to_string).collect();
    to.serialize_str(&text.join(" "))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    let text = String::deserialize(from)?;
    text.split_whitespace().map(|word| number(word).map_err(de::Error::custom)).collect()
}

fn number(word: &str) -> Result<f64, String> {
    let wanted = || format!("\"{word}\": wanted a number");
    let number: f64 = word.parse().map_err(|_| wanted())?;
    if number.is_nan() { Err(wanted()) } else { Ok(number) }
}

/// The same for one number.
pub(crate) mod one {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(of: &f64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(of)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        number(&String::deserialize(from)?).map_err(de::Error::custom)
    }
}
