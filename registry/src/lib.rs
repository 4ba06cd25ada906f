//! What is true: models, versions, aliases, routes, rollouts, experiments, keys, and who
//! changed them.
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
//!   the last change of its route, aliases, settings, rollout or experiment; a rollout and an
//!   experiment have revisions of their own, that of their last move. A change that names the
//!   revision it was based on is refused with [`Error::Conflict`] when the model has moved on.
//!   Since revisions are never used twice, one from a deleted model never fits its successor.
//! * **Versions in use are ready.** Only ready versions enter a route, a rollout or an
//!   experiment or get an alias, and no move leaves `ready` while they are in one or have one.
//! * **Numbers are never used twice.** Deleted versions and models keep their rows, so a name
//!   that comes back goes on with higher version numbers and has no route.
//! * **Routes and events are only appended.** A rollback appends a route whose split is that
//!   of an earlier one, to the point. It walks back: the route before the one restored is
//!   where the next rollback leads. A rollout's step is no place to go back to: the route
//!   before the rollout stands in for it.
//! * **One of them at a time.** A model has at most one active rollout or running experiment.
//!   While a rollout is active the route is the rollout's, between its two versions only;
//!   nobody else sets it without ending the rollout in the same change. What has ended never
//!   changes again.
//! * **The events are a chain.** Each names, by its hash, all that came before ([`chain`]).
//! * **No clock and no chance inside.** Times come in as arguments.
//!
//! What this room does not do: it holds no model bytes (`model-store`), it knows no statistics
//! of rollouts or experiments, and it does not keep a second process out (the gateway locks the data folder).

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
pub use key::{Grant, KeyRecord, NewKey, QuotaUse, Role};
pub use model::{Actor, IfRouted, Millis, Model, Revision, Snapshot};
pub use operation::{Operation, OperationState};
pub use registry::{MOST_IN_BATCH, MOST_LISTED, MOST_UNITS, Registry};
pub use rollout::{
    IfRollout, MoveRecord, NewRollout, Phase, Rollout, RolloutMove, RolloutOutcome, Standing,
};
pub use route::{Route, RouteCause, RouteChange};
pub use sqlite::SqliteRegistry;
pub use version::{CheckOutcome, NewVersion, Registered, VersionInfo, VersionRecord, VersionState};
