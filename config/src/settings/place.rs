//! A place for one value: a plain setting, or a field of a named group.

use super::Settings;
use super::group_table::{Field, KINDS, Kind, kind};
use super::rules::group_name;
use super::table::{PREFIX, Setting, TABLE, setting};

#[derive(Clone)]
pub(super) enum Place {
    Setting(&'static Setting),
    /// Of the group with this name, which need not be there yet.
    Field(&'static Kind, &'static Field, String),
}

impl Place {
    /// The place with this key, such as `server.listen` or `tiers.gold.requests`.
    pub(super) fn of_key(key: &str) -> Option<Self> {
        if let Some(setting) = setting(key) {
            return Some(Self::Setting(setting));
        }
        let (kind, group, field) = split_key(key)?;
        let field = kind.field(field)?;
        group_name(group).ok().map(|group| Self::Field(kind, field, group))
    }

    /// The place that the environment variable `name` sets. A group whose name has a dash has
    /// no variables: most shells cannot set one.
    pub(super) fn of_variable(name: &str) -> Option<Self> {
        if let Some(setting) = TABLE.iter().find(|setting| setting.variable() == name) {
            return Some(Self::Setting(setting));
        }
        let (kind, group, field) = split_variable(name)?;
        let field = kind.fields.iter().find(|known| known.name.to_ascii_uppercase() == field)?;
        let fits = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        let group = group.bytes().all(fits).then(|| group.to_ascii_lowercase())?;
        group_name(&group).ok().map(|group| Self::Field(kind, field, group))
    }

    /// Each place of `settings`, in the order of the example file.
    pub(super) fn all(settings: &Settings) -> Vec<Self> {
        let mut all: Vec<_> = TABLE.iter().map(Self::Setting).collect();
        for kind in &KINDS {
            for group in (kind.names)(settings) {
                let field = |field| Self::Field(kind, field, group.clone());
                all.extend(kind.fields.iter().map(field));
            }
        }
        all
    }

    pub(super) fn key(&self) -> String {
        match self {
            Self::Setting(setting) => setting.key.to_owned(),
            Self::Field(kind, field, group) => format!("{}.{group}.{}", kind.name, field.name),
        }
    }

    /// Whether the file writes the value in quotes.
    pub(super) fn quoted(&self) -> bool {
        match self {
            Self::Setting(setting) => setting.quoted,
            Self::Field(_, field, _) => field.quoted,
        }
    }

    /// Puts the value that a text means, or says what is wanted. The group is there afterwards,
    /// with this value or without it.
    pub(super) fn set(&self, settings: &mut Settings, text: &str) -> Result<(), String> {
        match self {
            Self::Setting(setting) => (setting.set)(settings, text),
            Self::Field(kind, field, group) => {
                (kind.add)(settings, group);
                (field.set)(settings, group, text)
            }
        }
    }

    /// The value as text that `set` accepts.
    pub(super) fn show(&self, settings: &Settings) -> String {
        match self {
            Self::Setting(setting) => (setting.show)(settings),
            Self::Field(_, field, group) => (field.show)(settings, group),
        }
    }
}

/// The kind, the group's name and the field's name of a key, if there is such a kind.
pub(super) fn split_key(key: &str) -> Option<(&'static Kind, &str, &str)> {
    let (first, rest) = key.split_once('.')?;
    let (group, field) = rest.split_once('.')?;
    Some((kind(first)?, group, field))
}

/// The same of the name of a variable. The group's name may hold two underscores, no field's
/// name does.
pub(super) fn split_variable(name: &str) -> Option<(&'static Kind, &str, &str)> {
    let tail = name.strip_prefix(PREFIX)?;
    KINDS.iter().find_map(|kind| {
        let rest = tail.strip_prefix(&kind.name.to_ascii_uppercase())?.strip_prefix("__")?;
        let (group, field) = rest.rsplit_once("__")?;
        Some((kind, group, field))
    })
}
