//! `rollout`: a version takes over step by step, watched.

pub mod evidence;
pub mod follow;
mod spec;
pub mod wait;
mod watch;
pub mod words;

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use weighbridge_config::settings::units::parse_duration;
use weighbridge_config::{ModelName, Version};

use super::client::Client;
use super::error::CliError;
use super::wire::{RolloutView, Rollouts, Why, model_path};
use super::{Globals, IfRevision, show};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Begin to give a version the traffic of the present one, step by step
    Start(Box<StartArgs>),
    /// Show how far a rollout is and what is known about its canary
    Status(NameArgs),
    /// Follow a rollout to its end: a live screen on a terminal, lines elsewhere
    Watch(NameArgs),
    /// Print why a rollout is where it is, or ended as it did, with the numbers
    Why(WhyArgs),
    /// Stay at the present step; guards and rollbacks stay on
    Pause(MoveArgs),
    /// Go on after a pause, or after a hold
    Resume(MoveArgs),
    /// Let a rollout that waits for it go on to the next step
    Approve(MoveArgs),
    /// Give the canary all traffic now
    Promote(MoveArgs),
    /// End a rollout now: all traffic goes back to the version before it
    Rollback(MoveArgs),
    /// List the rollouts of a model, newest first, or those that run
    List(ListArgs),
    /// Let no rollout of any model go on by itself; guards and rollbacks stay on
    Freeze(FreezeArgs),
    /// Let rollouts go on again
    Unfreeze(FreezeArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge rollout start fraud --to 2
         weighbridge rollout start fraud --to 2 --spec fraud-rollout.toml --wait --timeout 2h
With --wait, exit codes besides the usual ones are 0 promoted, 10 rolled back, 11 held or ended \
otherwise, 12 still going on after --timeout, 13 waits for an approval. The rollout goes on \
without this command too.")]
pub struct StartArgs {
    /// Name of the model
    name: ModelName,
    /// Version that shall take over
    #[arg(long, value_name = "VERSION")]
    to: Version,
    /// TOML or JSON file with steps, times, margins, webhooks [default: the server's]
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait until it has ended, or until somebody has to decide
    #[arg(long)]
    wait: bool,
    /// Longest time to wait, such as 90m [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "wait")]
    timeout: Option<Duration>,
    #[command(flatten)]
    expected: IfRevision,
}

#[derive(Debug, clap::Args)]
pub struct NameArgs {
    /// Name of the model
    name: ModelName,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge rollout why fraud
         weighbridge rollout why fraud --number 3")]
pub struct WhyArgs {
    /// Name of the model
    name: ModelName,
    /// Number of an older rollout; `rollout list` shows them [default: the latest]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: weighbridge rollout rollback fraud --reason 'wrong training data'"
)]
pub struct MoveArgs {
    /// Name of the model
    name: ModelName,
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    expected: IfRevision,
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Name of the model [default: all models, rollouts that run]
    name: Option<ModelName>,
    /// The most rollouts to list
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000), requires = "name")]
    limit: u32,
}

#[derive(Debug, clap::Args)]
pub struct FreezeArgs {
    /// Why, for the audit trail
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

pub async fn run(command: Command, globals: &Globals) -> Result<(), CliError> {
    match command {
        Command::Start(args) => start(&args, globals).await,
        Command::Status(args) => status(&args.name, globals).await,
        Command::Watch(args) => watch::run(&args.name, globals).await,
        Command::Why(args) => why(&args, globals).await,
        Command::Pause(args) => change(&args, "pause", globals).await,
        Command::Resume(args) => change(&args, "resume", globals).await,
        Command::Approve(args) => change(&args, "approve", globals).await,
        Command::Promote(args) => change(&args, "promote", globals).await,
        Command::Rollback(args) => change(&args, "rollback", globals).await,
        Command::List(args) => list(&args, globals).await,
        Command::Freeze(args) => freeze(&args, true, globals).await,
        Command::Unfreeze(args) => freeze(&args, false, globals).await,
    }
}

async fn start(args: &StartArgs, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Wanted<'a> {
        to: Version,
        #[serde(skip_serializing_if = "Option::is_none")]
        spec: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    }
    let spec = args.spec.as_deref().map(spec::read).transpose()?;
    let client = globals.client()?;
    let wanted = Wanted { to: args.to, spec, reason: args.reason.as_deref() };
    let path = model_path(&args.name, "rollouts");
    let answer = client.post(&path, &wanted, args.expected.if_revision).await?;
    if args.wait {
        return wait::run(&client, &answer, args.timeout, globals.json).await;
    }
    if globals.json {
        return show::json(&answer);
    }
    let view: RolloutView = answer.parse()?;
    let next = format!("follow it: weighbridge rollout watch {}", args.name);
    show::print(&format!("{}\n{next}", words::headline(&view)))
}

async fn status(name: &ModelName, globals: &Globals) -> Result<(), CliError> {
    let answer = globals.client()?.get(&model_path(name, "rollout")).await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(&words::told(&answer.parse()?))
}

async fn why(args: &WhyArgs, globals: &Globals) -> Result<(), CliError> {
    let query: Vec<_> = args.number.iter().map(|number| ("number", number.to_string())).collect();
    let path = model_path(&args.name, "rollout/why");
    let answer = globals.client()?.list(&path, &query).await?;
    if globals.json {
        return show::json(&answer);
    }
    let why: Why = answer.parse()?;
    show::print(why.text.trim_end())?;
    if why.replayed.is_some_and(|replayed| !replayed.same) {
        show::note("note: the stored evidence, judged again, leads to another decision");
    }
    Ok(())
}

/// A verb that changes the rollout of a model.
async fn change(args: &MoveArgs, verb: &str, globals: &Globals) -> Result<(), CliError> {
    let path = model_path(&args.name, &format!("rollout/{verb}"));
    let body = Reason { reason: args.reason.as_deref() };
    let answer = globals.client()?.post(&path, &body, args.expected.if_revision).await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(&words::headline(&answer.parse()?))
}

#[derive(Serialize)]
struct Reason<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

async fn list(args: &ListArgs, globals: &Globals) -> Result<(), CliError> {
    let client = globals.client()?;
    let answer = match &args.name {
        Some(name) => {
            let limit = [("limit", args.limit.to_string())];
            client.list(&model_path(name, "rollouts"), &limit).await?
        }
        None => client.get("rollouts").await?,
    };
    if globals.json {
        return show::json(&answer);
    }
    let empty = match &args.name {
        Some(name) => format!("no rollouts of {name} yet: weighbridge rollout start {name} --to V"),
        None => "no rollout runs".to_owned(),
    };
    let Rollouts { rollouts, frozen } = answer.parse()?;
    let shown = words::listed(&rollouts, &empty);
    show::print(&if frozen { format!("{}\n\n{shown}", words::FROZEN) } else { shown })
}

async fn freeze(args: &FreezeArgs, frozen: bool, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Wanted<'a> {
        frozen: bool,
        #[serde(flatten)]
        reason: Reason<'a>,
    }
    let wanted = Wanted { frozen, reason: Reason { reason: args.reason.as_deref() } };
    let answer = globals.client()?.put("rollouts/freeze", &wanted, None).await?;
    if globals.json {
        return show::json(&answer);
    }
    show::print(if frozen { words::FROZEN } else { "rollouts go on by themselves again" })
}

/// The verdict in the server's words, for the end of a command that waited.
pub async fn verdict(client: &Client, view: &RolloutView) -> String {
    let path = model_path(&view.model, "rollout/why");
    let asked = client.list(&path, &[("number", view.number.to_string())]).await;
    let told = asked.and_then(|answer| answer.parse::<Why>()).map(|why| why.text);
    // The rollout has ended whether or not its text can be had.
    let live = || view.live.as_ref().map(|live| live.text.clone());
    let told = told.ok().or_else(live).filter(|text| !text.trim().is_empty());
    told.map_or_else(|| words::headline(view), |text| text.trim_end().to_owned())
}

/// A duration above zero.
pub fn duration(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "wanted a duration above 0, such as 30s or 2h".to_owned())
}

#[cfg(test)]
pub mod tests;
