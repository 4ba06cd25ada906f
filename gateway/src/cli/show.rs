//! How things look on a terminal: tables, fields, sizes, times. Everything that is printed
//! passes here.

use std::io::{self, ErrorKind, Write};
use std::time::{Duration, UNIX_EPOCH};

use comfy_table::{Table, presets};
use weighbridge_registry::Millis;

use super::client::Answer;
use super::error::CliError;

/// What stands where there is nothing to show.
pub const NOTHING: &str = "-";

/// Prints to the standard output, with a line break at the end. A reader that has left, as in
/// `weighbridge audit | head`, is no failure.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{}", printable(text)).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(CliError::io("write to the standard output", &error))
        }
        _ => Ok(()),
    }
}

/// Prints an answer as it came, for scripts.
pub fn json(answer: &Answer) -> Result<(), CliError> {
    match answer.body.trim_end() {
        "" => Ok(()),
        body => print(body),
    }
}

/// Says something that is not the result: to the standard error.
pub fn note(text: &str) {
    // Nobody is left to tell when this fails.
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// Text from the server or a model's file must not steer the terminal.
pub fn printable(text: &str) -> String {
    let harmless = |c: char| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c };
    text.chars().map(harmless).collect()
}

/// Rows under a heading, or `empty` when there are none.
pub fn table(heading: &[&str], rows: Vec<Vec<String>>, empty: &str) -> String {
    if rows.is_empty() {
        return empty.to_owned();
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heading.iter().copied()).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// `label  value` lines with aligned values; the lines of a value of many stand below each
/// other.
pub fn fields(fields: &[(&str, String)]) -> String {
    let width = fields.iter().map(|(label, _)| label.chars().count()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for (label, value) in fields {
        for (place, line) in value.lines().enumerate() {
            let label = if place == 0 { label } else { "" };
            lines.push(format!("{label:width$}  {line}"));
        }
    }
    lines.join("\n")
}

/// A value that may be missing.
pub fn or_nothing(value: Option<impl ToString>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| value.to_string())
}

/// Several values in one cell.
pub fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let words: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if words.is_empty() { NOTHING.to_owned() } else { words.join(" ") }
}

/// A number of bytes for people: `12.3 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0 of its unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A point in time, in UTC.
pub fn time(at: Millis) -> String {
    // The last second of the year 9999: later ones have no such form.
    const LAST: Millis = 253_402_300_799_000;
    let at = UNIX_EPOCH + Duration::from_millis(at.min(LAST));
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A number of seconds by its two largest units: `3h 12m`.
pub fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds;
    let mut words = Vec::new();
    for (length, unit) in UNITS {
        if rest >= length {
            words.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    words.truncate(2);
    if words.is_empty() { "0s".to_owned() } else { words.join(" ") }
}

/// A measured time, given in microseconds: `80 µs`, `12.3 ms`, `1.2 s`.
pub fn micros(us: f64) -> String {
    match us {
        us if !us.is_finite() || us < 0.0 => NOTHING.to_owned(),
        us if us < 999.5 => format!("{us:.0} µs"),
        us if us < 999_950.0 => format!("{:.1} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

/// The beginning of a text that may be long, on one line.
pub fn shortened(text: &str, longest: usize) -> String {
    let line = text.replace(['\n', '\t'], " ");
    if line.chars().count() <= longest {
        return line;
    }
    let head: String = line.chars().take(longest.saturating_sub(1)).collect();
    format!("{head}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_are_for_people() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (12_900_000, "12.3 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        for (us, text) in
            [(80.2, "80 µs"), (999.6, "1.0 ms"), (12_340.0, "12.3 ms"), (1.2e6, "1.2 s")]
        {
            assert_eq!(micros(us), text);
        }
        assert_eq!(micros(f64::NAN), NOTHING);
        for (seconds, text) in [(0, "0s"), (59, "59s"), (3600, "1h"), (93_784, "1d 2h")] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn tables_align_their_columns_without_trailing_spaces() {
        let rows = vec![vec!["fraud".into(), "1".into()], vec!["x".into(), "12".into()]];
        let shown = table(&["MODEL", "V"], rows, "none");
        assert_eq!(shown, "MODEL  V\nfraud  1\nx      12");
        assert_eq!(table(&["MODEL"], vec![], "no models"), "no models");
    }

    #[test]
    fn fields_align_their_values() {
        let shown = fields(&[("in", "a\nb".into()), ("digest", "c".into()), ("none", "".into())]);
        assert_eq!(shown, "in      a\n        b\ndigest  c");
    }

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\r\nc\u{9b}"), "a\u{fffd}[2Jb\u{fffd}\nc\u{fffd}");
    }

    #[test]
    fn long_texts_are_shortened_to_one_line() {
        assert_eq!(shortened("a\nb", 10), "a b");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(list(Vec::<u8>::new()), NOTHING);
        assert_eq!(or_nothing(Some(3)), "3");
    }
}
