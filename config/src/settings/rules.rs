//! What each kind of value must look like. Each rule returns the value, or the expectation as
//! a phrase that starts with "wanted"; the bounds in the phrase are those that are checked.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::SecretFile;
use super::groups::{Algorithm, InvalidKeySource, InvalidRate, KeySource, Rate};
use super::units::{ByteSize, format_duration, parse_duration};
use crate::network::{InvalidNetwork, Networks};
use crate::scope::{InvalidScope, Scopes};

/// An IP address and a port. Names are refused: what is bound must not depend on a resolver.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "wanted an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".into())
}

/// An address, or `none`.
pub(super) fn optional_address(text: &str) -> Result<Option<SocketAddr>, String> {
    match text {
        "none" => Ok(None),
        text => address(text).map(Some).map_err(|wanted| format!("{wanted}, or \"none\"")),
    }
}

/// The text of an optional address's setting.
pub(super) fn optional_address_of(address: &Option<SocketAddr>) -> String {
    address.map_or_else(|| "none".to_owned(), |address| address.to_string())
}

/// A folder; whether it can be created and locked is found out when the process starts.
pub(super) fn folder(path: &Path) -> Result<PathBuf, String> {
    let fits = !path.as_os_str().is_empty() && !path.as_os_str().as_encoded_bytes().contains(&0);
    fits.then(|| path.to_owned()).ok_or_else(|| "wanted the path of a folder".into())
}

/// The path of a file, or `auto`; whether it can be read is found out when the process starts.
pub(super) fn secret_file(text: &str) -> Result<SecretFile, String> {
    match text {
        "auto" => Ok(SecretFile::Auto),
        text if text.is_empty() || text.contains('\0') => {
            Err("wanted \"auto\" or the path of a file".into())
        }
        path => Ok(SecretFile::At(path.into())),
    }
}

/// The text of a secret file's setting.
pub(super) fn secret_file_of(file: &SecretFile) -> String {
    match file {
        SecretFile::Auto => "auto".to_owned(),
        SecretFile::At(path) => path.display().to_string(),
    }
}

/// The path of a file, or `none`; whether it can be used is found out when the process starts.
pub(super) fn optional_file(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "none" => Ok(None),
        text if text.is_empty() || text.contains('\0') => {
            Err("wanted \"none\" or the path of a file".into())
        }
        path => Ok(Some(path.into())),
    }
}

/// The text of an optional file's setting.
pub(super) fn optional_file_of(file: &Option<PathBuf>) -> String {
    file.as_ref().map_or_else(|| "none".to_owned(), |path| path.display().to_string())
}

/// Ranges of addresses.
pub(super) fn networks(text: &str) -> Result<Networks, String> {
    text.parse().map_err(|error: InvalidNetwork| {
        format!("{error}; wanted \"none\" or ranges separated by commas")
    })
}

/// A duration within `bounds`.
pub(super) fn duration(text: &str, bounds: RangeInclusive<Duration>) -> Result<Duration, String> {
    parse_duration(text).filter(|duration| bounds.contains(duration)).ok_or_else(|| {
        let (least, most) = (format_duration(*bounds.start()), format_duration(*bounds.end()));
        format!("wanted a duration from {least} to {most}, with its unit, such as {most}")
    })
}

/// A size within `bounds`.
pub(super) fn size(text: &str, bounds: RangeInclusive<ByteSize>) -> Result<ByteSize, String> {
    text.parse().ok().filter(|size| bounds.contains(size)).ok_or_else(|| {
        let (least, most) = (bounds.start(), bounds.end());
        format!("wanted a size from {least} to {most}, with its unit of B, KiB, MiB, GiB or TiB")
    })
}

/// A whole number of `unit` within `bounds`.
pub(super) fn whole<T: FromStr + PartialOrd + Display>(
    text: &str,
    unit: &str,
    bounds: RangeInclusive<T>,
) -> Result<T, String> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|number| digits && bounds.contains(number)).ok_or_else(|| {
        let (least, most) = (bounds.start(), bounds.end());
        format!("wanted {unit}, a whole number from {least} to {most}")
    })
}

/// One of a few words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let known = words.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        format!("wanted one of {}", words.join(", "))
    })
}

/// The word that stands for `value`.
pub(super) fn word_of<T: PartialEq>(value: &T, words: &[(&'static str, T)]) -> String {
    let known = words.iter().find(|(_, known)| known == value);
    known.map(|(word, _)| (*word).to_owned()).unwrap_or_default()
}

/// A name for people and machines: it appears in answers and in logs.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let whole = (1..=64).contains(&text.len()) && text.bytes().all(fits);
    whole
        .then(|| text.to_owned())
        .ok_or_else(|| "wanted 1 to 64 letters, digits, dots, underscores or dashes".into())
}

/// Levels as `LEVEL` or `TARGET=LEVEL`, separated by commas. This is the part of the filter
/// syntax of `tracing` that operators use; filters of spans and fields are refused, since a
/// mistake in one would only show as lines that are missing.
pub(super) fn log_level(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_target = |target: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-' | b'.');
        !target.is_empty() && target.bytes().all(fits)
    };
    let fits = |directive: &str| match directive.trim().split_once('=') {
        None => LEVELS.contains(&directive.trim()),
        Some((target, level)) => is_target(target) && LEVELS.contains(&level),
    };
    text.split(',').all(fits).then(|| text.to_owned()).ok_or_else(|| {
        let levels = LEVELS.join(", ");
        format!("wanted one of {levels}, or a list such as info,weighbridge=debug")
    })
}

/// The name of a named group; also of a tier, which is one.
pub(super) fn group_name(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    let whole = (1..=64).contains(&text.len()) && text.bytes().all(fits);
    whole.then(|| text.to_owned()).ok_or_else(|| {
        "wanted a name of 1 to 64 lower-case letters, digits, dashes or underscores".into()
    })
}

/// A text that is compared as it is. Space around it would be a difference that nobody sees.
pub(super) fn exact(text: &str) -> Result<String, String> {
    let fits = !text.is_empty()
        && text.chars().count() <= 512
        && text.trim() == text
        && !text.contains(char::is_control);
    fits.then(|| text.to_owned())
        .ok_or_else(|| "wanted 1 to 512 characters on one line, without space around them".into())
}

/// A short text without spaces; `what` it is stands in the expectation.
fn short(text: &str, what: &str) -> Result<String, String> {
    let fits = (1..=128).contains(&text.chars().count())
        && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    fits.then(|| text.to_owned())
        .ok_or_else(|| format!("wanted {what}, 1 to 128 characters without spaces"))
}

/// The name of a claim of a token.
pub(super) fn claim(text: &str) -> Result<String, String> {
    short(text, "the name of a claim")
}

/// The name of a tenant.
pub(super) fn tenant(text: &str) -> Result<String, String> {
    short(text, "the name of a tenant")
}

/// A value, or `none`.
pub(super) fn optional<T>(
    text: &str,
    rule: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    match text {
        "none" => Ok(None),
        text => rule(text).map(Some).map_err(|wanted| format!("{wanted}; or \"none\"")),
    }
}

/// The text of an optional value.
pub(super) fn optional_of<T: Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "none".to_owned(), T::to_string)
}

/// Values separated by commas, at least one, each once; `what` they are stands in the
/// expectation.
pub(super) fn list<T: PartialEq>(
    text: &str,
    what: &str,
    rule: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let wanted = |wanted: &str| format!("wanted {what} separated by commas, each once: {wanted}");
    let mut values = Vec::new();
    for part in text.split(',') {
        let value = rule(part.trim()).map_err(|each| wanted(&each))?;
        if values.contains(&value) {
            return Err(wanted(&format!("{part:?} is there twice")));
        }
        values.push(value);
    }
    Ok(values)
}

/// The text of a list.
pub(super) fn listed<T: Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// The algorithms of an issuer. Where a shared secret and a public key are both accepted,
/// whoever knows the public key can take it for the secret and sign tokens.
pub(super) fn algorithms(text: &str) -> Result<Vec<Algorithm>, String> {
    let algorithms = list(text, "algorithms", |text| word(text, &Algorithm::WORDS))?;
    let has_other = algorithms.iter().any(|algorithm| *algorithm != Algorithm::Hs256);
    if algorithms.contains(&Algorithm::Hs256) && has_other {
        return Err("wanted HS256 alone or without it the others: a public key that is taken for \
                    a shared secret would let anybody sign tokens"
            .into());
    }
    Ok(algorithms)
}

/// Where the keys of an issuer are.
pub(super) fn key_source(text: &str) -> Result<KeySource, String> {
    text.parse().map_err(|error: InvalidKeySource| error.to_string())
}

/// At least one scope: who may do nothing need not be named.
pub(super) fn some_scopes(text: &str) -> Result<Scopes, String> {
    let scopes: Scopes = text.parse().map_err(|error: InvalidScope| error.to_string())?;
    if scopes.is_empty() {
        return Err("wanted scopes separated by spaces, such as predict:fraud-* metrics".into());
    }
    Ok(scopes)
}

/// So many in so long.
pub(super) fn rate(text: &str) -> Result<Rate, String> {
    text.parse().map_err(|error: InvalidRate| error.to_string())
}
