//! `grpc.reflection`: what tools such as grpcurl ask to learn the services.

use std::sync::Arc;

use axum::Router;
use tonic::service::Routes;
use tonic_reflection::server::Builder;
use weighbridge_grpc::DESCRIPTORS;

use crate::gateway::Gateway;

/// The routes of both versions of the service: Python's client asks the old one.
pub fn routes() -> Router<Arc<Gateway>> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => Routes::new(v1).add_service(v1alpha),
        // Both are made of this build's own definitions: a test keeps them readable.
        _ => return Router::new(),
    };
    routes.into_axum_router().reset_fallback().with_state(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_can_be_read() {
        assert!(routes().has_routes());
    }
}
