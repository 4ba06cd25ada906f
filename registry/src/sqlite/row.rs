//! Rows into values, where everything that does not fit is a `Corrupt` that names row and
//! column; and values into what a column holds.

use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use weighbridge_config::Version;

use crate::error::{Error, Result, Source};

/// A row, and how errors name it.
pub(super) struct Columns<'r> {
    row: &'r SqliteRow,
    what: &'static str,
    key: &'static [&'static str],
}

impl<'r> Columns<'r> {
    /// The columns of `row`, which is a `what`, such as a version, found by the columns `key`.
    pub(super) fn of(row: &'r SqliteRow, what: &'static str, key: &'static [&'static str]) -> Self {
        Self { row, what, key }
    }

    pub(super) fn text(&self, column: &str) -> Result<String> {
        self.row.try_get(column).map_err(|e| self.corrupt(column, e))
    }

    pub(super) fn optional_text(&self, column: &str) -> Result<Option<String>> {
        self.row.try_get(column).map_err(|e| self.corrupt(column, e))
    }

    /// A time, revision or sequence.
    pub(super) fn count(&self, column: &str) -> Result<u64> {
        let count = self.optional_count(column)?;
        count.ok_or_else(|| self.corrupt(column, "it is empty"))
    }

    pub(super) fn optional_count(&self, column: &str) -> Result<Option<u64>> {
        let number: Option<i64> = self.row.try_get(column).map_err(|e| self.corrupt(column, e))?;
        let count = number.map(u64::try_from).transpose();
        count.map_err(|e| self.corrupt(column, e))
    }

    /// A count that is small, such as that of attempts.
    pub(super) fn small(&self, column: &str) -> Result<u32> {
        u32::try_from(self.count(column)?).map_err(|e| self.corrupt(column, e))
    }

    /// A share or a sum.
    pub(super) fn real(&self, column: &str) -> Result<f64> {
        self.row.try_get(column).map_err(|e| self.corrupt(column, e))
    }

    pub(super) fn version(&self, column: &str) -> Result<Version> {
        let version = self.optional_version(column)?;
        version.ok_or_else(|| self.corrupt(column, "it is empty"))
    }

    pub(super) fn optional_version(&self, column: &str) -> Result<Option<Version>> {
        let Some(number) = self.optional_count(column)? else {
            return Ok(None);
        };
        let number = u32::try_from(number).map_err(|e| self.corrupt(column, e))?;
        let version = Version::try_from(number).map_err(|e| self.corrupt(column, e))?;
        Ok(Some(version))
    }

    /// A name or digest in its text form.
    pub(super) fn parsed<T>(&self, column: &str) -> Result<T>
    where
        T: FromStr,
        T::Err: Into<Source>,
    {
        let text = self.text(column)?;
        text.parse().map_err(|e: T::Err| self.corrupt(column, e))
    }

    pub(super) fn json<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text = self.text(column)?;
        serde_json::from_str(&text).map_err(|e| self.corrupt(column, e))
    }

    pub(super) fn optional_json(&self, column: &str) -> Result<Option<Value>> {
        let text = self.optional_text(column)?;
        let value = text.map(|text| serde_json::from_str(&text)).transpose();
        value.map_err(|e| self.corrupt(column, e))
    }

    /// A value whose JSON is a plain word, stored without its quotes.
    pub(super) fn word<T: DeserializeOwned>(&self, column: &str) -> Result<T> {
        let word = Value::String(self.text(column)?);
        serde_json::from_value(word).map_err(|e| self.corrupt(column, e))
    }

    /// That `column` of this row does not hold what it should.
    pub(super) fn corrupt(&self, column: &str, source: impl Into<Source>) -> Error {
        let mut what = format!("column {column} of the {}", self.what);
        for key in self.key {
            what.push(' ');
            what.push_str(&self.shown(key));
        }
        Error::corrupt(what, source)
    }

    /// A key column for people, whatever it holds.
    fn shown(&self, column: &str) -> String {
        let text = self.row.try_get::<String, _>(column);
        let number = || self.row.try_get::<i64, _>(column).map(|n| n.to_string());
        text.or_else(|_| number()).unwrap_or_else(|_| "?".to_owned())
    }
}

/// A count as SQLite holds it. Values past its range do not occur: they would be times after
/// the year 292 million.
pub(super) fn stored(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A value as JSON text.
pub(super) fn json_text<T: Serialize>(what: &str, value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::corrupt(what, e))
}

/// A value whose JSON is a plain word, without its quotes; the opposite of [`Columns::word`].
pub(super) fn word_text<T: Serialize>(what: &str, value: &T) -> Result<String> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Ok(word),
        Ok(other) => Err(Error::corrupt(what, format!("{other} is no word"))),
        Err(error) => Err(Error::corrupt(what, error)),
    }
}
