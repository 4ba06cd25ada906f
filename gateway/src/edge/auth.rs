//! Who asks, and whether that one may.
//!
//! * A key comes as `Authorization: Bearer <key>` or as `x-api-key`. It is looked up by its
//!   SHA-256 in the snapshot: no registry call, and no comparison of secrets whose time could
//!   tell something.
//! * A JSON web token comes as `Authorization: Bearer <token>` and is judged by [`issuers`].
//! * A client certificate came with the connection ([`certificate`]); it counts where the
//!   request itself carries nothing.
//!
//! Scopes are asked for before a model is looked up, so that nobody learns which models there
//! are by what is forbidden.

pub mod certificate;
pub mod issuers;
pub mod keyset;
pub mod need;
pub mod refusal;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{Extensions, HeaderMap, header};
use weighbridge_config::settings::DEFAULT_TIER;
use weighbridge_config::{Digest, Scopes};
use weighbridge_registry::{Actor, KeyRecord};

use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::now_ms;
use crate::telemetry::events;

use certificate::PeerNames;
pub use need::Need;
use refusal::Refusal;

/// The tenant of requests without a credential, where the data listener is open.
const ANONYMOUS: &str = "anonymous";
/// The longest credential that is looked at, in bytes.
const LONGEST_CREDENTIAL: usize = 16 * 1024;

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal(pub Arc<Who>);

/// What is known of a principal.
#[derive(Debug, PartialEq, Eq)]
pub struct Who {
    pub actor: Actor,
    /// Whose limits, quotas and share of the compute threads the request counts against.
    pub tenant: Arc<str>,
    /// The name of the tier that sets them.
    pub tier: String,
    pub scopes: Scopes,
}

impl Principal {
    /// As the registry names who made a change.
    pub fn actor(&self) -> Actor {
        self.0.actor.clone()
    }

    fn of_key(key: &KeyRecord) -> Self {
        let id = format!("key:{}", key.prefix);
        Self(Arc::new(Who {
            tenant: key.tenant.as_deref().unwrap_or(&id).into(),
            tier: key.tier.clone().unwrap_or_else(|| DEFAULT_TIER.to_owned()),
            scopes: key.scopes.clone(),
            actor: Actor { id, name: key.name.clone() },
        }))
    }

    /// Whether nobody said who asks, at an open data listener.
    pub fn is_anonymous(&self) -> bool {
        self.0.actor.id == ANONYMOUS
    }

    /// Somebody at an open data listener.
    fn anonymous() -> Self {
        let name = ANONYMOUS.to_owned();
        Self(Arc::new(Who {
            actor: Actor { id: name.clone(), name },
            tenant: ANONYMOUS.into(),
            tier: DEFAULT_TIER.to_owned(),
            scopes: weighbridge_registry::Role::Predict.scopes(),
        }))
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

/// What the layer of a router's routes knows.
#[derive(Debug, Clone)]
pub struct Guard {
    pub gateway: Arc<Gateway>,
    /// `data` or `admin`.
    pub listener: &'static str,
    pub need: Need,
}

/// The layer of routes that need somebody who may.
pub async fn require(
    State(guard): State<Guard>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = match path {
        Ok(path) => path,
        Err(error) => {
            let detail = format!("the path: {}", error.body_text());
            return Problem::new(Kind::InvalidRequest, detail).into_response();
        }
    };
    let is_open = guard.listener == "data"
        && guard.need.may_be_open()
        && guard.gateway.door.load().is_data_plane_open();
    let who = match identify(&guard.gateway, request.headers(), request.extensions()).await {
        // An open listener asks nobody; who says who it is counts as that one all the same.
        Err(_) if is_open => Ok(Principal::anonymous()),
        who => who,
    };
    let allowed = who.and_then(|principal| {
        let model = path.iter().find(|(name, _)| *name == "model").map(|(_, value)| value);
        match is_open || guard.need.is_met_by(&principal.0.scopes, model, &request) {
            true => Ok(principal),
            false => Err(Refusal::NoScope(guard.need.wanted(model, &request))),
        }
    });
    match allowed {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(refusal) => {
            events::auth_refused(guard.listener, refusal.reason());
            Problem::from(refusal).into_response()
        }
    }
}

/// Who sends a message of a stream, at this moment: keys are revoked, and tokens expire, while it
/// is open.
pub async fn identify_again(gateway: &Gateway, request: &Parts) -> Result<Principal, Problem> {
    let is_open = gateway.door.load().is_data_plane_open();
    match identify(gateway, &request.headers, &request.extensions).await {
        Ok(principal) => Ok(principal),
        Err(_) if is_open => Ok(Principal::anonymous()),
        Err(refusal) => {
            events::auth_refused("data", refusal.reason());
            Err(refusal.into())
        }
    }
}

/// The principal of a request.
async fn identify(
    gateway: &Gateway,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Principal, Refusal> {
    let Some(credential) = credential(headers)? else {
        let Some(names) = extensions.get::<PeerNames>() else { return Err(Refusal::Missing) };
        if names.until.cast_unsigned() < now_ms() / 1000 {
            return Err(Refusal::ExpiredCertificate);
        }
        return gateway.door.load().client(names).ok_or(Refusal::UnknownCertificate);
    };
    // A token has two dots, and a key none.
    if let Some(token) = std::str::from_utf8(credential).ok().filter(|text| text.contains('.')) {
        let door = gateway.door.load_full();
        return door.issuers.principal(token, now_ms() / 1000).await;
    }
    let hash = Digest::of(credential);
    let now = now_ms();
    let snapshot = gateway.live.load();
    let key = snapshot.keys.get(&hash).ok_or(Refusal::UnknownKey)?;
    if key.revoked_at.is_some() {
        return Err(Refusal::RevokedKey);
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        return Err(Refusal::ExpiredKey);
    }
    gateway.key_use.note(&key.id, now);
    Ok(Principal::of_key(key))
}

/// The key or token of a request: there must not be two, since which of them counts would then
/// depend on who looks.
fn credential(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let malformed = |what: &'static str| Err(Refusal::Malformed(Cow::Borrowed(what)));
    let mut found = None;
    for name in [header::AUTHORIZATION, http::HeaderName::from_static("x-api-key")] {
        for value in headers.get_all(&name) {
            let bytes = value.as_bytes();
            let credential = if name == header::AUTHORIZATION {
                match bytes.split_at_checked(7) {
                    Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest,
                    _ => return malformed("Authorization wants: Bearer KEY-OR-TOKEN"),
                }
            } else {
                bytes
            };
            let credential = credential.trim_ascii();
            if credential.is_empty() || credential.len() > LONGEST_CREDENTIAL {
                return malformed("a credential wants 1 to 16384 bytes");
            }
            if found.replace(credential).is_some_and(|other| other != credential) {
                return malformed("two different credentials came, wanted one");
            }
        }
    }
    Ok(found)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let kind = match &refusal {
            Refusal::NoScope(_) => Kind::Forbidden,
            Refusal::NoKeys(_) => Kind::Unavailable,
            _ => Kind::Unauthenticated,
        };
        Self::new(kind, refusal.detail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_credential_comes_in_either_header() {
        let headers = |lines: &[(&'static str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in lines {
                map.append(*name, value.parse().unwrap());
            }
            map
        };
        let got = |lines: &[(&'static str, &str)]| {
            credential(&headers(lines)).map(|found| found.map(<[u8]>::to_vec))
        };
        let k = || Ok(Some(b"k".to_vec()));
        assert_eq!(got(&[("authorization", "Bearer k")]), k());
        assert_eq!(got(&[("authorization", "bearer  k ")]), k());
        assert_eq!(got(&[("x-api-key", "k")]), k());
        assert_eq!(got(&[("authorization", "Bearer k"), ("x-api-key", "k")]), k());
        assert_eq!(got(&[]), Ok(None));
        let long = "k".repeat(LONGEST_CREDENTIAL + 1);
        for bad in [
            &[("authorization", "Basic abc")][..],
            &[("authorization", "B")],
            &[("authorization", "Bearer ")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer b")],
            &[("authorization", "Bearer a"), ("x-api-key", "b")],
            &[("x-api-key", &long)],
        ] {
            assert!(matches!(got(bad), Err(Refusal::Malformed(_))), "{bad:?}");
        }
    }
}
