//! The secret that signs webhooks: the text of a file, read for each delivery, so that a new one
//! holds without a restart.

use std::io;
use std::path::{Path, PathBuf};

use weighbridge_config::Secret;
use weighbridge_config::settings::SecretFile;

use crate::data_dir::DataDir;

/// Below this many characters a secret can be guessed.
const SHORTEST: usize = 16;
/// Above this many bytes a file is something else.
const LARGEST: usize = 4096;

/// Where the secret is read from.
#[derive(Debug, Clone)]
pub struct Source(PathBuf);

/// Why there is no secret to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read the secret of webhooks from {0} (webhooks.secret_file)")]
    Unreadable(PathBuf, #[source] io::Error),
    #[error(
        "the secret of webhooks in {0} (webhooks.secret_file) is {1}: wanted {SHORTEST} to \
         {LARGEST} bytes of text"
    )]
    Unfit(PathBuf, &'static str),
    #[error("cannot make the secret of webhooks in the data folder")]
    Unwritable(#[source] io::Error),
}

impl Source {
    /// The file that the settings name, or the one of the data folder, which is made if need be.
    pub fn open(file: &SecretFile, data_dir: &DataDir) -> Result<Self, SecretError> {
        let path = match file {
            SecretFile::At(path) => path.clone(),
            SecretFile::Auto => data_dir.webhook_secret().map_err(SecretError::Unwritable)?,
        };
        // A mistake shows at the start, not with the first webhook.
        let source = Self(path);
        read(&source.0).map(|_| source)
    }

    /// The secret that holds now.
    pub async fn secret(&self) -> Result<Secret, SecretError> {
        let path = self.0.clone();
        let unreadable = |error| SecretError::Unreadable(self.0.clone(), error);
        let read = tokio::task::spawn_blocking(move || read(&path)).await;
        read.map_err(|error| unreadable(io::Error::other(error)))?
    }
}

fn read(path: &Path) -> Result<Secret, SecretError> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| SecretError::Unreadable(path.to_owned(), error))?;
    match text.trim() {
        text if text.len() < SHORTEST => Err(SecretError::Unfit(path.to_owned(), "too short")),
        text if text.len() > LARGEST => Err(SecretError::Unfit(path.to_owned(), "too long")),
        text => Ok(Secret::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_data_folder_gets_a_secret_of_its_own_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::hold(folder.path()).unwrap();
        let source = Source::open(&SecretFile::Auto, &data_dir).unwrap();
        let secret = source.secret().await.unwrap();
        assert!(secret.expose().starts_with("wbs_") && secret.expose().len() == 68);
        let again = Source::open(&SecretFile::Auto, &data_dir).unwrap();
        assert_eq!(again.secret().await.unwrap(), secret);
        let file = std::fs::metadata(folder.path().join("webhook-secret")).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_of_the_operator_is_checked_at_once_and_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = DataDir::hold(folder.path()).unwrap();
        let path = folder.path().join("own");
        let file = SecretFile::At(path.clone());
        let told = Source::open(&file, &data_dir).unwrap_err().to_string();
        assert!(told.contains("webhooks.secret_file") && told.contains("own"), "{told}");
        for (text, fits) in [
            ("too short\n".to_owned(), false),
            ("x".repeat(5000), false),
            ("sixteen letters!\n".to_owned(), true),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Source::open(&file, &data_dir).is_ok(), fits);
        }
        let source = Source::open(&file, &data_dir).unwrap();
        std::fs::write(&path, "another sixteen or more\n").unwrap();
        assert_eq!(source.secret().await.unwrap().expose(), "another sixteen or more");
        assert!(!folder.path().join("webhook-secret").exists(), "nobody needs it");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(source.secret().await, Err(SecretError::Unreadable(..))));
    }
}
