//! The methods of `inference.GRPCInferenceService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{Stream, StreamExt};
use http::request::Parts;
use prost::Message as _;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::{Request, Response, Status, Streaming};
use weighbridge_config::ROOM_OF_A_TEXT;
use weighbridge_grpc::inference::grpc_inference_service_server::GrpcInferenceService;
use weighbridge_grpc::inference::model_metadata_response::TensorMetadata;
use weighbridge_grpc::inference::{
    LogSettingsRequest, LogSettingsResponse, ModelConfigRequest, ModelConfigResponse,
    ModelInferRequest, ModelInferResponse, ModelMetadataRequest, ModelMetadataResponse,
    ModelReadyRequest, ModelReadyResponse, ModelStatisticsRequest, ModelStatisticsResponse,
    ModelStreamInferResponse, RepositoryIndexRequest, RepositoryIndexResponse,
    RepositoryModelLoadRequest, RepositoryModelLoadResponse, RepositoryModelUnloadRequest,
    RepositoryModelUnloadResponse, ServerLiveRequest, ServerLiveResponse, ServerMetadataRequest,
    ServerMetadataResponse, ServerReadyRequest, ServerReadyResponse,
};

use super::infer::infer;
use super::{Entered, Streams, add_metadata, allowed};
use crate::api::admit::Caller;
use crate::api::metadata::{self, EXTENSIONS};
use crate::api::triton::{config, log_settings, repository, statistics};
use crate::edge::auth::{self, Principal};
use crate::edge::permits::{BodyMemory, Carried};
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::telemetry::events;

/// Requests of one stream that are answered at once.
const AT_ONCE: usize = 64;
/// Metadata by which a client of a stream asks for real statuses instead of error messages.
const WANTS_STATUS: &str = "triton_grpc_error";

/// The service.
#[derive(Debug, Clone)]
pub struct InferenceService(pub Arc<Gateway>);

/// The request without its message.
fn apart<T>(request: Request<T>) -> (Parts, T) {
    let (metadata, extensions, message) = request.into_parts();
    let (mut parts, ()) = http::Request::new(()).into_parts();
    parts.headers = metadata.into_headers();
    parts.extensions = extensions;
    (parts, message)
}

fn principal(request: &Parts) -> Result<&Principal, Problem> {
    let principal = request.extensions.get();
    principal.ok_or_else(|| Problem::internal("a call came past the authentication"))
}

/// `None` for an empty text: what a message does not say.
fn said(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The place in memory of a message, which stays taken until the answer: in memory an element takes
/// more than on the wire.
fn decoded(mut memory: BodyMemory, message: &ModelInferRequest) -> Result<BodyMemory, Problem> {
    let contents = message.inputs.iter().filter_map(|input| input.contents.as_ref());
    let elements = contents.map(|of| {
        let words = of.bool_contents.len() + of.int_contents.len() * 4 + of.uint_contents.len() * 4;
        let wide = (of.int64_contents.len() + of.uint64_contents.len()) * 8;
        words + wide + of.bytes_contents.len() * ROOM_OF_A_TEXT
    });
    memory.hold((message.encoded_len() + elements.sum::<usize>()) as u64)?;
    Ok(memory)
}

impl InferenceService {
    /// A message of a stream, which takes its own place among the requests in hand. Its answer holds
    /// memory and no place: who reads slowly holds up answers, and neither places nor what is known
    /// of their times.
    async fn answer_one(
        &self,
        request: &Parts,
        memory: BodyMemory,
        message: ModelInferRequest,
        arrived: Instant,
    ) -> Result<(ModelInferResponse, Carried), Problem> {
        let principal = auth::identify_again(&self.0, request).await?;
        let mut request = request.clone();
        request.extensions.insert(principal);
        let caller = Caller::enter(&self.0, &request.extensions)?;
        let memory = decoded(memory, &message)?;
        let (response, _) = infer(&self.0, &caller, &request, message, arrived).await?;
        let carried = caller.without_place().carried(memory, response.encoded_len() as u64);
        Ok((response, carried))
    }

    /// KServe's requests have the name in Triton's first field.
    fn named<'a>(repository: &'a str, model: &'a str) -> &'a str {
        if model.is_empty() { repository } else { model }
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for InferenceService {
    async fn server_live(
        &self,
        _: Request<ServerLiveRequest>,
    ) -> Result<Response<ServerLiveResponse>, Status> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(
        &self,
        _: Request<ServerReadyRequest>,
    ) -> Result<Response<ServerReadyResponse>, Status> {
        Ok(Response::new(ServerReadyResponse { ready: self.0.is_ready() }))
    }

    async fn model_ready(
        &self,
        request: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        let (parts, ModelReadyRequest { name, version }) = apart(request);
        allowed(&self.0, principal(&parts)?, &name)?;
        // Nobody's model is not ready: clients want an answer, not a failure.
        let ready = metadata::is_ready(&self.0, &name, said(&version)).unwrap_or(false);
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(
        &self,
        _: Request<ServerMetadataRequest>,
    ) -> Result<Response<ServerMetadataResponse>, Status> {
        Ok(Response::new(ServerMetadataResponse {
            name: self.0.settings.server.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            extensions: EXTENSIONS.map(str::to_owned).to_vec(),
        }))
    }

    async fn model_metadata(
        &self,
        request: Request<ModelMetadataRequest>,
    ) -> Result<Response<ModelMetadataResponse>, Status> {
        let (parts, ModelMetadataRequest { name, version }) = apart(request);
        allowed(&self.0, principal(&parts)?, &name)?;
        let (model, version) = metadata::find(&self.0, &name, said(&version)).await?;
        let described = |specs: &[weighbridge_config::TensorSpec]| {
            let one = |spec: &weighbridge_config::TensorSpec| TensorMetadata {
                name: spec.name.clone(),
                datatype: spec.datatype.name().to_owned(),
                shape: spec.shape.clone(),
            };
            specs.iter().map(one).collect()
        };
        Ok(Response::new(ModelMetadataResponse {
            name: model.name.to_string(),
            versions: model.loaded.keys().map(ToString::to_string).collect(),
            platform: metadata::PLATFORM.to_owned(),
            inputs: described(&version.signature.inputs),
            outputs: described(&version.signature.outputs),
            properties: metadata::properties(&version),
        }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let (mut parts, message) = apart(request);
        let entered = parts.extensions.remove::<Entered>();
        let Some(Entered { caller, account, arrived }) = entered else {
            return Err(Problem::internal("a prediction came past its place").into());
        };
        let memory = decoded(account.take(caller.body(&self.0)), &message)?;
        let (response, headers) = infer(&self.0, &caller, &parts, message, arrived).await?;
        let carried = caller.carried(memory, response.encoded_len() as u64);
        let mut response = Response::new(response);
        response.extensions_mut().insert(carried);
        add_metadata(&mut response, headers);
        Ok(response)
    }

    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let (mut parts, messages) = apart(request);
        let Some(Streams { caller, account }) = parts.extensions.remove() else {
            return Err(Problem::internal("a stream came past its account").into());
        };
        // That was the patience for the stream as a whole.
        parts.headers.remove("grpc-timeout");
        let wants_status = parts.headers.get(WANTS_STATUS).is_some_and(|v| v == "true");
        let (service, parts, tasks) = (self.clone(), Arc::new(parts), TaskTracker::new());
        let answer = move |message: Result<ModelInferRequest, Status>| {
            let (service, parts) = (service.clone(), Arc::clone(&parts));
            let (arrived, memory) = (Instant::now(), account.take(caller.body(&service.0)));
            let answer = async move {
                // A message that cannot be read leaves nothing to go on with.
                let message = message.map_err(|s| Status::from(Problem::of_status(&s)))?;
                let id = message.id.clone();
                match service.answer_one(&parts, memory, message, arrived).await {
                    Ok((answer, carried)) => {
                        let infer_response = Some(answer);
                        let error_message = String::new();
                        let answer = ModelStreamInferResponse { error_message, infer_response };
                        Ok((answer, Some(carried)))
                    }
                    Err(problem) => {
                        events::failed_in_stream(parts.extensions.get(), &problem);
                        // Who may not ask any more has no use for the stream.
                        if wants_status || problem.kind == Kind::Unauthenticated {
                            return Err(problem.into());
                        }
                        let answer = ModelStreamInferResponse {
                            error_message: problem.detail.into_owned(),
                            // Says which request it was.
                            infer_response: Some(ModelInferResponse { id, ..Default::default() }),
                        };
                        Ok((answer, None))
                    }
                }
            };
            // A task of its own, which goes on while an answer before it is not read.
            let task = AbortOnDropHandle::new(tasks.spawn(answer));
            async move {
                let gone = |e| Status::from(Problem::internal(format!("a task ended: {e}")));
                task.await.unwrap_or_else(|e| Err(gone(e)))
            }
        };
        // The next one is asked for when this one is handed over.
        let handed_over = |held: &mut Option<Carried>, answer: Result<_, Status>| {
            let answer = answer.map(|(answer, carried)| {
                *held = carried;
                answer
            });
            std::future::ready(Some(answer))
        };
        let answers = messages.map(answer).buffered(AT_ONCE).scan(None, handed_over);
        Ok(Response::new(Box::pin(answers)))
    }

    async fn model_config(
        &self,
        request: Request<ModelConfigRequest>,
    ) -> Result<Response<ModelConfigResponse>, Status> {
        let (parts, ModelConfigRequest { name, version }) = apart(request);
        allowed(&self.0, principal(&parts)?, &name)?;
        let (model, version) = metadata::find(&self.0, &name, said(&version)).await?;
        let config = config::of(&model, &version, &self.0);
        Ok(Response::new(ModelConfigResponse { config: Some(config) }))
    }

    async fn model_statistics(
        &self,
        request: Request<ModelStatisticsRequest>,
    ) -> Result<Response<ModelStatisticsResponse>, Status> {
        let (parts, ModelStatisticsRequest { name, version }) = apart(request);
        let principal = principal(&parts)?;
        if let Some(name) = said(&name) {
            allowed(&self.0, principal, name)?;
        }
        let model_stats = statistics::of(&self.0, principal, said(&name), said(&version))?;
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(
        &self,
        request: Request<RepositoryIndexRequest>,
    ) -> Result<Response<RepositoryIndexResponse>, Status> {
        let (parts, RepositoryIndexRequest { repository_name, ready }) = apart(request);
        repository::refuse_named(&repository_name)?;
        let models = repository::index(&self.0, principal(&parts)?, ready);
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Result<Response<RepositoryModelLoadResponse>, Status> {
        let (parts, message) = apart(request);
        let name = Self::named(&message.repository_name, &message.model_name);
        let parameters: Vec<&str> = message.parameters.keys().map(String::as_str).collect();
        repository::load(&self.0, principal(&parts)?, name, &parameters).await?;
        let model_name = name.to_owned();
        Ok(Response::new(RepositoryModelLoadResponse { model_name, is_loaded: true }))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Result<Response<RepositoryModelUnloadResponse>, Status> {
        let (parts, message) = apart(request);
        let name = Self::named(&message.repository_name, &message.model_name);
        repository::unload(&self.0, principal(&parts)?, name).await?;
        let model_name = name.to_owned();
        Ok(Response::new(RepositoryModelUnloadResponse { model_name, is_unloaded: true }))
    }

    async fn log_settings(
        &self,
        request: Request<LogSettingsRequest>,
    ) -> Result<Response<LogSettingsResponse>, Status> {
        let (parts, message) = apart(request);
        let changes = log_settings::of_message(message)?;
        let settings = log_settings::change(principal(&parts)?, changes)?;
        Ok(Response::new(log_settings::message(&settings)))
    }
}
