//! Extension "logging": what is logged, changed while the gateway runs.
//!
//! Triton switches information, warnings and errors each on its own; here each level brings those
//! above it along, and the answer says what is in force. The settings file counts again when it
//! changes, and after a start.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use utoipa::ToSchema;
use weighbridge_config::Scope;
use weighbridge_grpc::inference::log_settings_request::setting_value::ParameterChoice as Asked;
use weighbridge_grpc::inference::log_settings_response::SettingValue;
use weighbridge_grpc::inference::log_settings_response::setting_value::ParameterChoice;
use weighbridge_grpc::inference::{LogSettingsRequest, LogSettingsResponse};

use crate::api::extract::Body;
use crate::api::openapi::triton::LogSettings;
use crate::edge::auth::Principal;
use crate::edge::auth::refusal::Refusal;
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::telemetry::events;
use crate::telemetry::logging::{self, Level};

/// What shall be changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(as = LogChanges)]
#[serde(deny_unknown_fields, default)]
pub struct Changes {
    log_file: Option<String>,
    log_info: Option<bool>,
    log_warning: Option<bool>,
    log_error: Option<bool>,
    log_verbose_level: Option<u32>,
    log_format: Option<String>,
}

/// `GET /v2/logging`
#[utoipa::path(
    get, path = "/v2/logging", operation_id = "logSettings", tag = "repository",
    summary = "What is logged",
    responses((status = 200, body = LogSettings)),
    security(("bearer" = ["predict"])),
)]
pub async fn show() -> Response {
    json_of(logging::level())
}

/// `POST /v2/logging`
#[utoipa::path(
    post, path = "/v2/logging", operation_id = "updateLogSettings", tag = "repository",
    summary = "Changes what is logged, until the settings file does",
    request_body = Changes,
    responses((status = 200, body = LogSettings), (status = 501)),
    security(("bearer" = ["admin:write"])),
)]
pub async fn update(
    State(_): State<Arc<Gateway>>,
    Extension(principal): Extension<Principal>,
    Body(changes): Body<Changes>,
) -> Result<Response, Problem> {
    Ok(json_of(change(&principal, changes)?))
}

/// Takes `changes` over, and says what is in force then.
pub fn change(principal: &Principal, changes: Changes) -> Result<Level, Problem> {
    let now = logging::level();
    if changes == Changes::default() {
        return Ok(now);
    }
    if !principal.0.scopes.allows(&Scope::AdminWrite) {
        let refusal = match principal.is_anonymous() {
            true => Refusal::Missing,
            false => Refusal::NoScope(Scope::AdminWrite.to_string()),
        };
        events::auth_refused("data", refusal.reason());
        return Err(refusal.into());
    }
    if changes.log_file.is_some_and(|file| !file.is_empty()) {
        let detail = "log_file came: logs go to standard error";
        return Err(Problem::new(Kind::Unsupported, detail));
    }
    if changes.log_format.is_some_and(|format| format != "default") {
        let detail = "log_format came: the setting logging.format says it, from the start on";
        return Err(Problem::new(Kind::Unsupported, detail));
    }
    let verbose = changes.log_verbose_level.unwrap_or(match now {
        Level::Trace => 2,
        Level::Debug => 1,
        _ => 0,
    });
    let info = changes.log_info.unwrap_or(now >= Level::Info);
    let warning = changes.log_warning.unwrap_or(now >= Level::Warn);
    let error = changes.log_error.unwrap_or(now >= Level::Error);
    let level = match (verbose, info, warning, error) {
        (2.., true, ..) => Level::Trace,
        (1, true, ..) => Level::Debug,
        (_, true, ..) => Level::Info,
        (_, false, true, _) => Level::Warn,
        (_, false, false, true) => Level::Error,
        (_, false, false, false) => Level::Off,
    };
    logging::set_level(level.word());
    Ok(level)
}

fn json_of(level: Level) -> Response {
    Json(json!({
        "log_file": "",
        "log_info": level >= Level::Info,
        "log_warning": level >= Level::Warn,
        "log_error": level >= Level::Error,
        "log_verbose_level": verbose(level),
        "log_format": "default",
    }))
    .into_response()
}

fn verbose(level: Level) -> u32 {
    match level {
        Level::Trace => 2,
        Level::Debug => 1,
        _ => 0,
    }
}

/// The changes of a message; a setting without a value is none.
pub fn of_message(message: LogSettingsRequest) -> Result<Changes, Problem> {
    let mut changes = Changes::default();
    for (name, value) in message.settings {
        let Some(value) = value.parameter_choice else { continue };
        match (name.as_str(), value) {
            ("log_file", Asked::StringParam(file)) => changes.log_file = Some(file),
            ("log_format", Asked::StringParam(format)) => changes.log_format = Some(format),
            ("log_info", Asked::BoolParam(is_on)) => changes.log_info = Some(is_on),
            ("log_warning", Asked::BoolParam(is_on)) => changes.log_warning = Some(is_on),
            ("log_error", Asked::BoolParam(is_on)) => changes.log_error = Some(is_on),
            ("log_verbose_level", Asked::Uint32Param(n)) => changes.log_verbose_level = Some(n),
            (name, _) => {
                let name: String = name.chars().take(40).collect();
                let detail = format!(
                    "the setting \"{name}\": wanted log_file, log_format (text), log_info, \
                     log_warning, log_error (truth values) or log_verbose_level (a number)"
                );
                return Err(Problem::new(Kind::InvalidRequest, detail));
            }
        }
    }
    Ok(changes)
}

/// The settings in force as a message.
pub fn message(level: &Level) -> LogSettingsResponse {
    let truth = |is_on| ParameterChoice::BoolParam(is_on);
    let text = |text: &str| ParameterChoice::StringParam(text.to_owned());
    let settings = [
        ("log_file", text("")),
        ("log_info", truth(*level >= Level::Info)),
        ("log_warning", truth(*level >= Level::Warn)),
        ("log_error", truth(*level >= Level::Error)),
        ("log_verbose_level", ParameterChoice::Uint32Param(verbose(*level))),
        ("log_format", text("default")),
    ];
    let one = |(name, choice): (&str, ParameterChoice)| {
        (name.to_owned(), SettingValue { parameter_choice: Some(choice) })
    };
    LogSettingsResponse { settings: BTreeMap::from(settings.map(one)) }
}
