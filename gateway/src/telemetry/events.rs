//! Things that happen. Each is emitted from one line, which writes its metrics (and its log
//! line where it has one) together. Handles of hot metrics are resolved once.
#![expect(clippy::disallowed_macros, reason = "the one room that records metrics")]

use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use weighbridge_config::{ModelName, Version};

use crate::edge::problem::{Kind, Problem};
use crate::edge::request_id::RequestId;
use crate::notify::retry::{Ending, Outcome};
use crate::serving::batch::CloseReason;
use crate::telemetry::names;
pub use crate::telemetry::rollouts::{rescued, rollout_looked_at, rollout_moved, written_off};
use crate::telemetry::tally::Tally;

/// Metrics of one version.
pub struct VersionMetrics {
    labels: [(&'static str, String); 2],
    ok: Counter,
    total: Histogram,
    queued: Histogram,
    computed: Histogram,
    batch_rows: Histogram,
    batches: [Counter; CloseReason::ALL.len()],
    pub tally: Tally,
}

impl VersionMetrics {
    /// Handles for the version's series.
    pub fn new(model: &ModelName, version: Version) -> Self {
        let labels = [("model", model.to_string()), ("version", version.to_string())];
        let with = |name: &'static str, value: &'static str| {
            let [model, version] = labels.clone();
            [model, version, (name, value.to_owned())]
        };
        Self {
            ok: counter!(names::REQUESTS, &with("outcome", "ok")),
            total: histogram!(names::REQUEST_SECONDS, &labels),
            queued: histogram!(names::QUEUE_SECONDS, &labels),
            computed: histogram!(names::COMPUTE_SECONDS, &labels),
            batch_rows: histogram!(names::BATCH_ROWS, &labels),
            batches: CloseReason::ALL.map(|r| counter!(names::BATCHES, &with("close", r.name()))),
            labels,
            tally: Tally::default(),
        }
    }

    /// A prediction was answered.
    pub fn answered(&self, total: Duration, queued: Duration, computed: Duration) {
        self.tally.answered(total, queued, computed);
        self.ok.increment(1);
        self.total.record(total);
        self.queued.record(queued);
    }

    /// A prediction failed after its version was decided.
    pub fn failed(&self, kind: Kind, total: Duration) {
        self.tally.failed(total);
        let [model, version] = self.labels.clone();
        let labels = [model, version, ("outcome", kind.name().to_owned())];
        counter!(names::REQUESTS, &labels).increment(1);
        self.total.record(total);
    }

    /// A run ended.
    pub fn batch(&self, rows: usize, computed: Duration, close: CloseReason) {
        self.tally.ran(rows, computed);
        self.computed.record(computed);
        self.batch_rows.record(rows as f64);
        self.batches[close.index()].increment(1);
    }
}

impl std::fmt::Debug for VersionMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VersionMetrics({:?})", self.labels)
    }
}

/// Metrics of one model's queue.
pub struct QueueMetrics {
    rows: Gauge,
    abandoned: Counter,
    expired: Counter,
}

impl QueueMetrics {
    /// Handles for the model's series.
    pub fn new(model: &ModelName) -> Self {
        let model = model.to_string();
        Self {
            rows: gauge!(names::QUEUE_ROWS, "model" => model.clone()),
            abandoned: counter!(names::DROPPED, "model" => model.clone(), "reason" => "abandoned"),
            expired: counter!(names::DROPPED, "model" => model, "reason" => "expired"),
        }
    }

    /// So many rows wait now.
    pub fn waiting(&self, rows: usize) {
        self.rows.set(rows as f64);
    }

    /// Entries left the queue without a run.
    pub fn dropped(&self, abandoned: usize, expired: usize) {
        if abandoned > 0 {
            self.abandoned.increment(abandoned as u64);
        }
        if expired > 0 {
            self.expired.increment(expired as u64);
        }
    }
}

impl std::fmt::Debug for QueueMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueMetrics")
    }
}

/// A prediction of a known model was refused before it was queued. Names that clients made up
/// never become labels.
pub fn refused(model: &ModelName, kind: Kind) {
    counter!(names::REFUSED, "model" => model.to_string(), "reason" => kind.name()).increment(1);
}

/// A message of a stream failed. The layers of the edge see the stream's beginning alone.
pub fn failed_in_stream(id: Option<&RequestId>, problem: &Problem) {
    // Of what comes in floods the client is told, as over REST where some lines each second are
    // written.
    if problem.kind.comes_in_floods() {
        return;
    }
    let request_id = id.map_or("", RequestId::as_str);
    let cause = problem.cause.as_deref().unwrap_or("");
    tracing::warn!(listener = "data", request_id, error = %problem.detail, cause, "failed");
}

/// A client's TLS handshake failed on what one of the two showed.
pub fn handshake_refused(listener: &'static str) {
    counter!(names::HANDSHAKES_REFUSED, "listener" => listener).increment(1);
}

/// Answers that were given up on one connection.
pub fn answers_unread(count: usize) {
    tracing::info!(count, "answers given up: the client did not read on");
    counter!(names::ANSWERS_UNREAD).increment(count as u64);
}

/// Somebody was not let in; `reason` is a word of this code.
pub fn auth_refused(listener: &'static str, reason: &'static str) {
    counter!(names::AUTH_REFUSED, "listener" => listener, "reason" => reason).increment(1);
}

/// A tenant has used up a limit of a known model: `requests`, `rows` or `quota`.
pub fn limited(model: &str, limit: &'static str) {
    counter!(names::LIMITED, "model" => model.to_owned(), "limit" => limit).increment(1);
}

/// Changed settings were taken over, or could not be.
pub fn reloaded(is_ok: bool) {
    let outcome = if is_ok { "ok" } else { "refused" };
    counter!(names::RELOADS, "outcome" => outcome).increment(1);
}

/// A request to a sticky model carried no key.
pub fn no_sticky_key(model: &ModelName) {
    counter!(names::NO_STICKY_KEY, "model" => model.to_string()).increment(1);
}

/// Counts answers of one listener by status code.
pub struct HttpMetrics {
    listener: &'static str,
    ok: Counter,
}

impl HttpMetrics {
    /// Counters of `listener`.
    pub fn new(listener: &'static str) -> Self {
        let ok = counter!(names::HTTP_REQUESTS, "listener" => listener, "status" => "200");
        Self { listener, ok }
    }

    /// An answer was given.
    pub fn answered(&self, status: http::StatusCode) {
        if status == http::StatusCode::OK {
            return self.ok.increment(1);
        }
        let status = status.as_u16().to_string();
        counter!(names::HTTP_REQUESTS, "listener" => self.listener, "status" => status)
            .increment(1);
    }
}

impl std::fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpMetrics({})", self.listener)
    }
}

/// A version was loaded, or could not be; `purpose` is what for.
pub fn loaded(
    model: &ModelName,
    version: Version,
    purpose: &'static str,
    outcome: Result<Duration, &str>,
) {
    let word = if outcome.is_ok() { "ok" } else { "failed" };
    counter!(names::LOADS, "model" => model.to_string(), "outcome" => word).increment(1);
    match outcome {
        Ok(took) => {
            let took_ms = took.as_millis() as u64;
            tracing::info!(%model, %version, purpose, took_ms, "loaded");
        }
        Err(reason) => tracing::error!(%model, %version, purpose, reason, "could not load"),
    }
}

/// A version left memory to make room.
pub fn put_away(model: &ModelName, version: Version) {
    counter!(names::PUT_AWAY, "model" => model.to_string()).increment(1);
    tracing::info!(%model, %version, "put away to make room");
}

/// A routing snapshot came into force. `used` and `budget` are bytes of memory.
pub fn published(revision: u64, loaded_versions: usize, used: u64, budget: u64) {
    gauge!(names::LOADED_BYTES).set(used as f64);
    gauge!(names::MEMORY_BUDGET).set(budget as f64);
    gauge!(names::SNAPSHOT_REVISION).set(revision as f64);
    gauge!(names::LOADED_VERSIONS).set(loaded_versions as f64);
}

/// The registry could not be read: the snapshot in force stays.
pub fn registry_unreadable(error: &weighbridge_registry::Error) {
    counter!(names::REGISTRY_ERRORS).increment(1);
    tracing::warn!(
        error = crate::edge::problem::chain(error),
        "cannot read the registry; serving goes on"
    );
}

/// A webhook ended. `to` is the receiver without the path, which may be a secret.
pub fn webhook_ended(to: &str, event: &str, delivery: &str, ending: &Ending) {
    let Ending { outcome, attempts, reason } = ending;
    counter!(names::WEBHOOK_DELIVERIES, "outcome" => outcome.name()).increment(1);
    match outcome {
        Outcome::Delivered => tracing::info!(to, event, delivery, attempts, "webhook delivered"),
        _ => {
            tracing::warn!(to, event, delivery, attempts, reason, %outcome, "webhook not delivered")
        }
    }
}

/// A webhook was not even tried.
pub fn webhook_dropped(to: &str, event: &str) {
    counter!(names::WEBHOOKS_DROPPED).increment(1);
    tracing::warn!(to, event, "webhook dropped: too many are under way");
}

/// What the process uses now.
pub fn process(resident_bytes: u64, cpu_seconds: f64) {
    gauge!(names::RESIDENT_BYTES).set(resident_bytes as f64);
    gauge!(names::CPU_SECONDS).set(cpu_seconds);
}
