//! The certificate that those of the tests are signed by.

/// In PEM; see `tests/it/tls/README.md`.
pub const ROOT: &[u8] = include_bytes!("../it/tls/root.pem");
