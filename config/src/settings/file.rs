//! The text of a settings file as keys, values and lines; what the keys mean is decided in
//! `sources`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::group_table::{Kind, kind};
use super::mistakes::{Mistake, Source};
use super::rules::group_name;
use super::table::SECTIONS;

/// One `key = value` of the file.
#[derive(Debug)]
pub(super) struct Entry {
    /// `section.name` or `kind.group.name` as it was written, case included.
    pub(super) key: String,
    /// The value as text, or the kind that it is instead of a text or a whole number.
    pub(super) value: Result<String, &'static str>,
    pub(super) source: Source,
}

/// What a file holds; entries in the order of their lines.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) entries: Vec<Entry>,
    /// The named groups, also those that have no entry, and where they begin.
    pub(super) groups: Vec<(&'static Kind, String, Source)>,
    pub(super) mistakes: Vec<Mistake>,
}

/// Reads `text`, the contents of the file called `name`.
///
/// A file that is not TOML yields its syntax mistakes only: what the rest means is a guess.
pub(super) fn read(name: &str, text: &str) -> Contents {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { name, text, contents: Contents::default() };
    for error in &errors {
        let source = reader.source(error.span().map_or(0, |span| span.start));
        let problem = format!("not valid TOML: {}", error.message().replace('\n', ", "));
        reader.contents.mistakes.push(Mistake::without_value(source, None, problem));
    }
    if errors.is_empty() {
        reader.top(table.get_ref());
    }
    let mut contents = reader.contents;
    contents.entries.sort_by_key(|entry| entry.source.line());
    contents
}

struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    contents: Contents,
}

impl Reader<'_> {
    fn source(&self, offset: usize) -> Source {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        Source::File { name: self.name.to_owned(), line }
    }

    fn top(&mut self, table: &DeTable<'_>) {
        for (section, value) in table {
            let source = self.source(section.span().start);
            let section = section.get_ref();
            if let Some(kind) = kind(section) {
                self.kind(kind, value, source);
                continue;
            }
            let known = SECTIONS.iter().any(|(name, _)| *name == section.as_ref());
            match value.get_ref() {
                DeValue::Table(settings) if known => self.section(section, settings),
                _ if known => {
                    let wanted = format!("wanted a section: [{section}] and its settings below it");
                    let mistake = Mistake::without_value(source, Some(section), wanted);
                    self.contents.mistakes.push(mistake);
                }
                // One mistake for the section, not one for each of its keys.
                other => self.entry(section.to_string(), Err(other.type_str()), source),
            }
        }
    }

    fn section(&mut self, section: &str, settings: &DeTable<'_>) {
        for (name, value) in settings {
            let source = self.source(name.span().start);
            let key = format!("{section}.{}", name.get_ref());
            self.entry(key, scalar(value), source);
        }
    }

    fn kind(&mut self, kind: &'static Kind, value: &Spanned<DeValue<'_>>, source: Source) {
        let wanted = |mistaken: &str, source| {
            let (name, example) = (kind.name, kind.example);
            let wanted = format!("wanted groups: [{name}.NAME], such as [{name}.{example}]");
            Mistake::without_value(source, Some(mistaken), wanted)
        };
        let DeValue::Table(groups) = value.get_ref() else {
            self.contents.mistakes.push(wanted(kind.name, source));
            return;
        };
        for (name, value) in groups {
            let source = self.source(name.span().start);
            let key = format!("{}.{}", kind.name, name.get_ref());
            match (group_name(name.get_ref()), value.get_ref()) {
                (Ok(name), DeValue::Table(fields)) => {
                    self.section(&key, fields);
                    self.contents.groups.push((kind, name, source));
                }
                // One mistake for the group, not one for each of its keys.
                (Err(wanted), DeValue::Table(_)) => {
                    let mistake = Mistake::without_value(source, Some(&key), wanted);
                    self.contents.mistakes.push(mistake);
                }
                _ => self.contents.mistakes.push(wanted(&key, source)),
            }
        }
    }

    fn entry(&mut self, key: String, value: Result<String, &'static str>, source: Source) {
        self.contents.entries.push(Entry { key, value, source });
    }
}

/// A text or a whole number as text, or what else it is. No setting is a fraction, a date, a
/// truth value or a list.
fn scalar(value: &Spanned<DeValue<'_>>) -> Result<String, &'static str> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(decimal(number.as_str(), number.radix())),
        other => Err(other.type_str()),
    }
}

/// TOML writes whole numbers also as `0x10`; the rules know decimals only.
fn decimal(digits: &str, radix: u32) -> String {
    i128::from_str_radix(digits, radix).map_or_else(|_| digits.to_owned(), |n| n.to_string())
}
