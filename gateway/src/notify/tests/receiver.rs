//! Somebody who is told: listeners that answer by a script.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, Method};
use parking::Parked;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

/// In a script: take the request and never answer.
pub const SILENT: u16 = 0;
/// In a script: answer 200 with a body that does not end.
pub const ENDLESS: u16 = 1;

/// A request that came.
#[derive(Debug, Clone)]
pub struct Came {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Answers by a script of status codes, the last one again and again.
pub struct Receiver {
    pub address: SocketAddr,
    came: Arc<Parked<Vec<Came>>>,
    closed: Arc<Parked<bool>>,
}

impl Receiver {
    pub async fn start(script: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (came, closed) = (Arc::<Parked<Vec<Came>>>::default(), Arc::<Parked<bool>>::default());
        let (script, own, own_closed) = (script.to_vec(), Arc::clone(&came), Arc::clone(&closed));
        let answer = async move |request: Request| {
            let (parts, body) = request.into_parts();
            let path = parts.uri.to_string();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let nth = own.change(|came| {
                came.push(Came { method: parts.method, path, headers: parts.headers, body });
                came.len() - 1
            });
            match script[nth.min(script.len() - 1)] {
                SILENT => std::future::pending().await,
                ENDLESS => Response::new(Body::new(Endless(own_closed))),
                status => {
                    let answer = Response::builder().status(status);
                    answer.header("location", "/elsewhere").body(Body::from("thanks")).unwrap()
                }
            }
        };
        let app = axum::Router::new().fallback(answer);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, came, closed }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn came(&self) -> Vec<Came> {
        self.came.get()
    }

    /// Resolves once so many requests have come.
    pub async fn until_came(&self, count: usize) {
        self.came.until(|came| came.len() >= count).await;
    }

    /// Resolves once the connection of an endless answer is closed.
    pub async fn closed(&self) {
        self.closed.until(|closed| *closed).await;
    }
}

/// A body that goes on until nobody reads it.
struct Endless(Arc<Parked<bool>>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        let chunk = http_body::Frame::data(Bytes::from_static(&[b'x'; 65_536]));
        std::task::Poll::Ready(Some(Ok(chunk)))
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.change(|closed| *closed = true);
    }
}

/// Answers 204 over TLS, as `receiver.test` and 127.0.0.1.
pub struct TlsReceiver {
    pub address: SocketAddr,
    taken: Arc<AtomicUsize>,
}

impl TlsReceiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let taken = Arc::new(AtomicUsize::new(0));
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider);
        let chain = vec![CertificateDer::from_pem_slice(include_bytes!("receiver.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(include_bytes!("receiver.key.pem")).unwrap();
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
        let own = Arc::clone(&taken);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that does not trust us leaves here.
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n{}") {
                    let read = stream.read_buf(&mut request).await.unwrap();
                    assert_ne!(read, 0, "a request ends with its body");
                }
                own.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, taken }
    }

    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

mod parking {
    use tokio::sync::watch;

    /// A value that others wait for.
    pub struct Parked<T>(watch::Sender<T>);

    impl<T: Default> Default for Parked<T> {
        fn default() -> Self {
            Self(watch::Sender::new(T::default()))
        }
    }

    impl<T: Clone> Parked<T> {
        pub fn get(&self) -> T {
            self.0.borrow().clone()
        }

        pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
            let mut result = None;
            self.0.send_modify(|value| result = Some(change(value)));
            result.unwrap()
        }

        pub async fn until(&self, is_so: impl FnMut(&T) -> bool) {
            self.0.subscribe().wait_for(is_so).await.unwrap();
        }
    }
}
