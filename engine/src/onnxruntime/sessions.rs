//! The sessions of one model: a run needs one for itself, so there is a pool of them.
//!
//! The first session is made at load. Another one is made when all are running, up to the number
//! of threads that run models; who comes after that waits. What sessions can share they share:
//! large weights are held once, and so are the forms into which the library packs them.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ort::environment::Environment;
use ort::ep;
use ort::logging::LogLevel;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights};
use ort::value::DynValue;

use crate::error::{Error, ErrorKind};

/// What a session is made from.
pub(super) struct Recipe {
    pub environment: &'static Environment,
    pub onnx: Arc<[u8]>,
    /// Weights by name, which all sessions use in place of copies of their own.
    pub shared: Vec<(String, Arc<DynValue>)>,
    pub packed: PrepackedWeights,
}

impl Recipe {
    /// A session on the calling thread, without threads of its own: parallelism comes from
    /// requests that run at the same time.
    fn session(&self, share: bool) -> ort::Result<Session> {
        let mut builder = Session::builder(self.environment)?
            .with_intra_threads(1)?
            .with_inter_threads(1)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_log_level(LogLevel::Error)?
            // The arena of a session grows with each new shape and gives nothing back.
            .with_execution_providers([ep::CPU::default().with_arena_allocator(false).build()])?;
        if share {
            builder = builder.with_prepacked_weights(&self.packed)?;
            for (name, weight) in &self.shared {
                builder = builder.with_initializer(name, Arc::clone(weight))?;
            }
        }
        builder.commit_from_memory(&self.onnx)
    }
}

/// The pool.
pub(super) struct Sessions {
    recipe: Recipe,
    /// Whether [`Recipe::shared`] is used: some kernels refuse weights from outside.
    share: bool,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    idle: Vec<Session>,
    made: usize,
    most: usize,
    is_growing: bool,
}

impl Sessions {
    /// Makes the first session; there will be `most` at the most.
    ///
    /// # Errors
    /// [`ErrorKind::Load`] with what the library says.
    pub(super) fn new(recipe: Recipe, most: usize) -> Result<Self, Error> {
        let failed =
            |cause: ort::Error| super::because(ErrorKind::Load, "loading the model", &cause);
        let has_shared = !recipe.shared.is_empty();
        let (first, share) = match recipe.session(has_shared) {
            Ok(session) => (session, has_shared),
            Err(cause) if has_shared => {
                tracing::debug!(%cause, "its weights cannot be shared between sessions");
                (recipe.session(false).map_err(failed)?, false)
            }
            Err(cause) => return Err(failed(cause)),
        };
        let state = State { idle: vec![first], made: 1, most: most.max(1), is_growing: false };
        Ok(Self { recipe, share, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// A session for one run.
    ///
    /// # Errors
    /// [`ErrorKind::Run`] when there is none left: each made one was lost in a panic.
    pub(super) fn lease(&self) -> Result<Lease<'_>, Error> {
        let mut state = self.state();
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok(Lease { session: Some(session), sessions: self });
            }
            if state.made < state.most && !state.is_growing {
                state.is_growing = true;
                drop(state);
                // Unlocked: sessions that are given back meanwhile serve those who wait.
                let grown = self.recipe.session(self.share);
                state = self.state();
                state.is_growing = false;
                self.changed.notify_all();
                match grown {
                    Ok(session) => {
                        state.made += 1;
                        return Ok(Lease { session: Some(session), sessions: self });
                    }
                    Err(cause) => {
                        tracing::warn!(%cause, sessions = state.made, "no further session of a model");
                        state.most = state.made;
                    }
                }
            } else if state.made == 0 {
                let message = "running the model: ONNX Runtime has no session left for it";
                return Err(Error::new(ErrorKind::Run, message));
            } else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Each change is one assignment: nothing is half done when a thread panics.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn made(&self) -> usize {
        self.state().made
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { made, most, .. } = *self.state();
        f.debug_struct("Sessions").field("made", &made).field("most", &most).finish_non_exhaustive()
    }
}

/// A session that nobody else has; dropping the lease gives it back.
pub(super) struct Lease<'a> {
    session: Option<Session>,
    sessions: &'a Sessions,
}

impl Lease<'_> {
    pub(super) fn session(&mut self) -> Result<&mut Session, Error> {
        let gone = || Error::new(ErrorKind::Run, "running the model: its session is gone");
        self.session.as_mut().ok_or_else(gone)
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut state = self.sessions.state();
        match self.session.take() {
            // What a panic leaves behind is not used again.
            Some(session) if !std::thread::panicking() => state.idle.push(session),
            _ => state.made -= 1,
        }
        drop(state);
        self.sessions.changed.notify_one();
    }
}
