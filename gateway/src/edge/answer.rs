//! Answers on their way to a client: handed over in pieces, and counted until the last one is.
//!
//! HTTP/2 lets a client open a request and read nothing of its answer, for as long as it likes. So
//! an answer keeps its place and its memory ([`Carried`]) until it is handed over, and one that its
//! client does not read on is given up ([`crate::edge::idle`]).

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::edge::idle::Asking;
use crate::edge::permits::Carried;

/// The most that a connection takes over at once, in bytes: what lies there is counted no longer.
const PIECE: usize = 64 * 1024;

/// What is left of an answer.
#[derive(Debug)]
pub struct Parcel(Mutex<Contents>);

#[derive(Debug)]
struct Contents {
    body: Body,
    /// Of the frame that came last.
    rest: Bytes,
    _carried: Option<Carried>,
    /// Since when the client could take more; none while it waits for us.
    offered: Option<Instant>,
}

impl Parcel {
    /// An answer of which nothing has been taken.
    pub fn new(body: Body, carried: Option<Carried>) -> Self {
        let offered = Some(Instant::now());
        Self(Mutex::new(Contents { body, rest: Bytes::new(), _carried: carried, offered }))
    }

    /// Whether the client has had a chance to read on since `then` or before, and has not.
    pub fn is_unread_since(&self, then: Instant) -> bool {
        // One that is just being read from is not unread.
        let contents = self.0.try_lock();
        contents.is_ok_and(|contents| contents.offered.is_some_and(|offered| offered <= then))
    }

    /// Lets go of what is left. Who reads on after all gets an error.
    pub fn give_up(&self) {
        let body = Body::from_stream(futures_util::stream::once(async {
            Err::<Bytes, _>("the client did not read on in time")
        }));
        let given_up = Contents { body, rest: Bytes::new(), _carried: None, offered: None };
        // What it was is dropped when the lock is free again: that may take a while.
        let _it_was = std::mem::replace(&mut *self.lock(), given_up);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Contents> {
        // A body that panicked is not polled again: its request has ended.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of an answer.
#[derive(Debug)]
pub struct Answer {
    parcel: Arc<Parcel>,
    _asking: Asking,
}

impl Answer {
    /// `asking` lasts until the answer is handed over, or given up.
    pub fn new(parcel: Arc<Parcel>, asking: Asking) -> Self {
        Self { parcel, _asking: asking }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut contents = self.parcel.lock();
        if contents.rest.is_empty() {
            contents.offered = None;
            match ready!(Pin::new(&mut contents.body).poll_frame(cx))
                .map(|f| f.map(Frame::into_data))
            {
                Some(Ok(Ok(data))) => contents.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        let length = contents.rest.len().min(PIECE);
        let piece = contents.rest.split_to(length);
        contents.offered = Some(Instant::now());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let contents = self.parcel.lock();
        contents.rest.is_empty() && contents.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let contents = self.parcel.lock();
        let (hint, rest) = (contents.body.size_hint(), contents.rest.len() as u64);
        let mut all = SizeHint::new();
        all.set_lower(hint.lower() + rest);
        if let Some(upper) = hint.upper() {
            all.set_upper(upper + rest);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body::Body as _;
    use http_body_util::BodyExt;

    use super::*;
    use crate::edge::idle::Activity;

    fn answer(body: Body) -> Answer {
        let activity = Activity::new(Duration::from_secs(5));
        Answer::new(Arc::new(Parcel::new(body, None)), activity.begin())
    }

    #[tokio::test]
    async fn a_large_frame_comes_in_pieces_and_whole() {
        let whole: Vec<u8> = (0..3 * PIECE + 5).map(|at| (at % 251) as u8).collect();
        let mut answer = answer(Body::from(whole.clone()));
        let mut came = Vec::new();
        for length in [PIECE, PIECE, PIECE, 5] {
            assert!(!answer.is_end_stream());
            assert_eq!(answer.size_hint().exact(), Some((whole.len() - came.len()) as u64));
            let piece = answer.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(piece.len(), length);
            came.extend_from_slice(&piece);
        }
        assert!(answer.is_end_stream() && answer.frame().await.is_none());
        assert_eq!(came, whole);
    }

    #[tokio::test]
    async fn trailers_and_errors_pass() {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        let frames = [Frame::data(Bytes::from_static(b"x")), Frame::trailers(trailers.clone())];
        let frames = frames.map(Ok::<_, std::convert::Infallible>);
        let body = http_body_util::StreamBody::new(futures_util::stream::iter(frames));
        let collected = answer(Body::new(body)).collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "x");

        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("no"))]);
        assert!(answer(Body::from_stream(broken)).collect().await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_on_is_known_and_who_waits_for_us_is_not_blamed() {
        let second = Duration::from_secs(1);
        let mut large = answer(Body::from(vec![0; 2 * PIECE]));
        let parcel = Arc::clone(&large.parcel);
        assert!(parcel.is_unread_since(Instant::now()));
        tokio::time::advance(second).await;
        large.frame().await.unwrap().unwrap();
        assert!(!parcel.is_unread_since(Instant::now() - second), "a piece was taken");
        assert!(parcel.is_unread_since(Instant::now()));
        parcel.give_up();
        assert!(!large.is_end_stream());
        assert!(large.frame().await.unwrap().unwrap_err().to_string().contains("did not read on"));

        let mut silent = answer(Body::from_stream(futures_util::stream::pending::<
            Result<Bytes, std::convert::Infallible>,
        >()));
        let parcel = Arc::clone(&silent.parcel);
        assert!(futures_util::FutureExt::now_or_never(silent.frame()).is_none());
        tokio::time::advance(second).await;
        assert!(!parcel.is_unread_since(Instant::now()));
    }
}
