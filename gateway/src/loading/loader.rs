//! The threads that load.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;
use weighbridge_config::{Digest, Manifest};
use weighbridge_engine::{LoadOptions, LoadedModel};
use weighbridge_model_store::ModelStore;
use weighbridge_registry::VersionRecord;

use super::report;
use crate::edge::problem::chain;

/// Loads run below everything else (the niceness of Unix: larger is lower).
const NICENESS: i32 = 5;

/// The bytes that a model is loaded from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelFiles {
    pub onnx: Bytes,
    /// Tensor data by the names that the ONNX file gives its files.
    pub external: BTreeMap<String, Bytes>,
}

impl ModelFiles {
    /// The length of all files together.
    pub fn bytes(&self) -> usize {
        self.onnx.len() + self.external.values().map(Bytes::len).sum::<usize>()
    }

    /// Loads the model.
    ///
    /// # Errors
    /// Those of [`LoadedModel::load_with_files`].
    pub fn load(&self, options: &LoadOptions) -> Result<LoadedModel, weighbridge_engine::Error> {
        let files = self.external.iter().map(|(name, bytes)| (name.clone(), &**bytes)).collect();
        LoadedModel::load_with_files(&self.onnx, &files, options)
    }
}

enum Order {
    Load {
        files: ModelFiles,
        options: LoadOptions,
        reply: oneshot::Sender<Result<LoadedModel, String>>,
    },
    /// A version is gone: give back what it took.
    GiveBack,
}

/// Held by a loaded version: when it is dropped, a loading thread gives back the memory that the
/// version took. What was allocated on that thread can be given back by no other.
#[derive(Debug)]
pub struct Farewell(crossbeam_channel::Sender<Order>);

impl Drop for Farewell {
    fn drop(&mut self) {
        // Without a thread the process is ending.
        let _ = self.0.send(Order::GiveBack);
    }
}

/// Loads versions from the model store.
#[derive(Debug, Clone)]
pub struct Loader {
    store: Arc<dyn ModelStore>,
    orders: crossbeam_channel::Sender<Order>,
    /// For every version; its engine comes from its report.
    options: LoadOptions,
}

impl Loader {
    /// Starts `threads` loading threads, which end with the last clone of the loader.
    pub fn start(
        store: Arc<dyn ModelStore>,
        threads: usize,
        options: LoadOptions,
    ) -> std::io::Result<Self> {
        let (orders, inbox) = crossbeam_channel::unbounded::<Order>();
        for number in 0..threads {
            let inbox = inbox.clone();
            std::thread::Builder::new()
                .name(format!("load-{number}"))
                .stack_size(super::LOAD_STACK_BYTES)
                .spawn(move || {
                    // Priority is a courtesy to live requests, not a condition.
                    let _ = rustix::process::nice(NICENESS);
                    for order in inbox {
                        if let Order::Load { files, options, reply } = order {
                            let loaded = files.load(&options);
                            let _ = reply.send(loaded.map_err(|e| chain(&e)));
                        }
                        super::memory::give_back();
                    }
                })?;
        }
        Ok(Self { store, orders, options })
    }

    /// Fetches, verifies and loads a version, with the engine that its check settled on; returns
    /// how long it took.
    ///
    /// # Errors
    /// One sentence that says what stands in the way.
    pub async fn load(&self, record: &VersionRecord) -> Result<(LoadedModel, Duration), String> {
        let started = Instant::now();
        let files = self.read(&record.manifest).await?;
        let engine = report::engine_of(record).into();
        let options = LoadOptions { engine, ..self.options.clone() };
        let (reply, outcome) = oneshot::channel();
        let stopped = || "the gateway is going away".to_owned();
        self.orders.send(Order::Load { files, options, reply }).map_err(|_| stopped())?;
        let model = outcome.await.map_err(|_| stopped())??;
        Ok((model, started.elapsed()))
    }

    /// To be dropped together with a version that was loaded here.
    pub fn farewell(&self) -> Farewell {
        Farewell(self.orders.clone())
    }

    /// The verified bytes of the ONNX file and of the files beside it.
    pub async fn read(&self, manifest: &Manifest) -> Result<ModelFiles, String> {
        let digest: Digest = manifest.model().ok_or("the artifact has no ONNX file")?.sha256;
        let onnx = self.store.read(digest).await.map_err(|e| chain(&e))?;
        let mut external = BTreeMap::new();
        for file in manifest.external() {
            let bytes = self.store.read(file.sha256).await;
            let bytes = bytes.map_err(|e| format!("{}: {}", file.path, chain(&e)))?;
            external.insert(file.path.clone(), bytes);
        }
        Ok(ModelFiles { onnx, external })
    }

    /// The verified bytes of the golden cases, if there are any.
    pub async fn read_golden(&self, manifest: &Manifest) -> Result<Option<Bytes>, String> {
        let Some(file) = manifest.golden() else { return Ok(None) };
        self.store.read(file.sha256).await.map(Some).map_err(|e| chain(&e))
    }
}
