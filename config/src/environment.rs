//! The environment of the process. Only this file reads it, so that everything else can be
//! tested without touching it.
#![expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]

use std::ffi::OsString;

/// A variable that is set, not empty and readable as UTF-8. Container files often pass on a
/// variable that nobody set as an empty one.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The variables whose name begins with `prefix`, sorted by name, values as they are.
pub(crate) fn variables(prefix: &str) -> Vec<(String, OsString)> {
    let named =
        std::env::vars_os().map(|(name, value)| (name.to_string_lossy().into_owned(), value));
    let mut variables: Vec<_> = named.filter(|(name, _)| name.starts_with(prefix)).collect();
    variables.sort();
    variables
}
