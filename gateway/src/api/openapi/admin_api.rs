//! The document of the admin listener.

use utoipa::OpenApi;
use weighbridge_config::{AliasName, ModelName, Version};
use weighbridge_registry::IfRouted;

use crate::api::admin::{
    audit, experiments, keys, models, operations, rollouts, shadows, status, traffic, versions,
};
use crate::api::{health, metrics, openapi};
use crate::edge::problem::Document as ProblemDocument;

/// What the admin listener answers.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Weighbridge: admin API",
        description = "Models, versions, traffic, rollouts, experiments, keys. Bodies and answers are \
            JSON; unknown members of a body are refused. When a change is answered, it is in force. \
            Times are Unix milliseconds."
    ),
    paths(
        status::status,
        models::list,
        models::show,
        models::delete,
        models::configure,
        versions::list,
        versions::push,
        versions::delete,
        versions::archive,
        traffic::show,
        traffic::set,
        traffic::promote,
        traffic::roll_back,
        models::set_alias,
        models::remove_alias,
        rollouts::active,
        rollouts::freeze,
        rollouts::start,
        rollouts::list,
        rollouts::show,
        rollouts::why,
        rollouts::operate,
        rollouts::drill,
        rollouts::end_drill,
        shadows::list,
        shadows::exemplars,
        experiments::list,
        experiments::start,
        experiments::show,
        experiments::stop,
        audit::list,
        audit::verify,
        keys::list,
        keys::create,
        keys::revoke,
        operations::list,
        operations::show,
        health::live,
        health::ready,
        metrics::metrics,
        openapi::of_admin,
        openapi::page::page,
    ),
    components(schemas(ProblemDocument, ModelName, Version, AliasName, IfRouted)),
    tags(
        (name = "models", description = "Models and their settings"),
        (name = "versions", description = "Pushed, listed, put away, deleted"),
        (name = "traffic", description = "Which version answers: routes and aliases"),
        (name = "rollouts", description = "A version tried step by step"),
        (name = "shadows", description = "Versions that see copies of requests and answer nobody"),
        (name = "experiments", description = "Versions compared by what users do"),
        (name = "audit", description = "Who changed what"),
        (name = "keys", description = "Who may ask"),
        (name = "operations", description = "Long calls"),
        (name = "health", description = "State and metrics of the process"),
        (name = "documents", description = "This document"),
    ),
)]
pub struct Document;
