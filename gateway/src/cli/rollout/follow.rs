//! Following one rollout by asking for it again and again. It goes on through a restart of the
//! server, and so does whoever follows it.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use weighbridge_config::ModelName;

use crate::cli::client::{Answer, Client, Polled};
use crate::cli::error::CliError;
use crate::cli::wire::{RolloutView, model_path};

/// How long a server may be away: it may load its models again meanwhile.
const PATIENCE: Duration = Duration::from_secs(120);

/// A rollout, as the server told it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub view: RolloutView,
    /// The same as it came, for scripts.
    pub json: String,
}

impl Seen {
    pub fn of(answer: &Answer) -> Result<Self, CliError> {
        Ok(Self { view: answer.parse()?, json: answer.body.trim_end().to_owned() })
    }
}

/// Asks for one rollout, which need not be its model's latest any more.
#[derive(Debug)]
pub struct Follower<'a> {
    client: &'a Client,
    model: ModelName,
    id: String,
    answered: Instant,
    patience: Duration,
}

impl<'a> Follower<'a> {
    pub fn of(client: &'a Client, view: &RolloutView) -> Self {
        let (model, id) = (view.model.clone(), view.id.clone());
        Self { client, model, id, answered: Instant::now(), patience: PATIENCE }
    }

    /// The rollout now; None while the server is away, for a while.
    pub async fn look(&mut self) -> Result<Option<Seen>, CliError> {
        let Some(answer) = self.ask("rollout").await? else { return Ok(None) };
        let seen = Seen::of(&answer)?;
        if seen.view.id == self.id {
            return Ok(Some(seen));
        }
        // It has ended, and somebody has started another one.
        let Some(answer) = self.ask("rollouts").await? else { return Ok(None) };
        let listing: Value = answer.parse()?;
        let mut all = listing["rollouts"].as_array().into_iter().flatten();
        let Some(own) = all.find(|one| one["id"] == self.id.as_str()) else {
            let (model, id) = (&self.model, &self.id);
            let told = format!("the server knows no rollout {id} of {model} any more");
            return Err(CliError::failed(told));
        };
        let json = own.to_string();
        let view = serde_json::from_str(&json).map_err(|error| {
            CliError::failed(format!(
                "a rollout of {} is not what was expected: {error}",
                answer.url
            ))
        })?;
        Ok(Some(Seen { view, json }))
    }

    async fn ask(&mut self, below: &str) -> Result<Option<Answer>, CliError> {
        match self.client.poll(&model_path(&self.model, below)).await? {
            Polled::Answer(answer) => {
                self.answered = Instant::now();
                Ok(Some(answer))
            }
            Polled::Away(_) if self.answered.elapsed() < self.patience => Ok(None),
            Polled::Away(mut error) => {
                let model = &self.model;
                let hint = format!("\nits rollout goes on: weighbridge rollout status {model}");
                error.text.push_str(&hint);
                Err(error)
            }
        }
    }

    /// Fewer seconds of patience, for tests.
    #[cfg(test)]
    pub fn impatient(mut self) -> Self {
        self.patience = Duration::ZERO;
        self
    }
}
