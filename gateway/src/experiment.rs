//! A/B experiments: which of them run, who gets which variant, and what came of it.
//!
//! * [`running`]: an experiment as requests see it; [`place`](running::Running::place) is the
//!   one call on a request's way.
//! * [`seen`]: which units have been exposed already.
//! * [`log`]: exposures and requests on their way to the registry; it never holds up a request.
//! * [`study`]: from the registry's units to an analysis.
//! * [`bandit`]: moves the weights of those that learn.
//! * [`control`]: start and stop. [`view`]: how the API shows them.
//!
//! Assignment is `weighbridge_routing::experiment`, the statistics are
//! `weighbridge_experiment`: both pure.

pub mod bandit;
pub mod control;
pub mod log;
pub mod running;
pub mod seen;
pub mod study;
pub mod view;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weighbridge_registry::{Model, Registry, Snapshot as RegistrySnapshot};

use crate::telemetry::experiments as events;
use log::{Log, Writer};
use running::Running;
use study::Studies;

/// The experiments that run.
#[derive(Debug)]
pub struct Experiments {
    registry: Arc<dyn Registry>,
    /// By id.
    running: Mutex<HashMap<String, Arc<Running>>>,
    log: Arc<Log>,
    pub studies: Studies,
    /// No weight moves by itself.
    is_frozen: AtomicBool,
    /// Parts of layers are given away one at a time.
    starting: tokio::sync::Mutex<()>,
}

impl Experiments {
    /// Of `registry`. Exposures are written by a task on `tasks` until `stop`, and once more
    /// then.
    pub fn new(
        registry: Arc<dyn Registry>,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let (log, queue) = Log::new();
        tasks.spawn(Writer::new(Arc::clone(&registry), queue).run(stop.clone()));
        Arc::new(Self {
            studies: Studies::new(Arc::clone(&registry)),
            registry,
            running: Mutex::default(),
            log: Arc::new(log),
            is_frozen: AtomicBool::new(false),
            starting: tokio::sync::Mutex::default(),
        })
    }

    /// Takes over what the registry says runs, before it is published. An experiment whose
    /// weights have changed remembers its units first: none may change its variant.
    ///
    /// # Errors
    /// When those units cannot be read.
    pub async fn adopt(&self, seen: &RegistrySnapshot) -> weighbridge_registry::Result<()> {
        self.is_frozen.store(seen.frozen, Ordering::Relaxed);
        let mut next = HashMap::new();
        for record in seen.experiments() {
            let before = self.find(&record.id);
            let is_current = |r: &Arc<Running>| r.record.revision == record.revision;
            if let Some(running) = before.clone().filter(is_current) {
                next.insert(record.id.clone(), running);
                continue;
            }
            match Running::new(record, before.as_deref(), Arc::clone(&self.log)) {
                Ok(running) => {
                    if before.is_none() && record.epoch > 0 {
                        study::remember(self.registry.as_ref(), &running).await?;
                    }
                    next.insert(record.id.clone(), Arc::new(running));
                }
                Err(reason) => events::unreadable(record, &reason),
            }
        }
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// The experiment that runs on `model`, if it has been adopted.
    pub fn of(&self, model: &Model) -> Option<Arc<Running>> {
        model.experiment.as_ref().and_then(|record| self.find(&record.id))
    }

    /// Resolves when all that was logged before has been written.
    pub async fn flush(&self) {
        self.log.flush().await;
    }

    fn is_frozen(&self) -> bool {
        self.is_frozen.load(Ordering::Relaxed)
    }

    fn find(&self, id: &str) -> Option<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    fn all(&self) -> Vec<Arc<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
