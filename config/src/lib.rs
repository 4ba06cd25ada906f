//! Everything an operator can write, parsed once into types that cannot be wrong, and the
//! names and specs that the other rooms share.
//!
//! * [`names`]: model names, version numbers, aliases.
//! * [`tensor`]: datatypes, typed tensors and a model's signature.
//! * [`engine`]: which engine runs a version.
//! * [`golden`]: what a version must answer before it may take traffic.
//! * [`split`]: the weights of a route and the exact key ranges they own.
//! * [`manifest`]: what an artifact consists of, and its digest.
//! * [`model_settings`]: the per-model settings that live in the registry.
//! * [`network`]: ranges of IP addresses.
//! * [`scope`]: what a principal may do.
//! * [`rollout`]: what an operator says about a rollout.
//! * [`experiment`]: what an operator says about an A/B experiment.
//! * [`settings`]: the process settings of the TOML file, with environment overrides.
//! * [`client`]: where a command finds the server and its key.
//!
//! This crate depends on none of ours and is the only one that reads the environment.

pub mod client;
pub mod engine;
mod environment;
pub mod experiment;
pub mod golden;
pub mod manifest;
pub mod model_settings;
pub mod names;
pub mod network;
pub mod rollout;
pub mod scope;
pub mod settings;
pub mod split;
pub mod tensor;

pub use client::{ClientSettings, Secret};
pub use engine::{EngineChoice, EngineName};
pub use experiment::ExperimentSpec;
pub use golden::{GoldenCase, GoldenCases};
pub use manifest::{Digest, FileRole, Manifest, ManifestFile};
pub use model_settings::{ModelSettings, Residency, Sticky, V1Dialect};
pub use names::{AliasName, InvalidName, ModelName, Version};
pub use rollout::RolloutSpec;
pub use scope::{InvalidScope, Pattern, Scope, Scopes};
pub use settings::{ByteSize, Mistakes, Overrides, Settings};
pub use split::{Split, SplitError};
pub use tensor::{Datatype, ROOM_OF_A_TEXT, Signature, Tensor, TensorData, TensorSpec};
