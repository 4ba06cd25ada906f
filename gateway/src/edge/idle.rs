//! Connections on which nothing is asked: HTTP/2 keeps them open for as long as the peer likes, and
//! each takes one of the places of its listener.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper_util::server::graceful::GracefulConnection;

/// How long a connection may be without a request that has been useful before. Clients of gRPC keep
/// theirs, and open another when they are told to.
const RESTING: Duration = Duration::from_secs(120);
/// How long one that rests may take to end well: HTTP/2 waits for a word of the peer.
const GOODBYE: Duration = Duration::from_secs(2);

/// The requests of one connection.
#[derive(Debug, Clone)]
pub struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    open: usize,
    /// Since when none is open.
    since: Instant,
    /// How long that may last.
    patience: Duration,
}

impl Activity {
    /// Of a connection that has just been opened, and has to ask something within `patience`.
    pub fn new(patience: Duration) -> Self {
        Self(Arc::new(Mutex::new(State { open: 0, since: Instant::now(), patience })))
    }

    /// A request has come; it lasts until the answer is through.
    pub fn begin(&self) -> Asking {
        let mut state = self.lock();
        state.open += 1;
        state.patience = RESTING.max(state.patience);
        Asking(self.clone())
    }

    /// When the connection has rested for too long, none while it does not rest; and how long it
    /// may.
    fn ends(&self) -> (Option<Instant>, Duration) {
        let state = self.lock();
        ((state.open == 0).then(|| state.since + state.patience), state.patience)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing panics while it is held; a poisoned lock would still hold whole counts.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request and its answer.
#[derive(Debug)]
pub struct Asking(Activity);

impl Drop for Asking {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open -= 1;
        state.since = Instant::now();
    }
}

/// The body of an answer, which keeps its connection from resting.
#[derive(Debug)]
pub struct Answering<B> {
    pub body: B,
    pub asking: Asking,
}

impl<B: http_body::Body<Data = Bytes> + Unpin> http_body::Body for Answering<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves `connection` until it ends; it is asked to when `closing` resolves, or when it has rested
/// for too long.
pub async fn attend<C: GracefulConnection>(
    connection: C,
    activity: Activity,
    closing: impl Future<Output = ()>,
) {
    let (mut connection, mut closing) = (pin!(connection), pin!(closing));
    let (mut is_asked, mut left_at) = (false, None);
    loop {
        // While a request is open it is looked at again when it may have rested enough at the
        // earliest.
        let (end, patience) = activity.ends();
        let look = end.unwrap_or_else(|| Instant::now() + patience);
        tokio::select! {
            // What has come already is served before the connection is asked to end.
            biased;
            // A broken connection is the peer's affair: nobody is left to be told.
            _ = connection.as_mut() => return,
            () = closing.as_mut(), if !is_asked => {
                is_asked = true;
                connection.as_mut().graceful_shutdown();
            }
            () = tokio::time::sleep_until(look.into()), if !is_asked => {
                if activity.ends().0.is_some_and(|end| end <= Instant::now()) {
                    is_asked = true;
                    left_at = Some(Instant::now() + GOODBYE);
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = tokio::time::sleep_until(left_at.unwrap_or(look).into()), if left_at.is_some() => {
                if activity.ends().0.is_some() {
                    return;
                }
                // Something was asked just then.
                left_at = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_rests_when_no_request_is_open() {
        let activity = Activity::new(Duration::from_secs(5));
        let begun = activity.ends().0.expect("it rests");
        assert!(begun <= Instant::now() + Duration::from_secs(5));
        let (one, two) = (activity.begin(), activity.begin());
        drop(one);
        assert_eq!(activity.ends().0, None, "one is still open");
        drop(two);
        let end = activity.ends().0.expect("it rests");
        assert!(end > Instant::now() + RESTING - Duration::from_secs(5), "it has been useful");
    }
}
