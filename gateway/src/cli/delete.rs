//! `delete`: a version, or a model with all its versions.

use std::io::{self, IsTerminal, Write};

use weighbridge_config::{ModelName, Version};

use super::error::CliError;
use super::wire::model_path;
use super::{Globals, IfRevision, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples: weighbridge delete fraud 1
          weighbridge delete fraud --yes --even-if-routed
What takes traffic is not deleted, except a whole model with --even-if-routed.")]
pub struct Args {
    /// Name of the model
    name: ModelName,
    /// Version to delete; without one, the model goes with all its versions
    version: Option<Version>,
    /// Do not ask; required where there is no terminal
    #[arg(long)]
    yes: bool,
    /// Delete the model though its route sends traffic to it
    #[arg(long, conflicts_with = "version")]
    even_if_routed: bool,
    #[command(flatten)]
    expected: IfRevision,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    let what = match args.version {
        Some(version) => format!("version {version} of {}", args.name),
        None => format!("{} with all its versions", args.name),
    };
    if !args.yes {
        confirm(&what)?;
    }
    let answer = globals.client()?.delete(&path(args), args.expected.if_revision).await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(&format!("deleted {what}"))
}

fn path(args: &Args) -> String {
    match args.version {
        Some(version) => model_path(&args.name, &format!("versions/{version}")),
        None if args.even_if_routed => model_path(&args.name, "") + "?if_routed=delete",
        None => model_path(&args.name, ""),
    }
}

fn confirm(what: &str) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(format!(
            "there is no terminal to ask whether to delete {what}: add --yes"
        )));
    }
    let mut asked = io::stderr().lock();
    let mut answer = String::new();
    write!(asked, "Delete {what}? [y/N] ")
        .and_then(|()| asked.flush())
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| CliError::io("ask", &error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CliError::failed("nothing was deleted")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_model_is_deleted_in_spite_of_its_route() {
        let args = |version: Option<&str>, even_if_routed| Args {
            name: "fraud".parse().unwrap(),
            version: version.map(|version| version.parse().unwrap()),
            yes: true,
            even_if_routed,
            expected: IfRevision { if_revision: None },
        };
        assert_eq!(path(&args(Some("2"), false)), "models/fraud/versions/2");
        assert_eq!(path(&args(None, false)), "models/fraud");
        assert_eq!(path(&args(None, true)), "models/fraud?if_routed=delete");
    }
}
