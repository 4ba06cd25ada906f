//! The command line: parse, call, print. One file per noun; what they share is in `client`
//! (the admin API), `wire` (its answers), `show` (how things look) and `error` (exit codes).

mod aliases;
mod audit;
mod client;
mod config_file;
mod configure;
mod delete;
mod drill;
mod error;
mod experiments;
mod keys;
mod models;
mod operations;
mod predict;
mod pretty;
mod progress;
mod push;
mod report;
mod rollout;
mod routes;
mod serve;
mod shadows;
mod show;
mod status;
mod upload;
mod versions;
mod vet;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use weighbridge_config::client::{ClientSettings, Flags, Secret, trusted};
use weighbridge_registry::Revision;

use client::{Client, Trust};
use error::{CliError, with_causes};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 server unreachable, 4 not allowed, \
5 refused by the server.
Start a server with models to try: weighbridge serve --demo";

/// A model-serving gateway that weighs each new version against the one it would replace.
#[derive(Debug, Parser)]
#[command(name = "weighbridge", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "For every command")]
struct Globals {
    /// Print the JSON of the admin API instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Address of the admin API [default: WEIGHBRIDGE_URL, else the data folder's admin-url]
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// Key to show there; others can see it in the process list, not so WEIGHBRIDGE_KEY
    /// [default: WEIGHBRIDGE_KEY, else the data folder's admin-key]
    #[arg(long, global = true, value_name = "KEY", value_parser = secret)]
    key: Option<Secret>,
    /// Client certificate to show instead of a key: a PEM file with its private key
    /// [default: WEIGHBRIDGE_CERT]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "key")]
    cert: Option<PathBuf>,
    /// Data folder of the server [default: ./weighbridge-data]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Trust servers whose certificate is signed by one in this PEM file, and no others
    /// [default: WEIGHBRIDGE_CA, else what the system trusts]
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Accept any certificate: whoever sits between reads the key
    #[arg(long, global = true, conflicts_with = "ca")]
    insecure: bool,
}

impl Globals {
    fn client(&self) -> Result<Client, CliError> {
        let settings = ClientSettings::find(&Flags {
            url: self.url.as_deref(),
            key: self.key.as_ref().map(Secret::expose),
            certificate: self.cert.as_deref(),
            data_dir: self.data_dir.as_deref(),
        })?;
        let trust = match (self.insecure, trusted(self.ca.as_deref())) {
            (true, _) => Trust::Anyone,
            (false, Some(ca)) => Trust::SignedBy(ca),
            (false, None) => Trust::System,
        };
        Client::new(settings, &trust)
    }
}

/// Lets a change go through only as long as nobody else has changed the model.
#[derive(Debug, Clone, Copy, clap::Args)]
struct IfRevision {
    /// Refuse the change (exit 5) unless the model is still at this revision
    #[arg(long, value_name = "N")]
    if_revision: Option<Revision>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway: predictions on one address, the admin API on another
    Serve(serve::Args),
    /// Check a model file in a process of its own; the gateway calls this for each push
    #[command(hide = true)]
    Vet(vet::Args),
    #[command(flatten)]
    Client(ClientCommand),
}

/// The commands that ask a running server, or look at files only.
#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Check and register a model file as a version, which takes no traffic yet
    Push(Box<push::Args>),
    /// List the models and where their traffic goes
    Models,
    /// List the versions of a model, or show everything about one
    Versions(versions::Args),
    /// Show whether the server is ready, its addresses and what it holds
    Status,
    /// List who changed what, newest first
    Audit(audit::Args),
    /// Set or show the settings of a model
    Configure(configure::Args),
    /// Split a model's traffic between versions, or show how it is split
    Route(routes::RouteArgs),
    /// Send all traffic of a model to one version
    Promote(routes::PromoteArgs),
    /// Go back to the route before the present one
    Rollback(routes::RollbackArgs),
    /// Show how the shadow versions of a model compare with the one that answers
    Shadows(shadows::Args),
    /// Let a version take over step by step, rolled back by itself when it does worse
    #[command(subcommand)]
    Rollout(rollout::Command),
    /// Break the canary of a running rollout on purpose, and measure the rollback
    Drill(drill::Args),
    /// Give a version a name of your own; aliases never move traffic
    Alias(aliases::Args),
    /// Put a version away that takes no traffic; pushing its file again brings it back
    Archive(versions::ArchiveArgs),
    /// Delete a version, or a model with all its versions
    Delete(delete::Args),
    /// Compare versions side by side: start, look at and stop A/B experiments
    #[command(subcommand)]
    Experiment(experiments::Command),
    /// Ask a model for a prediction, with a request in Open Inference Protocol JSON
    Predict(predict::Args),
    /// Create, list and revoke API keys
    #[command(subcommand)]
    Keys(keys::Command),
    /// Report all mistakes in the settings of a server, without starting it
    CheckConfig(config_file::Args),
    /// Print every setting of a server with its value and where that came from
    PrintConfig(config_file::Args),
    /// List long calls such as pushes, or show one
    Operations(operations::Args),
}

impl ClientCommand {
    async fn run(self, globals: &Globals) -> Result<(), CliError> {
        match self {
            Self::Push(args) => push::run(&args, globals).await,
            Self::Models => models::run(globals).await,
            Self::Versions(args) => versions::run(&args, globals).await,
            Self::Status => status::run(globals).await,
            Self::Audit(args) => audit::run(&args, globals).await,
            Self::Configure(args) => configure::run(&args, globals).await,
            Self::Route(args) => routes::route(&args, globals).await,
            Self::Promote(args) => routes::promote(&args, globals).await,
            Self::Rollback(args) => routes::rollback(&args, globals).await,
            Self::Shadows(args) => shadows::run(&args, globals).await,
            Self::Rollout(command) => rollout::run(command, globals).await,
            Self::Drill(args) => drill::run(&args, globals).await,
            Self::Alias(args) => aliases::run(&args, globals).await,
            Self::Archive(args) => versions::archive(&args, globals).await,
            Self::Delete(args) => delete::run(&args, globals).await,
            Self::Experiment(command) => experiments::run(command, globals).await,
            Self::Predict(args) => predict::run(&args, globals).await,
            Self::Keys(command) => keys::run(command, globals).await,
            Self::CheckConfig(args) => config_file::check(&args, globals),
            Self::PrintConfig(args) => config_file::print(&args, globals),
            Self::Operations(args) => operations::run(&args, globals).await,
        }
    }
}

/// Parses the arguments of the process and does what they say.
pub fn run() -> ExitCode {
    let Cli { globals, command } = Cli::parse();
    let done = match command {
        // These two bring the threads they need.
        Command::Serve(args) => return serve::run(args, globals.data_dir),
        Command::Vet(args) => return vet::run(args),
        Command::Client(command) => on_one_thread(command, &globals),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.text.is_empty() {
                show::note(&format!("error: {error}"));
            }
            error.exit.into()
        }
    }
}

fn on_one_thread(command: ClientCommand, globals: &Globals) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CliError::failed(with_causes(&error)))?;
    runtime.block_on(command.run(globals))
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// An id that becomes part of a path.
fn id(text: &str) -> Result<String, String> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    match !text.is_empty() && text.len() <= 128 && text.bytes().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("wanted letters, digits, underscores and dashes".to_owned()),
    }
}

/// `key=value`, where the value may be anything.
fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("wanted key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests;
