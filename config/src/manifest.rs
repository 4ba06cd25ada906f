//! What an artifact consists of, and the digest that names it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[0-9a-fA-F]{64}$"))]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A digest that was computed elsewhere, while streaming.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The first twelve digits, for tables and logs.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// A text that is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a SHA-256 digest: wanted 64 hexadecimal digits")]
pub struct InvalidDigest(String);

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| InvalidDigest(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.to_string()
    }
}

/// What a file of an artifact is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum FileRole {
    /// The ONNX file itself.
    Model,
    /// Tensor data that the ONNX file refers to.
    External,
    /// Golden cases.
    Golden,
}

/// One file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ManifestFile {
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    pub sha256: Digest,
    pub role: FileRole,
}

/// The files of a version, sorted by path. One `.onnx` is the usual case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Manifest {
    files: Vec<ManifestFile>,
}

impl Manifest {
    /// A manifest of `files` in canonical order.
    pub fn new(mut files: Vec<ManifestFile>) -> Self {
        files.sort();
        Self { files }
    }

    /// A manifest of one ONNX file. The path is always `model.onnx`, so that the same bytes
    /// are the same version whatever the file was called where it came from.
    pub fn single_onnx(size: u64, sha256: Digest) -> Self {
        let path = "model.onnx".to_owned();
        let role = FileRole::Model;
        Self::new(vec![ManifestFile { path, size, sha256, role }])
    }

    /// The same artifact with golden cases, whose path is always `golden.json`.
    pub fn with_golden(mut self, size: u64, sha256: Digest) -> Self {
        let path = "golden.json".to_owned();
        self.files.push(ManifestFile { path, size, sha256, role: FileRole::Golden });
        Self::new(self.files)
    }

    /// The same artifact with a file of tensor data, under the name that the ONNX file gives it.
    pub fn with_external(mut self, path: String, size: u64, sha256: Digest) -> Self {
        self.files.push(ManifestFile { path, size, sha256, role: FileRole::External });
        Self::new(self.files)
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[ManifestFile] {
        &self.files
    }

    /// The ONNX file.
    pub fn model(&self) -> Option<&ManifestFile> {
        self.files.iter().find(|f| f.role == FileRole::Model)
    }

    /// The golden cases, if the version has some.
    pub fn golden(&self) -> Option<&ManifestFile> {
        self.files.iter().find(|f| f.role == FileRole::Golden)
    }

    /// The files of tensor data.
    pub fn external(&self) -> impl Iterator<Item = &ManifestFile> {
        self.files.iter().filter(|f| f.role == FileRole::External)
    }

    /// The digest of the version: SHA-256 over one line per file.
    pub fn digest(&self) -> Digest {
        let mut lines = String::new();
        for f in &self.files {
            lines.push_str(&format!("{:?} {} {} {}\n", f.role, f.sha256, f.size, f.path));
        }
        Digest::of(lines.as_bytes())
    }

    /// The bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|f| f.size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_round_trip_as_text() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(digest.short(), "ba7816bf8f01");
        assert!("ba78".parse::<Digest>().is_err());
        assert!("zz".repeat(32).parse::<Digest>().is_err());
    }

    #[test]
    fn golden_cases_are_part_of_the_version() {
        let plain = Manifest::single_onnx(3, Digest::of(b"abc"));
        let with = plain.clone().with_golden(2, Digest::of(b"{}"));
        assert_ne!(with.digest(), plain.digest());
        assert_eq!((with.model(), plain.golden()), (plain.model(), None));
        assert_eq!(with.golden().map(|f| f.sha256), Some(Digest::of(b"{}")));
        assert_ne!(with.digest(), plain.with_golden(3, Digest::of(b"[1]")).digest());
    }

    #[test]
    fn a_manifest_digest_depends_on_content_and_not_on_order() {
        let file = |path: &str, role| ManifestFile {
            path: path.into(),
            size: 1,
            sha256: Digest::of(path.as_bytes()),
            role,
        };
        let a = file("a.onnx", FileRole::Model);
        let b = file("b.bin", FileRole::External);
        let one = Manifest::new(vec![a.clone(), b.clone()]);
        assert_eq!(one.digest(), Manifest::new(vec![b.clone(), a.clone()]).digest());
        assert_ne!(one.digest(), Manifest::new(vec![a.clone()]).digest());
        assert_eq!(one.model(), Some(&a));
        // The digest is stored: it may never change for the same files.
        assert_eq!(
            Manifest::single_onnx(3, Digest::of(b"abc")).digest().to_string(),
            Digest::of(
                b"Model ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 model.onnx\n"
            )
            .to_string()
        );
    }
}
