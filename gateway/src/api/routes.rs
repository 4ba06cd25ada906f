//! Every route of both listeners, in one place.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{delete, get, patch, post, put};
use http::{HeaderMap, Method, Uri};

use crate::api::{
    admin, admit, feedback, grpc, health, metadata, metrics, openapi, predict, triton, v1_metadata,
};
use crate::edge::auth::{Guard, Need, require};
use crate::edge::limit;
use crate::edge::problem::{Form, Kind, Problem};
use crate::edge::stack::{Observed, wrap};
use crate::gateway::Gateway;

/// The data listener: predictions, health, metadata.
pub fn data(gateway: &Arc<Gateway>) -> Router {
    let placed = || from_fn_with_state(Arc::clone(gateway), admit::placed);
    let predictions = Router::new()
        .route("/v2/models", get(metadata::models).route_layer(placed()))
        .route("/v2/models/stats", get(triton::statistics::all).route_layer(placed()))
        .route("/v2/models/{model}", get(metadata::model))
        .route("/v2/models/{model}/ready", get(metadata::model_ready))
        .route("/v2/models/{model}/config", get(triton::config::model))
        .route("/v2/models/{model}/stats", get(triton::statistics::model))
        .route("/v2/models/{model}/infer", post(predict::v2))
        .route("/v2/models/{model}/versions/{version}", get(metadata::version))
        .route("/v2/models/{model}/versions/{version}/ready", get(metadata::version_ready))
        .route("/v2/models/{model}/versions/{version}/config", get(triton::config::version))
        .route("/v2/models/{model}/versions/{version}/stats", get(triton::statistics::version))
        .route("/v2/models/{model}/versions/{version}/infer", post(predict::v2_version))
        .route("/v2/repository/index", post(triton::repository::index_all).route_layer(placed()))
        .route("/v1/models", get(metadata::v1_models).route_layer(placed()))
        // `{model}` or `{model}:predict`: the router cannot split a segment.
        .route("/v1/models/{model}", get(v1_metadata::status).post(predict::v1))
        .route("/v1/models/{model}/metadata", get(v1_metadata::signature))
        .route(
            "/v1/models/{model}/versions/{version}",
            get(v1_metadata::version_status).post(predict::v1_version),
        )
        .route(
            "/v1/models/{model}/versions/{version}/metadata",
            get(v1_metadata::version_signature),
        )
        .route(
            "/v1/models/{model}/labels/{alias}",
            get(v1_metadata::alias_status).post(predict::v1_alias),
        )
        .route("/v1/models/{model}/labels/{alias}/metadata", get(v1_metadata::alias_signature))
        .route("/inference.GRPCInferenceService/ModelInfer", post(grpc::infer))
        .route("/inference.GRPCInferenceService/ModelStreamInfer", post(grpc::stream))
        // Reading is for everybody; who changes something wants more.
        .route("/v2/logging", get(triton::log_settings::show));
    let bound = || from_fn_with_state(Arc::clone(gateway), grpc::bound);
    let calls = Router::new()
        .route("/inference.GRPCInferenceService/ModelReady", post(grpc::call))
        .route("/inference.GRPCInferenceService/ModelMetadata", post(grpc::call))
        .route("/inference.GRPCInferenceService/ModelConfig", post(grpc::call))
        .route(
            "/inference.GRPCInferenceService/ModelStatistics",
            post(grpc::call).route_layer(placed()),
        )
        .route(
            "/inference.GRPCInferenceService/RepositoryIndex",
            post(grpc::call).route_layer(placed()),
        )
        .route("/inference.GRPCInferenceService/LogSettings", post(grpc::call))
        .route_layer(bound());
    let repository = Router::new()
        .route("/v2/repository/models/{model}/load", post(triton::repository::load_one))
        .route("/v2/repository/models/{model}/unload", post(triton::repository::unload_one))
        .route_layer(placed());
    let operating = Router::new()
        .route("/inference.GRPCInferenceService/RepositoryModelLoad", post(grpc::call))
        .route("/inference.GRPCInferenceService/RepositoryModelUnload", post(grpc::call))
        .route_layer(bound());
    let logging = Router::new()
        .route("/v2/logging", post(triton::log_settings::update))
        .route_layer(placed());
    let reports = Router::new().route("/v2/models/{model}/feedback", post(feedback::post));
    let counted = |routes: Router<Arc<Gateway>>, need| {
        let guard = Guard { gateway: Arc::clone(gateway), listener: "data", need };
        // The later layer is the outer one: who asks is known before requests are counted.
        routes
            .route_layer(from_fn_with_state(guard.clone(), limit::requests))
            .route_layer(from_fn_with_state(guard, require))
    };
    let guarded = counted(predictions.merge(calls), Need::Predict)
        .merge(counted(reports, Need::Feedback))
        .merge(counted(repository.merge(operating), Need::Operate))
        .merge(counted(logging, Need::Configure));
    let open_calls = Router::new()
        .route("/inference.GRPCInferenceService/ServerLive", post(grpc::call))
        .route("/inference.GRPCInferenceService/ServerReady", post(grpc::call))
        .route("/inference.GRPCInferenceService/ServerMetadata", post(grpc::call))
        .route("/grpc.health.v1.Health/{method}", post(grpc::health::call))
        .merge(grpc::reflection::routes())
        .route_layer(bound());
    let open = Router::new()
        .route("/", get(health::alive))
        .route("/v2", get(metadata::server))
        .route("/v2/", get(metadata::server))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .merge(open_calls)
        .route("/openapi.json", get(openapi::of_data))
        .route("/docs", get(openapi::page));
    finish(guarded.merge(open), gateway, "data")
}

/// The admin listener: everything else.
pub fn admin(gateway: &Arc<Gateway>) -> Router {
    let api = Router::new()
        .route("/models", get(admin::models::list))
        .route("/models/{model}", get(admin::models::show).delete(admin::models::delete))
        .route("/models/{model}/settings", patch(admin::models::configure))
        .route(
            "/models/{model}/versions",
            // The model store bounds uploads (limits.upload).
            get(admin::versions::list)
                .merge(post(admin::versions::push).layer(DefaultBodyLimit::disable())),
        )
        .route("/models/{model}/versions/{version}", delete(admin::versions::delete))
        .route("/models/{model}/versions/{version}/archive", post(admin::versions::archive))
        .route("/models/{model}/route", get(admin::traffic::show).put(admin::traffic::set))
        .route("/models/{model}/promote", post(admin::traffic::promote))
        .route("/models/{model}/rollback", post(admin::traffic::roll_back))
        .route(
            "/models/{model}/aliases/{alias}",
            put(admin::models::set_alias).delete(admin::models::remove_alias),
        )
        .route("/models/{model}/rollouts", get(admin::rollouts::list).post(admin::rollouts::start))
        .route("/models/{model}/rollout", get(admin::rollouts::show))
        .route("/models/{model}/rollout/why", get(admin::rollouts::why))
        .route(
            "/models/{model}/rollout/drill",
            post(admin::rollouts::drill).delete(admin::rollouts::end_drill),
        )
        .route("/models/{model}/rollout/{verb}", post(admin::rollouts::operate))
        .route("/rollouts", get(admin::rollouts::active))
        .route("/rollouts/freeze", put(admin::rollouts::freeze))
        .route("/models/{model}/shadows", get(admin::shadows::list))
        .route("/models/{model}/shadows/{version}/exemplars", get(admin::shadows::exemplars))
        .route(
            "/models/{model}/experiments",
            get(admin::experiments::list).post(admin::experiments::start),
        )
        .route("/models/{model}/experiments/{experiment}", get(admin::experiments::show))
        .route("/models/{model}/experiments/{experiment}/stop", post(admin::experiments::stop))
        .route("/audit", get(admin::audit::list))
        .route("/audit/verify", get(admin::audit::verify))
        .route("/keys", get(admin::keys::list).post(admin::keys::create))
        .route("/keys/{key}", delete(admin::keys::revoke))
        .route("/operations", get(admin::operations::list))
        .route("/operations/{id}", get(admin::operations::show));
    let guarded = |routes: Router<Arc<Gateway>>, need| {
        let guard = Guard { gateway: Arc::clone(gateway), listener: "admin", need };
        routes.route_layer(from_fn_with_state(guard, require))
    };
    // Any key may ask where predictions are served.
    let status = Router::new().route("/status", get(admin::status::status));
    let api = guarded(api, Need::Admin).merge(guarded(status, Need::Anybody));
    let api = Router::new().nest("/admin/v1", api);
    let metrics = Router::new().route("/metrics", get(metrics::metrics));
    let open = Router::new()
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/openapi.json", get(openapi::of_admin))
        .route("/docs", get(openapi::page));
    finish(api.merge(guarded(metrics, Need::Metrics)).merge(open), gateway, "admin")
}

fn finish(routes: Router<Arc<Gateway>>, gateway: &Arc<Gateway>, listener: &'static str) -> Router {
    let routes = routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::clone(gateway));
    wrap(routes, Observed::new(listener, Arc::clone(gateway)))
}

async fn unknown_path(method: Method, uri: Uri, headers: HeaderMap) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    if Form::is_grpc(&headers) {
        return Problem::new(Kind::Unsupported, format!("there is no method {path} here"));
    }
    Problem::new(Kind::NotFound, format!("there is no {method} {path} here"))
}

async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    let problem = Problem::new(Kind::MethodNotAllowed, format!("{path} does not take {method}"));
    // The router cannot split a segment, so it takes what is allowed with a verb and what is
    // allowed without one for the same.
    match uri.path().strip_prefix("/v1/models/") {
        None => problem,
        Some(rest) if rest.contains(':') => problem.allow("POST"),
        Some(_) => problem.allow("GET, HEAD"),
    }
}
