//! The text of `weighbridge.example.toml`, made from the table of settings: every setting at
//! its default, with the reason. A test keeps the file equal to it.

use super::table::{SECTIONS, Setting, TABLE};
use super::toml_value;

const HEAD: &str = "\
# Every setting of weighbridge at its default. Copy what you change; what is left out keeps its
# default. Durations and sizes carry a unit (ns us ms s m h; B KiB MiB GiB TiB).
#
# weighbridge serve --config weighbridge.toml
# weighbridge check-config --config weighbridge.toml     reports all mistakes at once
#
# A variable WEIGHBRIDGE__SECTION__KEY overrides the file, such as WEIGHBRIDGE__SERVER__LISTEN.
# The flags --listen, --admin-listen and --data-dir override both.
# Unknown keys are mistakes. Models, routes and keys are never here: they live in the registry.
#
# This file is written by a test of weighbridge-config; run it with UPDATE_EXAMPLE=1.
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
    text
}

fn entry(setting: &Setting) -> String {
    let about: String = setting.about.lines().map(|line| format!("# {line}\n")).collect();
    format!("{about}{} = {}\n", setting.name(), toml_value(&setting.default(), setting.quoted))
}
