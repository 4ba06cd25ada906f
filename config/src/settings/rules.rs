//! What each kind of value must look like. Each rule returns the value, or the expectation as
//! a phrase that starts with "wanted"; the bounds in the phrase are those that are checked.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::SecretFile;
use super::units::{ByteSize, format_duration, parse_duration};
use crate::network::{InvalidNetwork, Networks};

/// An IP address and a port. Names are refused: what is bound must not depend on a resolver.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "wanted an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080".into())
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
pub(super) fn whole(text: &str, unit: &str, bounds: RangeInclusive<u32>) -> Result<u32, String> {
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
