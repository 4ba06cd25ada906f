//! Requests at a fixed rate, whatever becomes of those before.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

/// Requests that go on until they are told to stop.
#[derive(Debug)]
pub struct OpenLoop<T> {
    stop: watch::Sender<bool>,
    sending: JoinHandle<Vec<T>>,
}

impl<T: Send + 'static> OpenLoop<T> {
    /// Begins `request` `per_second` times a second; the number of each is its argument.
    pub fn begin<Request, Work>(per_second: u32, request: Request) -> Self
    where
        Request: Fn(u64) -> Work + Send + Sync + 'static,
        Work: Future<Output = T> + Send + 'static,
    {
        let (stop, stopped) = watch::channel(false);
        let request = Arc::new(request);
        #[expect(clippy::disallowed_methods, reason = "`end` waits for it")]
        let sending = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
            // A tick that the machine missed is made up for: the rate is the rate.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut requests = JoinSet::new();
            let mut number = 0;
            while !*stopped.borrow() {
                ticks.tick().await;
                requests.spawn(request(number));
                number += 1;
            }
            requests.join_all().await
        });
        Self { stop, sending }
    }

    /// Begins no more requests, and returns the outcome of each once all have ended.
    ///
    /// # Panics
    /// When a request panicked.
    pub async fn end(self) -> Vec<T> {
        // The sender of requests may have died; that shows below.
        let _ = self.stop.send(true);
        self.sending.await.expect("no request panics")
    }
}
