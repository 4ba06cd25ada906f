//! Predictions and models over gRPC, on the data listener beside REST.
//!
//! tonic reads messages and writes answers; packed messages it gets unpacked
//! ([`crate::edge::body::messages`]). Each call passes the same layers as a request of REST
//! ([`crate::edge::stack`]), and a prediction takes the same course
//! ([`crate::api::predict::course`]). What is refused on the way becomes a status in
//! [`crate::edge::problem::finish`].

pub mod health;
mod infer;
pub mod reflection;
mod service;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue};
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use weighbridge_config::settings::Priority;
use weighbridge_grpc::inference::grpc_inference_service_server::GrpcInferenceServiceServer;

use crate::api::admit::Caller;
use crate::api::ask;
use crate::edge::auth::Principal;
use crate::edge::auth::refusal::Refusal;
use crate::edge::body::messages::{Bounds, Messages, Sends, take_packing};
use crate::edge::body::metered::{Account, Metered, Patience};
use crate::edge::problem::Problem;
use crate::gateway::Gateway;
use crate::telemetry::events;
use service::InferenceService;

/// What a message may be packed with.
const PACKINGS: [(&str, CompressionEncoding); 3] = [
    ("gzip", CompressionEncoding::Gzip),
    ("deflate", CompressionEncoding::Deflate),
    ("zstd", CompressionEncoding::Zstd),
];

/// What was settled for a call before its message was read.
#[derive(Debug, Clone)]
struct Entered {
    caller: Arc<Caller>,
    account: Account,
    arrived: Instant,
}

/// The same for a stream: each of its messages takes a place of its own.
#[derive(Debug, Clone)]
struct Streams {
    caller: Arc<Caller>,
    account: Account,
}

/// What a call that predicts nothing may send, in bytes.
const SMALL: usize = 64 * 1024;

/// `POST /inference.GRPCInferenceService/{method}` of a method that predicts nothing.
pub async fn call(State(gateway): State<Arc<Gateway>>, request: Request) -> Response {
    serve(server(&gateway).max_decoding_message_size(SMALL), request).await
}

/// `POST /inference.GRPCInferenceService/ModelInfer`: takes its place among the requests in hand
/// before the message is read.
pub async fn infer(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let arrived = Instant::now();
    let caller = Arc::new(Caller::enter(&gateway, request.extensions())?);
    let account = Account::new(caller.body(&gateway));
    let (usual, most) = (gateway.settings.serving.timeout, gateway.settings.limits.max_timeout);
    // The message names the model, and so the model's own deadline: it is not known yet.
    let asked = ask::timeout(request.headers())?.map_or(usual, |asked| asked.min(most));
    let still = caller.door.settings.limits.body_read_timeout;
    let patience = Patience { still, until: Some(arrived + asked) };
    request.extensions_mut().insert(Entered { caller, account: account.clone(), arrived });
    let server = packing(&gateway, request.headers());
    let limit = gateway.door.load().settings.limits.body.bytes();
    let metered = |body| Metered::new(body, account, patience);
    Ok(serve(server, messages(&gateway, request, limit, Sends::One, metered)).await)
}

/// `POST /inference.GRPCInferenceService/ModelStreamInfer`: each message takes its own place; what
/// has come of the next one counts as a body like others.
pub async fn stream(
    State(gateway): State<Arc<Gateway>>,
    mut request: Request,
) -> Result<Response, Problem> {
    let caller = Arc::new(Caller::enter(&gateway, request.extensions())?.without_place());
    let account = Account::new(caller.body(&gateway));
    request.extensions_mut().insert(Streams { caller, account: account.clone() });
    let server = packing(&gateway, request.headers());
    let limit = gateway.door.load().settings.limits.body.bytes();
    let metered = |body| until_closing(&gateway, body, account, None);
    Ok(serve(server, messages(&gateway, request, limit, Sends::Taken, metered)).await)
}

/// For whoever lists services: a person waits.
const REFLECTION: (&str, Duration) = ("/grpc.reflection.", Duration::from_secs(60));

/// The layer of calls that have no place among the requests in hand: what they send is counted all
/// the same, and has to come: no credential may be asked for. Those that stay open end when the
/// gateway does.
pub async fn bound(State(gateway): State<Arc<Gateway>>, request: Request, next: Next) -> Response {
    let limits = &gateway.door.load().settings.limits;
    let account = Account::new(match request.extensions().get() {
        Some(Principal(who)) => gateway.permits.body(limits, Priority::Normal, &who.tenant),
        None => gateway.permits.body_of_stranger(limits),
    });
    let (sends, time) = match request.uri().path().starts_with(REFLECTION.0) {
        true => (Sends::Passing, REFLECTION.1),
        false => (Sends::One, limits.body_read_timeout),
    };
    let metered = |body| until_closing(&gateway, body, account, Some(Instant::now() + time));
    next.run(messages(&gateway, request, SMALL as u64, sends, metered)).await
}

/// The request with its body metered, in messages of `limit` bytes at most.
fn messages(
    gateway: &Gateway,
    mut request: Request,
    limit: u64,
    sends: Sends,
    metered: impl FnOnce(Body) -> Metered,
) -> Request {
    let ratio = gateway.door.load().settings.limits.decompression_ratio;
    let packing = take_packing(request.headers_mut());
    let bounds = Bounds { limit, ratio, sends };
    request.map(|body| Body::new(Messages::new(metered(body), packing, bounds)))
}

fn until_closing(
    gateway: &Arc<Gateway>,
    body: Body,
    account: Account,
    until: Option<Instant>,
) -> Metered {
    let still = gateway.door.load().settings.limits.body_read_timeout;
    let drain = gateway.drain.clone();
    let closing = async move { drain.closing().await };
    Metered::new(body, account, Patience { still, until }).until(closing)
}

type Server = GrpcInferenceServiceServer<InferenceService>;

fn server(gateway: &Arc<Gateway>) -> Server {
    Server::new(InferenceService(Arc::clone(gateway))).max_encoding_message_size(usize::MAX)
}

/// A server of messages that may be large, and packed.
fn packing(gateway: &Arc<Gateway>, headers: &HeaderMap) -> Server {
    let limit = gateway.door.load().settings.limits.body.as_usize();
    let mut server = server(gateway).max_decoding_message_size(limit);
    // Clients say by default that they could unpack; only who packs wants it so.
    let came = headers.get("grpc-encoding").map(HeaderValue::as_bytes);
    for (name, packing) in PACKINGS {
        server = server.accept_compressed(packing);
        if came == Some(name.as_bytes()) {
            server = server.send_compressed(packing);
        }
    }
    server
}

async fn serve(mut server: Server, request: Request) -> Response {
    let Ok(response) = server.call(request.map(tonic::body::Body::new)).await;
    response.map(Body::new)
}

/// Whether who asks may ask this model: methods name it in their message.
fn allowed(gateway: &Gateway, principal: &Principal, model: &str) -> Result<(), Problem> {
    if gateway.door.load().is_data_plane_open() || principal.0.scopes.may_predict(model) {
        return Ok(());
    }
    let model: String = model.chars().take(128).collect();
    let refusal = Refusal::NoScope(format!("predict:{model}"));
    events::auth_refused("data", refusal.reason());
    Err(refusal.into())
}

/// Puts headers of an answer over REST among the metadata of one over gRPC.
fn add_metadata<T>(response: &mut tonic::Response<T>, headers: HeaderMap) {
    let metadata = std::mem::take(response.metadata_mut());
    let mut all = metadata.into_headers();
    all.extend(headers);
    *response.metadata_mut() = tonic::metadata::MetadataMap::from_headers(all);
}
