//! The rules of an upload, the same for each backend: what is counted, and when it is refused.

use std::io;

use bytes::Bytes;
use weighbridge_config::Digest;

use crate::{Difference, Error, PutLimits};

/// Counts the bytes of one upload against its limits.
#[derive(Debug)]
pub(crate) struct Intake {
    limits: PutLimits,
    /// Bytes that have arrived.
    size: u64,
}

impl Intake {
    /// An upload of which nothing has arrived. One that announces too much is refused here,
    /// before anything is read.
    pub(crate) fn new(limits: PutLimits) -> Result<Self, Error> {
        if limits.expected_size.is_some_and(|size| size > limits.max_bytes) {
            return Err(Error::TooLarge { limit: limits.max_bytes });
        }
        Ok(Self { limits, size: 0 })
    }

    /// The next bytes of the stream, if they may be kept.
    pub(crate) fn take(&mut self, chunk: io::Result<Bytes>) -> Result<Bytes, Error> {
        let chunk = chunk.map_err(Error::Interrupted)?;
        self.size = self.size.saturating_add(chunk.len() as u64);
        if self.size > self.limits.max_bytes {
            return Err(Error::TooLarge { limit: self.limits.max_bytes });
        }
        match self.limits.expected_size {
            Some(expected) if self.size > expected => Err(self.size_differs(expected)),
            _ => Ok(chunk),
        }
    }

    /// The size of the whole upload, whose bytes have `digest`, if it is what was announced.
    pub(crate) fn complete(&self, digest: Digest) -> Result<u64, Error> {
        if self.size == 0 {
            return Err(Error::Empty);
        }
        if let Some(expected) = self.limits.expected_size.filter(|size| *size != self.size) {
            return Err(self.size_differs(expected));
        }
        if let Some(expected) = self.limits.expected.filter(|expected| *expected != digest) {
            return Err(Error::Mismatch(Difference::Digest { expected, got: digest }));
        }
        Ok(self.size)
    }

    fn size_differs(&self, expected: u64) -> Error {
        Error::Mismatch(Difference::Size { expected, got: self.size })
    }
}
