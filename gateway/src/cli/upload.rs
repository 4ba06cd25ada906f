//! A model file on its way to the server: hashed first, then streamed. It is never in memory
//! as a whole; its golden cases are, and are read here first: whoever wrote them learns of
//! mistakes before a large model has been sent.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use futures_util::TryStreamExt;
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;
use weighbridge_config::golden::MOST_BYTES;
use weighbridge_config::{Digest, ModelName, Version};
use weighbridge_registry::{Operation, VersionInfo};

use super::client::Client;
use super::error::{CliError, with_causes};
use super::wire::{Started, model_path};
use super::{progress, show};

/// The bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A file whose bytes are known by their digest. The server compares them with what arrives,
/// so a file that changes meanwhile becomes no version.
#[derive(Debug)]
pub struct ModelFile {
    pub(super) file: File,
    pub size: u64,
    pub sha256: Digest,
}

/// A file of tensor data that a model refers to.
#[derive(Debug)]
pub struct ExternalFile {
    /// What the model calls it: a path relative to the model.
    name: String,
    file: File,
    size: u64,
}

/// Larger files have their weights inside.
const LARGEST_WITHOUT_WEIGHTS: u64 = 256 << 20;

impl ExternalFile {
    /// Opens all files that the model at `path` refers to.
    pub fn of_model(path: &Path) -> Result<Vec<Self>, CliError> {
        let failed = |path: &Path, error: &io::Error| {
            CliError::io(format!("read {}", path.display()), error)
        };
        let size = std::fs::metadata(path).map_err(|e| failed(path, &e))?.len();
        if size > LARGEST_WITHOUT_WEIGHTS {
            return Ok(Vec::new());
        }
        let onnx = std::fs::read(path).map_err(|e| failed(path, &e))?;
        // What is no model is told by the server, which knows all that can be wrong with it.
        let Ok(inspection) = weighbridge_engine::inspect(&onnx) else { return Ok(Vec::new()) };
        let folder = path.parent().unwrap_or(Path::new(""));
        let names = inspection.external_files.into_iter();
        let names = names.filter(|name| weighbridge_engine::is_external_name(name));
        let open = |name: String| {
            let path = folder.join(&name);
            let file = File::open(&path).map_err(|e| failed(&path, &e))?;
            let size = file.metadata().map_err(|e| failed(&path, &e))?.len();
            Ok(Self { name, file, size })
        };
        names.map(open).collect()
    }
}

/// Golden cases that the server will understand.
#[derive(Debug)]
pub struct GoldenFile(Vec<u8>);

impl GoldenFile {
    /// Opens and reads a file.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let failed = |error: &io::Error| CliError::io(format!("read {}", path.display()), error);
        let size = std::fs::metadata(path).map_err(|e| failed(&e))?.len();
        if size > MOST_BYTES {
            let most = show::size(MOST_BYTES);
            let told = format!("{} is {}, wanted at most {most}", path.display(), show::size(size));
            return Err(CliError::refused(told));
        }
        let text = std::fs::read(path).map_err(|e| failed(&e))?;
        let refused = |told| CliError::refused(format!("{}: {told}", path.display()));
        weighbridge_protocol::golden::decode(&text).map_err(|e| refused(e.0))?;
        Ok(Self(text))
    }
}

/// The first part of the form: what the server knows before the first byte of the model.
#[derive(Debug, Serialize)]
struct Info<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<Version>,
    #[serde(flatten)]
    info: &'a VersionInfo,
    size: u64,
    sha256: Digest,
}

impl ModelFile {
    /// Opens and hashes a file.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let hash = || -> io::Result<Self> {
            let mut file = File::open(path)?;
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("not a file"));
            }
            let size = metadata.len();
            let sha256 = sha256_of(&mut file, size)?;
            file.rewind()?;
            Ok(Self { file, size, sha256 })
        };
        hash().map_err(|error| CliError::io(format!("read {}", path.display()), &error))
    }
}

fn sha256_of(file: &mut File, size: u64) -> io::Result<Digest> {
    let bar = progress::bytes(size);
    bar.set_message("hashing");
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    // No further than `size`: that is what will be sent.
    let mut bytes = file.take(size);
    loop {
        let read = bytes.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        bar.inc(read as u64);
    }
    bar.finish_and_clear();
    Ok(Digest::from_bytes(hash.finalize().into()))
}

/// What becomes a version.
#[derive(Debug)]
pub struct Files {
    pub model: ModelFile,
    pub external: Vec<ExternalFile>,
    pub golden: Option<GoldenFile>,
}

impl From<ModelFile> for Files {
    /// A model that is one file.
    fn from(model: ModelFile) -> Self {
        Self { model, external: Vec::new(), golden: None }
    }
}

/// Sends files as a version and returns the operation that checks it.
pub async fn send(
    client: &Client,
    model: &ModelName,
    version: Option<Version>,
    info: &VersionInfo,
    files: Files,
) -> Result<Operation, CliError> {
    let Files { model: file, external, golden } = files;
    let size = file.size + external.iter().map(|file| file.size).sum::<u64>();
    let golden_size = golden.as_ref().map_or(0, |golden| golden.0.len() as u64);
    let bar = progress::bytes(size);
    bar.set_message("uploading");
    let info = Info { version, info, size: file.size, sha256: file.sha256 };
    let info = serde_json::to_string(&info).map_err(|error| CliError::failed(error.to_string()))?;
    let streamed = |file: File, size: u64| {
        let sent = bar.clone();
        let bytes = tokio::fs::File::from_std(file).take(size);
        let chunks = ReaderStream::with_capacity(bytes, CHUNK)
            .inspect_ok(move |chunk| sent.inc(chunk.len() as u64));
        Part::stream_with_length(Body::wrap_stream(chunks), size)
    };
    let typed = |part: Part, media_type: &str| {
        part.mime_str(media_type).map_err(|error| CliError::failed(with_causes(&error)))
    };
    let model_part = streamed(file.file, file.size).file_name("model.onnx");
    let mut form = Form::new().part("info", typed(Part::text(info), "application/json")?);
    // Before the model: what is wrong with them is told at once.
    if let Some(GoldenFile(text)) = golden {
        let golden_part = Part::bytes(text).file_name("golden.json");
        form = form.part("golden", typed(golden_part, "application/json")?);
    }
    for ExternalFile { name, file, size } in external {
        let part = streamed(file, size).file_name(name);
        form = form.part("external", typed(part, "application/octet-stream")?);
    }
    let form = form.part("model", typed(model_part, "application/octet-stream")?);
    let answer = client.upload(&model_path(model, "versions"), form, size + golden_size).await;
    bar.finish_and_clear();
    Ok(answer?.parse::<Started>()?.operation)
}
