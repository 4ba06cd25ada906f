//! What SQLite reports, as the kinds of this crate.

use crate::error::{Error, Source};

/// Turns a database error into ours, naming what was attempted, such as `read the keys`.
pub(super) fn while_trying(attempt: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Error {
    move |source| {
        let attempt = attempt.into();
        match kind(&source) {
            Kind::Corrupt => Error::corrupt("the registry's database", source),
            Kind::Busy => Error::Busy { attempt, source: Source::from(source) },
            Kind::Unavailable => Error::Unavailable { attempt, source: Source::from(source) },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Corrupt,
    Busy,
    Unavailable,
}

fn kind(error: &sqlx::Error) -> Kind {
    match error {
        // The writer's queue did not move in time.
        sqlx::Error::PoolTimedOut => Kind::Busy,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Kind::Corrupt,
        sqlx::Error::Database(report) => of_code(report.code().as_deref()),
        _ => Kind::Unavailable,
    }
}

/// SQLite's extended result codes hold the primary code in their low byte.
fn of_code(code: Option<&str>) -> Kind {
    const BUSY: u32 = 5;
    const LOCKED: u32 = 6;
    const CORRUPT: u32 = 11;
    const NOT_A_DATABASE: u32 = 26;
    let code = code.and_then(|text| text.parse::<u32>().ok());
    match code.map(|extended| extended & 0xff) {
        Some(BUSY | LOCKED) => Kind::Busy,
        Some(CORRUPT | NOT_A_DATABASE) => Kind::Corrupt,
        _ => Kind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_apart_by_their_low_byte() {
        for (code, kind) in [
            ("5", Kind::Busy),
            ("517", Kind::Busy),
            ("262", Kind::Busy),
            ("11", Kind::Corrupt),
            ("26", Kind::Corrupt),
            ("13", Kind::Unavailable),
            ("HY000", Kind::Unavailable),
        ] {
            assert_eq!(of_code(Some(code)), kind, "{code}");
        }
        assert_eq!(of_code(None), Kind::Unavailable);
    }
}
