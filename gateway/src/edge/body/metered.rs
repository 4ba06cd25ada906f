//! Bodies that somebody else reads, frame by frame: bounded in memory and in time all the same.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status;

use crate::edge::permits::BodyMemory;
use crate::edge::problem::{Kind, Problem};

/// What the frames since the last [`Account::take`] hold.
#[derive(Debug, Clone)]
pub struct Account(Arc<Mutex<Held>>);

#[derive(Debug)]
struct Held {
    memory: BodyMemory,
    bytes: u64,
    /// Of them, those that belong to the next message.
    rest: u64,
}

impl Account {
    /// An account with nothing in it.
    pub fn new(memory: BodyMemory) -> Self {
        Self(Arc::new(Mutex::new(Held { memory, bytes: 0, rest: 0 })))
    }

    /// The memory of what has come; `fresh` counts what comes from now on.
    pub fn take(&self, fresh: BodyMemory) -> BodyMemory {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes = std::mem::take(&mut held.rest);
        let before = std::mem::replace(&mut held.memory, fresh);
        let rest = held.bytes;
        // Where there is no room the next frame is told.
        let _ = held.memory.hold(rest);
        before
    }

    /// A message is whole; so much of the next one has come with it.
    pub(super) fn leaves(&self, rest: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).rest = rest;
    }

    /// As [`Account::leaves`], of a message that need not be counted any longer.
    pub(super) fn passes(&self, rest: u64) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes = rest;
        held.memory.keep(rest);
    }

    fn came(&self, bytes: usize) -> Result<(), Problem> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += bytes as u64;
        let all = held.bytes;
        held.memory.hold(all)
    }

    /// What has come takes so many bytes more, for now.
    pub(super) fn hold(&self, more: u64) -> Result<(), Problem> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all = held.bytes + more;
        held.memory.hold(all)
    }
}

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two frames of one message.
    pub still: Duration,
    /// None for a stream, whose client may have nothing to say for a while.
    pub until: Option<Instant>,
}

/// A body whose frames are counted. Its errors are statuses of gRPC.
pub struct Metered {
    body: Body,
    account: Account,
    patience: Patience,
    sleep: Pin<Box<Sleep>>,
    /// A stream ends here, between two messages, when the gateway does.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Nothing of a message has come.
    is_between: bool,
}

impl fmt::Debug for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metered({:?})", self.patience)
    }
}

impl Metered {
    /// `body`, counted in `account`.
    pub fn new(body: Body, account: Account, patience: Patience) -> Self {
        let sleep = Box::pin(tokio::time::sleep_until(next(patience).into()));
        Self { body, account, patience, sleep, closing: None, is_between: true }
    }

    /// The same, ending with `closing` when nothing of a message has come.
    pub fn until(self, closing: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { closing: Some(Box::pin(closing)), ..self }
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// Whether the next frame begins a message.
    pub(super) fn set_between(&mut self, is_between: bool) {
        self.is_between = is_between;
    }

    /// Nothing has come for now.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_between {
            let closing = self.closing.as_mut().map(|closing| closing.as_mut().poll(cx));
            if closing.is_some_and(|c| c.is_ready()) {
                return Poll::Ready(None);
            }
            if self.patience.until.is_none() {
                return Poll::Pending;
            }
        }
        if self.sleep.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        let detail = "the body had not come when its time was over, or stood still";
        Poll::Ready(Some(Err(Problem::new(Kind::BodyTimeout, detail).into())))
    }
}

fn next(patience: Patience) -> Instant {
    let still = Instant::now() + patience.still;
    patience.until.map_or(still, |until| until.min(still))
}

impl http_body::Body for Metered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                let detail = format!("the body was cut off: {error}");
                let problem = Problem::new(Kind::InvalidRequest, detail);
                return Poll::Ready(Some(Err(problem.into())));
            }
            Poll::Pending => return self.wait(cx),
        };
        let next = next(self.patience);
        self.sleep.as_mut().reset(next.into());
        let came = frame.data_ref().map_or(0, Bytes::len);
        let counted = self.account.came(came);
        Poll::Ready(Some(counted.map(|()| frame).map_err(Status::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt, stream};
    use http_body_util::BodyExt;
    use tokio_util::sync::CancellationToken;
    use weighbridge_config::settings::{Limits, Priority};

    use super::*;
    use crate::edge::permits::Permits;

    const STILL: Duration = Duration::from_secs(30);

    fn account() -> (Account, impl Fn() -> BodyMemory) {
        let permits = Arc::new(Permits::default());
        let fresh = move || permits.body(&Limits::default(), Priority::Normal, &"".into());
        (Account::new(fresh()), fresh)
    }

    /// Says `parts` and then nothing more.
    fn said(parts: Vec<&'static str>) -> Body {
        let parts = stream::iter(parts.into_iter().map(Ok::<_, Infallible>));
        Body::from_stream(parts.chain(stream::pending()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_stands_still_is_not_waited_for() {
        let (account, _) = account();
        let until = Some(Instant::now() + Duration::from_secs(5));
        for patience in [Patience { still: STILL, until: None }, Patience { still: STILL, until }] {
            let mut body = Metered::new(said(vec!["half"]), account.clone(), patience);
            assert!(body.frame().await.unwrap().is_ok());
            body.set_between(false);
            let status = body.frame().await.unwrap().unwrap_err();
            assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_may_be_silent_between_messages_until_the_gateway_ends() {
        let (account, fresh) = account();
        let stop = CancellationToken::new();
        let closing = stop.clone();
        let patience = Patience { still: STILL, until: None };
        let mut body = Metered::new(said(vec!["whole"]), account.clone(), patience)
            .until(async move { closing.cancelled().await });
        assert!(body.frame().await.unwrap().is_ok());
        drop(account.take(fresh()));
        let silent = tokio::time::timeout(STILL * 10, body.frame()).await;
        assert!(silent.is_err(), "it goes on");
        stop.cancel();
        assert!(body.frame().await.is_none());
    }
}
