//! What can go wrong, by what a caller does differently.

use std::fmt;
use std::io;

use weighbridge_config::Digest;

/// Why a blob was not put, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such blob: put it.
    #[error("the model store has no blob {0}")]
    NotFound(Digest),
    /// The bytes under this name are not its bytes: put them again, or restore a backup.
    #[error("blob {wanted} is corrupt: its bytes have the digest {found}")]
    Corrupt { wanted: Digest, found: Digest },
    /// The sender must send less, or the operator allow more.
    #[error("the upload is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Bytes.
        limit: u64,
    },
    /// The bytes are not those that the sender announced: send them again.
    #[error("the upload is not what was announced: {0}")]
    Mismatch(Difference),
    /// The sender sent nothing.
    #[error("the upload has no bytes")]
    Empty,
    /// The sender went away or its stream failed: send again.
    #[error("the upload was interrupted")]
    Interrupted(#[source] io::Error),
    /// The operator must make room.
    #[error("no space left in the model store to {attempted}")]
    NoSpace {
        attempted: &'static str,
        #[source]
        source: io::Error,
    },
    /// The store cannot be used at present.
    #[error("the model store failed to {attempted}")]
    Unavailable {
        attempted: &'static str,
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// A failure of the store itself while it attempted something, such as "write a blob".
    pub(crate) fn of_io(attempted: &'static str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { attempted, source }
            }
            _ => Self::Unavailable { attempted, source },
        }
    }
}

/// How an upload differs from what was announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    Digest {
        expected: Digest,
        got: Digest,
    },
    /// In bytes. `got` is what had arrived when it was clear that the sizes differ.
    Size {
        expected: u64,
        got: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest { expected, got } => write!(f, "expected digest {expected}, got {got}"),
            Self::Size { expected, got } if got > expected => {
                write!(f, "expected {expected} bytes, got at least {got}")
            }
            Self::Size { expected, got } => write!(f, "expected {expected} bytes, got {got}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart() {
        for (kind, full) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::PermissionDenied, false),
            (io::ErrorKind::ReadOnlyFilesystem, false),
        ] {
            let error = Error::of_io("write a blob", kind.into());
            assert_eq!(matches!(error, Error::NoSpace { .. }), full, "{kind:?}");
        }
    }

    #[test]
    fn a_corrupt_blob_names_both_digests() {
        let (wanted, found) = (Digest::of(b"a"), Digest::of(b"b"));
        let text = Error::Corrupt { wanted, found }.to_string();
        assert!(text.contains(&wanted.to_string()) && text.contains(&found.to_string()));
    }
}
