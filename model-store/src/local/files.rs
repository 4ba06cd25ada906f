//! The folders of a local store and what is done in them; all of it blocks.

use std::fs::{self, DirEntry, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use weighbridge_config::Digest;

use super::upload::Upload;
use crate::{BlobInfo, Error};

/// The folders of one store.
#[derive(Debug)]
pub(super) struct Files {
    blobs: PathBuf,
    temporary: PathBuf,
    /// What the names of this store's own uploads begin with, so that a sweep leaves them alone.
    session: String,
    uploads: AtomicU64,
    /// Held while a blob appears or disappears, so that "was it there?" and "is it old?" are
    /// answered in one step with the change.
    changes: Mutex<()>,
}

impl Files {
    /// Makes the folders that are not there yet.
    pub(super) fn open(root: PathBuf) -> Result<Self, Error> {
        let (blobs, temporary) = (root.join("blobs/sha256"), root.join("tmp"));
        for folder in [&blobs, &temporary] {
            fs::create_dir_all(folder)
                .map_err(|error| Error::of_io("make the folders of the store", error))?;
        }
        // The names must last as long as the blobs below them.
        for folder in [&root.join("blobs"), &root] {
            sync(folder).map_err(|error| Error::of_io("flush the folders of the store", error))?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let session = format!("{:x}-", now.as_nanos());
        let (uploads, changes) = (AtomicU64::new(0), Mutex::new(()));
        Ok(Self { blobs, temporary, session, uploads, changes })
    }

    /// A new name for an upload.
    pub(super) fn temporary_path(&self) -> PathBuf {
        let number = self.uploads.fetch_add(1, Ordering::Relaxed);
        self.temporary.join(format!("{}{number}", self.session))
    }

    /// Gives a finished upload the name of its bytes; true when the store did not have them.
    ///
    /// A blob that is there is replaced: its bytes are the same unless it is corrupt, and its
    /// time must be that of the last put. Those who read it keep the file they opened.
    pub(super) fn publish(&self, upload: &Upload, digest: Digest) -> Result<bool, Error> {
        let failed = |error| Error::of_io("publish a blob", error);
        let folder = self.folder(digest);
        let path = self.path(digest);
        let _change = self.change();
        match fs::create_dir(&folder) {
            Ok(()) => sync(&self.blobs).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let is_new = !path.try_exists().map_err(failed)?;
        fs::rename(upload.path(), &path).map_err(failed)?;
        sync(&folder).map_err(failed)?;
        Ok(is_new)
    }

    pub(super) fn read(&self, digest: Digest) -> Result<Bytes, Error> {
        let failed = |error| Error::of_io("read a blob", error);
        let Some(bytes) = unless_missing(fs::read(self.path(digest))).map_err(failed)? else {
            self.check_present().map_err(failed)?;
            return Err(Error::NotFound(digest));
        };
        let found = Digest::of(&bytes);
        if found == digest {
            Ok(bytes.into())
        } else {
            Err(Error::Corrupt { wanted: digest, found })
        }
    }

    pub(super) fn contains(&self, digest: Digest) -> Result<bool, Error> {
        let failed = |error| Error::of_io("look for a blob", error);
        let exists = self.path(digest).try_exists().map_err(failed)?;
        if !exists {
            self.check_present().map_err(failed)?;
        }
        Ok(exists)
    }

    /// All blobs, sorted by digest. What does not have the name of a blob is left alone.
    pub(super) fn list(&self) -> Result<Vec<BlobInfo>, Error> {
        let failed = |error| Error::of_io("list the blobs", error);
        let mut blobs = Vec::new();
        for folder in entries(&self.blobs).map_err(failed)? {
            if !folder.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            for entry in entries(&folder.path()).map_err(failed)? {
                blobs.extend(self.info(&entry).map_err(failed)?);
            }
        }
        blobs.sort_unstable_by_key(|blob| blob.digest);
        Ok(blobs)
    }

    /// Removes a blob, if it was last put before `moment` (any time when None). The folder is
    /// not flushed: a blob that comes back after a power cut is removed once more.
    pub(super) fn remove(&self, digest: Digest, moment: Option<SystemTime>) -> Result<bool, Error> {
        let path = self.path(digest);
        let _change = self.change();
        let removed = || {
            if let Some(moment) = moment
                && fs::metadata(&path)?.modified()? >= moment
            {
                return Ok(false);
            }
            fs::remove_file(&path).map(|()| true)
        };
        let removed = unless_missing(removed());
        removed.map(Option::unwrap_or_default).map_err(|error| Error::of_io("remove a blob", error))
    }

    /// Removes all temporary files but those of this store's own uploads.
    pub(super) fn sweep(&self) -> Result<usize, Error> {
        let failed = |error| Error::of_io("sweep temporary files", error);
        let mut swept = 0;
        for entry in entries(&self.temporary).map_err(failed)? {
            let is_ours = entry.file_name().to_string_lossy().starts_with(&self.session);
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if !is_ours && !is_folder {
                fs::remove_file(entry.path()).map_err(failed)?;
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// What is known of an entry; None when it is no blob or is gone by now.
    fn info(&self, entry: &DirEntry) -> io::Result<Option<BlobInfo>> {
        let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
        // Upper-case digits and a wrong folder parse too, and would name a file elsewhere.
        let Some(digest) = digest.filter(|digest| self.path(*digest) == entry.path()) else {
            tracing::warn!(path = %entry.path().display(), "not a blob in the model store");
            return Ok(None);
        };
        let known = |meta: fs::Metadata| {
            Ok(BlobInfo { digest, size: meta.len(), modified: meta.modified()? })
        };
        unless_missing(entry.metadata().and_then(known))
    }

    /// Two digits of folder keep folders small.
    fn folder(&self, digest: Digest) -> PathBuf {
        self.blobs.join(&digest.to_string()[..2])
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder(digest).join(digest.to_string())
    }

    /// An error when the whole store is gone, such as with a disk that is not mounted: then no
    /// blob can be called missing.
    fn check_present(&self) -> io::Result<()> {
        fs::metadata(&self.blobs).map(drop)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<DirEntry>> {
    fs::read_dir(folder)?.collect()
}

/// Flushes the names in a folder to the disk.
fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// None for a file that is not there.
fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}
