//! A pushed version's way: bytes in the store, a row in the registry (`checking`), the check
//! in a child process, then `ready` or `rejected`. Each step is durable before the next one
//! begins, so that a process killed anywhere resumes the check at its next start.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_config::golden::MOST_BYTES;
use weighbridge_config::{Digest, Manifest, ModelName, Version, settings::Settings};
use weighbridge_model_store::{Blob, ByteStream, ModelStore, PutLimits};
use weighbridge_registry::{
    Actor, CheckOutcome, NewVersion, Operation, OperationState, Registered, VersionInfo,
    VersionRecord, VersionState,
};

use crate::control::Control;
use crate::edge::problem::{Kind, Problem, chain};
use crate::loading::compatible::{Compared, compare_with_stable};
use crate::loading::loader::Loader;
use crate::loading::report::Report;
use crate::loading::vet::{Finding, VersionFiles, VetEngine, VetLimits, vet};
use crate::now_ms;

/// What is pushed, besides its bytes.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub model: ModelName,
    pub version: Option<Version>,
    pub info: VersionInfo,
}

/// The files of a version, stored.
#[derive(Debug)]
pub struct Kept {
    pub model: Blob,
    /// Tensor data by the names that the model gives its files.
    pub external: BTreeMap<String, Blob>,
    pub golden: Option<Blob>,
}

impl From<Blob> for Kept {
    /// A model that is one file.
    fn from(model: Blob) -> Self {
        Self { model, external: BTreeMap::new(), golden: None }
    }
}

/// What the sender of a file announced about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Announced {
    pub sha256: Option<Digest>,
    pub size: Option<u64>,
}

/// Takes pushes.
#[derive(Debug, Clone)]
pub struct Pushes {
    control: Control,
    store: Arc<dyn ModelStore>,
    loader: Loader,
    limits: VetLimits,
    /// What holds for a version that names no engine and whose model names none.
    engine: VetEngine,
    most_bytes: u64,
    /// Checks that may run at once.
    checks: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Pushes {
    /// Checks run on `tasks` and are left for the next start when `stop` fires.
    pub fn new(
        control: Control,
        store: Arc<dyn ModelStore>,
        loader: Loader,
        settings: &Settings,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let limits = VetLimits {
            time: settings.engine.vet_timeout,
            memory: settings.engine.vet_memory.bytes(),
            max_batch_rows: settings.serving.max_batch_size as usize,
        };
        let engine = VetEngine {
            choice: settings.engine.default,
            library: settings.engine.onnxruntime_library.clone(),
        };
        let checks = Arc::new(Semaphore::new(settings.engine.load_threads.max(1) as usize));
        let most_bytes = settings.limits.upload.bytes();
        Self { control, store, loader, limits, engine, most_bytes, checks, tasks, stop }
    }

    /// Stores an ONNX file. What is none is refused here and leaves no version.
    pub async fn keep_model(
        &self,
        bytes: ByteStream<'_>,
        announced: Announced,
    ) -> Result<Blob, Problem> {
        let limits = PutLimits {
            max_bytes: self.most_bytes,
            expected: announced.sha256,
            expected_size: announced.size,
        };
        let blob = self.store.put(bytes, limits).await?;
        let onnx = self.store.read(blob.digest).await?;
        let inspected =
            tokio::task::spawn_blocking(move || weighbridge_engine::inspect(&onnx).map(|_| ()));
        let inspected = inspected.await.map_err(Problem::internal)?;
        inspected.map_err(|e| Problem::new(Kind::Unprocessable, chain(&e)))?;
        Ok(blob)
    }

    /// Stores golden cases. What cannot be read as such is refused here and leaves no version.
    pub async fn keep_golden(&self, bytes: ByteStream<'_>) -> Result<Blob, Problem> {
        let most = self.most_bytes.min(MOST_BYTES);
        let of_golden = |error| {
            let mut problem = Problem::from(error);
            problem.detail = format!("golden cases: {}", problem.detail).into();
            problem
        };
        let blob = self.store.put(bytes, PutLimits::at_most(most)).await.map_err(of_golden)?;
        let text = self.store.read(blob.digest).await.map_err(of_golden)?;
        let read = tokio::task::spawn_blocking(move || {
            weighbridge_protocol::golden::decode(&text).map(|_| ())
        });
        let read = read.await.map_err(Problem::internal)?;
        read.map_err(|e| Problem::new(Kind::Unprocessable, e.0))?;
        Ok(blob)
    }

    /// Stores a file of tensor data.
    pub async fn keep_external(&self, bytes: ByteStream<'_>) -> Result<Blob, Problem> {
        Ok(self.store.put(bytes, PutLimits::at_most(self.most_bytes)).await?)
    }

    /// Registers files that are stored as a version.
    pub async fn register(
        &self,
        wanted: Wanted,
        files: Kept,
        actor: &Actor,
    ) -> Result<Registered, Problem> {
        let Kept { model, external, golden } = files;
        let mut manifest = Manifest::single_onnx(model.size, model.digest);
        if let Some(golden) = golden {
            manifest = manifest.with_golden(golden.size, golden.digest);
        }
        for (name, blob) in external {
            manifest = manifest.with_external(name, blob.size, blob.digest);
        }
        let new = NewVersion {
            model: wanted.model,
            version: wanted.version,
            manifest,
            info: wanted.info,
        };
        Ok(self.control.registry.register_version(new, actor, now_ms()).await?)
    }

    /// Starts the check of a registered version, if it needs one, and returns the operation
    /// to poll.
    pub async fn start(&self, registered: Registered, actor: &Actor) -> Result<Operation, Problem> {
        let record = registered.record;
        let mut operation = operation_for(&record, &actor.id);
        if !registered.needs_check {
            operation.state = OperationState::Done;
            operation.progress = "the same files are registered already".to_owned();
            operation.result = serde_json::to_value(&record).ok();
            self.control.registry.put_operation(&operation).await?;
            return Ok(operation);
        }
        self.control.registry.put_operation(&operation).await?;
        let (pushes, started) = (self.clone(), operation.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = pushes.finish(record, started) => {}
                () = pushes.stop.cancelled() => {}
            }
        });
        Ok(operation)
    }

    /// Resumes the checks that a process before this one did not finish, beside everything
    /// else: a model that takes long to check must not keep the others from being ready.
    pub fn resume(&self) {
        let pushes = self.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                resumed = pushes.resume_all() => if let Err(error) = resumed {
                    tracing::error!(error = chain(&error), "cannot resume checks");
                },
                () = pushes.stop.cancelled() => {}
            }
        });
    }

    async fn resume_all(&self) -> Result<(), weighbridge_registry::Error> {
        let registry = &self.control.registry;
        let unfinished = registry.operations(weighbridge_registry::MOST_LISTED).await?;
        let mut unfinished: Vec<Operation> =
            unfinished.into_iter().filter(|o| o.state == OperationState::Running).collect();
        for model in registry.snapshot().await?.models {
            for record in model.versions.into_iter().filter(|r| r.state == VersionState::Checking) {
                let is_this = |o: &Operation| {
                    o.model.as_deref() == Some(record.model.as_str())
                        && o.version == Some(record.version)
                };
                let operation = match unfinished.iter().position(is_this) {
                    Some(place) => unfinished.swap_remove(place),
                    None => operation_for(&record, "system"),
                };
                tracing::info!(model = %record.model, version = %record.version, "resuming the check");
                self.finish(record, operation).await;
            }
        }
        // What is left had ended but for its last word.
        for mut operation in unfinished {
            let outcome = self.current(&operation).await;
            close(&mut operation, outcome);
            registry.put_operation(&operation).await?;
        }
        Ok(())
    }

    /// Checks a version and records what was found, in the registry and in the operation.
    pub async fn finish(&self, record: VersionRecord, mut operation: Operation) {
        let outcome = self.check(&record, &mut operation).await;
        let outcome = match outcome {
            Ok(record) => Ok(record),
            Err(problem) => {
                tracing::error!(
                    model = %record.model, version = %record.version,
                    cause = problem.cause.as_deref().unwrap_or(&problem.detail),
                    "the check could not be done; it will be tried again at the next start"
                );
                Err(problem.detail.into_owned())
            }
        };
        // Done means that the version can be asked for, if there is room for it.
        self.control.publish().await;
        if let Ok(ready) = outcome.as_ref() {
            self.control.sync.load_ended(&ready.model, ready.version).await;
        }
        close(&mut operation, outcome);
        if let Err(error) = self.control.registry.put_operation(&operation).await {
            tracing::error!(error = chain(&error), "cannot record the end of an operation");
        }
    }

    async fn check(
        &self,
        record: &VersionRecord,
        operation: &mut Operation,
    ) -> Result<VersionRecord, Problem> {
        let _turn = self.checks.acquire().await.map_err(Problem::internal)?;
        // Two pushes of one file, or a push and a resumed check, ask for the same check: who
        // comes second finds it done.
        if let Some(checked) = self.checked(operation).await {
            return Ok(checked);
        }
        operation.progress = match record.manifest.golden() {
            None => "loading and measuring in a process of its own".to_owned(),
            Some(_) => {
                "loading, measuring and running its golden cases in a process of its own".to_owned()
            }
        };
        operation.updated_at = now_ms();
        self.control.registry.put_operation(operation).await?;
        let engine = self.engine_for(record).await?;
        let finding = match self.files(record).await {
            Ok(files) => vet(files, self.limits, engine).await.map_err(Problem::internal)?,
            Err(reason) => Finding::unfit(reason),
        };
        let outcome = self.judge(record, finding).await?;
        let actor = Actor::system();
        let registry = &self.control.registry;
        let recorded =
            registry.finish_check(&record.model, record.version, outcome, &actor, now_ms()).await;
        match recorded {
            Ok(record) => Ok(record),
            Err(error) => self.checked(operation).await.ok_or_else(|| error.into()),
        }
    }

    /// What the version says about its engine, else its model, else the process.
    async fn engine_for(&self, record: &VersionRecord) -> Result<VetEngine, Problem> {
        let of_model = || async {
            let model = self.control.registry.model(&record.model).await?;
            Ok::<_, Problem>(model.settings.engine)
        };
        let choice = match record.info.engine {
            Some(choice) => Some(choice),
            None => of_model().await?,
        };
        let VetEngine { choice: default, library } = self.engine.clone();
        Ok(VetEngine { choice: choice.unwrap_or(default), library })
    }

    async fn files(&self, record: &VersionRecord) -> Result<VersionFiles, String> {
        let model = self.loader.read(&record.manifest).await?;
        Ok(VersionFiles { model, golden: self.loader.read_golden(&record.manifest).await? })
    }

    /// What a finding means for the version, given what is stable now. All reasons are told
    /// together.
    async fn judge(
        &self,
        record: &VersionRecord,
        finding: Finding,
    ) -> Result<CheckOutcome, Problem> {
        let (mut reasons, report) = match finding {
            Finding::Fit(report) => (Vec::new(), Some(report)),
            Finding::Unfit { reason, report } => (vec![reason], report),
        };
        let Some(mut report) = report else {
            return Ok(CheckOutcome::Rejected { reason: reasons.join("; "), report: None });
        };
        let model = self.control.registry.model(&record.model).await?;
        match compare_with_stable(&model, record, &report) {
            Compared::Alike => {}
            Compared::Remark(remark) => report.notes.push(remark),
            Compared::Refused(reason) => reasons.push(reason),
        }
        let report = serde_json::to_value::<Report>(*report).map_err(Problem::internal)?;
        Ok(if reasons.is_empty() {
            CheckOutcome::Ready { report }
        } else {
            CheckOutcome::Rejected { reason: reasons.join("; "), report: Some(report) }
        })
    }

    /// The version of an operation, if its check has ended.
    async fn checked(&self, operation: &Operation) -> Option<VersionRecord> {
        let record = self.current(operation).await.ok()?;
        (record.state != VersionState::Checking).then_some(record)
    }

    /// The version of an operation as it stands.
    async fn current(&self, operation: &Operation) -> Result<VersionRecord, String> {
        let lost = || "the gateway was stopped before it ended".to_owned();
        let name: ModelName =
            operation.model.as_deref().and_then(|m| m.parse().ok()).ok_or_else(lost)?;
        let model = self.control.registry.model(&name).await.map_err(|e| e.to_string())?;
        let record = operation.version.and_then(|v| model.version(v).cloned());
        record.ok_or_else(lost)
    }
}

/// A new operation for the check of `record`.
pub(crate) fn operation_for(record: &VersionRecord, actor: &str) -> Operation {
    let now = now_ms();
    Operation {
        id: format!("op-{:016x}", rand::random::<u64>()),
        kind: "push".to_owned(),
        model: Some(record.model.to_string()),
        version: Some(record.version),
        state: OperationState::Running,
        progress: "waiting for its turn".to_owned(),
        result: None,
        error: None,
        created_at: now,
        updated_at: now,
        created_by: actor.to_owned(),
    }
}

fn close(operation: &mut Operation, outcome: Result<VersionRecord, String>) {
    operation.updated_at = now_ms();
    match outcome {
        Ok(record) => {
            let is_rejected = matches!(record.state, VersionState::Rejected { .. });
            operation.state =
                if is_rejected { OperationState::Failed } else { OperationState::Done };
            operation.error = record.state.reason().map(str::to_owned);
            operation.progress = record.state.word().to_owned();
            operation.result = serde_json::to_value(&record).ok();
        }
        Err(reason) => {
            operation.state = OperationState::Failed;
            "stopped".clone_into(&mut operation.progress);
            operation.error = Some(reason);
        }
    }
}
