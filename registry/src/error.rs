//! Why the registry did not do what it was asked.

use weighbridge_config::ModelName;

use crate::model::Revision;

/// What the registry's calls return.
pub type Result<T> = std::result::Result<T, Error>;

/// The cause behind an error, kept for the log.
pub(crate) type Source = Box<dyn std::error::Error + Send + Sync>;

/// A failure, by what the caller does about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The thing asked for is not there, or no longer.
    #[error("{what} was not found")]
    NotFound {
        /// The thing, such as `version 3 of fraud`.
        what: String,
    },

    /// The model has changed since the caller read it: read it again and decide anew.
    #[error("{model} has changed meanwhile: revision {expected} was expected, {found} is current")]
    Conflict {
        /// The model that the change was for.
        model: ModelName,
        /// The revision that the caller's change was based on.
        expected: Revision,
        /// The revision that the registry holds.
        found: Revision,
    },

    /// The present state forbids the move; the sentence says why and often what to do first.
    #[error("{0}")]
    Illegal(String),

    /// A stored row cannot be read: it takes a person, or a backup.
    #[error("{what} cannot be read")]
    Corrupt {
        /// The row and column.
        what: String,
        /// What is wrong with it.
        #[source]
        source: Source,
    },

    /// The database did not do its part: it may do so later.
    #[error("could not {attempt}: the registry's database is unavailable")]
    Unavailable {
        /// What was attempted.
        attempt: String,
        /// What the database said.
        #[source]
        source: Source,
    },

    /// Someone else holds the database, or too many changes wait: try again soon.
    #[error("could not {attempt}: the registry's database is in use")]
    Busy {
        /// What was attempted.
        attempt: String,
        /// What the database said.
        #[source]
        source: Source,
    },
}

impl Error {
    pub(crate) fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>, source: impl Into<Source>) -> Self {
        let (what, source) = (what.into(), source.into());
        Self::Corrupt { what, source }
    }
}
