//! The data folder: who holds it, and the small files in it.
//!
//! `lock` (held by exactly one `serve` through a kernel lock that ends with the process),
//! `registry.sqlite`, `store/`, `admin-key` and `webhook-secret` (mode 0600), and `listen-url` and
//! `admin-url` with the addresses that were bound, where commands on the same machine find them.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use weighbridge_config::client::{KEY_FILE, URL_FILE};

use crate::secrets;

const REGISTRY_FILE: &str = "registry.sqlite";
/// The secret that receivers of webhooks know.
const WEBHOOK_SECRET_FILE: &str = "webhook-secret";

/// A data folder that this process holds until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Closing it gives the lock back.
    _lock: File,
}

/// Why a data folder cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    #[error(
        "the data folder {0} is in use by another weighbridge (process {1}): stop it, or choose another with --data-dir"
    )]
    InUse(PathBuf, String),
    #[error("cannot use the data folder {0}")]
    Unusable(PathBuf, #[source] io::Error),
}

impl DataDir {
    /// Makes the folder if need be and takes its lock.
    pub fn hold(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |e| DataDirError::Unusable(path.to_owned(), e);
        if !path.exists() {
            fs::create_dir_all(path).map_err(unusable)?;
            // Keys and models are nobody else's business.
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(unusable)?;
        }
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path.join("lock"))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = io::read_to_string(&lock).unwrap_or_default();
                return Err(DataDirError::InUse(path.to_owned(), holder.trim().to_owned()));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        // The registry holds hashes of keys: its file is made before SQLite makes it readable to
        // others. SQLite gives its log files the same mode.
        let private =
            OpenOptions::new().create(true).append(true).mode(0o600).open(path.join(REGISTRY_FILE));
        private.map_err(unusable)?;
        lock.set_len(0).map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the registry lives.
    pub fn registry(&self) -> PathBuf {
        self.path.join(REGISTRY_FILE)
    }

    /// Where the model store lives.
    pub fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// The admin key, if the file is there.
    pub fn admin_key(&self) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path.join(KEY_FILE)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the admin key, readable by the owner only.
    pub fn write_admin_key(&self, key: &str) -> io::Result<PathBuf> {
        self.write(KEY_FILE, key)
    }

    /// The file of the secret that signs webhooks; made, readable by the owner only, if it is not
    /// there.
    pub fn webhook_secret(&self) -> io::Result<PathBuf> {
        let path = self.path.join(WEBHOOK_SECRET_FILE);
        match path.try_exists()? {
            true => Ok(path),
            false => self.write(WEBHOOK_SECRET_FILE, &secrets::fresh_webhook_secret()),
        }
    }

    /// Writes the addresses that were bound.
    pub fn write_urls(&self, listen: &str, admin: &str) -> io::Result<()> {
        self.write("listen-url", listen)?;
        self.write(URL_FILE, admin).map(|_| ())
    }

    /// A reader sees the old file or the new one, never a part.
    fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let (path, temporary) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&temporary)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&temporary, &path)?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let held = DataDir::hold(&path).unwrap();
        let error = DataDir::hold(&path).unwrap_err().to_string();
        assert!(
            error.contains("in use") && error.contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(held);
        assert!(DataDir::hold(&path).is_ok());
    }

    #[test]
    fn the_admin_key_is_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataDir::hold(folder.path()).unwrap();
        assert_eq!(held.admin_key().unwrap(), None);
        let path = held.write_admin_key("wbk_1").unwrap();
        assert_eq!(held.admin_key().unwrap().as_deref(), Some("wbk_1"));
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
