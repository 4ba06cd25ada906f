//! Extension "model configuration": how a version is served, in Triton's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use weighbridge_config::{Datatype, TensorSpec};
use weighbridge_grpc::inference::model_config::SchedulingChoice;
use weighbridge_grpc::inference::model_instance_group::Kind;
use weighbridge_grpc::inference::model_queue_policy::TimeoutAction;
use weighbridge_grpc::inference::model_version_policy::{All, PolicyChoice};
use weighbridge_grpc::inference::{
    DataType, ModelConfig, ModelDynamicBatching, ModelInput, ModelInstanceGroup, ModelOutput,
    ModelParameter, ModelQueuePolicy, ModelVersionPolicy,
};

use crate::api::extract::Path;
use crate::api::metadata;
use crate::api::openapi::params::{ModelPath, VersionPath};
use crate::api::openapi::triton as forms;
use crate::edge::problem::Problem;
use crate::gateway::Gateway;
use crate::rollout::snapshot::ServedModel;
use crate::serving::loaded::LoadedVersion;

/// `GET /v2/models/{model}/config`
#[utoipa::path(
    get, path = "/v2/models/{model}/config", operation_id = "modelConfig", tag = "models",
    summary = "How a model is served, in the words of Triton",
    params(ModelPath),
    responses((status = 200, body = forms::ModelConfig), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn model(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let (model, version) = metadata::find(&gateway, &name, None).await?;
    Ok(Json(json_of(&of(&model, &version, &gateway))).into_response())
}

/// `GET /v2/models/{model}/versions/{version}/config`
#[utoipa::path(
    get, path = "/v2/models/{model}/versions/{version}/config", operation_id = "versionConfig", tag = "models",
    summary = "How one version is served, in the words of Triton",
    params(VersionPath),
    responses((status = 200, body = forms::ModelConfig), (status = 404)),
    security(("bearer" = ["predict"])),
)]
pub async fn version(
    State(gateway): State<Arc<Gateway>>,
    Path((name, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (model, version) = metadata::find(&gateway, &name, Some(&version)).await?;
    Ok(Json(json_of(&of(&model, &version, &gateway))).into_response())
}

/// The configuration of a version. `max_batch_size` is above 0 for a batchable model, whose dims
/// are then those of one row; its metadata has the axis of rows.
pub fn of(model: &ServedModel, version: &LoadedVersion, gateway: &Gateway) -> ModelConfig {
    let signature = &version.signature;
    let batching = &model.settings.batching;
    let dims = |spec: &TensorSpec| {
        let without_rows = usize::from(signature.batchable);
        spec.shape.iter().skip(without_rows).copied().collect()
    };
    let input = |spec: &TensorSpec| ModelInput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype).into(),
        dims: dims(spec),
    };
    let output = |spec: &TensorSpec| ModelOutput {
        name: spec.name.clone(),
        data_type: data_type(spec.datatype).into(),
        dims: dims(spec),
    };
    let most = version.useful_batch(batching.max_batch_size);
    let queue = ModelQueuePolicy {
        timeout_action: TimeoutAction::Reject.into(),
        default_timeout_microseconds: model.settings.timeout.as_micros() as u64,
        allow_timeout_override: true,
        max_queue_size: u32::try_from(batching.max_queue_size).unwrap_or(u32::MAX),
    };
    let dynamic = ModelDynamicBatching {
        preferred_batch_size: vec![i32::try_from(most).unwrap_or(i32::MAX)],
        max_queue_delay_microseconds: batching.max_queue_delay.as_micros() as u64,
        default_queue_policy: Some(queue),
    };
    let max_batch_size = i32::try_from(batching.max_batch_size).unwrap_or(i32::MAX);
    let parameter = |text: &str| ModelParameter { string_value: text.to_owned() };
    ModelConfig {
        name: model.name.to_string(),
        platform: metadata::PLATFORM.to_owned(),
        backend: "onnx".to_owned(),
        version_policy: Some(ModelVersionPolicy { policy_choice: Some(PolicyChoice::All(All {})) }),
        max_batch_size: if signature.batchable { max_batch_size } else { 0 },
        input: signature.inputs.iter().map(input).collect(),
        output: signature.outputs.iter().map(output).collect(),
        instance_group: vec![ModelInstanceGroup {
            name: "compute".to_owned(),
            count: i32::try_from(gateway.compute.slots()).unwrap_or(i32::MAX),
            kind: Kind::Cpu.into(),
        }],
        scheduling_choice: signature
            .batchable
            .then_some(SchedulingChoice::DynamicBatching(dynamic)),
        parameters: BTreeMap::from([(
            "described_version".to_owned(),
            parameter(&version.version_text),
        )]),
    }
}

fn data_type(datatype: Datatype) -> DataType {
    match datatype {
        Datatype::Bool => DataType::TypeBool,
        Datatype::Uint8 => DataType::TypeUint8,
        Datatype::Uint16 => DataType::TypeUint16,
        Datatype::Uint32 => DataType::TypeUint32,
        Datatype::Uint64 => DataType::TypeUint64,
        Datatype::Int8 => DataType::TypeInt8,
        Datatype::Int16 => DataType::TypeInt16,
        Datatype::Int32 => DataType::TypeInt32,
        Datatype::Int64 => DataType::TypeInt64,
        Datatype::Fp16 => DataType::TypeFp16,
        Datatype::Bf16 => DataType::TypeBf16,
        Datatype::Fp32 => DataType::TypeFp32,
        Datatype::Fp64 => DataType::TypeFp64,
        Datatype::Bytes => DataType::TypeString,
    }
}

/// The message as protobuf's JSON has it, in the names of the definition.
fn json_of(config: &ModelConfig) -> Value {
    let kind = |number: i32| DataType::try_from(number).unwrap_or_default().as_str_name();
    let input =
        |i: &ModelInput| json!({"name": i.name, "data_type": kind(i.data_type), "dims": i.dims});
    let output =
        |o: &ModelOutput| json!({"name": o.name, "data_type": kind(o.data_type), "dims": o.dims});
    let group = |g: &ModelInstanceGroup| {
        let kind = Kind::try_from(g.kind).unwrap_or_default().as_str_name();
        json!({"name": g.name, "kind": kind, "count": g.count})
    };
    let parameters: serde_json::Map<String, Value> = config
        .parameters
        .iter()
        .map(|(name, value)| (name.clone(), json!({"string_value": value.string_value})))
        .collect();
    let mut value = json!({
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "version_policy": {"all": {}},
        "max_batch_size": config.max_batch_size,
        "input": config.input.iter().map(input).collect::<Vec<_>>(),
        "output": config.output.iter().map(output).collect::<Vec<_>>(),
        "instance_group": config.instance_group.iter().map(group).collect::<Vec<_>>(),
        "parameters": parameters,
    });
    if let Some(SchedulingChoice::DynamicBatching(dynamic)) = &config.scheduling_choice {
        let queue = dynamic.default_queue_policy.unwrap_or_default();
        let action = queue.timeout_action().as_str_name();
        value["dynamic_batching"] = json!({
            "preferred_batch_size": dynamic.preferred_batch_size,
            "max_queue_delay_microseconds": dynamic.max_queue_delay_microseconds,
            "default_queue_policy": {
                "timeout_action": action,
                "default_timeout_microseconds": queue.default_timeout_microseconds,
                "allow_timeout_override": queue.allow_timeout_override,
                "max_queue_size": queue.max_queue_size,
            },
        });
    }
    value
}
