//! Bodies that somebody else reads, frame by frame: bounded in memory and in time all the same.

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
}

impl Account {
    /// An account with nothing in it.
    pub fn new(memory: BodyMemory) -> Self {
        Self(Arc::new(Mutex::new(Held { memory, bytes: 0 })))
    }

    /// The memory of what has come; `fresh` counts what comes from now on.
    pub fn take(&self, fresh: BodyMemory) -> BodyMemory {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes = 0;
        std::mem::replace(&mut held.memory, fresh)
    }

    fn came(&self, bytes: usize) -> Result<(), Problem> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes += bytes as u64;
        let all = held.bytes;
        held.memory.hold(all)
    }
}

/// How long a body may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two frames.
    pub still: Duration,
    pub until: Instant,
}

/// A body whose frames are counted. Its errors are statuses of gRPC.
#[derive(Debug)]
pub struct Metered {
    body: Body,
    account: Account,
    /// None: somebody may well have nothing to say for a while.
    patience: Option<(Patience, Pin<Box<Sleep>>)>,
}

impl Metered {
    /// `body`, counted in `account`.
    pub fn new(body: Body, account: Account, patience: Option<Patience>) -> Self {
        let patience = patience.map(|p| (p, Box::pin(tokio::time::sleep_until(next(p).into()))));
        Self { body, account, patience }
    }
}

fn next(patience: Patience) -> Instant {
    patience.until.min(Instant::now() + patience.still)
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
            Poll::Pending => {
                let Some((_, sleep)) = &mut self.patience else { return Poll::Pending };
                if sleep.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let detail = "the body had not come when its time was over, or stood still";
                let problem = Problem::new(Kind::BodyTimeout, detail);
                return Poll::Ready(Some(Err(problem.into())));
            }
        };
        if let Some((patience, sleep)) = &mut self.patience {
            sleep.as_mut().reset(next(*patience).into());
        }
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
