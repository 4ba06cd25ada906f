//! `grpc.health.v1.Health`: what load balancers and Kubernetes ask.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::response::Response as HttpResponse;
use futures_util::{Stream, StreamExt, future};
use tokio_stream::wrappers::IntervalStream;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;

/// How often a watch looks whether something has changed.
const LOOKS: Duration = Duration::from_millis(500);
/// The services that are ready when the server is; "" is the server.
const SERVICES: [&str; 2] = ["", "inference.GRPCInferenceService"];

/// `POST /grpc.health.v1.Health/{method}`
pub async fn call(State(gateway): State<Arc<Gateway>>, request: HttpRequest) -> HttpResponse {
    let mut server =
        HealthServer::new(HealthService(gateway)).max_decoding_message_size(super::SMALL);
    let Ok(response) = server.call(request.map(tonic::body::Body::new)).await;
    response.map(Body::new)
}

/// Watches that are open at once: they need no credential, and stay.
const MOST_WATCHES: usize = 1024;
static WATCHES: AtomicUsize = AtomicUsize::new(0);

/// An open watch.
struct Watching;

impl Watching {
    fn begin() -> Result<Self, Status> {
        let watching = Self;
        if WATCHES.fetch_add(1, Ordering::Relaxed) < MOST_WATCHES {
            return Ok(watching);
        }
        let detail = format!("{MOST_WATCHES} watches are open: ask again later, or Check");
        Err(Problem::new(Kind::Overloaded, detail).into())
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        WATCHES.fetch_sub(1, Ordering::Relaxed);
    }
}

struct HealthService(Arc<Gateway>);

impl HealthService {
    /// `None` for a service that is not here.
    fn status(&self, service: &str) -> Option<ServingStatus> {
        if !SERVICES.contains(&service) {
            return None;
        }
        let is_ready = self.0.is_ready();
        Some(if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        match self.status(&service) {
            Some(status) => Ok(Response::new(HealthCheckResponse { status: status.into() })),
            None => {
                let service: String = service.chars().take(128).collect();
                Err(Status::not_found(format!("there is no service \"{service}\" here")))
            }
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watching = Watching::begin()?;
        let (service, health) = (request.into_inner().service, Self(Arc::clone(&self.0)));
        let looks = IntervalStream::new(tokio::time::interval(LOOKS));
        let seen = looks.map(move |_| {
            let _ = &watching;
            // The protocol's word for a service that may yet come.
            health.status(&service).unwrap_or(ServingStatus::ServiceUnknown)
        });
        let mut last = None;
        let changes = seen.filter(move |now| future::ready(last.replace(*now) != Some(*now)));
        // Streams that never end would hold up the end of the process.
        let gateway = Arc::clone(&self.0);
        let closing = async move { gateway.drain.closing().await };
        let changes = changes.map(|status| Ok(HealthCheckResponse { status: status.into() }));
        Ok(Response::new(Box::pin(changes.take_until(closing))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_watches_are_open_and_no_more() {
        let open: Vec<Watching> = std::iter::from_fn(|| Watching::begin().ok()).collect();
        assert_eq!(open.len(), MOST_WATCHES);
        assert_eq!(Watching::begin().err().map(|e| e.code()), Some(tonic::Code::Unavailable));
        drop(open);
        assert!(Watching::begin().is_ok());
    }
}
