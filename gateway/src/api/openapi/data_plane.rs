//! The document of the data listener.

use utoipa::OpenApi;
use weighbridge_config::{AliasName, ModelName, Version};

use crate::api::openapi::triton;
use crate::api::triton::{config, log_settings, repository, statistics};
use crate::api::{feedback, health, metadata, openapi, predict, v1_metadata};
use crate::edge::problem::Document as ProblemDocument;

/// What the data listener answers.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Weighbridge: predictions",
        description = "Predictions, health and metadata. Open on loopback or with \
            `auth.data_plane = \"open\"`; otherwise a credential with the scope that an operation \
            names is wanted."
    ),
    paths(
        health::alive,
        health::live,
        health::ready,
        metadata::server,
        metadata::models,
        metadata::model,
        metadata::model_ready,
        metadata::version,
        metadata::version_ready,
        metadata::v1_models,
        v1_metadata::status,
        v1_metadata::version_status,
        v1_metadata::alias_status,
        v1_metadata::signature,
        v1_metadata::version_signature,
        v1_metadata::alias_signature,
        statistics::all,
        statistics::model,
        statistics::version,
        config::model,
        config::version,
        repository::index_all,
        repository::load_one,
        repository::unload_one,
        log_settings::show,
        log_settings::update,
        predict::v2,
        predict::v2_version,
        predict::v1,
        predict::v1_version,
        predict::v1_alias,
        feedback::post,
        openapi::of_data,
        openapi::page::page,
    ),
    components(schemas(
        ProblemDocument,
        ModelName,
        Version,
        AliasName,
        triton::ExamplesRequest,
        triton::Results
    )),
    tags(
        (name = "health", description = "Whether the process lives, and whether it should get traffic"),
        (name = "models", description = "Names, inputs, outputs, readiness"),
        (name = "predictions", description = "The Open Inference Protocol v2, and the forms of TF Serving and KServe"),
        (name = "repository", description = "Triton's model repository and logging"),
        (name = "feedback", description = "What users report back about answers"),
        (name = "documents", description = "This document"),
    ),
)]
pub struct Document;
