//! `operations`: long calls such as pushes, and waiting for one.

use std::time::{Duration, Instant};

use weighbridge_registry::{Operation, OperationState};

use super::client::{Answer, Client};
use super::error::{CliError, Exit};
use super::wire::Operations;
use super::{Globals, id, show};

/// The server works meanwhile; asking soon at first makes small models quick to push.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Operations outlive a restart of the server.
const PATIENCE: Duration = Duration::from_secs(5);
/// Above the largest limit that vetting can be given.
const LONGEST_WAIT: Duration = Duration::from_secs(2 * 3600);

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: weighbridge operations")]
pub struct Args {
    /// Show this one
    #[arg(value_parser = id)]
    id: Option<String>,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    let client = globals.client()?;
    let answer = match &args.id {
        Some(id) => client.get(&format!("operations/{id}")).await?,
        None => client.get("operations").await?,
    };
    match &args.id {
        _ if globals.json => show::json(&answer),
        Some(_) => show::print(&told(&answer.parse()?)),
        None => show::print(&listed(&answer.parse::<Operations>()?.operations)),
    }
}

/// An operation that is done or failed, and the answer that said so.
#[derive(Debug)]
pub struct Finished {
    pub operation: Operation,
    pub answer: Answer,
}

/// Waits for the end of an operation; `tell` hears each new progress text.
pub async fn wait(
    client: &Client,
    id: &str,
    mut tell: impl FnMut(&str),
) -> Result<Finished, CliError> {
    let path = format!("operations/{id}");
    let began = Instant::now();
    let (mut answered, mut told, mut pause) = (began, String::new(), FIRST_PAUSE);
    while began.elapsed() < LONGEST_WAIT {
        match client.get(&path).await {
            Ok(answer) => {
                answered = Instant::now();
                let operation: Operation = answer.parse()?;
                if operation.state != OperationState::Running {
                    return Ok(Finished { operation, answer });
                }
                if operation.progress != told {
                    tell(&operation.progress);
                    told = operation.progress;
                }
            }
            Err(error) if error.exit == Exit::Unreachable && answered.elapsed() < PATIENCE => {}
            Err(mut error) => {
                error.text.push_str(&format!("\nto see its end: weighbridge operations {id}"));
                return Err(error);
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
    Err(CliError::failed(format!("operation {id} still runs: weighbridge operations {id}")))
}

fn listed(operations: &[Operation]) -> String {
    let heading = ["ID", "KIND", "MODEL", "VERSION", "STATE", "STARTED", "LAST"];
    let rows = operations.iter().map(|operation| {
        let last = operation.error.as_deref().unwrap_or(&operation.progress);
        vec![
            operation.id.clone(),
            operation.kind.clone(),
            show::or_nothing(operation.model.as_deref()),
            show::or_nothing(operation.version),
            word(operation.state).to_owned(),
            show::time(operation.created_at),
            show::shortened(last, 80),
        ]
    });
    show::table(&heading, rows.collect(), "no operations")
}

fn told(operation: &Operation) -> String {
    show::fields(&[
        ("operation", format!("{} {}", operation.kind, operation.id)),
        ("model", show::or_nothing(operation.model.as_deref())),
        ("version", show::or_nothing(operation.version)),
        ("state", word(operation.state).to_owned()),
        ("progress", operation.progress.clone()),
        ("error", operation.error.clone().unwrap_or_default()),
        ("started", format!("{} by {}", show::time(operation.created_at), operation.created_by)),
        ("changed", show::time(operation.updated_at)),
    ])
}

fn word(state: OperationState) -> &'static str {
    match state {
        OperationState::Running => "running",
        OperationState::Done => "done",
        OperationState::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_show_their_error_else_their_progress() {
        let operation = |state: &str, error: Option<&str>| -> Operation {
            let operation = json!({
                "id": "op1", "kind": "push", "model": "fraud", "version": null, "state": state,
                "progress": "checking", "result": null, "error": error, "created_at": 0,
                "updated_at": 0, "created_by": "key:wbk_ab",
            });
            serde_json::from_value(operation).unwrap()
        };
        let shown = listed(&[operation("running", None), operation("failed", Some("no ONNX"))]);
        let lines: Vec<&str> = shown.lines().collect();
        assert!(lines[1].ends_with("checking") && lines[2].ends_with("no ONNX"), "{shown}");
        assert!(!told(&operation("running", None)).contains("error"));
    }
}
