//! Every metric, its unit, its labels and what it means; the catalogue in the README follows
//! this table.
//!
//! Labels come from closed sets: models and versions of the registry, and words of this code.
#![expect(clippy::disallowed_macros, reason = "the catalogue describes its metrics")]

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// One metric of the catalogue. Counters gain the suffix `_total` where they are shown.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub labels: &'static [&'static str],
    pub kind: Kind,
    pub help: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

macro_rules! catalogue {
    ($($constant:ident = $name:literal, $kind:ident, [$($label:literal),*], $help:literal;)*) => {
        $(pub const $constant: &str = $name;)*
        /// All metrics.
        pub const CATALOGUE: &[Metric] = &[$(Metric {
            name: $name, labels: &[$($label),*], kind: Kind::$kind, help: $help,
        }),*];
    };
}

catalogue! {
    REQUESTS = "weighbridge_requests", Counter, ["model", "version", "outcome"],
        "predictions by outcome: ok, or the short name of the problem";
    REQUEST_SECONDS = "weighbridge_request_seconds", Histogram, ["model", "version"],
        "arrival of a prediction to its outputs, before they are encoded";
    QUEUE_SECONDS = "weighbridge_queue_seconds", Histogram, ["model", "version"],
        "arrival in the queue to the start of the run";
    COMPUTE_SECONDS = "weighbridge_compute_seconds", Histogram, ["model", "version"],
        "one run of the model, whole batch";
    BATCH_ROWS = "weighbridge_batch_rows", Histogram, ["model", "version"],
        "rows that shared a run";
    BATCHES = "weighbridge_batches", Counter, ["model", "version", "close"],
        "runs by the reason that closed the batch: full, idle-worker, single";
    QUEUE_ROWS = "weighbridge_queue_rows", Gauge, ["model"],
        "rows that wait now";
    DROPPED = "weighbridge_dropped", Counter, ["model", "reason"],
        "entries dropped before they ran: abandoned, expired";
    REFUSED = "weighbridge_refused", Counter, ["model", "reason"],
        "predictions refused before they were queued: by the short name of the problem";
    AUTH_REFUSED = "weighbridge_auth_refused", Counter, ["listener", "reason"],
        "requests that were not let in: missing, malformed, unknown_key, revoked_key, expired_key, unknown_certificate, expired_certificate, expired_token, not_yet_valid, wrong_audience, wrong_issuer, wrong_algorithm, unknown_key_id, bad_signature, bad_claim, no_keys, no_scope";
    HANDSHAKES_REFUSED = "weighbridge_tls_handshakes_refused", Counter, ["listener"],
        "TLS handshakes that failed: certificates that are not trusted, have ended or cannot be read, versions that are too old";
    ANSWERS_UNREAD = "weighbridge_answers_unread", Counter, [],
        "answers that were given up because their client did not read on";
    LIMITED = "weighbridge_limited", Counter, ["model", "limit"],
        "requests refused because a tenant had used up its rate of requests or rows, or its quota";
    RELOADS = "weighbridge_settings_reloads", Counter, ["outcome"],
        "attempts to take over changed settings: ok, refused";
    NO_STICKY_KEY = "weighbridge_no_sticky_key", Counter, ["model"],
        "requests to a sticky model that carried no key";
    RESCUED = "weighbridge_rescued", Counter, ["model", "version"],
        "predictions that stable answered because this version, on trial, failed or overran";
    WRITTEN_OFF = "weighbridge_runs_written_off", Counter, ["model", "version"],
        "runs that did not end: given up, their thread replaced";
    ROLLOUT_MOVES = "weighbridge_rollout_moves", Counter, ["model", "transition"],
        "moves of rollouts: started, advanced, promoted, rolled_back and the other transitions";
    ROLLOUT_WEIGHT = "weighbridge_rollout_weight", Gauge, ["model"],
        "share of the traffic that the canary of a running rollout has, 0 to 1";
    ROLLOUT_EVIDENCE = "weighbridge_rollout_evidence", Gauge, ["model", "stream"],
        "evidence against the canary as a share of what a rollback takes (logarithms): 1 is enough";
    EXPERIMENT_REQUESTS = "weighbridge_experiment_requests", Counter, ["model", "experiment", "variant", "chosen"],
        "predictions in an experiment by variant and by what chose it: unit, request (no unit came), override, forced, fallback (the variant's version cannot answer)";
    EXPERIMENT_DROPPED = "weighbridge_experiment_dropped", Counter, ["model", "experiment"],
        "requests of an experiment that were not logged, since too many waited to be written";
    EXPERIMENT_WRITE_FAILURES = "weighbridge_experiment_write_failures", Counter, [],
        "batches of exposures or requests that could not be written; they are tried again";
    FEEDBACK = "weighbridge_feedback", Counter, ["model", "outcome"],
        "pieces of feedback: accepted, duplicate, unknown";
    HTTP_REQUESTS = "weighbridge_http_requests", Counter, ["listener", "status"],
        "answers by listener (data, admin) and status code";
    LOADS = "weighbridge_loads", Counter, ["model", "outcome"],
        "versions loaded: ok, failed";
    LOADED_VERSIONS = "weighbridge_loaded_versions", Gauge, [],
        "versions in memory that may answer any request, without the controls of canaries";
    LOADED_BYTES = "weighbridge_loaded_bytes", Gauge, [],
        "memory of the versions that are loaded or being loaded, as measured when they were pushed";
    MEMORY_BUDGET = "weighbridge_memory_budget_bytes", Gauge, [],
        "memory that loaded versions may take (engine.memory)";
    PUT_AWAY = "weighbridge_put_away", Counter, ["model"],
        "versions that left memory to make room for others";
    SNAPSHOT_REVISION = "weighbridge_snapshot_revision", Gauge, [],
        "registry revision of the routing snapshot in force";
    REGISTRY_ERRORS = "weighbridge_registry_errors", Counter, [],
        "reads of the registry that failed; predictions go on";
    SHADOW_COPIED = "weighbridge_shadow_copied", Counter, ["model", "version"],
        "requests copied to a shadow version";
    SHADOW_DROPPED = "weighbridge_shadow_dropped", Counter, ["model", "version", "reason"],
        "requests that a shadow's coin chose and that were not compared: budget, queue, memory, off, unanswered";
    SHADOW_PAIRS = "weighbridge_shadow_pairs", Counter, ["model", "version", "outcome"],
        "copies compared with the live answer: agree, differ, shadow-error, live-error, both-error";
    SHADOW_COMPUTE_SECONDS = "weighbridge_shadow_compute_seconds", Histogram, ["model", "version"],
        "processor time of one run of a shadow version";
    SHADOW_COMPUTE_RATIO = "weighbridge_shadow_compute_ratio", Gauge, ["model", "version"],
        "processor time of the shadow version over that of the live one, both run alone on the same rows";
    SHADOW_WAITING = "weighbridge_shadow_waiting", Gauge, [],
        "copies that wait or run, or whose live request is not answered yet";
    SHADOW_WRITTEN_OFF = "weighbridge_shadow_written_off", Counter, ["model", "version"],
        "runs on the shadow thread that took longer than shadow.run_limit";
    WEBHOOK_DELIVERIES = "weighbridge_webhook_deliveries", Counter, ["outcome"],
        "webhooks that ended: delivered, refused, forbidden, gave-up, abandoned";
    WEBHOOKS_DROPPED = "weighbridge_webhooks_dropped", Counter, [],
        "webhooks that were never sent, since too many were under way";
    RESIDENT_BYTES = "weighbridge_resident_bytes", Gauge, [],
        "resident memory of the process";
    CPU_SECONDS = "weighbridge_cpu_seconds", Gauge, [],
        "processor time of the process since its start";
}

/// Latency buckets in seconds: each at most 2.5 times the one before, from the time of a tree
/// to that of a slow batch, so that a p99 is known within a factor that a dashboard can use.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Batch sizes are powers of two more often than not.
const ROWS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0];

/// Makes this process record metrics. The caller runs `run_upkeep` every few seconds:
/// histograms keep every sample until then.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full(BATCH_ROWS.to_owned()), ROWS)?
        .install_recorder()?;
    for metric in CATALOGUE {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
            Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
        }
    }
    Ok(handle)
}
