//! `versions` and `archive`: the versions of a model.

use http::Method;
use serde_json::Value;
use weighbridge_config::split::percent;
use weighbridge_config::{ModelName, Version};
use weighbridge_registry::VersionRecord;

use super::client::{Answer, Client};
use super::error::CliError;
use super::report::{self, Report};
use super::wire::{ServedModel, model_path};
use super::{Globals, IfRevision, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: weighbridge versions fraud")]
pub struct Args {
    /// Name of the model
    name: ModelName,
    /// Show everything about this version
    version: Option<Version>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: weighbridge archive fraud 1")]
pub struct ArchiveArgs {
    /// Name of the model
    name: ModelName,
    /// Version to put away
    version: Version,
    #[command(flatten)]
    expected: IfRevision,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    let client = globals.client()?;
    if globals.json {
        let answer = client.get(&model_path(&args.name, "versions")).await?;
        return match args.version {
            None => show::json(&answer),
            Some(version) => show::print(&json_of(&answer, &args.name, version)?),
        };
    }
    let served = model(&client, &args.name).await?;
    let shown = match args.version {
        Some(version) => one(&served, version)?,
        None => listed(&served),
    };
    show::print(&shown)
}

pub async fn archive(args: &ArchiveArgs, globals: &Globals) -> Result<(), CliError> {
    let ArchiveArgs { name, version, expected } = args;
    let path = model_path(name, &format!("versions/{version}/archive"));
    let client = globals.client()?;
    let answer = client.change(Method::POST, &path, expected.if_revision).await?;
    if globals.json {
        return show::json(&answer);
    }
    let record: VersionRecord = answer.parse()?;
    show::print(&format!("{name}: version {version} is {}", record.state.word()))
}

/// The model with its versions, route, aliases and what is loaded.
pub async fn model(client: &Client, name: &ModelName) -> Result<ServedModel, CliError> {
    client.get(&model_path(name, "")).await?.parse()
}

/// The member of the listing that is about one version.
fn json_of(answer: &Answer, name: &ModelName, version: Version) -> Result<String, CliError> {
    let listing: Value = answer.parse()?;
    let mut versions = listing["versions"].as_array().into_iter().flatten();
    let one = versions.find(|one| one["version"] == version.get());
    one.map(Value::to_string).ok_or_else(|| no_version(name, version))
}

fn no_version(name: &ModelName, version: Version) -> CliError {
    CliError::failed(format!("{name} has no version {version}"))
}

fn one(served: &ServedModel, version: Version) -> Result<String, CliError> {
    let record = served.model.version(version);
    let record = record.ok_or_else(|| no_version(&served.model.name, version))?;
    let traffic = percent(served.model.share_of(version).into());
    let aliases = show::list(served.aliases_of(version));
    let loaded = match served.load_failure(version) {
        Some(reason) => format!("{}: {reason}", served.loaded(version)),
        None => served.loaded(version),
    };
    let now = show::fields(&[("traffic", traffic), ("aliases", aliases), ("loaded", loaded)]);
    Ok(format!("{}\n\n{now}", report::describe(record)))
}

fn listed(served: &ServedModel) -> String {
    let heading = [
        "VERSION",
        "STATE",
        "TRAFFIC",
        "ALIASES",
        "LOADED",
        "DIGEST",
        "SIZE",
        "ENGINE",
        "LOAD TIME",
        "MEMORY",
        "CREATED",
    ];
    let records = &served.model.versions;
    let rows = records.iter().map(|record| row(served, record)).collect();
    let mut shown = show::table(&heading, rows, "no versions");
    for remark in records.iter().flat_map(|record| remarks(served, record)) {
        shown.push('\n');
        shown.push_str(&remark);
    }
    shown
}

fn row(served: &ServedModel, record: &VersionRecord) -> Vec<String> {
    let (version, report) = (record.version, Report::of(record));
    vec![
        version.to_string(),
        record.state.word().to_owned(),
        percent(served.model.share_of(version).into()),
        show::list(served.aliases_of(version)),
        served.loaded(version),
        record.digest.short(),
        show::size(record.manifest.size()),
        report.engine(),
        report.load_time(),
        report.memory(),
        show::time(record.created_at),
    ]
}

/// What is too long for a column.
fn remarks(served: &ServedModel, record: &VersionRecord) -> Vec<String> {
    let about = |what: &str, told: &str| format!("version {} {what}: {told}", record.version);
    let rejected = record.state.reason().map(|reason| about("was rejected", reason));
    let failed =
        served.load_failure(record.version).map(|reason| about("could not be loaded", reason));
    let described = record.info.description.as_deref().map(|text| about("is described as", text));
    [rejected, failed, described].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::models::tests::model;

    #[test]
    fn versions_are_listed_with_traffic_aliases_and_what_is_wrong() {
        let served: ServedModel = serde_json::from_value(model()).unwrap();
        let shown = listed(&served);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(lines.len(), 6, "{shown}");
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(1),
            "1 ready 95% stable champion yes abababababab 2.0 KiB - 12.0 ms 2.0 KiB \
             1970-01-01T00:00:00Z"
        );
        assert!(words(2).starts_with("2 ready 5% canary failed "), "{shown}");
        assert!(words(3).starts_with("3 rejected 0% - ? "), "{shown}");
        assert_eq!(lines[4], "version 2 could not be loaded: out of memory");
        assert_eq!(lines[5], "version 3 was rejected: no operator Foo");
    }

    #[test]
    fn one_version_is_shown_with_its_traffic() {
        let served: ServedModel = serde_json::from_value(model()).unwrap();
        let shown = one(&served, "2".parse().unwrap()).unwrap();
        assert!(shown.ends_with("traffic  5%\naliases  canary\nloaded   failed: out of memory"));
        assert!(one(&served, "9".parse().unwrap()).is_err());
    }
}
