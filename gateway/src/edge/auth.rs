//! Who asks, and whether that one may.
//!
//! A key comes as `Authorization: Bearer <key>` or as `x-api-key`. It is looked up by its
//! SHA-256 in the snapshot: no registry call, and no comparison of secrets whose time could
//! tell something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use weighbridge_config::Digest;
use weighbridge_registry::{Actor, KeyRecord, Role};

use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::now_ms;

/// What a route asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Any valid key.
    AnyKey,
    Predict,
    Admin,
    Metrics,
}

impl Need {
    fn is_met_by(self, role: Role) -> bool {
        match self {
            Self::AnyKey => true,
            Self::Predict => matches!(role, Role::Predict | Role::Admin),
            Self::Admin => role == Role::Admin,
            Self::Metrics => matches!(role, Role::Metrics | Role::Admin),
        }
    }

    fn role(self) -> &'static str {
        match self {
            Self::AnyKey => "any",
            Self::Predict => "predict or admin",
            Self::Admin => "admin",
            Self::Metrics => "metrics or admin",
        }
    }
}

/// The holder of the key that came with a request.
#[derive(Debug, Clone)]
pub struct Principal(pub Arc<KeyRecord>);

impl Principal {
    /// As the registry names who made a change.
    pub fn actor(&self) -> Actor {
        Actor { id: format!("key:{}", self.0.prefix), name: self.0.name.clone() }
    }
}

/// When keys were used last, until it is written to the registry.
#[derive(Debug, Default)]
pub struct KeyUse(Mutex<HashMap<String, u64>>);

impl KeyUse {
    fn note(&self, id: &str, at: u64) {
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match used.get_mut(id) {
            Some(last) => *last = at,
            None => {
                used.insert(id.to_owned(), at);
            }
        }
    }

    /// What has been noted since the last call.
    pub fn drain(&self) -> HashMap<String, u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The layer of routes that need a key.
pub async fn require(
    State((gateway, need)): State<(Arc<Gateway>, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    match authorize(&gateway, request.headers(), need) {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// The principal of a request, if its key may do what the route needs.
pub fn authorize(gateway: &Gateway, headers: &HeaderMap, need: Need) -> Result<Principal, Problem> {
    let Some(secret) = credential(headers) else {
        return Err(Problem::new(
            Kind::Unauthenticated,
            "a key is needed: send Authorization: Bearer KEY (weighbridge keys create makes one)",
        ));
    };
    let hash = Digest::of(secret);
    let now = now_ms();
    let snapshot = gateway.live.load();
    // Unknown, revoked and expired keys get the same answer: a thief learns nothing.
    let is_valid = |key: &&Arc<KeyRecord>| {
        key.revoked_at.is_none() && key.expires_at.is_none_or(|at| now < at)
    };
    let Some(key) = snapshot.keys.get(&hash).filter(is_valid) else {
        return Err(Problem::new(
            Kind::Unauthenticated,
            "this key is not valid (unknown, revoked or expired)",
        ));
    };
    if !need.is_met_by(key.role) {
        let detail = format!("this key's role does not allow it: wanted role {}", need.role());
        return Err(Problem::new(Kind::Forbidden, detail));
    }
    gateway.key_use.note(&key.id, now);
    Ok(Principal(Arc::clone(key)))
}

fn credential(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        return scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii());
    }
    headers.get("x-api-key").map(|v| v.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_in_either_header() {
        let headers = |name: &'static str, value: &str| {
            let mut map = HeaderMap::new();
            map.insert(name, value.parse().unwrap());
            map
        };
        let got = |map: HeaderMap| credential(&map).map(<[u8]>::to_vec);
        assert_eq!(got(headers("authorization", "Bearer k")), Some(b"k".to_vec()));
        assert_eq!(got(headers("authorization", "bearer  k ")), Some(b"k".to_vec()));
        assert_eq!(got(headers("x-api-key", "k")), Some(b"k".to_vec()));
        assert_eq!(got(headers("authorization", "Basic abc")), None);
        assert_eq!(got(headers("authorization", "B")), None);
        assert_eq!(got(HeaderMap::new()), None);
    }

    #[test]
    fn roles_allow_what_they_say() {
        for (role, allowed) in [
            (Role::Admin, vec![Need::AnyKey, Need::Admin, Need::Predict, Need::Metrics]),
            (Role::Predict, vec![Need::AnyKey, Need::Predict]),
            (Role::Metrics, vec![Need::AnyKey, Need::Metrics]),
        ] {
            for need in [Need::AnyKey, Need::Admin, Need::Predict, Need::Metrics] {
                assert_eq!(need.is_met_by(role), allowed.contains(&need), "{role:?} {need:?}");
            }
        }
    }
}
