//! Tells receivers of a rollout's transitions by webhook: signed, retried, bounded.
//!
//! * [`address`]: where a webhook may go. Pure; the admin API asks it when a spec comes.
//! * [`retry`]: when attempts are made.
//! * `post`: one attempt over the wire, to checked addresses only.
//! * `signature`, [`secret`]: what a receiver verifies. `docs/webhooks.md` is its side of it.
//!
//! Invariants: [`Notifier::notify`] never waits, whatever receivers do; what is under way is
//! bounded in number, time and memory. Deliveries do not outlive the process, and come in no
//! particular order: the ledger is the truth, a webhook says when to look at it.

pub mod address;
mod post;
pub mod retry;
pub mod secret;
mod signature;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_config::rollout::{Transition, Webhook};
use weighbridge_config::settings::Webhooks;

use crate::data_dir::DataDir;
use crate::telemetry::events;
use address::{AddressPolicy, Target};
use post::{Message, Post};
use retry::{Attempt, Ending, Outcome, Pace, retry};
use secret::{SecretError, Source};

/// The most deliveries under way, waits between attempts included. What comes on top is dropped.
const MOST_PENDING: usize = 512;
/// The most attempts at once.
const MOST_AT_ONCE: usize = 16;

/// Something to tell.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Those of the rollout's spec; who does not want this transition is left out.
    pub webhooks: Vec<Webhook>,
    pub transition: Transition,
    /// The body, as JSON.
    pub body: Value,
}

/// Delivers notifications. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Notifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    policy: Arc<AddressPolicy>,
    post: Post,
    secret: Source,
    pace: Pace,
    pending: Arc<Semaphore>,
    slots: Semaphore,
    tasks: TaskTracker,
    runtime: Handle,
    stop: CancellationToken,
}

impl Notifier {
    /// Reads or makes the secret. Deliveries run on `tasks`, on the runtime of the caller, and
    /// end soon after `stop`.
    ///
    /// # Errors
    /// The secret cannot be read, made or used.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn open(
        settings: &Webhooks,
        data_dir: &DataDir,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Result<Self, SecretError> {
        let secret = Source::open(&settings.secret_file, data_dir)?;
        let policy = Arc::new(AddressPolicy::new(settings.allow.clone()));
        let post = Post::new(Arc::clone(&policy), post::system_lookup(), Vec::new());
        Ok(Self::with(policy, post, secret, Pace::USUAL, MOST_PENDING, tasks, stop))
    }

    fn with(
        policy: Arc<AddressPolicy>,
        post: Post,
        secret: Source,
        pace: Pace,
        most_pending: usize,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (pending, slots) = (Semaphore::new(most_pending), Semaphore::new(MOST_AT_ONCE));
        let (pending, runtime) = (Arc::new(pending), Handle::current());
        Self(Arc::new(Inner { policy, post, secret, pace, pending, slots, tasks, runtime, stop }))
    }

    /// Where webhooks may go: for the check of a spec that is submitted.
    pub fn policy(&self) -> &AddressPolicy {
        &self.0.policy
    }

    /// Begins to tell everyone who wants to hear of it, and returns at once.
    pub fn notify(&self, notification: Notification) {
        let Notification { webhooks, transition, body } = notification;
        let wants = |webhook: &&Webhook| webhook.on.is_empty() || webhook.on.contains(&transition);
        let mut receivers = webhooks.iter().filter(wants).peekable();
        if receivers.peek().is_none() {
            return;
        }
        let body = Bytes::from(body.to_string());
        for webhook in receivers {
            let message = Message {
                event: format!("rollout.{}", transition.word()),
                delivery: format!("wd-{:032x}", rand::random::<u128>()),
                body: body.clone(),
            };
            self.begin(&webhook.url, message);
        }
    }

    fn begin(&self, url: &str, message: Message) {
        let target = match self.0.policy.target(url) {
            Ok(target) => target,
            // The settings may have changed since the spec came.
            Err(forbidden) => {
                let reason = forbidden.to_string();
                let ending = Ending { outcome: Outcome::Forbidden, attempts: 0, reason };
                return events::webhook_ended("", &message.event, &message.delivery, &ending);
            }
        };
        let Ok(permit) = Arc::clone(&self.0.pending).try_acquire_owned() else {
            return events::webhook_dropped(&target.origin(), &message.event);
        };
        let own = Arc::clone(&self.0);
        let delivery = async move {
            let _permit = permit;
            let ending = own.deliver(&target, &message).await;
            let Message { event, delivery, .. } = &message;
            events::webhook_ended(&target.origin(), event, delivery, &ending);
        };
        self.0.tasks.spawn_on(delivery, &self.0.runtime);
    }
}

impl Inner {
    async fn deliver(&self, target: &Target, message: &Message) -> Ending {
        let attempt = async || match self.secret.secret().await {
            Ok(secret) => self.post.attempt(target, message, &secret).await,
            Err(error) => Attempt::Failed {
                reason: crate::edge::problem::chain(&error),
                not_before: std::time::Duration::ZERO,
            },
        };
        retry(&self.pace, &self.slots, &self.stop, attempt).await
    }
}

#[cfg(test)]
mod tests;
