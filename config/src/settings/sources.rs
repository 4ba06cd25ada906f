//! Where values come from: defaults, then the file, then the environment, then flags. Each value
//! is checked where it stands, so that a mistake in the file shows even when a variable
//! overrides it.

use std::collections::BTreeMap;
use std::path::Path;

use super::group_table::{KINDS, Kind};
use super::mistakes::{Mistake, Mistakes, Source, closest};
use super::place::{Place, split_key, split_variable};
use super::rules::{folder, group_name};
use super::table::{PREFIX, SECTIONS, TABLE};
use super::{Effective, Overrides, Settings, checks, file};
use crate::environment;

/// Settings, and who set what.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) settings: Settings,
    /// The last source of each setting that has one, and the first of each named group.
    sources: BTreeMap<String, Source>,
    mistakes: Vec<Mistake>,
}

/// Settings of this process.
pub(super) fn of_process(path: Option<&Path>, overrides: &Overrides) -> Result<Loaded, Mistakes> {
    let mut loaded = Loaded::default();
    if let Some(path) = path {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => loaded.apply_file(&name, &text),
            Err(error) => {
                let source = Source::File { name, line: 0 };
                let problem = format!("the settings file cannot be read: {error}");
                loaded.mistakes.push(Mistake::without_value(source, None, problem));
            }
        }
    }
    for (name, value) in environment::variables(PREFIX) {
        match value.into_string() {
            Ok(value) => loaded.apply_variable(&name, &value),
            Err(_) => {
                let source = Source::Environment(name.clone());
                let problem = "wanted a value in UTF-8".to_owned();
                loaded.mistakes.push(Mistake::without_value(source, None, problem));
            }
        }
    }
    loaded.apply_flags(overrides);
    loaded.checked()
}

/// Settings of a named text and of the given variables.
pub(super) fn of_texts(
    file: Option<(&str, &str)>,
    env: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Result<Loaded, Mistakes> {
    let mut loaded = Loaded::default();
    if let Some((name, text)) = file {
        loaded.apply_file(name, text);
    }
    // Sorted, so that mistakes come in the same order each time.
    let variables: BTreeMap<_, _> =
        env.into_iter().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    for (name, value) in &variables {
        loaded.apply_variable(name, value);
    }
    loaded.apply_flags(overrides);
    loaded.checked()
}

impl Loaded {
    /// Every setting with its value and source, in the order of the tables.
    pub(super) fn effective(&self) -> Vec<Effective> {
        let effective = |place: Place| Effective {
            key: place.key(),
            value: place.show(&self.settings),
            quoted: place.quoted(),
            source: self.source_of(&place.key()),
        };
        Place::all(&self.settings).into_iter().map(effective).collect()
    }

    fn source_of(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    fn apply_file(&mut self, name: &str, text: &str) {
        let contents = file::read(name, text);
        self.mistakes.extend(contents.mistakes);
        for (kind, group, source) in contents.groups {
            self.begin(kind, &group, source);
        }
        for entry in contents.entries {
            match (Place::of_key(&entry.key), entry.value) {
                (Some(place), Ok(value)) => self.apply(&place, &value, entry.source),
                (Some(place), Err(kind)) => {
                    let wanted = format!("wanted a text in quotes or a whole number, got: {kind}");
                    let mistake = Mistake::without_value(entry.source, Some(&place.key()), wanted);
                    self.mistakes.push(mistake);
                }
                (None, _) => self.mistakes.push(unknown_key(&entry.key, entry.source)),
            }
        }
        // The file comes first, so that these are its mistakes only.
        self.mistakes.sort_by_key(|mistake| mistake.source.line());
    }

    fn apply_variable(&mut self, name: &str, value: &str) {
        let source = Source::Environment(name.to_owned());
        match Place::of_variable(name) {
            Some(place) => self.apply(&place, value, source),
            None => self.mistakes.push(unknown_variable(name, source)),
        }
    }

    fn apply_flags(&mut self, flags: &Overrides) {
        let addresses = [
            ("server.listen", "--listen", &flags.listen),
            ("admin.listen", "--admin-listen", &flags.admin_listen),
        ];
        for (key, flag, value) in addresses {
            if let (Some(place), Some(value)) = (Place::of_key(key), value) {
                self.apply(&place, value, Source::Flag(flag));
            }
        }
        // Not through text: a path from a flag need not be UTF-8.
        if let Some(path) = &flags.data_dir {
            let (key, source) = ("server.data_dir", Source::Flag("--data-dir"));
            match folder(path) {
                Ok(path) => {
                    self.settings.server.data_dir = path;
                    self.sources.insert(key.to_owned(), source);
                }
                Err(wanted) => {
                    let shown = path.display().to_string();
                    self.mistakes.push(Mistake::new(&source, key, &shown, wanted));
                }
            }
        }
    }

    /// Puts a named group, unless there is one of that name.
    fn begin(&mut self, kind: &Kind, group: &str, source: Source) {
        (kind.add)(&mut self.settings, group);
        self.sources.entry(format!("{}.{group}", kind.name)).or_insert(source);
    }

    fn apply(&mut self, place: &Place, value: &str, source: Source) {
        if let Place::Field(kind, _, group) = place {
            self.begin(kind, group, source.clone());
        }
        match place.set(&mut self.settings, value) {
            Ok(()) => {
                self.sources.insert(place.key(), source);
            }
            Err(wanted) => {
                self.mistakes.push(Mistake::new(&source, &place.key(), value, wanted));
            }
        }
    }

    /// The settings, if nothing is wrong. A setting that has a mistake already is left out of
    /// the cross checks, and so is every setting when the file cannot be understood: the value
    /// that it holds instead is not the operator's.
    fn checked(mut self) -> Result<Self, Mistakes> {
        let missing = self.missing();
        self.mistakes.extend(missing);
        let clashes = checks::clashes(&self.settings).into_iter().filter(|clash| {
            self.is_known(&clash.key) && clash.with.iter().all(|key| self.is_known(key))
        });
        let mistakes: Vec<_> = clashes.map(|clash| self.clash(&clash)).collect();
        self.mistakes.extend(mistakes);
        match Mistakes::found(std::mem::take(&mut self.mistakes)) {
            Some(mistakes) => Err(mistakes),
            None => Ok(self),
        }
    }

    /// Whether the value of `key` is the operator's or a default, for all that is known.
    fn is_known(&self, key: &str) -> bool {
        let hides = |mistake: &Mistake| match &mistake.key {
            Some(mistaken) => mistaken == key,
            None => matches!(mistake.source, Source::File { .. }),
        };
        !self.mistakes.iter().any(hides)
    }

    /// What groups need and do not have. The rule of a field says of an empty text what it
    /// wants instead.
    fn missing(&self) -> Vec<Mistake> {
        let mut missing = Vec::new();
        for place in Place::all(&self.settings) {
            let (key, Place::Field(kind, field, group)) = (place.key(), &place) else { continue };
            let is_there = self.sources.contains_key(&key) || !self.is_known(&key);
            if is_there || !field.is_required {
                continue;
            }
            let wanted = place.set(&mut self.settings.clone(), "").err().unwrap_or_default();
            let source = self.source_of(&format!("{}.{group}", kind.name));
            let wanted = format!("{wanted}; none came");
            missing.push(Mistake::without_value(source, Some(&key), wanted));
        }
        missing
    }

    /// A clash as a mistake, with the sources of all: some may be defaults that nobody wrote.
    fn clash(&self, clash: &checks::Clash) -> Mistake {
        let shown = |key: &str| Place::of_key(key).map(|place| place.show(&self.settings));
        let other = |key: &String| {
            format!("{key}, which is {} ({})", shown(key).unwrap_or_default(), self.source_of(key))
        };
        let others: Vec<_> = clash.with.iter().map(other).collect();
        let wanted = format!("{} {}", clash.wanted, others.join(", or in "));
        let (source, wanted) = (self.source_of(&clash.key), wanted.trim_end().to_owned());
        match shown(&clash.key) {
            Some(value) => Mistake::new(&source, &clash.key, &value, wanted),
            None => Mistake::without_value(source, Some(&clash.key), wanted),
        }
    }
}

fn unknown_key(key: &str, source: Source) -> Mistake {
    let meant = match split_key(key) {
        Some((kind, group, field)) => {
            let names = kind.fields.iter().map(|field| field.name);
            closest(field, names).map(|field| format!("{}.{group}.{field}", kind.name))
        }
        None => {
            let names = TABLE.iter().map(|setting| setting.key);
            let sections = SECTIONS.iter().map(|(section, _)| *section);
            let kinds = KINDS.iter().map(|kind| kind.name);
            closest(key, names.chain(sections).chain(kinds)).map(str::to_owned)
        }
    };
    let expectation = match meant {
        Some(name) => format!("no such setting; did you mean {name}?"),
        None => "no such setting; weighbridge.example.toml lists all of them".to_owned(),
    };
    Mistake::without_value(source, Some(key), expectation)
}

/// An empty variable is a mistake too: it would have been a setting with a value.
fn unknown_variable(name: &str, source: Source) -> Mistake {
    let meant = match split_variable(name) {
        Some((kind, group, field)) => {
            if group.contains('-') || group_name(&group.to_ascii_lowercase()).is_err() {
                let kind = kind.name.to_ascii_uppercase();
                let wanted = format!(
                    "wanted {PREFIX}{kind}__NAME__KEY, its NAME of 1 to 64 upper-case letters, \
                     digits or underscores"
                );
                return Mistake::without_value(source, None, wanted);
            }
            let (start, written) = (name.len() - field.len(), field);
            let names: Vec<_> = kind.fields.iter().map(|f| f.name.to_ascii_uppercase()).collect();
            let field = closest(written, names.iter().map(String::as_str));
            // The name is right but for its case.
            field.map(|field| format!("{}{field}", name[..start].to_ascii_uppercase()))
        }
        None => variable_like(name),
    };
    let expectation = match meant {
        Some(meant) => format!("no such setting; did you mean {meant}?"),
        None => "no such setting; variables are WEIGHBRIDGE__SECTION__KEY".to_owned(),
    };
    Mistake::without_value(source, None, expectation)
}

/// The variable of a plain setting, or of a group of another kind, that `name` most likely means.
fn variable_like(name: &str) -> Option<String> {
    // All names begin alike, which would make any two of them look close.
    let tail = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let written = tail(name);
    let mut tails: Vec<_> = TABLE.iter().map(|setting| tail(&setting.variable())).collect();
    if let Some((_, rest)) = written.split_once("__") {
        let of_kind = |kind: &Kind| format!("{}__{rest}", kind.name.to_ascii_uppercase());
        let exists = |tail: &String| Place::of_variable(&format!("{PREFIX}{tail}")).is_some();
        tails.extend(KINDS.iter().map(of_kind).filter(exists));
    }
    let meant = closest(&written, tails.iter().map(String::as_str))?;
    Some(format!("{PREFIX}{meant}"))
}
