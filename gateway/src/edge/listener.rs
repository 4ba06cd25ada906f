//! Accepts connections: bounded in number, with a time limit for request heads, and drained
//! without a loss.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::edge::auth::certificate::PeerNames;
use crate::edge::drain::Drain;
use crate::edge::first_bytes::FirstBytes;
use crate::edge::idle::{Activity, Connections, Place, attend};
use crate::edge::tls::Tls;

/// What one listener allows.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    pub max_connections: u32,
    /// How long the head of a request may take to arrive.
    pub header_read_timeout: Duration,
    /// How long an answer may wait for its client to read on.
    pub answer_timeout: Duration,
    /// The largest head of a request, in bytes.
    pub headers: usize,
    /// Requests at once on one HTTP/2 connection.
    pub max_streams: u32,
}

/// Serves `router` on `listener`, over TLS if `tls` is there, until `drain` says to close and all connections have ended.
///
/// `router` must be finished (`with_state(())`), so that its layers are built once and not for
/// each request.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    tls: Option<Arc<Tls>>,
    drain: Drain,
) {
    let open = TaskTracker::new();
    let connections = Connections::new(limits.max_connections as usize);
    let builder = Arc::new(http_builder(limits));
    let start = |tcp: TcpStream, place: Place| {
        // Small answers must not wait for an acknowledgement.
        let _ = tcp.set_nodelay(true);
        // Whoever shakes hands is waited for like whoever asks.
        let (builder, router, drain) = (Arc::clone(&builder), router.clone(), drain.clone());
        let Some(tls) = tls.clone() else {
            open.spawn(async move {
                let stream = FirstBytes::within(limits.header_read_timeout, tcp);
                let connection = connection(&builder, stream, router, None, &place.activity);
                attend(connection, &place.activity, limits.answer_timeout, drain.closing()).await;
            });
            return;
        };
        open.spawn(async move {
            let activity = &place.activity;
            let shaken = tokio::time::timeout(limits.header_read_timeout, tls.accept(tcp));
            let shaken = tokio::select! {
                shaken = shaken => shaken,
                () = activity.told_to_leave() => return,
            };
            match shaken {
                Ok(Ok(stream)) => {
                    let peer = PeerNames::of(stream.get_ref().1.peer_certificates());
                    let stream = FirstBytes::within(limits.header_read_timeout, stream);
                    let connection = connection(&builder, stream, router, peer, activity);
                    attend(connection, activity, limits.answer_timeout, drain.closing()).await;
                }
                Ok(Err(error)) => tls.refused(&error),
                Err(_) => {}
            }
        });
    };
    let without_place = loop {
        let tcp = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => tcp,
                Err(error) => {
                    pause_after(&error).await;
                    continue;
                }
            },
            () = drain.closing() => break None,
        };
        tokio::select! {
            // A full house leaves the others in the kernel's queue.
            place = connections.enter(limits.header_read_timeout) => start(tcp, place),
            () = drain.closing() => break Some(tcp),
        }
    };
    // What the kernel has accepted already is served: the client believes it is connected.
    let accept = || Some(listener.accept().now_or_never()?.ok()?.0);
    for tcp in without_place.into_iter().chain(std::iter::from_fn(accept)) {
        let Some(place) = connections.try_enter(limits.header_read_timeout) else { break };
        start(tcp, place);
    }
    drop(listener);
    open.close();
    open.wait().await;
}

fn http_builder(limits: ConnectionLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // Without `pipeline_flush`: with it hyper closes a connection whose head is wrong without the
    // answer that says so.
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_read_timeout)
        .max_buf_size(limits.headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.headers).unwrap_or(u32::MAX))
        .adaptive_window(true);
    builder
}

fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    builder: &auto::Builder<TokioExecutor>,
    stream: S,
    router: Router,
    peer: Option<PeerNames>,
    activity: &Activity,
) -> impl GracefulConnection<Error: Send> + Send + 'static {
    let activity = activity.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let asking = activity.begin();
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        let answer = router.clone().oneshot(request.map(Body::new));
        async move { Ok::<_, Infallible>(asking.answered(answer.await?)) }
    });
    builder.serve_connection(TokioIo::new(stream), service).into_owned()
}

/// Out of file descriptors and the like: tell, wait a little, go on.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "could not accept a connection");
    tokio::time::sleep(Duration::from_millis(50)).await;
}
