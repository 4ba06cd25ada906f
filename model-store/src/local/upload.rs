//! A file in `tmp` that is being written.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use weighbridge_config::Digest;

use super::files::Files;
use crate::Error;

/// An upload. Dropping it removes its file, if it was not renamed to a blob by then; so an
/// upload that fails or is abandoned at any point leaves nothing.
#[derive(Debug)]
pub(super) struct Upload {
    path: PathBuf,
    /// Only one batch is written at a time: the lock is never waited for.
    written: Mutex<Written>,
}

#[derive(Debug)]
struct Written {
    file: File,
    hash: Sha256,
}

impl Upload {
    /// An empty file that nobody else may read.
    pub(super) fn begin(files: &Files) -> Result<Self, Error> {
        let path = files.temporary_path();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::of_io("create a temporary file", error))?;
        let written = Mutex::new(Written { file, hash: Sha256::new() });
        Ok(Self { path, written })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `batch` to the file and to the hash.
    pub(super) fn write(&self, batch: &[Bytes]) -> Result<(), Error> {
        let mut written = self.written();
        for chunk in batch {
            written
                .file
                .write_all(chunk)
                .map_err(|error| Error::of_io("write an upload", error))?;
            written.hash.update(chunk);
        }
        Ok(())
    }

    /// Makes the file read-only, flushes it to the disk and says what its bytes are. Its time is
    /// set last: flushing may take long, and a blob's age counts from when it is there.
    pub(super) fn finish(&self) -> Result<Digest, Error> {
        let written = self.written();
        let read_only = fs::Permissions::from_mode(0o444);
        written
            .file
            .set_permissions(read_only)
            .and_then(|()| written.file.sync_all())
            .and_then(|()| written.file.set_modified(SystemTime::now()))
            .map_err(|error| Error::of_io("flush an upload", error))?;
        Ok(Digest::from_bytes(written.hash.clone().finalize().into()))
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Not found is the usual case: the file has become a blob. Any other failure leaves a
        // file that the next start sweeps. This runs on a blocking thread unless the caller
        // dropped the future of `put`.
        let _ = fs::remove_file(&self.path);
    }
}
