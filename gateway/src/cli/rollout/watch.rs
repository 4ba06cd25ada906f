//! `rollout watch`: a screen that is drawn anew on a terminal, lines elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use weighbridge_config::ModelName;
use weighbridge_registry::Event;

use crate::cli::client::Client;
use crate::cli::error::CliError;
use crate::cli::wire::{LiveRollout, Phase, RolloutView, Why, model_path};
use crate::cli::{Globals, show};

use super::follow::{Follower, Seen};
use super::{evidence, verdict, words};

const PAUSE: Duration = Duration::from_millis(500);
/// How often a line is written while nothing but numbers changes.
const QUIET: Duration = Duration::from_secs(10);
/// How many of the last transitions are shown.
const TRANSITIONS: usize = 5;

pub async fn run(name: &ModelName, globals: &Globals) -> Result<(), CliError> {
    let client = globals.client()?;
    let first = Seen::of(&client.get(&model_path(name, "rollout")).await?)?;
    let mut follower = Follower::of(&client, &first.view);
    let mut out = match (globals.json, std::io::stdout().is_terminal()) {
        (true, _) => Out::lines(|seen| seen.json.clone()),
        (false, false) => Out::lines(|seen| line(&seen.view)),
        (false, true) => Out::screen(),
    };
    let last = until_ended(&client, &mut follower, first, &mut out, PAUSE).await?;
    drop(out);
    match globals.json {
        true => Ok(()),
        false => show::print(&verdict(&client, &last.view).await),
    }
}

/// Shows each answer until the rollout has ended, which it returns.
async fn until_ended(
    client: &Client,
    follower: &mut Follower<'_>,
    first: Seen,
    out: &mut Out,
    pause: Duration,
) -> Result<Seen, CliError> {
    let mut last = first;
    let mut step = StepShare::default();
    let (mut revision, mut transitions) = (None, Vec::new());
    loop {
        if out.is_screen() && revision != Some(last.view.revision) {
            revision = Some(last.view.revision);
            transitions = last_transitions(client, &last.view).await.unwrap_or(transitions);
        }
        out.show(&last, step.at(&last.view), &transitions)?;
        if matches!(last.view.phase, Phase::Ended { .. }) {
            return Ok(last);
        }
        sleep(pause).await;
        last = follower.look().await?.unwrap_or(last);
    }
}

/// Where the answers are shown.
enum Out {
    Screen(ProgressBar),
    Lines { of: fn(&Seen) -> String, state: String, at: Option<Instant> },
}

impl Out {
    fn screen() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
        let style = ProgressStyle::with_template("{msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Self::Screen(bar)
    }

    fn lines(of: fn(&Seen) -> String) -> Self {
        Self::Lines { of, state: String::new(), at: None }
    }

    fn is_screen(&self) -> bool {
        matches!(self, Self::Screen(_))
    }

    fn show(
        &mut self,
        seen: &Seen,
        share: Option<f64>,
        transitions: &[String],
    ) -> Result<(), CliError> {
        match self {
            Self::Screen(bar) => {
                bar.set_message(show::printable(&screen(&seen.view, share, transitions)));
                bar.tick();
            }
            Self::Lines { of, state, at } => {
                let now = words::state(&seen.view);
                let is_due = at.is_none_or(|at| at.elapsed() >= QUIET);
                if now != *state || is_due {
                    show::print(&of(seen))?;
                    (*state, *at) = (now, Some(Instant::now()));
                }
            }
        }
        Ok(())
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        if let Self::Screen(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// The share of the traffic that the canary has had at this step, as far as it was watched.
#[derive(Debug, Default)]
struct StepShare {
    /// The phase, and the canary's and stable's requests when it was first seen.
    since: Option<(Phase, u64, u64)>,
}

impl StepShare {
    /// In percent; None until there was a request.
    fn at(&mut self, view: &RolloutView) -> Option<f64> {
        let LiveRollout { canary_requests, stable_requests, .. } = view.live.as_ref()?;
        let since = self.since.take().filter(|(phase, ..)| *phase == view.phase);
        let (phase, canary, stable) =
            since.unwrap_or((view.phase.clone(), *canary_requests, *stable_requests));
        let more = |now: &u64, then: u64| now.saturating_sub(then) as f64;
        let (to_canary, to_stable) = (more(canary_requests, canary), more(stable_requests, stable));
        self.since = Some((phase, canary, stable));
        let all = to_canary + to_stable;
        (all > 0.0).then(|| 100.0 * to_canary / all)
    }
}

/// The last moves of a rollout, newest first; None when they cannot be had now.
async fn last_transitions(client: &Client, view: &RolloutView) -> Option<Vec<String>> {
    let path = model_path(&view.model, "rollout/why");
    let answer = client.list(&path, &[("number", view.number.to_string())]).await.ok()?;
    let why: Why = answer.parse().ok()?;
    let events = why.decisions.iter().rev().filter_map(|event| Event::deserialize(event).ok());
    let told = events.map(|event| {
        let Event { at, action, actor_name, .. } = event;
        format!("{}  {action}  {actor_name}", show::time(at))
    });
    Some(told.take(TRANSITIONS).collect())
}

/// One line for a log.
fn line(view: &RolloutView) -> String {
    let mut parts = vec![words::headline(view)];
    if let Some(live) = &view.live {
        parts.push(words::requests(live));
        parts.extend(words::eta(view).map(|eta| format!("next step in {eta}")));
        let streams = evidence::words(&evidence::streams(&live.verdict));
        parts.extend((!streams.is_empty()).then_some(streams));
    }
    parts.join("; ")
}

/// The screen: headline, weight, bars, the last transitions.
fn screen(view: &RolloutView, share: Option<f64>, transitions: &[String]) -> String {
    let mut lines = vec![words::headline(view)];
    if let Some(live) = &view.live {
        let share = share.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}%"));
        lines.push(format!(
            "weight {}% set, {share} since this began; {}",
            live.weight,
            words::requests(live)
        ));
        lines.extend(words::eta(view).map(|eta| format!("next step in {eta}")));
        let bars = evidence::lines(&evidence::streams(&live.verdict));
        lines.push(String::new());
        match bars.is_empty() {
            true => lines.extend(live.text.trim_end().lines().map(str::to_owned)),
            false => lines.extend(bars),
        }
    }
    if !transitions.is_empty() {
        lines.push(String::new());
        lines.extend_from_slice(transitions);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::rollout::tests::{ended, live, view};

    fn parsed(view: Value) -> RolloutView {
        serde_json::from_value(view).unwrap()
    }

    fn with_streams() -> RolloutView {
        let mut view = view();
        view["live"] = live(312, 5878, "HOLD no-data");
        view["live"]["eta_s"] = json!(61);
        view["live"]["verdict"] = json!({"seen": {"streams": [
            {"stream": "err", "log_e": 12_f64.ln(), "log_e_required": 250_f64.ln()},
        ]}});
        parsed(view)
    }

    #[test]
    fn a_line_says_what_a_log_needs() {
        let wanted = "fraud: rollout 3 (1 → 2), step 2 of 4 (2.5%); 312 of 6190 requests, 2 rescued; \
                      next step in 1m 1s at the present rate; err 12 of 250 : 1";
        assert_eq!(line(&with_streams()), wanted);
        assert_eq!(line(&parsed(ended("promoted"))), "fraud: rollout 3 (1 → 2), promoted");
    }

    #[test]
    fn the_screen_shows_bars_else_the_text() {
        let moves = vec!["2026-11-22T10:00:00Z  rollout.advanced  controller".to_owned()];
        let shown = screen(&with_streams(), Some(2.4), &moves);
        let lines: Vec<&str> = shown.lines().collect();
        assert_eq!(
            lines[1],
            "weight 2.5% set, 2.40% since this began; 312 of 6190 requests, 2 rescued"
        );
        assert!(lines[5].starts_with("err  [#####---"), "{shown}");
        assert_eq!(lines.last(), Some(&moves[0].as_str()));
        assert!(!shown.contains("no-data"));

        let mut plain = view();
        plain["live"] = live(0, 0, "HOLD no-data\nmore");
        let shown = screen(&parsed(plain), None, &[]);
        assert!(shown.contains("weight 2.5% set, - since") && shown.ends_with("no-data\nmore"));
    }

    #[test]
    fn the_share_is_that_of_the_present_step() {
        let at = |step: u32, canary: u64, stable: u64| {
            let mut view = view();
            view["step"] = json!(step);
            view["live"] = live(canary, stable, "");
            parsed(view)
        };
        let mut share = StepShare::default();
        assert_eq!(share.at(&at(0, 10, 990)), None);
        assert_eq!(share.at(&at(0, 20, 1080)), Some(10.0));
        assert_eq!(share.at(&at(1, 30, 1090)), None, "a new step begins");
        assert_eq!(share.at(&at(1, 80, 1140)), Some(50.0));
        assert_eq!(share.at(&parsed(ended("promoted"))), None);
    }

    #[test]
    fn lines_are_written_when_the_state_changes() {
        let mut out = Out::lines(|seen| seen.json.clone());
        let seen = |view: Value| Seen { json: view.to_string(), view: parsed(view) };
        let states = [view(), view(), ended("promoted")];
        let mut written = Vec::new();
        for state in states {
            let before = match &out {
                Out::Lines { at, .. } => *at,
                Out::Screen(_) => None,
            };
            out.show(&seen(state), None, &[]).unwrap();
            let Out::Lines { at, .. } = &out else { panic!("lines") };
            written.push(*at != before);
        }
        assert_eq!(written, [true, false, true]);
    }
}
