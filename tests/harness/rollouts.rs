//! Rollouts, as scenarios drive them.

use http::Method;
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::gateway::Gateway;
use crate::open_loop::OpenLoop;
use crate::wait;

/// A spec that moves fast: short steps, no shadow stage, no warm-up, and promotion margins that
/// a few hundred requests can prove. Its rollback margins are the usual ones.
pub fn quick_spec() -> Value {
    json!({
        "steps": [10, 50],
        "shadow": {"requests": 0},
        "step_min": "500ms",
        "step_max": "10m",
        "warm_up": {"time": "0s", "requests": 0},
        "err": {"promote_pp": 20.0, "harm": 0.1},
        "latency": {"promote_scale": 10.0, "harm": 0.2},
    })
}

/// A row of the fault models: `x` FP32 `[1, 4]`.
pub fn row(x: [f32; 4]) -> Value {
    crate::gateway::fp32("x", &[x])
}

impl Gateway {
    /// Starts a rollout; the answer may be a refusal.
    pub async fn try_rollout(&self, model: &str, to: u64, spec: &Value) -> Answer {
        let path = format!("/admin/v1/models/{model}/rollouts");
        self.admin.post(&path, &json!({"to": to, "spec": spec})).await
    }

    /// Starts a rollout that must be accepted.
    pub async fn start_rollout(&self, model: &str, to: u64, spec: &Value) -> Value {
        self.try_rollout(model, to, spec).await.expect(201).json()
    }

    /// The active rollout of a model, or the latest.
    pub async fn rollout(&self, model: &str) -> Value {
        self.admin.get(&format!("/admin/v1/models/{model}/rollout")).await.expect(200).json()
    }

    /// Why it stands where it stands.
    pub async fn why(&self, model: &str) -> Value {
        self.admin.get(&format!("/admin/v1/models/{model}/rollout/why")).await.expect(200).json()
    }

    /// Moves a rollout by hand.
    pub async fn rollout_verb(&self, model: &str, verb: &str) -> Answer {
        let path = format!("/admin/v1/models/{model}/rollout/{verb}");
        self.admin.ask(Method::POST, &path).send().await
    }

    /// Waits until the rollout `is_there`.
    pub async fn rollout_until(&self, model: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        wait::until_within(std::time::Duration::from_secs(120), "the rollout moves", async || {
            let rollout = self.rollout(model).await;
            is_there(&rollout).then_some(rollout)
        })
        .await
    }

    /// Waits until the rollout has ended.
    pub async fn rollout_ended(&self, model: &str) -> Value {
        self.rollout_until(model, |r| r["phase"] == "ended").await
    }

    /// Sends `body` so many times a second until the load is ended.
    pub fn load(
        &self,
        model: &str,
        per_second: u32,
        body: Value,
    ) -> OpenLoop<reqwest::Result<Answer>> {
        let (data, path) = (self.data.clone(), format!("/v2/models/{model}/infer"));
        OpenLoop::begin(per_second, move |_| {
            let ask = data.ask(Method::POST, &path).json(&body);
            async move { ask.try_send().await }
        })
    }
}
