//! A connection that has to say something soon.
//!
//! hyper's clock for the head of a request starts once it knows which version of HTTP a connection
//! speaks, and it waits for that without end: as many bytes as the preface of HTTP/2 has.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// The length of HTTP/2's preface; hardly any request is shorter.
const ENOUGH: usize = 24;

/// A stream that fails unless its first bytes come in time.
#[derive(Debug)]
pub struct FirstBytes<S> {
    stream: S,
    /// Until enough bytes have come.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<S> FirstBytes<S> {
    /// `stream`, whose first bytes must come within `patience`.
    pub fn within(patience: Duration, stream: S) -> Self {
        Self { stream, waiting: Some((Box::pin(tokio::time::sleep(patience)), 0)) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, into);
        let Some((clock, came)) = &mut self.waiting else { return read };
        if let Poll::Ready(outcome) = read {
            *came += into.filled().len() - before;
            if *came >= ENOUGH {
                self.waiting = None;
            }
            return Poll::Ready(outcome);
        }
        ready!(clock.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_begins_and_stops_is_given_up() {
        for begun in [&b""[..], b"P", b"PRI * HTTP/2.0"] {
            let (mut client, server) = tokio::io::duplex(100);
            client.write_all(begun).await.unwrap();
            let mut server = FirstBytes::within(PATIENCE, server);
            let mut came = Vec::new();
            let error = server.read_to_end(&mut came).await.unwrap_err();
            assert_eq!((error.kind(), &*came), (io::ErrorKind::TimedOut, begun));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_has_spoken_may_be_silent() {
        let (mut client, server) = tokio::io::duplex(100);
        let mut server = FirstBytes::within(PATIENCE, server);
        client.write_all(b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut came = [0; 29];
        server.read_exact(&mut came).await.unwrap();
        tokio::time::sleep(20 * PATIENCE).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
    }
}
