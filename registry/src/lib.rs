//! What is true: models, versions, aliases, routes, keys, and who changed them.
//!
//! # Shape
//!
//! * [`Registry`] is the trait that the gateway holds; [`SqliteRegistry`] keeps it in one file.
//! * `transitions` decides, from values alone, what a change makes of a model or why it is
//!   refused; the backends only read, ask it, and write.
//! * `contract` (feature `contract`) holds the cases that each backend has to pass.
//!
//! # Invariants
//!
//! * **Each change is one transaction and exactly one event.** The sequence of the event is
//!   the registry's revision after the change, so the one cannot move without the other. A
//!   change that would alter nothing writes nothing.
//! * **Each change is a compare-and-swap.** A model's revision is the registry's revision at
//!   the last change of its route, aliases or settings. A change that names the revision it
//!   was based on is refused with [`Error::Conflict`] when the model has moved on. Since
//!   revisions are never used twice, one from a deleted model never fits its successor.
//! * **Routed and aliased versions are ready.** Only ready versions enter a route or get an
//!   alias, and no move leaves `ready` while they have either.
//! * **Numbers are never used twice.** Deleted versions and models keep their rows, so a name
//!   that comes back goes on with higher version numbers and has no route.
//! * **Routes and events are only appended.** A rollback appends a route whose split is that
//!   of an earlier one, to the point. It walks back: the route before the one restored is
//!   where the next rollback leads.
//! * **No clock and no chance inside.** Times come in as arguments.
//!
//! What this room does not do: it holds no model bytes (`model-store`), it knows no rollout
//! statistics, and it does not keep a second process out (the gateway locks the data folder).

pub mod chain;
mod error;
mod event;
mod experiment;
mod key;
mod model;
mod operation;
mod registry;
mod rollout;
mod route;
mod sqlite;
mod transitions;
mod version;

#[cfg(any(test, feature = "contract"))]
pub mod contract;

pub use chain::{BrokenLink, ChainReport};
pub use error::{Error, Result};
pub use event::{Event, EventQuery, action};
pub use experiment::{
    Experiment, ExperimentState, Exposure, FeedbackAbout, FeedbackOutcome, NewExperiment,
    NewFeedback, Recorded, RequestUnit, UnitQuery, UnitSum,
};
pub use key::{KeyRecord, NewKey, Role};
pub use model::{Actor, IfRouted, Millis, Model, Revision, Snapshot};
pub use operation::{Operation, OperationState};
pub use registry::{MOST_IN_BATCH, MOST_LISTED, MOST_UNITS, Registry};
pub use rollout::{
    IfRollout, MoveRecord, NewRollout, Phase, Rollout, RolloutMove, RolloutOutcome, Standing,
};
pub use route::{Route, RouteCause, RouteChange};
pub use sqlite::SqliteRegistry;
pub use version::{CheckOutcome, NewVersion, Registered, VersionInfo, VersionRecord, VersionState};
