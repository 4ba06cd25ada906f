//! The text of `weighbridge.example.toml`, made from the tables of settings: every setting at
//! its default, with the reason, and of each kind of named group one, commented out. A test
//! keeps the file equal to it.

use super::group_table::{Field, KINDS, Kind};
use super::table::{SECTIONS, Setting, TABLE};
use super::toml_value;

const HEAD: &str = "\
# Every setting of weighbridge at its default. Copy what you change; what is left out keeps its
# default. Durations and sizes carry a unit (ns us ms s m h; B KiB MiB GiB TiB).
#
# weighbridge serve --config weighbridge.toml
# weighbridge check-config --config weighbridge.toml     reports all mistakes at once
#
# A variable WEIGHBRIDGE__SECTION__KEY overrides the file, such as WEIGHBRIDGE__SERVER__LISTEN or
# WEIGHBRIDGE__TIERS__GOLD__REQUESTS for [tiers.gold]; a group with a dash in its name has none.
# The flags --listen, --admin-listen and --data-dir override both.
# A running server reads this file again when it changes and on SIGHUP. It takes over what is
# marked \"Live.\"; the rest counts from the next start.
# Unknown keys are mistakes. Models, routes and keys are never here: they live in the registry.
#
# This file is written by a test of weighbridge-config; run it with UPDATE_EXAMPLE=1.
";

/// Follows what is said about a setting that a running server takes over.
const LIVE: &str = "Live.";
/// The most characters of a comment's line, without its mark.
const WIDTH: usize = 96;

const GROUPS: &str = "
# Named groups: as many of each kind as needed, NAME in lower-case letters, digits, - and _. None
# is needed; those below only show what there is.
";

/// The example file.
pub fn text() -> String {
    let mut text = HEAD.to_owned();
    for (section, about) in SECTIONS {
        text.push_str(&format!("\n# {about}\n[{section}]\n"));
        for setting in TABLE.iter().filter(|setting| setting.section() == section) {
            text.push_str(&entry(setting));
        }
    }
    text.push_str(GROUPS);
    for kind in &KINDS {
        text.push_str(&group(kind));
    }
    text
}

fn entry(setting: &Setting) -> String {
    let mut about = setting.about.to_owned();
    if setting.is_live {
        about.push_str(if last_line(&about) + LIVE.len() < WIDTH { " " } else { "\n" });
        about.push_str(LIVE);
    }
    let value = toml_value(&setting.default(), setting.quoted);
    format!("{}{} = {value}\n", commented(&about), setting.name())
}

/// A group as it would stand in the file, each line commented out, comments too.
fn group(kind: &Kind) -> String {
    let fields: String = kind.fields.iter().map(field).collect();
    let group = format!("[{}.{}]\n{fields}", kind.name, kind.example);
    format!("\n{}{}", commented(kind.about), commented(&group))
}

fn field(field: &Field) -> String {
    let value = toml_value(field.example, field.quoted);
    format!("{}{} = {value}\n", commented(field.about), field.name)
}

fn last_line(text: &str) -> usize {
    text.lines().last().map_or(0, str::len)
}

fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}\n")).collect()
}
