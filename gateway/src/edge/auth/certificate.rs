//! Client certificates: the names of the one that a connection was opened with.
//!
//! The TLS handshake has proved that the certificate comes from an authority of the settings
//! and that the client has its key; here its names are read.

use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What is known of a client's certificate: it comes with each request of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerNames {
    /// Its alternative names, or, where it has none, its common name.
    pub names: Arc<[String]>,
    /// When it ends, in seconds since 1970: connections may live longer.
    pub until: i64,
}

impl PeerNames {
    /// Those of the first certificate of a chain; none where it cannot be read.
    pub fn of(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let alternative = alternative.iter().flat_map(|names| &names.value.general_names);
        let mut names: Vec<String> = alternative
            .filter_map(|name| match name {
                GeneralName::DNSName(name)
                | GeneralName::URI(name)
                | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
                _ => None,
            })
            .collect();
        // RFC 9525, 2: the common name is no identity beside others that an authority has checked.
        if names.is_empty() {
            let common = certificate.subject().iter_common_name();
            names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_owned));
        }
        Some(Self { names: names.into(), until: certificate.validity().not_after.timestamp() })
    }
}
