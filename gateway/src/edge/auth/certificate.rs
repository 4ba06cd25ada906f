//! Client certificates: the names of the one that a connection was opened with.
//!
//! The TLS handshake has proved that the certificate comes from an authority of the settings
//! and that the client has its key; here its names are read.

use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The names of a client's certificate: alternative names first, the common name last. They
/// come with each request of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerNames(pub Arc<[String]>);

impl PeerNames {
    /// The names of the first certificate of a chain; none where it cannot be read.
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
        let common = certificate.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_owned));
        Some(Self(names.into()))
    }
}
