//! `push`: a model file becomes a version, and the person learns what the server found in it.

use std::path::PathBuf;

use weighbridge_config::split::percent;
use weighbridge_config::{EngineChoice, ModelName, Version};
use weighbridge_registry::{Operation, OperationState, VersionInfo, VersionRecord, VersionState};

use super::client::Client;
use super::error::CliError;
use super::operations::{self, Finished};
use super::progress::Steps;
use super::upload::{self, ExternalFile, Files, GoldenFile, ModelFile};
use super::wire::{ServedModel, model_path};
use super::{Globals, IfRevision, configure, key_value, report, show};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  weighbridge push fraud ./fraud.onnx --class-names legitimate,fraud --tag team=risk
  weighbridge push fraud ./fraud.onnx --golden ./cases.json

A file of golden cases, with tensors as the Open Inference Protocol writes them:
  {\"cases\": [{\"name\": \"refund\",
              \"inputs\":  [{\"name\": \"x\", \"datatype\": \"FP32\", \"shape\": [1, 3], \"data\": [1, 2, 3]}],
              \"outputs\": [{\"name\": \"p\", \"datatype\": \"FP32\", \"shape\": [1, 2], \"data\": [0.9, 0.1]}]}],
   \"absolute\": 1e-4, \"relative\": 1e-3, \"latency_budget\": \"5ms\"}
An element may be off by absolute + relative x |expected|; null is NaN. A case may name any of the \
outputs, and have tolerances of its own. With a latency budget each case is run again: the median \
of 5 runs, the best of up to 3 such rounds, must lie within it.

The version takes no traffic until it is promoted or routed. The same files again are the same \
version; golden cases are part of it.")]
pub struct Args {
    /// Name of the model, new or known
    name: ModelName,
    /// ONNX file
    file: PathBuf,
    /// Golden cases, a JSON file: a version that fails one is rejected
    #[arg(long, value_name = "FILE")]
    golden: Option<PathBuf>,
    /// Let it pass although its inputs or outputs break callers of the stable version
    #[arg(long)]
    allow_incompatible: bool,
    /// Engine that runs it: auto, tract or onnxruntime [default: the model's setting `engine`]
    #[arg(long, value_name = "ENGINE")]
    engine: Option<EngineChoice>,
    /// Number of the version [default: the next one]
    #[arg(long, value_name = "N")]
    version: Option<Version>,
    /// What people should know about this version
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Where it comes from, such as a commit
    #[arg(long, value_name = "TEXT")]
    source: Option<String>,
    /// Tag of the version; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = key_value)]
    tags: Vec<(String, String)>,
    /// Names of the classes, in the order of the model's output
    #[arg(long, value_name = "A,B,C", value_delimiter = ',')]
    class_names: Vec<String>,
    /// Setting of the model, applied once the version is ready; see `configure`
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_value)]
    settings: Vec<(String, String)>,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    let settings = configure::changes(&args.settings)?;
    let client = globals.client()?;
    // Before the upload, so that a wrong key or address is told before gigabytes are sent.
    let before = client.find(&model_path(&args.name, "")).await?;
    let before: Option<ServedModel> = before.map(|answer| answer.parse()).transpose()?;
    let golden = args.golden.as_deref().map(GoldenFile::open).transpose()?;
    let external = ExternalFile::of_model(&args.file)?;
    let files = Files { model: ModelFile::open(&args.file)?, external, golden };
    let (name, version, info) = (&args.name, args.version, info(args));
    let operation = upload::send(&client, name, version, &info, files).await?;
    let Finished { operation, answer } = wait(&client, &operation).await?;
    if globals.json {
        show::json(&answer)?;
    }
    let record = record(&operation)?;
    if !globals.json {
        show::print(&found(&record, before.as_ref()))?;
    }
    if let Some(reason) = record.state.reason() {
        let version = record.version;
        let told = format!("version {version} of {} cannot be served: {reason}", record.model);
        return Err(CliError::refused(told));
    }
    if !settings.is_empty() {
        let any = IfRevision { if_revision: None };
        configure::change(&client, &args.name, &settings, any).await?;
    }
    Ok(())
}

async fn wait(client: &Client, started: &Operation) -> Result<Finished, CliError> {
    let steps = Steps::new();
    steps.tell(&started.progress);
    operations::wait(client, &started.id, |progress| steps.tell(progress)).await
}

fn info(args: &Args) -> VersionInfo {
    VersionInfo {
        description: args.description.clone(),
        source: args.source.clone(),
        tags: args.tags.iter().cloned().collect(),
        class_names: args.class_names.clone(),
        allow_incompatible: args.allow_incompatible,
        engine: args.engine,
    }
}

/// The version that a push made, or found to be there already.
fn record(operation: &Operation) -> Result<VersionRecord, CliError> {
    let read = operation.result.clone().map(serde_json::from_value);
    match (operation.state, read) {
        (_, Some(Ok(record))) => Ok(record),
        (OperationState::Failed, _) => {
            let told = operation.error.as_deref().unwrap_or("the push failed");
            Err(CliError::failed(format!("{told}\noperation: {}", operation.id)))
        }
        (_, Some(Err(error))) => {
            Err(CliError::failed(format!("the result of {} is no version: {error}", operation.id)))
        }
        (_, None) => Err(CliError::failed(format!("{} has no result", operation.id))),
    }
}

/// What was found, and what to do next. `before` is the model as it was before the push.
fn found(record: &VersionRecord, before: Option<&ServedModel>) -> String {
    let VersionRecord { model, version, .. } = record;
    let mut shown = report::describe(record);
    let known = before.and_then(|served| served.model.version(*version));
    if let Some(known) = known.filter(|known| known.state == record.state) {
        let pushed = show::time(known.created_at);
        shown.push_str(&format!("\n\nthis file is version {version} already, since {pushed}"));
    } else {
        shown.push('\n');
    }
    let share = before.map_or(0, |served| served.model.share_of(*version));
    let next = match (&record.state, share) {
        (VersionState::Ready, 0) => {
            format!("takes no traffic yet: weighbridge promote {model} {version}")
        }
        (VersionState::Ready, share) => format!("takes {} of the traffic", percent(share.into())),
        (VersionState::Rejected { .. }, _) => "takes no traffic: it was rejected".to_owned(),
        (VersionState::Checking, _) => "is still being checked".to_owned(),
        (VersionState::Archived, _) => "is archived".to_owned(),
    };
    format!("{shown}\nversion {version} {next}")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::error::Exit;
    use crate::cli::models::tests::model;
    use crate::cli::report::tests::record as record_json;

    fn version(number: u32, state: Value) -> VersionRecord {
        let mut record = record_json(state, json!(null));
        record["version"] = json!(number);
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_new_version_says_how_to_give_it_traffic() {
        let shown = found(&version(4, json!({"state": "ready"})), None);
        let last = "\n\nversion 4 takes no traffic yet: weighbridge promote fraud 4";
        assert!(shown.ends_with(last), "{shown}");
    }

    #[test]
    fn the_same_file_says_that_it_is_the_same_version() {
        let before: ServedModel = serde_json::from_value(model()).unwrap();
        let shown = found(&version(2, json!({"state": "ready"})), Some(&before));
        let last = "\n\nthis file is version 2 already, since 1970-01-01T00:00:00Z\n\
                    version 2 takes 5% of the traffic";
        assert!(shown.ends_with(last), "{shown}");
        let back = found(&version(3, json!({"state": "ready"})), Some(&before));
        assert!(!back.contains("already"), "it was rejected before: {back}");
    }

    #[test]
    fn the_result_of_a_push_is_a_version_or_an_error() {
        let operation = |state: &str, result: Value, error: Value| -> Operation {
            let operation = json!({
                "id": "op1", "kind": "push", "model": "fraud", "version": null, "state": state,
                "progress": "", "result": result, "error": error, "created_at": 0,
                "updated_at": 0, "created_by": "key:wbk_ab",
            });
            serde_json::from_value(operation).unwrap()
        };
        let failed = record(&operation("failed", json!(null), json!("no ONNX file"))).unwrap_err();
        assert_eq!(failed.exit, Exit::Failed);
        assert_eq!(failed.text, "no ONNX file\noperation: op1");
        assert!(record(&operation("done", json!(null), json!(null))).is_err());
        assert!(record(&operation("done", json!({"x": 1}), json!(null))).is_err());
        let rejected = record_json(json!({"state": "rejected", "reason": "r"}), json!(null));
        for state in ["done", "failed"] {
            let record = record(&operation(state, rejected.clone(), json!("r"))).unwrap();
            assert_eq!(record.state.reason(), Some("r"));
        }
    }
}
