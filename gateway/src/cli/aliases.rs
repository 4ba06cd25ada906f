//! `alias`: names of one's own for versions.

use serde::Serialize;
use weighbridge_config::{AliasName, ModelName, Version};

use super::error::CliError;
use super::wire::{ServedModel, model_path};
use super::{Globals, IfRevision, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples: weighbridge alias fraud champion 2
          weighbridge alias fraud champion --remove
The aliases stable and canary follow from the route.")]
pub struct Args {
    /// Name of the model
    name: ModelName,
    /// Alias to give or to remove
    alias: AliasName,
    /// Version that the alias stands for
    #[arg(required_unless_present = "remove", conflicts_with = "remove")]
    version: Option<Version>,
    /// Remove the alias
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    expected: IfRevision,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Target {
        version: Version,
    }
    let Args { name, alias, version, expected, .. } = args;
    let path = model_path(name, &format!("aliases/{alias}"));
    let client = globals.client()?;
    let answer = match version {
        Some(version) => {
            client.put(&path, &Target { version: *version }, expected.if_revision).await?
        }
        None => client.delete(&path, expected.if_revision).await?,
    };
    if globals.json {
        return show::json(&answer);
    }
    let served: ServedModel = answer.parse()?;
    let told = match served.model.aliases.get(alias) {
        Some(version) => format!("{alias} is version {version}"),
        None => format!("no alias {alias}"),
    };
    show::print(&format!("{name}: {told}, revision {}", served.model.revision))
}
