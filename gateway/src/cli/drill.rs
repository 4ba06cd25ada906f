//! `drill`: breaks the canary on purpose, and measures what the rollback costs.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};
use weighbridge_config::ModelName;

use super::client::Client;
use super::error::{CliError, Exit};
use super::progress::Steps;
use super::rollout::evidence::{self, Counts};
use super::rollout::follow::{Follower, Seen};
use super::rollout::{duration, verdict, wait, words};
use super::wire::{Outcome, Phase, RolloutView, model_path};
use super::{Globals, show};

/// A rollback takes fractions of a second where there is traffic.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: weighbridge drill fraud --fault errors --at 30s
A rollout of the model must be running. The fault is in the canary only, and ends with the drill. \
The exit code is 0 if the canary was rolled back, 1 if it was promoted, 11 if the rollout was held \
or ended otherwise, 12 if nothing was decided within --timeout.")]
pub struct Args {
    /// Name of the model
    name: ModelName,
    /// What goes wrong
    #[arg(long)]
    fault: Fault,
    /// How long from now it begins
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = wait_time)]
    at: Duration,
    /// Share of the canary's requests that it hits, above 0 and up to 1 [default: all]
    #[arg(long, value_parser = share)]
    share: Option<f64>,
    /// How long after its beginning to wait for the rollback
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = duration)]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fault {
    /// Requests fail
    Errors,
    /// Answers come late
    Slow,
    /// Answers are wrong
    Wrong,
    /// Runs do not end: a compute thread is really blocked
    Hang,
    /// Runs keep memory
    Leak,
}

pub async fn run(args: &Args, globals: &Globals) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Wanted {
        fault: Fault,
        after_ms: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        share: Option<f64>,
    }
    let client = globals.client()?;
    let first = Seen::of(&client.get(&model_path(&args.name, "rollout")).await?)?;
    if matches!(first.view.phase, Phase::Ended { .. }) {
        let name = &args.name;
        return Err(CliError::refused(format!(
            "no rollout of {name} is running: weighbridge rollout start {name} --to VERSION"
        )));
    }
    let after_ms = u64::try_from(args.at.as_millis()).unwrap_or(u64::MAX);
    let wanted = Wanted { fault: args.fault, after_ms, share: args.share };
    let path = model_path(&args.name, "rollout/drill");
    // From here on a signal does not end the process: the fault must not stay behind.
    let mut stop = StopSignals::new()?;
    let begins = Instant::now() + args.at;
    client.post(&path, &wanted, None).await?;
    let steps = Steps::new();
    let watched = tokio::select! {
        watched = watch(&client, first, begins, args.timeout, PAUSE, &steps) => watched,
        stopped = stop.first() => Err(stopped),
    };
    drop(steps);
    // Whatever happened. After a rollback there is none left, which is as good.
    let ended = client.delete(&path, None).await;
    let (toll, last) = match (watched, ended) {
        (Ok(watched), _) => watched,
        (Err(mut error), Err(left)) if left.exit == Exit::Unreachable => {
            error.text.push_str("\nthe fault may still be in the canary: end the rollout");
            return Err(error);
        }
        (Err(error), _) => return Err(error),
    };
    match globals.json {
        true => show::print(&toll.json(args.fault, &last)?)?,
        false => {
            show::print(&format!("{}\n\n{}", verdict(&client, &last.view).await, toll.told()))?;
        }
    }
    toll.exit(&last)
}

/// What a fault cost from its beginning until the rollout was decided.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Toll {
    seconds: f64,
    canary_requests: u64,
    /// Failed by the canary, answered by stable.
    rescued: u64,
    /// Failed by the canary, answered by nobody.
    failed: u64,
}

/// Follows the rollout from now on; counts from `begins` on.
async fn watch(
    client: &Client,
    first: Seen,
    begins: Instant,
    timeout: Duration,
    pause: Duration,
    steps: &Steps,
) -> Result<(Toll, Seen), CliError> {
    let mut follower = Follower::of(client, &first.view);
    let mut now = counts(&first.view).unwrap_or_default();
    let (mut before, mut last) = ((now, first.view.standing.clone()), first);
    let mut told = String::new();
    loop {
        let is_on = Instant::now() >= begins;
        let until_then = begins.saturating_duration_since(Instant::now());
        let when = if is_on { "with" } else { "before" };
        let state = format!("{}, {when} the fault", words::headline(&last.view));
        if state != told {
            steps.tell(&state);
            told = state;
        }
        let has_ended = matches!(last.view.phase, Phase::Ended { .. });
        if has_ended && !is_on {
            let headline = words::headline(&last.view);
            return Err(CliError::failed(format!("it ended before the fault began: {headline}")));
        }
        // One that was held or waited for an approval before can still be rolled back.
        let is_over =
            has_ended || is_on && wait::is_decided(&last.view) && last.view.standing != before.1;
        if is_over || begins.elapsed() >= timeout {
            return Ok((Toll::between(&before.0, &now, begins.elapsed()), last));
        }
        // Asked just when it begins, so that few requests are counted that came before.
        sleep(if is_on { pause } else { pause.min(until_then) }).await;
        if let Some(seen) = follower.look().await? {
            now = counts(&seen.view).unwrap_or(now);
            last = seen;
            if !is_on {
                before = (now, last.view.standing.clone());
            }
        }
    }
}

/// The newest counts that the server has told: those of the last decision once it has ended.
fn counts(view: &RolloutView) -> Option<Counts> {
    let live = view.live.as_ref().and_then(|live| evidence::counts(&live.verdict));
    let decided = evidence::counts(&view.verdict);
    match view.phase {
        Phase::Ended { .. } => decided.or(live),
        _ => live.or(decided),
    }
}

impl Toll {
    fn between(before: &Counts, after: &Counts, took: Duration) -> Self {
        let more = |count: fn(&Counts) -> u64| count(after).saturating_sub(count(before));
        Self {
            seconds: took.as_secs_f64(),
            canary_requests: more(|counts| counts.requests),
            rescued: more(|counts| counts.rescued),
            failed: more(|counts| counts.failed),
        }
    }

    fn told(&self) -> String {
        let Self { seconds, canary_requests, rescued, failed } = self;
        format!(
            "the fault lasted {seconds:.1} s and {canary_requests} canary requests, of which \
             {rescued} were rescued and {failed} failed"
        )
    }

    fn json(&self, fault: Fault, last: &Seen) -> Result<String, CliError> {
        #[derive(Serialize)]
        struct Drilled<'a> {
            fault: Fault,
            state: String,
            #[serde(flatten)]
            toll: &'a Toll,
            rollout: serde_json::Value,
        }
        let failed = |error: serde_json::Error| CliError::failed(error.to_string());
        let rollout = serde_json::from_str(&last.json).map_err(failed)?;
        let drilled = Drilled { fault, state: words::state(&last.view), toll: self, rollout };
        serde_json::to_string(&drilled).map_err(failed)
    }

    fn exit(&self, last: &Seen) -> Result<(), CliError> {
        let exit = match &last.view.phase {
            Phase::Ended { outcome: Outcome::RolledBack } => return Ok(()),
            Phase::Ended { outcome: Outcome::Promoted } => Exit::Failed,
            _ if wait::is_decided(&last.view) => Exit::Held,
            _ => Exit::WaitTimedOut,
        };
        let text = format!("not rolled back: {}", words::headline(&last.view));
        Err(CliError { exit, text })
    }
}

struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    fn new() -> Result<Self, CliError> {
        let listen =
            |kind| signal(kind).map_err(|error| CliError::io("listen for signals to stop", &error));
        let interrupt = listen(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: listen(SignalKind::terminate())? })
    }

    /// Resolves when somebody wants this command to end.
    async fn first(&mut self) -> CliError {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        CliError::failed("stopped; the fault is taken out of the canary again")
    }
}

/// A duration, which may be none.
fn wait_time(text: &str) -> Result<Duration, String> {
    let parsed = weighbridge_config::settings::units::parse_duration(text);
    parsed.ok_or_else(|| "wanted a duration, such as 30s".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0);
    share.ok_or_else(|| "wanted a number above 0 and up to 1".to_owned())
}

#[cfg(test)]
mod tests;
