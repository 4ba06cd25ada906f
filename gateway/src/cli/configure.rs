//! `configure`: the settings of one model.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use weighbridge_config::model_settings::MODEL_SETTING_KEYS;
use weighbridge_config::settings::units::format_duration;
use weighbridge_config::{ModelName, ModelSettings, Sticky, V1Dialect};

use super::client::{Answer, Client};
use super::error::CliError;
use super::wire::{ServedModel, model_path};
use super::{Globals, IfRevision, key_value, show, versions};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge configure fraud max_batch_size=16 max_queue_delay=2ms
An empty value or `default` clears a setting. Without any, the settings are shown with what \
each wants.")]
pub struct Args {
    /// Name of the model
    name: ModelName,
    /// Settings to change
    #[arg(value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
    #[command(flatten)]
    expected: IfRevision,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    let changes = changes(&args.settings)?;
    let client = globals.client()?;
    if changes.is_empty() {
        return show_settings(&client, args, globals).await;
    }
    let answer = change(&client, &args.name, &changes, args.expected).await?;
    if globals.json {
        return show::json(&answer);
    }
    let served: ServedModel = answer.parse()?;
    let set: Vec<String> = changes
        .keys()
        .map(|key| format!("{key}={}", value_of(&served.model.settings, key)))
        .collect();
    show::print(&format!("{}: {}, revision {}", args.name, set.join(" "), served.model.revision))
}

/// Applies changes that [`changes`] has checked.
pub async fn change(
    client: &Client,
    name: &ModelName,
    changes: &BTreeMap<String, String>,
    expected: IfRevision,
) -> Result<Answer, CliError> {
    client.patch(&model_path(name, "settings"), changes, expected.if_revision).await
}

/// Checks the words of a command line; all mistakes are told together.
pub fn changes(words: &[(String, String)]) -> Result<BTreeMap<String, String>, CliError> {
    let mut changes = BTreeMap::new();
    let mut mistakes = Vec::new();
    for (key, value) in words {
        if changes.insert(key.clone(), value.clone()).is_some() {
            mistakes.push(format!("{key} is named twice"));
        }
    }
    if let Err(invalid) = ModelSettings::default().with_changes(&changes) {
        mistakes.extend(invalid.iter().map(ToString::to_string));
    }
    if mistakes.is_empty() { Ok(changes) } else { Err(CliError::usage(mistakes.join("\n"))) }
}

async fn show_settings(client: &Client, args: &Args, globals: &Globals) -> Result<(), CliError> {
    let served = versions::model(client, &args.name).await?;
    if globals.json {
        #[derive(Serialize)]
        struct Settings<'a> {
            settings: &'a ModelSettings,
            revision: u64,
        }
        let model = &served.model;
        let settings = Settings { settings: &model.settings, revision: model.revision };
        let json = serde_json::to_string(&settings);
        return show::print(&json.map_err(|error| CliError::failed(error.to_string()))?);
    }
    show::print(&listed(&served.model.settings))
}

fn listed(settings: &ModelSettings) -> String {
    let row = |(key, wanted): &(&str, &str)| {
        vec![(*key).to_owned(), value_of(settings, key), (*wanted).to_owned()]
    };
    show::table(&["SETTING", "VALUE", "WANTED"], MODEL_SETTING_KEYS.iter().map(row).collect(), "")
}

/// A setting as one would write it; `default` when the server's own holds.
fn value_of(settings: &ModelSettings, key: &str) -> String {
    let value = match key {
        "max_batch_size" => settings.max_batch_size.map(|rows| rows.to_string()),
        "max_queue_size" => settings.max_queue_size.map(|rows| rows.to_string()),
        "max_queue_delay" => {
            settings.max_queue_delay_us.map(|us| format_duration(Duration::from_micros(us)))
        }
        "timeout" => settings.timeout_ms.map(|ms| format_duration(Duration::from_millis(ms))),
        "sticky" => settings.sticky.as_ref().map(|Sticky::Header(name)| format!("header:{name}")),
        "v1_dialect" => settings.v1_dialect.map(|dialect| match dialect {
            V1Dialect::Tfs => "tfs".to_owned(),
            V1Dialect::Kserve => "kserve".to_owned(),
        }),
        "rescue" => settings.rescue.map(|on| if on { "on" } else { "off" }.to_owned()),
        "rescue_after" => {
            settings.rescue_after_us.map(|us| format_duration(Duration::from_micros(us)))
        }
        "idempotent" => settings.idempotent.map(|is| is.to_string()),
        "allow_nan" => settings.allow_nan.map(|is| is.to_string()),
        "residency" => settings.residency.map(|residency| residency.word().to_owned()),
        "loaded" => settings.loaded.map(|is| is.to_string()),
        "engine" => settings.engine.map(|engine| engine.to_string()),
        "shadows" => settings.shadows.as_ref().map(|shadows| {
            let words = shadows.iter().map(|(v, share)| format!("{v}={}", f64::from(*share)));
            words.collect::<Vec<_>>().join(",")
        }),
        _ => None,
    };
    value.unwrap_or_else(|| "default".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[(&str, &str)]) -> Vec<(String, String)> {
        words.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_setting_is_shown_as_it_is_written() {
        let set = [
            ("max_batch_size", "8"),
            ("max_queue_delay", "2ms"),
            ("max_queue_size", "100"),
            ("timeout", "250ms"),
            ("sticky", "header:x-user-id"),
            ("v1_dialect", "kserve"),
            ("rescue", "off"),
            ("rescue_after", "50ms"),
            ("idempotent", "false"),
            ("allow_nan", "true"),
            ("residency", "on_demand"),
            ("loaded", "false"),
            ("engine", "tract"),
            ("shadows", "3=10,4=2.5"),
        ];
        assert_eq!(set.len(), MODEL_SETTING_KEYS.len(), "a new setting is shown here too");
        let changes = changes(&words(&set)).unwrap();
        let settings = ModelSettings::default().with_changes(&changes).unwrap();
        for (key, value) in set {
            assert_eq!(value_of(&settings, key), value);
            assert_eq!(value_of(&ModelSettings::default(), key), "default");
        }
        assert_eq!(listed(&settings).lines().count(), set.len() + 1);
    }

    #[test]
    fn all_mistakes_are_told_together() {
        let wrong = words(&[("timeout", "1s"), ("timeout", "soon"), ("colour", "red")]);
        let error = changes(&wrong).unwrap_err();
        assert_eq!(error.exit, crate::cli::error::Exit::WrongUsage);
        assert_eq!(error.text.lines().count(), 3, "{error}");
    }
}
