//! What a route asks of who calls it.

use axum::extract::{MatchedPath, Request};
use http::Method;
use weighbridge_config::{Scope, Scopes};

/// What a router's routes ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any valid credential.
    Anybody,
    /// Predictions of the model of the path; where it names none, of some model.
    Predict,
    Feedback,
    Metrics,
    /// Loading and unloading models by Triton's extension.
    Operate,
    /// Changing what is logged by Triton's extension.
    Configure,
    /// Reading, writing or operating rollouts, as the request's method and path say.
    Admin,
}

/// The last segments of admin paths that move traffic between versions.
const OPERATES_TRAFFIC: [&str; 10] = [
    "/route",
    "/promote",
    "/rollback",
    "/rollouts",
    "/rollout/drill",
    "/rollout/{verb}",
    "/rollouts/freeze",
    "/experiments",
    "/experiments/{experiment}/stop",
    "/shadows",
];

impl Need {
    /// Whether an open data listener gives it to everybody. What changes the gateway it never does.
    pub fn may_be_open(self) -> bool {
        !matches!(self, Self::Operate | Self::Configure | Self::Admin)
    }

    /// Whether `scopes` suffice for a request whose path names `model`.
    pub fn is_met_by(self, scopes: &Scopes, model: Option<&str>, request: &Request) -> bool {
        match (self, model) {
            (Self::Anybody, _) => true,
            (Self::Predict, Some(model)) => scopes.may_predict(model_of(model)),
            (Self::Predict, None) => scopes.may_predict_something(),
            // Who may ask some models reports on those; who may ask none reports on all.
            (Self::Feedback, Some(model)) if scopes.may_predict_something() => {
                scopes.allows(&Scope::Feedback) && scopes.may_predict(model_of(model))
            }
            (Self::Feedback, _) => scopes.allows(&Scope::Feedback),
            (Self::Metrics, _) => scopes.allows(&Scope::Metrics),
            (Self::Operate, _) => scopes.allows(&Scope::AdminRollout),
            (Self::Configure, _) => scopes.allows(&Scope::AdminWrite),
            (Self::Admin, _) => scopes.allows(&admin_scope(request)),
        }
    }

    /// The scope that is asked for, as text.
    pub fn wanted(self, model: Option<&str>, request: &Request) -> String {
        match (self, model) {
            (Self::Anybody, _) => "any".to_owned(),
            (Self::Predict, Some(model)) => {
                let model: String = model_of(model).chars().take(128).collect();
                format!("predict:{model}")
            }
            (Self::Predict, None) => "predict".to_owned(),
            (Self::Feedback, _) => Scope::Feedback.to_string(),
            (Self::Metrics, _) => Scope::Metrics.to_string(),
            (Self::Operate, _) => Scope::AdminRollout.to_string(),
            (Self::Configure, _) => Scope::AdminWrite.to_string(),
            (Self::Admin, _) => admin_scope(request).to_string(),
        }
    }
}

/// The model of a segment such as `fraud:predict`. Names have no colon.
pub fn model_of(segment: &str) -> &str {
    segment.rsplit_once(':').map_or(segment, |(model, _)| model)
}

fn admin_scope(request: &Request) -> Scope {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    admin_scope_of(request.method(), path)
}

/// The scope that a route of the admin API asks for.
pub fn admin_scope_of(method: &Method, path: &str) -> Scope {
    if matches!(*method, Method::GET | Method::HEAD) {
        Scope::AdminRead
    } else if OPERATES_TRAFFIC.iter().any(|end| path.ends_with(end)) {
        Scope::AdminRollout
    } else {
        Scope::AdminWrite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admin(method: Method, path: &str) -> String {
        admin_scope_of(&method, path).to_string()
    }

    #[test]
    fn admin_routes_ask_for_reading_writing_or_operating() {
        assert_eq!(admin(Method::GET, "/admin/v1/models/{model}/route"), "admin:read");
        assert_eq!(admin(Method::PUT, "/admin/v1/models/{model}/route"), "admin:rollout");
        assert_eq!(admin(Method::POST, "/admin/v1/models/{model}/rollout/{verb}"), "admin:rollout");
        assert_eq!(admin(Method::POST, "/admin/v1/models/{model}/versions"), "admin:write");
        assert_eq!(admin(Method::DELETE, "/admin/v1/models/{model}"), "admin:write");
        assert_eq!(admin(Method::PATCH, "/admin/v1/models/{model}/settings"), "admin:write");
        assert_eq!(admin(Method::POST, "/admin/v1/keys"), "admin:write");
    }

    #[test]
    fn scopes_suffice_for_what_they_name() {
        let request = || Request::new(axum::body::Body::empty());
        let met = |need: Need, scopes: &str, model: Option<&str>| {
            need.is_met_by(&scopes.parse().unwrap(), model, &request())
        };
        assert!(met(Need::Predict, "predict", Some("fraud:predict")));
        assert!(met(Need::Predict, "predict:fra*", Some("fraud")));
        assert!(met(Need::Predict, "predict:fra*", None));
        assert!(!met(Need::Predict, "predict:fra*", Some("churn")));
        assert!(!met(Need::Predict, "metrics feedback", Some("fraud")));
        assert!(!met(Need::Predict, "metrics", None));
        assert!(met(Need::Anybody, "metrics", None));
        assert!(!met(Need::Metrics, "predict", None));
        assert!(!met(Need::Feedback, "predict", Some("fraud")));
        assert!(met(Need::Feedback, "feedback", Some("fraud")));
        assert!(met(Need::Feedback, "feedback predict:fraud", Some("fraud")));
        assert!(!met(Need::Feedback, "feedback predict:fraud", Some("churn")));
        // A request without a path reads nothing: its method is GET.
        assert!(met(Need::Admin, "admin:read", None));
        assert!(!met(Need::Admin, "predict", None));
        assert_eq!(Need::Predict.wanted(Some("fraud:predict"), &request()), "predict:fraud");
    }
}
