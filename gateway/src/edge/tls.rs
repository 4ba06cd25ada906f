//! TLS of a listener: a certificate and its key from files, read again when they change.
//!
//! Connections keep what they were opened with; only new ones see a new certificate. Files that
//! cannot be used leave the old certificate in force, which is said once per change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use weighbridge_config::Digest;

use crate::edge::flood::Flood;
use crate::telemetry::events;

/// How often the files are looked at. Certificates are renewed weeks before they end; a look
/// reads a few kilobytes.
const LOOK: Duration = Duration::from_secs(2);

/// The files of a certificate chain and of its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// Authorities of client certificates; none: no client is asked for one.
    pub client_ca: Option<PathBuf>,
}

/// The certificate of a listener.
#[derive(Debug)]
pub struct Tls {
    /// `data` or `admin`.
    listener: &'static str,
    files: Files,
    opened: Seen,
    current: ArcSwap<ServerConfig>,
    flood: Flood,
}

/// The contents of the files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What tells whether they have changed; the key itself is not kept.
type Seen = [Option<Digest>; 3];

impl Tls {
    /// # Errors
    /// A file that cannot be read, is not PEM, holds no certificate or no key; a key of another
    /// certificate. Names the file.
    pub fn open(listener: &'static str, files: Files) -> anyhow::Result<Arc<Self>> {
        let contents = read(&files)?;
        let current = ArcSwap::from_pointee(config(&files, &contents)?);
        let (opened, flood) = (seen(&contents), Flood::default());
        Ok(Arc::new(Self { listener, files, opened, current, flood }))
    }

    /// Shakes hands with a client.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.current.load_full()).accept(tcp).await
    }

    /// Tells why a client was not let in: it learns no more than an alert says. Who just goes away
    /// is nobody's affair.
    pub fn refused(&self, error: &io::Error) {
        let is_tls = error.get_ref().is_some_and(|cause| cause.is::<rustls::Error>());
        if !is_tls {
            return;
        }
        events::handshake_refused(self.listener);
        if let Some(passed_over) = self.flood.admit(Instant::now()) {
            let error = error.to_string();
            tracing::info!(
                listener = self.listener,
                error,
                passed_over,
                "a TLS handshake was refused"
            );
        }
    }

    /// Takes up new files until `stop`.
    pub async fn follow(self: Arc<Self>, stop: CancellationToken) {
        // What was seen last, whether it could be used or not.
        let mut seen = self.opened;
        loop {
            let own = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || own.look(seen)).await;
            let Ok(now) = looked else { return };
            seen = now;
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn look(&self, before: Seen) -> Seen {
        // Files that are being replaced are missing for a moment.
        let Ok(contents) = read(&self.files) else { return before };
        let now = seen(&contents);
        if now == before {
            return before;
        }
        match config(&self.files, &contents) {
            Ok(config) => {
                self.current.store(Arc::new(config));
                tracing::info!(listener = self.listener, "a new certificate is in force");
            }
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    listener = self.listener,
                    error,
                    "the new certificate cannot be used: the old one stays"
                );
            }
        }
        now
    }
}

fn seen(contents: &Contents) -> Seen {
    let Contents { certificate, key, client_ca } = contents;
    [Some(certificate), Some(key), client_ca.as_ref()]
        .map(|file| file.map(|bytes| Digest::of(bytes)))
}

fn read(files: &Files) -> anyhow::Result<Contents> {
    let read = |path: &Path| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    Ok(Contents {
        certificate: read(&files.certificate)?,
        key: read(&files.key)?,
        client_ca: files.client_ca.as_deref().map(read).transpose()?,
    })
}

fn config(files: &Files, contents: &Contents) -> anyhow::Result<ServerConfig> {
    let Contents { certificate, key, client_ca } = contents;
    let (of_certificate, of_key) = (files.certificate.display(), files.key.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
        .collect::<Result<_, _>>()
        .with_context(|| format!("{of_certificate} is not PEM"))?;
    anyhow::ensure!(!chain.is_empty(), "{of_certificate} holds no certificate in PEM");
    let key = PrivateKeyDer::from_pem_slice(key)
        .with_context(|| format!("{of_key} holds no private key in PEM"))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match (&files.client_ca, client_ca) {
        (Some(path), Some(pem)) => {
            let verifier = client_verifier(pem, provider)
                .with_context(|| format!("{} cannot be used", path.display()))?;
            builder.with_client_cert_verifier(verifier)
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow::anyhow!(
                "the key in {of_key} is not that of the certificate in {of_certificate}"
            )
        }
        error => anyhow::anyhow!("{of_certificate} with {of_key} cannot be used: {error}"),
    })?;
    if client_ca.is_some() {
        // A resumed session would keep a client's certificate without looking at it again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Client certificates of these authorities are accepted. None is demanded: keys and tokens are
/// credentials as well, and health checks have none.
fn client_verifier(
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.context("it is not PEM")?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "it holds no certificate in PEM");
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    Ok(builder.allow_unauthenticated().build()?)
}
