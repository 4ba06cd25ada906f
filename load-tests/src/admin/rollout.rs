//! Rollouts as the admin API shows them. Only what is looked at is named: the rest may change.

use serde::Deserialize;
use serde_json::Value;

use super::plain;

/// A rollout.
#[derive(Debug, Clone, Deserialize)]
pub struct RolloutView {
    pub number: u64,
    /// `shadow`, `live` or `ended`.
    pub phase: String,
    /// Of phase `live`, from 0.
    pub step: Option<usize>,
    /// Of phase `ended`: `promoted`, `rolled_back` or `ended`.
    pub outcome: Option<String>,
    /// `running`, `paused`, `waits_for_approval` or `held`.
    pub standing: String,
    pub held_reason: Option<Value>,
    /// Unix milliseconds.
    pub started_at: u64,
    pub ended_at: Option<u64>,
    pub reason: Option<String>,
    /// Of the last decision.
    pub verdict: Option<Value>,
    /// What the gateway sees at the moment.
    pub live: Option<Live>,
}

/// The evidence of the moment.
#[derive(Debug, Clone, Deserialize)]
pub struct Live {
    pub verdict: Option<Value>,
    pub text: Option<String>,
    /// The canary's, in percent.
    pub weight: Option<f64>,
    pub canary_requests: Option<u64>,
    pub rescued: Option<u64>,
}

/// The answer to "why".
#[derive(Debug, Clone, Deserialize)]
pub struct Why {
    pub text: String,
    #[serde(default)]
    pub verdict: Value,
    /// `same` tells whether the stored evidence gives the same decision again.
    #[serde(default)]
    pub replayed: Value,
}

impl RolloutView {
    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.phase == "ended"
    }

    /// The latest verdict there is.
    pub fn latest_verdict(&self) -> Option<&Value> {
        self.live.as_ref().and_then(|live| live.verdict.as_ref()).or(self.verdict.as_ref())
    }

    /// Why it does not go on: the standing's reason, or that of a hold that passes by itself.
    pub fn held(&self) -> Option<String> {
        if self.standing == "held" {
            return Some(self.held_reason.as_ref().map_or_else(|| "held".to_owned(), plain));
        }
        let verdict = self.latest_verdict()?;
        let is_hold = matches!(verdict["decision"].as_str(), Some("hold" | "stop"));
        let because = &verdict["because"];
        is_hold.then(|| because["hold"].as_str().map_or_else(|| plain(because), str::to_owned))
    }

    /// Where it is, in a few words.
    pub fn place(&self) -> String {
        let phase = match (&self.step, &self.outcome) {
            (_, Some(outcome)) => outcome.clone(),
            (Some(step), None) => format!("{} step {}", self.phase, step + 1),
            (None, None) => self.phase.clone(),
        };
        match self.held() {
            Some(reason) if !self.has_ended() => format!("{phase}, held: {reason}"),
            _ if self.standing == "running" || self.has_ended() => phase,
            _ => format!("{phase}, {}", self.standing),
        }
    }
}

/// The canary's requests in a verdict: all of them, and those that count as evidence.
pub fn canary_requests(verdict: &Value) -> Option<(u64, u64)> {
    let of = |part: &str| {
        let canary = &verdict["seen"][part]["canary"];
        let number = |name: &str| canary[name].as_u64();
        Some(number("ok")? + number("err")? + number("client_error")?)
    };
    Some((of("total")?, of("counted")?))
}
