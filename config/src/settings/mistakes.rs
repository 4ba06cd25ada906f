//! What is wrong with the settings: each mistake names its key, where it came from, the value
//! and what is wanted, on one line.

use std::fmt;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// A line of the file, counted from 1; 0 for the file as a whole.
    File { name: String, line: usize },
    /// An environment variable.
    Environment(String),
    /// A flag, such as `--listen`.
    Flag(&'static str),
}

impl Source {
    /// The line of the file; 0 for anything else.
    pub(super) fn line(&self) -> usize {
        if let Self::File { line, .. } = self { *line } else { 0 }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            // What editors and terminals open with a click.
            Self::File { name, line: 0 } => f.write_str(name),
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    pub source: Source,
    /// The setting, as it was written; None when the file as a whole cannot be read.
    pub key: Option<String>,
    /// The value as it was written, shortened. None for a key that does not exist, since what
    /// stands under a mistyped name may be a secret of something else, for a URL with a user,
    /// which may have a password, and where there is no value.
    pub value: Option<String>,
    /// What to write instead.
    pub expectation: String,
}

impl Mistake {
    pub(super) fn new(source: &Source, key: &str, value: &str, expectation: String) -> Self {
        let value = (!has_user(value)).then(|| shortened(value));
        Self { source: source.clone(), key: Some(key.to_owned()), value, expectation }
    }

    pub(super) fn without_value(source: Source, key: Option<&str>, expectation: String) -> Self {
        Self { source, key: key.map(str::to_owned), value: None, expectation }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value:?}: ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.expectation)
    }
}

/// All mistakes of all sources, at least one; displayed one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

impl Mistakes {
    /// None when there is no mistake.
    pub(super) fn found(mistakes: Vec<Mistake>) -> Option<Self> {
        (!mistakes.is_empty()).then_some(Self(mistakes))
    }

    /// The mistakes: those of the file by line, of the environment by name, of the flags, of
    /// values that are missing, and of values that do not fit each other.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mistake) in self.0.iter().enumerate() {
            if place > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// Whether `value` is a URL that names a user, and so perhaps a password.
fn has_user(value: &str) -> bool {
    value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}

/// Keeps a line readable whatever was written.
fn shortened(value: &str) -> String {
    const LONGEST: usize = 80;
    if value.chars().count() <= LONGEST {
        return value.to_owned();
    }
    let head: String = value.chars().take(LONGEST).collect();
    format!("{head}…")
}

/// The candidate that `written` most likely means; None when none is close. Upper and lower
/// case count as the same, so that `Server.Listen` finds `server.listen`.
pub(super) fn closest<'a>(
    written: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // A third of the name may be wrong: a word of another setting is further away.
    let allowed = written.chars().count() / 3;
    let written = written.to_ascii_lowercase();
    candidates
        .map(|candidate| (edits(&written, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed or replaced to make `a` into `b`
/// (Levenshtein's distance, one row of the table at a time).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, distance) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("listen", "lisen", 1)]
        {
            assert_eq!(edits(a, b), distance, "{a} {b}");
            assert_eq!(edits(b, a), distance, "{b} {a}");
        }
    }

    #[test]
    fn only_a_close_name_is_suggested() {
        let names = || ["server.listen", "server.name", "admin.listen"].into_iter();
        assert_eq!(closest("server.lisen", names()), Some("server.listen"));
        assert_eq!(closest("SERVER.NAME", names()), Some("server.name"));
        assert_eq!(closest("colour", names()), None);
        assert_eq!(closest("server.keys", names()), None);
        assert_eq!(closest("", names()), None);
    }

    #[test]
    fn long_values_are_shortened() {
        let mistake =
            Mistake::new(&Source::Default, "server.name", &"é".repeat(500), "wanted less".into());
        assert!(mistake.to_string().chars().count() < 130, "{mistake}");
    }
}
