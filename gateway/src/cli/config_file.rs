//! `check-config` and `print-config`: the process settings of a server, without starting it.

use std::path::PathBuf;

use serde_json::json;
use weighbridge::app::mistakes_in_files;
use weighbridge_config::settings::{Effective, Mistake};
use weighbridge_config::{Mistakes, Overrides, Settings};

use super::error::{CliError, Exit};
use super::{Globals, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge check-config --config weighbridge.toml
Variables such as WEIGHBRIDGE__SERVER__LISTEN override the file.")]
pub struct Args {
    /// File with settings [default: none, only the environment]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub fn check(args: &Args, globals: &Globals) -> Result<(), CliError> {
    match Settings::load(args.config.as_deref(), &overrides(globals)) {
        Ok(settings) => files_of(&settings, globals),
        Err(mistakes) => refuse(&mistakes, globals),
    }
}

/// The settings are right: so are the files that they name, or it is told.
fn files_of(settings: &Settings, globals: &Globals) -> Result<(), CliError> {
    let mistakes = mistakes_in_files(settings);
    if globals.json {
        let told = |(key, what): &(String, String)| json!({ "key": key, "expectation": what });
        let told: Vec<_> = mistakes.iter().map(told).collect();
        show::print(&json!({ "mistakes": told }).to_string())?;
    } else if mistakes.is_empty() {
        show::print("ok")?;
    } else {
        let lines: Vec<_> = mistakes.iter().map(|(key, what)| format!("{key}: {what}")).collect();
        show::print(&lines.join("\n"))?;
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(CliError { exit: Exit::WrongUsage, text: String::new() })
}

pub fn print(args: &Args, globals: &Globals) -> Result<(), CliError> {
    match Settings::with_sources(args.config.as_deref(), &overrides(globals)) {
        Ok(settings) if globals.json => {
            let settings: Vec<_> = settings.iter().map(setting_json).collect();
            show::print(&json!({ "settings": settings }).to_string())
        }
        Ok(settings) => show::print(&listed(&settings)),
        Err(mistakes) => refuse(&mistakes, globals),
    }
}

fn overrides(globals: &Globals) -> Overrides {
    Overrides { data_dir: globals.data_dir.clone(), ..Overrides::default() }
}

/// One line per mistake, and nothing else: the mistakes are the result.
fn refuse(mistakes: &Mistakes, globals: &Globals) -> Result<(), CliError> {
    let shown = match globals.json {
        true => {
            let mistakes: Vec<_> = mistakes.iter().map(mistake_json).collect();
            json!({ "mistakes": mistakes }).to_string()
        }
        false => mistakes.to_string(),
    };
    show::print(&shown)?;
    Err(CliError { exit: Exit::WrongUsage, text: String::new() })
}

fn mistake_json(mistake: &Mistake) -> serde_json::Value {
    json!({
        "source": mistake.source.to_string(), "key": mistake.key, "value": mistake.value,
        "expectation": mistake.expectation,
    })
}

fn setting_json(setting: &Effective) -> serde_json::Value {
    json!({
        "key": setting.key, "value": setting.value, "source": setting.source.to_string(),
    })
}

/// The lines of a settings file.
fn listed(settings: &[Effective]) -> String {
    settings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_printed_one_a_line_with_their_source() {
        let settings = Settings::with_sources(None, &Overrides::default()).unwrap();
        let shown = listed(&settings);
        assert_eq!(shown.lines().count(), settings.len());
        assert!(shown.lines().all(|line| line.contains(" = ") && line.contains("  # ")), "{shown}");
        let listen = setting_json(&settings[0]);
        assert_eq!(
            listen,
            json!({
                "key": "server.listen", "value": "127.0.0.1:8080", "source": "default",
            })
        );
    }
}
