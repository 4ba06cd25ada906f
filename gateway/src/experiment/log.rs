//! Exposures and requests on their way to the registry: a bounded queue, emptied once a second
//! by a task of its own. When it is full, entries are dropped and counted; a request never waits
//! for it.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use weighbridge_registry::{Exposure, MOST_IN_BATCH, Recorded, Registry, RequestUnit};

use crate::now_ms;
use crate::telemetry::experiments as events;

/// Entries that may wait: some seconds of a busy gateway, about 20 MB.
const QUEUE: usize = 1 << 16;
/// How long an entry waits at most.
const PERIOD: Duration = Duration::from_secs(1);
/// How long feedback may name a request.
const KEEP_REQUESTS: Duration = Duration::from_secs(7 * 86_400);
/// How often older ones are forgotten.
const FORGET_PERIOD: Duration = Duration::from_secs(3600);

/// One request of an experiment.
#[derive(Debug)]
pub struct Entry {
    pub request: RequestUnit,
    /// When the unit has not been seen before.
    pub exposure: Option<Exposure>,
}

#[derive(Debug)]
pub(super) enum Message {
    Entry(Box<Entry>),
    Flush(oneshot::Sender<()>),
}

/// The near end of the queue.
#[derive(Debug)]
pub struct Log {
    queue: mpsc::Sender<Message>,
}

impl Log {
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (queue, receiver) = mpsc::channel(QUEUE);
        (Self { queue }, receiver)
    }

    /// Queues an entry; false when there is no room for it.
    pub fn note(&self, entry: Entry) -> bool {
        self.queue.try_send(Message::Entry(Box::new(entry))).is_ok()
    }

    /// Resolves when all that was queued before has been written, or when nobody writes.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            // An error is a writer that has ended.
            let _ = written.await;
        }
    }
}

/// The far end: batches entries into the registry.
#[derive(Debug)]
pub(super) struct Writer {
    registry: Arc<dyn Registry>,
    queue: mpsc::Receiver<Message>,
    exposures: Vec<Exposure>,
    requests: Vec<RequestUnit>,
}

impl Writer {
    pub(super) fn new(registry: Arc<dyn Registry>, queue: mpsc::Receiver<Message>) -> Self {
        Self { registry, queue, exposures: Vec::new(), requests: Vec::new() }
    }

    /// Writes until `stop`, then what is left.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(PERIOD);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut forget = tokio::time::interval(FORGET_PERIOD);
        let mut messages = Vec::new();
        loop {
            // A batch that cannot be written stays; the queue fills up behind it.
            let room = MOST_IN_BATCH - self.requests.len();
            tokio::select! {
                count = self.queue.recv_many(&mut messages, room), if room > 0 => {
                    if count == 0 {
                        break;
                    }
                    self.take(&mut messages).await;
                }
                _ = tick.tick() => self.write().await,
                _ = forget.tick() => self.forget().await,
                () = stop.cancelled() => break,
            }
        }
        self.queue.close();
        loop {
            self.write().await;
            let room = MOST_IN_BATCH - self.requests.len();
            if room == 0 || self.queue.recv_many(&mut messages, room).await == 0 {
                break;
            }
            self.take(&mut messages).await;
        }
        self.write().await;
    }

    /// Keeps entries for the next batch; a wish to flush is fulfilled at its place.
    async fn take(&mut self, messages: &mut Vec<Message>) {
        for message in mem::take(messages) {
            match message {
                Message::Entry(entry) => {
                    let Entry { request, exposure } = *entry;
                    self.requests.push(request);
                    self.exposures.extend(exposure);
                }
                Message::Flush(done) => {
                    self.write().await;
                    // Who asked may have left.
                    let _ = done.send(());
                }
            }
        }
        if self.requests.len() >= MOST_IN_BATCH {
            self.write().await;
        }
    }

    /// Exposures first: feedback is looked up by request, then by unit.
    async fn write(&mut self) {
        if !self.exposures.is_empty() {
            let done = self.registry.record_exposures(&self.exposures).await;
            if !is_over(done) {
                return;
            }
            self.exposures.clear();
        }
        if !self.requests.is_empty() {
            let done = self.registry.record_requests(&self.requests).await;
            if is_over(done) {
                self.requests.clear();
            }
        }
    }

    async fn forget(&self) {
        let keep = u64::try_from(KEEP_REQUESTS.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = self.registry.forget_requests(now_ms().saturating_sub(keep)).await {
            events::not_written(&error);
        }
    }
}

/// Whether a batch is done with: written, or never to be written.
fn is_over(done: weighbridge_registry::Result<Recorded>) -> bool {
    match done {
        Ok(_) => true,
        Err(error) => {
            events::not_written(&error);
            matches!(error, weighbridge_registry::Error::Illegal(_))
        }
    }
}

#[cfg(test)]
mod tests;
