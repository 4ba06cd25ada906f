//! What a principal may do: scopes, as keys, client certificates and tokens carry them.
//!
//! Invariants: a set of scopes reads back from its text as the same set; an answer that is not
//! certain is no.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const PREDICT: &str = "predict";
const JOBS: &str = "jobs";
const FEEDBACK: &str = "feedback";
const METRICS: &str = "metrics";
const ADMIN_READ: &str = "admin:read";
const ADMIN_WRITE: &str = "admin:write";
const ADMIN_ROLLOUT: &str = "admin:rollout";
/// Not a scope but all of them.
const ADMIN: &str = "admin";

const KNOWN: &str = "predict, predict:PATTERN, jobs, feedback, metrics, admin:read, \
                     admin:write, admin:rollout, or admin for all of them";

const ANY: char = '*';
const LONGEST_PATTERN: usize = 128;

/// A word that is no scope: what came and what is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{came}\" is no scope: {wanted}")]
pub struct InvalidScope {
    came: String,
    wanted: String,
}

impl InvalidScope {
    fn new(came: &str, wanted: impl Into<String>) -> Self {
        Self { came: came.chars().take(140).collect(), wanted: wanted.into() }
    }
}

/// Which models may be asked: a name in which `*` stands for any run of characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(String);

impl Pattern {
    /// The pattern of all models.
    pub fn any() -> Self {
        Self(ANY.to_string())
    }

    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is the pattern of `model`.
    pub fn matches(&self, model: &str) -> bool {
        matches(self.0.as_bytes(), model.as_bytes())
    }

    /// Whether this certainly matches each name that `other` matches.
    pub fn covers(&self, other: &Self) -> bool {
        // A star of `other` can only be taken up by a star of this one, and then so can
        // whatever it stands for.
        self.matches(&other.0)
    }
}

/// Whether `pattern` matches `text`. Only the last star is ever taken back: what the earlier
/// ones took up stays right whatever follows, so there are at most as many steps as one length
/// times the other.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    // The place after the last star, and the first character that it has not taken up.
    let mut last_star = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                last_star = Some((at, from));
            }
            Some(literal) if *literal == text[from] => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((after, taken)) = last_star else { return false };
                at = after;
                from = taken + 1;
                last_star = Some((after, from));
            }
        }
    }
    pattern[at..].iter().all(|rest| *rest == b'*')
}

impl FromStr for Pattern {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'*');
        if text.is_empty() || text.len() > LONGEST_PATTERN || !text.bytes().all(fits) {
            let wanted = "wanted a pattern of 1 to 128 letters, digits, dots, underscores, dashes \
                          or *, such as fraud-*";
            return Err(InvalidScope::new(text, wanted));
        }
        // Stars side by side mean the same as one.
        let mut pattern = text.to_owned();
        while pattern.contains("**") {
            pattern = pattern.replace("**", "*");
        }
        Ok(Self(pattern))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One thing that a principal may do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Ask the models whose names match.
    Predict(Pattern),
    /// Run jobs.
    Jobs,
    /// Report outcomes.
    Feedback,
    /// Read the metrics.
    Metrics,
    /// See everything of the admin API; whoever may change something may see too.
    AdminRead,
    /// Change models, keys and settings.
    AdminWrite,
    /// Start, stop and steer rollouts.
    AdminRollout,
}

impl Scope {
    /// To ask any model.
    pub fn predict_all() -> Self {
        Self::Predict(Pattern::any())
    }

    /// What this is called, without its pattern.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Predict(_) => PREDICT,
            Self::Jobs => JOBS,
            Self::Feedback => FEEDBACK,
            Self::Metrics => METRICS,
            Self::AdminRead => ADMIN_READ,
            Self::AdminWrite => ADMIN_WRITE,
            Self::AdminRollout => ADMIN_ROLLOUT,
        }
    }

    fn pattern(&self) -> Option<&Pattern> {
        if let Self::Predict(pattern) = self { Some(pattern) } else { None }
    }

    fn all() -> [Self; 7] {
        [
            Self::predict_all(),
            Self::Jobs,
            Self::Feedback,
            Self::Metrics,
            Self::AdminRead,
            Self::AdminWrite,
            Self::AdminRollout,
        ]
    }
}

/// By their text, so that a set is written in an order that anybody can see.
impl Ord for Scope {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.word(), self.pattern()).cmp(&(other.word(), other.pattern()))
    }
}

impl PartialOrd for Scope {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(word: &str) -> Result<Self, InvalidScope> {
        if let Some(known) = Self::all().into_iter().find(|scope| scope.word() == word) {
            return Ok(known);
        }
        match word.split_once(':') {
            Some((PREDICT, pattern)) => pattern
                .parse()
                .map(Self::Predict)
                .map_err(|error: InvalidScope| InvalidScope::new(word, error.wanted)),
            _ => Err(InvalidScope::new(word, format!("wanted {KNOWN}"))),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self.pattern() {
            Some(pattern) if *pattern != Pattern::any() => write!(f, ":{pattern}"),
            _ => Ok(()),
        }
    }
}

/// All that a principal may do: scopes separated by spaces or commas, sorted, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, example = "predict:digits feedback"))]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Each scope there is.
    pub fn all() -> Self {
        Scope::all().into_iter().collect()
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The scopes, sorted by their text.
    pub fn iter(&self) -> impl Iterator<Item = &Scope> {
        self.0.iter()
    }

    /// Whether `model` may be asked.
    pub fn may_predict(&self, model: &str) -> bool {
        self.patterns().any(|pattern| pattern.matches(model))
    }

    /// Whether there can be a model that may be asked.
    pub fn may_predict_something(&self) -> bool {
        self.patterns().next().is_some()
    }

    /// Whether `scope` is allowed: to see is allowed to whoever may change something, to ask
    /// some models to whoever may ask these and more, all else only by itself.
    pub fn allows(&self, scope: &Scope) -> bool {
        match scope {
            Scope::Predict(asked) => self.patterns().any(|held| held.covers(asked)),
            Scope::AdminRead => [Scope::AdminRead, Scope::AdminWrite, Scope::AdminRollout]
                .iter()
                .any(|scope| self.0.contains(scope)),
            scope => self.0.contains(scope),
        }
    }

    /// Whether each scope of `other` is allowed: nobody may hand out more than they have.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|scope| self.allows(scope))
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.0.iter().filter_map(Scope::pattern)
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', ',']).filter(|word| !word.is_empty())
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl IntoIterator for Scopes {
    type Item = Scope;
    type IntoIter = std::collections::btree_set::IntoIter<Scope>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromStr for Scopes {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let mut scopes = Self::default();
        for word in words(text) {
            match word {
                ADMIN => scopes.0.extend(Scope::all()),
                word => {
                    scopes.0.insert(word.parse()?);
                }
            }
        }
        Ok(scopes)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.0.iter().enumerate() {
            let space = if place > 0 { " " } else { "" };
            write!(f, "{space}{scope}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Scopes {
    type Error = InvalidScope;

    fn try_from(text: String) -> Result<Self, InvalidScope> {
        text.parse()
    }
}

impl From<Scopes> for String {
    fn from(scopes: Scopes) -> String {
        scopes.to_string()
    }
}

#[cfg(test)]
mod tests;
