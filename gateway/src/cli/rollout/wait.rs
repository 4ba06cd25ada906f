//! `rollout start --wait`: for pipelines, which read the exit code.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::client::{Answer, Client};
use crate::cli::error::{CliError, Exit};
use crate::cli::progress::Steps;
use crate::cli::show;
use crate::cli::wire::{Outcome, Phase, RolloutView, Standing};

use super::follow::{Follower, Seen};
use super::{verdict, words};

/// A hard fault is decided within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// A decision is seen this late at most.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Waits for the end of the rollout that `started` is about, and shows it.
pub async fn run(
    client: &Client,
    started: &Answer,
    timeout: Option<Duration>,
    json: bool,
) -> Result<(), CliError> {
    let first = Seen::of(started)?;
    let mut follower = Follower::of(client, &first.view);
    let steps = Steps::new();
    let tell = |view: &RolloutView| steps.tell(&words::headline(view));
    let last = until_decided(&mut follower, first, timeout, tell).await?;
    drop(steps);
    match json {
        true => show::print(&last.json)?,
        false => show::print(&verdict(client, &last.view).await)?,
    }
    match exit_of(&last.view) {
        None => Ok(()),
        Some(exit) => Err(CliError { exit, text: words::headline(&last.view) }),
    }
}

/// Follows a rollout until it needs no more waiting, or `timeout` is over. `tell` hears each new
/// state.
pub async fn until_decided(
    follower: &mut Follower<'_>,
    first: Seen,
    timeout: Option<Duration>,
    mut tell: impl FnMut(&RolloutView),
) -> Result<Seen, CliError> {
    let began = Instant::now();
    let (mut last, mut told, mut pause) = (first, None, FIRST_PAUSE);
    loop {
        let state = words::state(&last.view);
        if told.as_ref() != Some(&state) {
            tell(&last.view);
            told = Some(state);
        }
        let left = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(began.elapsed()));
        if is_decided(&last.view) || left.is_zero() {
            return Ok(last);
        }
        sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        last = follower.look().await?.unwrap_or(last);
    }
}

/// Whether nothing will happen any more unless somebody does something.
pub fn is_decided(view: &RolloutView) -> bool {
    exit_of(view) != Some(Exit::WaitTimedOut)
}

/// The exit code that stands for a state; None for a promotion.
fn exit_of(view: &RolloutView) -> Option<Exit> {
    match (&view.phase, &view.standing) {
        (Phase::Ended { outcome: Outcome::Promoted }, _) => None,
        (Phase::Ended { outcome: Outcome::RolledBack }, _) => Some(Exit::RolledBack),
        (Phase::Ended { outcome: Outcome::Ended }, _) | (_, Standing::Held { .. }) => {
            Some(Exit::Held)
        }
        (_, Standing::WaitsForApproval) => Some(Exit::WaitsForApproval),
        // Somebody has paused it, and will resume it.
        (_, Standing::Running | Standing::Paused | Standing::Other) => Some(Exit::WaitTimedOut),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::rollout::tests::{ended, view};

    #[test]
    fn exit_codes_follow_the_state() {
        let standing = |standing: Value| {
            let mut view = view();
            for (key, value) in standing.as_object().unwrap() {
                view[key] = value.clone();
            }
            view
        };
        for (view, code) in [
            (ended("promoted"), 0),
            (ended("rolled_back"), 10),
            (ended("ended"), 11),
            (standing(json!({"standing": "held", "held_reason": "inconclusive"})), 11),
            (standing(json!({"standing": "running"})), 12),
            (standing(json!({"standing": "paused"})), 12),
            (standing(json!({"standing": "waits_for_approval"})), 13),
        ] {
            let parsed: RolloutView = serde_json::from_value(view.clone()).unwrap();
            assert_eq!(exit_of(&parsed).map_or(0, |exit| exit as u8), code, "{view}");
            assert_eq!(is_decided(&parsed), code != 12, "{view}");
        }
    }
}
