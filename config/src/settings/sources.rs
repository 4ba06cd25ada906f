//! Where values come from: defaults, then the file, then the environment, then flags. Each value
//! is checked where it stands, so that a mistake in the file shows even when a variable
//! overrides it.

use std::collections::BTreeMap;
use std::path::Path;

use super::mistakes::{Mistake, Mistakes, Source, closest};
use super::rules::folder;
use super::table::{PREFIX, SECTIONS, Setting, TABLE, setting};
use super::{Effective, Overrides, Settings, checks, file};
use crate::environment;

/// Settings, and who set what.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) settings: Settings,
    /// The last source of each setting that has one.
    sources: BTreeMap<&'static str, Source>,
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
    /// Every setting with its value and source, in the order of the table.
    pub(super) fn effective(&self) -> Vec<Effective> {
        let effective = |setting: &Setting| Effective {
            key: setting.key,
            value: (setting.show)(&self.settings),
            quoted: setting.quoted,
            source: self.source_of(setting.key),
        };
        TABLE.iter().map(effective).collect()
    }

    fn source_of(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    fn apply_file(&mut self, name: &str, text: &str) {
        let contents = file::read(name, text);
        self.mistakes.extend(contents.mistakes);
        for entry in contents.entries {
            match (setting(&entry.key), entry.value) {
                (Some(setting), Ok(value)) => self.apply(setting, &value, entry.source),
                (Some(setting), Err(kind)) => {
                    let wanted = format!("wanted a text in quotes or a whole number, got: {kind}");
                    let mistake = Mistake::without_value(entry.source, Some(setting.key), wanted);
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
        match TABLE.iter().find(|setting| setting.variable() == name) {
            Some(setting) => self.apply(setting, value, source),
            None => self.mistakes.push(unknown_variable(name, source)),
        }
    }

    fn apply_flags(&mut self, flags: &Overrides) {
        let addresses = [
            ("server.listen", "--listen", &flags.listen),
            ("admin.listen", "--admin-listen", &flags.admin_listen),
        ];
        for (key, flag, value) in addresses {
            if let (Some(setting), Some(value)) = (setting(key), value) {
                self.apply(setting, value, Source::Flag(flag));
            }
        }
        // Not through text: a path from a flag need not be UTF-8.
        if let Some(path) = &flags.data_dir {
            let (key, source) = ("server.data_dir", Source::Flag("--data-dir"));
            match folder(path) {
                Ok(path) => {
                    self.settings.server.data_dir = path;
                    self.sources.insert(key, source);
                }
                Err(wanted) => {
                    let shown = path.display().to_string();
                    self.mistakes.push(Mistake::new(&source, key, &shown, wanted));
                }
            }
        }
    }

    fn apply(&mut self, setting: &'static Setting, value: &str, source: Source) {
        match (setting.set)(&mut self.settings, value) {
            Ok(()) => {
                self.sources.insert(setting.key, source);
            }
            Err(wanted) => {
                self.mistakes.push(Mistake::new(&source, setting.key, value, wanted));
            }
        }
    }

    /// The settings, if nothing is wrong. A setting that has a mistake already is left out of
    /// the cross checks, and so is every setting when the file cannot be understood: the value
    /// that it holds instead is not the operator's.
    fn checked(mut self) -> Result<Self, Mistakes> {
        let hides = |mistake: &Mistake, key: &str| match &mistake.key {
            Some(mistaken) => mistaken == key,
            None => matches!(mistake.source, Source::File { .. }),
        };
        let known = |key: &str| !self.mistakes.iter().any(|mistake| hides(mistake, key));
        let clashes = checks::clashes(&self.settings);
        let clashes = clashes.into_iter().filter(|clash| known(clash.key) && known(clash.with));
        let mistakes: Vec<_> = clashes.map(|clash| self.clash(&clash)).collect();
        self.mistakes.extend(mistakes);
        match Mistakes::found(std::mem::take(&mut self.mistakes)) {
            Some(mistakes) => Err(mistakes),
            None => Ok(self),
        }
    }

    /// A clash as a mistake, with the sources of both: either may be a default that nobody wrote.
    fn clash(&self, clash: &checks::Clash) -> Mistake {
        let shown = |key| setting(key).map(|s| (s.show)(&self.settings)).unwrap_or_default();
        let (with, other) = (clash.with, self.source_of(clash.with));
        let wanted = format!("{} {with}, which is {} ({other})", clash.wanted, shown(with));
        Mistake::new(&self.source_of(clash.key), clash.key, &shown(clash.key), wanted)
    }
}

fn unknown_key(key: &str, source: Source) -> Mistake {
    let names = TABLE.iter().map(|setting| setting.key);
    let sections = SECTIONS.iter().map(|(section, _)| *section);
    let expectation = match closest(key, names.chain(sections)) {
        Some(name) => format!("no such setting; did you mean {name}?"),
        None => "no such setting; weighbridge.example.toml lists all of them".to_owned(),
    };
    Mistake::without_value(source, Some(key), expectation)
}

/// An empty variable is a mistake too: it would have been a setting with a value.
fn unknown_variable(name: &str, source: Source) -> Mistake {
    // All names begin alike, which would make any two of them look close.
    let tail = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let tails: Vec<_> = TABLE.iter().map(|setting| tail(&setting.variable())).collect();
    let expectation = match closest(&tail(name), tails.iter().map(String::as_str)) {
        Some(meant) => format!("no such setting; did you mean {PREFIX}{meant}?"),
        None => "no such setting; variables are WEIGHBRIDGE__SECTION__KEY".to_owned(),
    };
    Mistake::without_value(source, None, expectation)
}
