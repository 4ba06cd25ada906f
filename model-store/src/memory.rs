//! Blobs in memory, for tests of other rooms.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use weighbridge_config::Digest;

use crate::intake::Intake;
use crate::{Blob, BlobInfo, ByteStream, Error, ModelStore, PutLimits};

/// A store that lives as long as its value.
#[derive(Debug, Default)]
pub struct MemoryStore {
    blobs: Mutex<BTreeMap<Digest, Kept>>,
}

#[derive(Debug)]
struct Kept {
    bytes: Bytes,
    modified: SystemTime,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// No panic can leave the map half changed, so that a poisoned lock is no reason to stop.
    fn blobs(&self) -> MutexGuard<'_, BTreeMap<Digest, Kept>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ModelStore for MemoryStore {
    async fn put(&self, mut stream: ByteStream<'_>, limits: PutLimits) -> Result<Blob, Error> {
        let mut intake = Intake::new(limits)?;
        let mut bytes = Vec::new();
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&intake.take(chunk)?);
        }
        let digest = Digest::of(&bytes);
        let size = intake.complete(digest)?;
        let kept = Kept { bytes: bytes.into(), modified: SystemTime::now() };
        let is_new = self.blobs().insert(digest, kept).is_none();
        Ok(Blob { digest, size, is_new })
    }

    async fn read(&self, digest: Digest) -> Result<Bytes, Error> {
        let bytes = self.blobs().get(&digest).map(|kept| kept.bytes.clone());
        bytes.ok_or(Error::NotFound(digest))
    }

    async fn contains(&self, digest: Digest) -> Result<bool, Error> {
        Ok(self.blobs().contains_key(&digest))
    }

    async fn list(&self) -> Result<Vec<BlobInfo>, Error> {
        let info = |(digest, kept): (&Digest, &Kept)| BlobInfo {
            digest: *digest,
            size: kept.bytes.len() as u64,
            modified: kept.modified,
        };
        Ok(self.blobs().iter().map(info).collect())
    }

    async fn remove(&self, digest: Digest) -> Result<bool, Error> {
        Ok(self.blobs().remove(&digest).is_some())
    }

    async fn remove_older(&self, digest: Digest, moment: SystemTime) -> Result<bool, Error> {
        let mut blobs = self.blobs();
        let older = blobs.get(&digest).is_some_and(|kept| kept.modified < moment);
        Ok(older && blobs.remove(&digest).is_some())
    }

    async fn sweep_temporary(&self) -> Result<usize, Error> {
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    crate::contract_suite!((crate::MemoryStore::new(), ()));
}
