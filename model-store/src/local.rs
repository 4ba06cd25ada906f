//! Blobs in a local folder.
//!
//! ```text
//! blobs/sha256/ab/<64 hexadecimal digits>   whole, checked, read-only
//! tmp/<upload>                              being written
//! ```
//!
//! An upload is written and hashed in `tmp`, flushed to the disk, checked, and renamed to its
//! name; then the folder is flushed. A machine that stops at any moment therefore has either
//! the whole blob or a file in `tmp`, which [`ModelStore::sweep_temporary`] removes.
//!
//! One store per folder: the gateway holds a lock on its data folder.

mod files;
mod upload;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use weighbridge_config::Digest;

use crate::intake::Intake;
use crate::{Blob, BlobInfo, ByteStream, Error, ModelStore, PutLimits};
use files::Files;
use upload::Upload;

/// How many bytes are written and hashed in one go on a blocking thread: about a millisecond
/// of work, so that handing it over costs little and no thread is held while bytes arrive.
const BATCH_BYTES: usize = 1 << 20;

/// A batch of many small chunks is written early: each chunk may hold on to a network buffer
/// much larger than itself.
const BATCH_CHUNKS: usize = 256;

/// A store in a folder of this machine.
#[derive(Debug, Clone)]
pub struct LocalStore {
    files: Arc<Files>,
}

impl LocalStore {
    /// The store in the folder `root`, which is made if it is not there. Does a few short file
    /// operations on the caller's thread: for the start of a process.
    ///
    /// # Errors
    /// `NoSpace` or `Unavailable` when its folders cannot be made.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, Error> {
        let files = Files::open(root.into())?;
        Ok(Self { files: Arc::new(files) })
    }

    /// Runs `work` on a blocking thread.
    async fn on_disk<T: Send + 'static>(
        &self,
        attempted: &'static str,
        work: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = Arc::clone(&self.files);
        blocking(attempted, move || work(&files)).await
    }
}

#[async_trait]
impl ModelStore for LocalStore {
    async fn put(&self, stream: ByteStream<'_>, limits: PutLimits) -> Result<Blob, Error> {
        let mut intake = Intake::new(limits)?;
        let upload = self.on_disk("begin an upload", Upload::begin).await?;
        let upload = Arc::new(upload);
        let received = receive(&upload, &mut intake, stream).await;
        self.on_disk("finish an upload", move |files| {
            // After a failure the upload is dropped here, which removes its file.
            received?;
            let digest = upload.finish()?;
            let size = intake.complete(digest)?;
            let is_new = files.publish(&upload, digest)?;
            Ok(Blob { digest, size, is_new })
        })
        .await
    }

    async fn read(&self, digest: Digest) -> Result<Bytes, Error> {
        self.on_disk("read a blob", move |files| files.read(digest)).await
    }

    async fn contains(&self, digest: Digest) -> Result<bool, Error> {
        self.on_disk("look for a blob", move |files| files.contains(digest)).await
    }

    async fn list(&self) -> Result<Vec<BlobInfo>, Error> {
        self.on_disk("list the blobs", Files::list).await
    }

    async fn remove(&self, digest: Digest) -> Result<bool, Error> {
        self.on_disk("remove a blob", move |files| files.remove(digest, None)).await
    }

    async fn remove_older(&self, digest: Digest, moment: SystemTime) -> Result<bool, Error> {
        self.on_disk("remove a blob", move |files| files.remove(digest, Some(moment))).await
    }

    async fn sweep_temporary(&self) -> Result<usize, Error> {
        self.on_disk("sweep temporary files", Files::sweep).await
    }
}

/// Writes all that arrives, a batch at a time.
async fn receive(
    upload: &Arc<Upload>,
    intake: &mut Intake,
    mut stream: ByteStream<'_>,
) -> Result<(), Error> {
    let mut batch = Vec::new();
    let mut batched = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = intake.take(chunk)?;
        batched += chunk.len();
        batch.push(chunk);
        if batched >= BATCH_BYTES || batch.len() >= BATCH_CHUNKS {
            write(upload, std::mem::take(&mut batch)).await?;
            batched = 0;
        }
    }
    write(upload, batch).await
}

async fn write(upload: &Arc<Upload>, batch: Vec<Bytes>) -> Result<(), Error> {
    let upload = Arc::clone(upload);
    blocking("write an upload", move || upload.write(&batch)).await
}

async fn blocking<T: Send + 'static>(
    attempted: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    // The work does not panic; what is left is a runtime that shuts down.
    done.unwrap_or_else(|error| Err(Error::of_io(attempted, io::Error::other(error))))
}
