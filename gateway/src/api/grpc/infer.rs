//! One prediction over gRPC.

use std::sync::Arc;
use std::time::Instant;

use http::HeaderMap;
use http::request::Parts;
use weighbridge_grpc::convert::{self, Decoded};
use weighbridge_grpc::inference::{ModelInferRequest, ModelInferResponse};
use weighbridge_protocol::BadRequest;

use super::allowed;
use crate::api::admit::Caller;
use crate::api::ask::{self, PathAsk};
use crate::api::awake;
use crate::api::predict::course::{self, Stop, Undecided, route, too_late};
use crate::api::predict::respond;
use crate::edge::auth::Principal;
use crate::edge::limit::{self, Standings, Unit};
use crate::edge::problem::Problem;
use crate::gateway::Gateway;
use crate::rollout::snapshot::ServedModel;

/// Messages with more bytes of tensors are decoded where they cannot hold up other connections.
const LARGE_BYTES: usize = 256 * 1024;

/// Answers a message; the headers are those that an answer over REST would carry.
pub async fn infer(
    gateway: &Gateway,
    caller: &Caller,
    request: &Parts,
    message: ModelInferRequest,
    arrived: Instant,
) -> Result<(ModelInferResponse, HeaderMap), Problem> {
    let Some(principal) = request.extensions.get::<Principal>() else {
        return Err(Problem::internal("a prediction came past the authentication"));
    };
    let (name, version) = (message.model_name.clone(), message.model_version.clone());
    // Before it is looked up: nobody learns which models there are by what is forbidden.
    allowed(gateway, principal, &name)?;
    let mut standings = Standings::default();
    if let Some(counted) = limit::count(gateway, principal, &name) {
        standings.0.push((Unit::Requests, counted?));
    }
    let path = match version.as_str() {
        "" => PathAsk::Any,
        version => PathAsk::Version(version),
    };
    let model = &awake::model(gateway, &name, path, &request.headers, arrived).await?;
    let answered = async {
        foretell(gateway, caller, model, request, arrived)?;
        let is_early = model.experiment.as_ref().is_none_or(|e| !e.wants_body());
        let early = if is_early {
            Ok(route(gateway, model, path, request, None, arrived)?)
        } else {
            Err(Undecided { model, path, request, arrived })
        };
        let Decoded { request: decoded, asks_for_final } = decode(message)?;
        let id = decoded.id.clone();
        let answered = course::answer(gateway, caller, early, decoded).await?;
        let response = convert::encode(&convert::Answer {
            model_name: model.name.as_str(),
            model_version: &answered.served.version.version_text,
            id: id.as_deref(),
            outputs: &answered.outputs(false, true),
            is_final: asks_for_final,
        });
        let mut headers = HeaderMap::new();
        respond::describe(&answered.routed, &answered.served, &mut headers);
        standings.0.extend(answered.standings.0);
        limit::write(&standings, &mut headers);
        Ok((response, headers))
    };
    answered.await.map_err(|stop: Stop| stop.told(model))
}

/// What cannot be answered in time need not be decoded.
fn foretell(
    gateway: &Gateway,
    caller: &Caller,
    model: &Arc<ServedModel>,
    request: &Parts,
    arrived: Instant,
) -> Result<(), Problem> {
    let (own, ceiling) = (model.settings.timeout, gateway.settings.limits.max_timeout);
    let deadline = ask::deadline(&request.headers, arrived, own, ceiling)?;
    match course::foretell(gateway, caller, model, deadline) {
        Some(late) => Err(too_late(&model.name, late)),
        None => Ok(()),
    }
}

fn decode(message: ModelInferRequest) -> Result<Decoded, BadRequest> {
    let raw: usize = message.raw_input_contents.iter().map(bytes::Bytes::len).sum();
    if raw <= LARGE_BYTES {
        return convert::decode(message);
    }
    tokio::task::block_in_place(|| convert::decode(message))
}
