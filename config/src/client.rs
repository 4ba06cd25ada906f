//! Where a command finds the admin API, and the key or certificate it shows there: flags, else
//! `WEIGHBRIDGE_URL` and `WEIGHBRIDGE_KEY` or `WEIGHBRIDGE_CERT`, else the files that a server
//! leaves in its data folder.
//!
//! Invariant: the key of a data folder goes to that folder's own server. It is sent elsewhere
//! only when the caller names both the folder and the address by flag.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::environment;
use crate::settings::Settings;

/// The variable with the address of the admin API.
pub const URL_VARIABLE: &str = "WEIGHBRIDGE_URL";
/// The variable with the key.
pub const KEY_VARIABLE: &str = "WEIGHBRIDGE_KEY";
/// The variable with the file of the client certificate that is shown instead of a key.
pub const CERTIFICATE_VARIABLE: &str = "WEIGHBRIDGE_CERT";
/// The variable with the file of certificates that the server's is signed by.
pub const CA_VARIABLE: &str = "WEIGHBRIDGE_CA";
/// The file of a data folder with the address of its server's admin API.
pub const URL_FILE: &str = "admin-url";
/// The file of a data folder with the key of its server.
pub const KEY_FILE: &str = "admin-key";

const DATA_DIR_VARIABLE: &str = "WEIGHBRIDGE__SERVER__DATA_DIR";

/// A text that never appears in logs or in `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` out of sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one header that carries it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Where the address or the credential came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientSource {
    /// `--url`, `--key` or `--cert`.
    Flag(&'static str),
    Variable(&'static str),
    File(PathBuf),
}

impl fmt::Display for ClientSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) | Self::Variable(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// What a command shows to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// Visible ASCII only, so that it fits into a header.
    Key(Secret),
    /// A file in PEM with a certificate, those that sign it, and its key.
    Certificate(PathBuf),
}

/// What the command line itself says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Flags<'a> {
    pub url: Option<&'a str>,
    pub key: Option<&'a str>,
    pub certificate: Option<&'a Path>,
    pub data_dir: Option<&'a Path>,
}

/// What a command needs to talk to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientSettings {
    /// `http://` or `https://` with a host, without a slash at the end.
    pub url: String,
    pub credential: Credential,
    pub url_source: ClientSource,
    pub credential_source: ClientSource,
}

/// Why a command cannot tell where its server is, or which key to show.
#[derive(Debug, thiserror::Error)]
pub enum ClientSettingsError {
    #[error(
        "no server address: set --url or {URL_VARIABLE}, such as http://127.0.0.1:8081, or name \
         the data folder of a running server with --data-dir ({} does not exist)",
        .0.display()
    )]
    NoUrl(PathBuf),
    #[error(
        "no key: set --key or {KEY_VARIABLE} (or --cert or {CERTIFICATE_VARIABLE}), or name the \
         data folder of a running server with --data-dir ({} does not exist)",
        .0.display()
    )]
    NoKey(PathBuf),
    #[error(
        "the server address of {source_of} is \"{url}\": wanted http://HOST:PORT or \
         https://HOST:PORT"
    )]
    BadUrl { source_of: ClientSource, url: String },
    // The key itself is never shown.
    #[error("the key of {0} is empty or has characters other than visible ASCII")]
    BadKey(ClientSource),
    #[error(
        "no key for {url}: the key in {} is for the server of that folder; set --key or \
         {KEY_VARIABLE}, or name the folder with --data-dir to send its key there",
        .file.display()
    )]
    KeyOfAnotherServer { url: String, file: PathBuf },
    #[error("cannot read {}", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
}

impl ClientSettings {
    /// The address and the credential, each from the first of flag, variable and data folder that
    /// has one; of two variables the key's. The data folder is `flags.data_dir`, else
    /// `WEIGHBRIDGE__SERVER__DATA_DIR`, else the default one.
    ///
    /// # Errors
    /// Says what to set when one is missing, and which source is wrong when one cannot be used.
    pub fn find(flags: &Flags<'_>) -> Result<Self, ClientSettingsError> {
        Self::find_with(flags, environment::variable)
    }

    /// As [`ClientSettings::find`], with the variables as an argument.
    fn find_with(
        flags: &Flags<'_>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ClientSettingsError> {
        let folder = flags
            .data_dir
            .map(Path::to_owned)
            .or_else(|| variable(DATA_DIR_VARIABLE).map(PathBuf::from))
            .unwrap_or_else(|| Settings::default().server.data_dir);
        let (url_file, key_file) = (folder.join(URL_FILE), folder.join(KEY_FILE));

        let given = first("--url", flags.url, URL_VARIABLE, &variable);
        let (url_source, url) = match given {
            Some(given) => given,
            None => {
                from_file(&url_file)?.ok_or_else(|| ClientSettingsError::NoUrl(url_file.clone()))?
            }
        };
        let url = checked_url(&url_source, &url)?;

        let certificate = flags.certificate.map(|file| (ClientSource::Flag("--cert"), file.into()));
        let certificate = certificate.or_else(|| {
            let is_told = flags.key.is_some() || variable(KEY_VARIABLE).is_some();
            let named = variable(CERTIFICATE_VARIABLE).filter(|_| !is_told)?;
            Some((ClientSource::Variable(CERTIFICATE_VARIABLE), PathBuf::from(named)))
        });
        if let Some((credential_source, file)) = certificate {
            let credential = Credential::Certificate(file);
            return Ok(Self { url, credential, url_source, credential_source });
        }
        let given = first("--key", flags.key, KEY_VARIABLE, &variable);
        let (credential_source, key) = match given {
            Some(given) => given,
            None => {
                let found = from_file(&key_file)?;
                let found = found.ok_or_else(|| ClientSettingsError::NoKey(key_file.clone()))?;
                if flags.data_dir.is_none() && !is_url_of(&url_file, &url)? {
                    return Err(ClientSettingsError::KeyOfAnotherServer { url, file: key_file });
                }
                found
            }
        };
        let credential = Credential::Key(checked_key(&credential_source, &key)?);
        Ok(Self { url, credential, url_source, credential_source })
    }
}

/// The file of certificates that a server's may be signed by: `--ca`, else `WEIGHBRIDGE_CA`. With
/// neither, those that the system trusts.
pub fn trusted(flag: Option<&Path>) -> Option<PathBuf> {
    flag.map(Path::to_owned).or_else(|| environment::variable(CA_VARIABLE).map(PathBuf::from))
}

type Found = (ClientSource, String);

fn first(
    flag_name: &'static str,
    flag: Option<&str>,
    variable_name: &'static str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Found> {
    let from_flag = flag.map(|value| (ClientSource::Flag(flag_name), value.to_owned()));
    from_flag.or_else(|| Some((ClientSource::Variable(variable_name), variable(variable_name)?)))
}

/// The contents of a file; None when there is no such file.
fn from_file(path: &Path) -> Result<Option<Found>, ClientSettingsError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some((ClientSource::File(path.to_owned()), text))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ClientSettingsError::Unreadable { path: path.to_owned(), error }),
    }
}

/// Whether the server of the folder that holds `url_file` is the one at `url`.
fn is_url_of(url_file: &Path, url: &str) -> Result<bool, ClientSettingsError> {
    let own = from_file(url_file)?;
    Ok(own.is_some_and(|(_, own)| trimmed_url(&own) == url))
}

fn trimmed_url(text: &str) -> &str {
    text.trim().trim_end_matches('/')
}

fn checked_url(source: &ClientSource, text: &str) -> Result<String, ClientSettingsError> {
    let url = trimmed_url(text);
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    // A user or password in the address would end up in logs; a key has its own flag.
    let visible = |host: &str| host.bytes().all(|b| b.is_ascii_graphic() && b != b'@');
    match host {
        Some(host) if !host.is_empty() && visible(host) => Ok(url.to_owned()),
        _ => {
            let url = url.chars().take(80).collect();
            Err(ClientSettingsError::BadUrl { source_of: source.clone(), url })
        }
    }
}

fn checked_key(source: &ClientSource, text: &str) -> Result<Secret, ClientSettingsError> {
    let key = text.trim();
    let fits = !key.is_empty() && key.bytes().all(|b| b.is_ascii_graphic());
    fits.then(|| Secret::new(key)).ok_or_else(|| ClientSettingsError::BadKey(source.clone()))
}

#[cfg(test)]
mod tests;
