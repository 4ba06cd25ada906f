//! Asks whether the server lives, again and again while something else goes on: whoever restarts
//! what does not answer would otherwise make an overload an outage.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::http::{Target, exchange};

const PATH: &str = "/v2/health/live";
const EVERY: Duration = Duration::from_millis(100);
/// An orchestrator's usual patience is of this order.
const LIMIT: Duration = Duration::from_secs(1);

/// What came of the questions.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Liveness {
    pub asked: u64,
    /// Answered with 200.
    pub answered: u64,
    pub slowest_ms: f64,
    /// What came instead, by kind.
    pub failed: BTreeMap<String, u64>,
}

/// Does `work` and asks meanwhile.
pub(super) fn watched<T>(target: &Target, work: impl FnOnce() -> T) -> (T, Liveness) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let watch = scope.spawn(|| watch(target, &over));
        let done = work();
        over.store(true, Ordering::Relaxed);
        // A watch that panicked has asked nothing, which is a missed bound.
        (done, watch.join().unwrap_or_default())
    })
}

fn watch(target: &Target, over: &AtomicBool) -> Liveness {
    let mut seen = Liveness::default();
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let failure = match exchange::get(target, PATH, &[], LIMIT) {
            Ok(answer) if answer.status == 200 => None,
            Ok(answer) => Some(format!("status {}", answer.status)),
            Err(error) => Some(format!("{error:#}")),
        };
        seen.asked += 1;
        seen.slowest_ms = seen.slowest_ms.max(asked.elapsed().as_secs_f64() * 1e3);
        match failure {
            None => seen.answered += 1,
            Some(kind) => *seen.failed.entry(kind).or_insert(0) += 1,
        }
        // A slow answer delays the next question, but does not make several of it.
        next = (next + EVERY).max(Instant::now());
        while Instant::now() < next && !over.load(Ordering::Relaxed) {
            thread::sleep(next.saturating_duration_since(Instant::now()).min(EVERY));
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::get;

    use crate::testing::Server;

    use super::*;

    fn asked(app: Router) -> Liveness {
        let server = Server::start(app);
        let target = Target::resolve(&server.url()).unwrap();
        watched(&target, || thread::sleep(3 * EVERY)).1
    }

    #[test]
    fn every_answer_counts_and_every_other_is_told() {
        let alive = asked(Router::new().route(PATH, get(|| async { "{}" })));
        assert!(alive.asked >= 2 && alive.answered == alive.asked, "{alive:?}");
        let dying = asked(
            Router::new().route(PATH, get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "") })),
        );
        assert!(dying.answered == 0 && dying.failed["status 503"] == dying.asked, "{dying:?}");
    }
}
