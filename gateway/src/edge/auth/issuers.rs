//! JSON web tokens: which are accepted, and what their claims make of who sends them.
//!
//! What a token says of itself decides nothing but where to look: its issuer (`iss`) picks the
//! settings, its key id (`kid`) picks a key, and its algorithm has to be one that the settings
//! name and that the key is for. So a token signed with a public key as if that were a secret
//! (RFC 8725, 2.1), or not signed at all, is refused.
//!
//! A verified token is remembered by its SHA-256 until it expires, as long as its issuer's keys
//! stay the same: checking a signature takes tens of microseconds.

use std::borrow::Cow;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde_json::{Map, Value};
use weighbridge_config::settings::{self, Settings};
use weighbridge_config::{Digest, Scope, Scopes};
use weighbridge_registry::Actor;

use super::keyset::{KeySet, Keys, algorithm};
use super::refusal::Refusal;
use super::{Principal, Who};

/// Verified tokens that are remembered: those used least are forgotten.
const REMEMBERED: usize = 16 * 1024;
/// Keys that are tried for a token that names none.
const MOST_TRIED: usize = 8;
/// The longest tenant or subject, in bytes: they are keys of tables and parts of the audit.
const LONGEST_NAME: usize = 256;

/// All issuers whose tokens are accepted.
#[derive(Debug, Default)]
pub struct Issuers {
    by_iss: HashMap<String, Arc<Issuer>>,
    remembered: Option<Cache<Digest, Remembered>>,
}

#[derive(Debug)]
struct Issuer {
    /// The group's name in the settings.
    name: String,
    settings: settings::Issuer,
    keys: Arc<Keys>,
    /// The tiers there are.
    tiers: Vec<String>,
}

#[derive(Debug, Clone)]
struct Remembered {
    principal: Principal,
    issuer: Arc<Issuer>,
    keys: Arc<KeySet>,
    /// Seconds since 1970.
    until: u64,
}

/// The part of a token's header that says how to check it.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl Issuers {
    /// The issuers of `settings`; those of `before` whose keys come from the same place keep
    /// the keys they have.
    ///
    /// # Errors
    /// A file of keys that cannot be used; names the issuer.
    pub fn open(settings: &Settings, before: &Self) -> anyhow::Result<Self> {
        let mut by_iss = HashMap::new();
        for (name, of) in &settings.issuers {
            let known = before.by_iss.get(&of.issuer).filter(|known| known.keys.is_of(of));
            let keys = match known {
                Some(known) => Arc::clone(&known.keys),
                None => Arc::new(Keys::open(name, of).map_err(|error| {
                    error.context(format!("cannot use the keys of issuers.{name}"))
                })?),
            };
            let issuer = Issuer {
                name: name.clone(),
                settings: of.clone(),
                keys,
                tiers: settings.tiers.keys().cloned().collect(),
            };
            by_iss.insert(of.issuer.clone(), Arc::new(issuer));
        }
        let remembered = (!by_iss.is_empty()).then(|| Cache::new(REMEMBERED));
        Ok(Self { by_iss, remembered })
    }

    /// The keys of all issuers, to be tended.
    pub fn keys(&self) -> impl Iterator<Item = Arc<Keys>> {
        self.by_iss.values().map(|issuer| Arc::clone(&issuer.keys))
    }

    /// Who a token is from; `now` in seconds since 1970.
    pub async fn principal(&self, token: &str, now: u64) -> Result<Principal, Refusal> {
        let Some(remembered) = &self.remembered else { return Err(Refusal::NoIssuers) };
        let digest = Digest::of(token.as_bytes());
        if let Some(known) = remembered.get(&digest) {
            let keys = known.issuer.keys.current();
            if keys.is_some_and(|keys| Arc::ptr_eq(&keys, &known.keys)) && now <= known.until {
                return Ok(known.principal);
            }
        }
        let verified = self.verify(token).await?;
        let principal = verified.principal.clone();
        remembered.insert(digest, verified);
        Ok(principal)
    }

    async fn verify(&self, token: &str) -> Result<Remembered, Refusal> {
        let malformed = || Refusal::Malformed(Cow::Borrowed("this is no JSON web token"));
        let encoded = token.split('.').next().unwrap_or_default();
        let decoded = BASE64_URL_SAFE_NO_PAD.decode(encoded).map_err(|_| malformed())?;
        let header: Header = serde_json::from_slice(&decoded).map_err(|_| malformed())?;
        let said: Map<String, Value> =
            jsonwebtoken::dangerous::insecure_decode_claims(token).map_err(|_| malformed())?;
        let iss = match said.get("iss") {
            Some(Value::String(iss)) => iss,
            Some(_) => return Err(Refusal::BadClaim("the token's claim iss is no text".into())),
            None => return Err(Refusal::BadClaim("the token has no claim iss".into())),
        };
        let issuer = self.by_iss.get(iss).ok_or_else(|| Refusal::WrongIssuer(short(iss)))?;
        for claim in ["exp", "nbf"] {
            if said.get(claim).is_some_and(|time| !time.is_number()) {
                let what = format!("the token's claim {claim} is no number of seconds");
                return Err(Refusal::BadClaim(what));
            }
        }
        // Extensions that have to be understood: none are.
        if header.crit.is_some() {
            return Err(Refusal::Malformed(Cow::Borrowed("the token's header has \"crit\"")));
        }
        let wrong_algorithm = || Refusal::WrongAlgorithm(short(&header.alg));
        let named = Algorithm::from_str(&header.alg).map_err(|_| wrong_algorithm())?;
        if !issuer.settings.algorithms.iter().any(|allowed| algorithm(*allowed) == named) {
            return Err(wrong_algorithm());
        }
        let (claims, keys) = issuer.check(token, &header, named).await?;
        let principal = issuer.principal(&claims)?;
        let expires = claims.get("exp").and_then(Value::as_f64).unwrap_or(0.0) as u64;
        let until = expires.saturating_add(leeway_s(&issuer.settings));
        Ok(Remembered { principal, issuer: Arc::clone(issuer), keys, until })
    }
}

impl Issuer {
    /// The claims of a token whose signature and times are right, and the keys that say so.
    async fn check(
        &self,
        token: &str,
        header: &Header,
        named: Algorithm,
    ) -> Result<(Map<String, Value>, Arc<KeySet>), Refusal> {
        let mut keys = self.keys.current();
        let knows = |keys: &Arc<KeySet>| {
            header.kid.is_none()
                || keys.0.iter().any(|key| key.id.is_none() || key.id == header.kid)
        };
        // In a set that has ids a key without one is rather not the one that is meant: a newer set
        // may tell.
        let is_settled = |keys: &Arc<KeySet>| {
            let has_ids = keys.0.iter().any(|key| key.id.is_some());
            knows(keys) && (!has_ids || keys.0.iter().any(|key| key.id == header.kid))
        };
        if header.kid.is_some() && !keys.as_ref().is_some_and(is_settled) || keys.is_none() {
            keys = self.keys.renewed(keys.as_ref()).await;
        }
        let Some(keys) = keys else { return Err(Refusal::NoKeys(self.name.clone())) };
        if !knows(&keys) {
            return Err(Refusal::UnknownKeyId);
        }
        // A key without an id (PEM, a secret) is meant for every token.
        let meant = keys
            .0
            .iter()
            .filter(|key| header.kid.is_none() || key.id.is_none() || key.id == header.kid);
        let validation = self.validation(named);
        let mut refusal = Refusal::WrongAlgorithm(short(&header.alg));
        for key in meant.filter(|key| key.algorithms.contains(&named)).take(MOST_TRIED) {
            match jsonwebtoken::decode(token, &key.key, &validation) {
                Ok(decoded) => return Ok((decoded.claims, Arc::clone(&keys))),
                Err(error) => refusal = refusal_of(error.kind(), header),
            }
            // What another key cannot change.
            if refusal != Refusal::BadSignature {
                break;
            }
        }
        Err(refusal)
    }

    fn validation(&self, named: Algorithm) -> Validation {
        let mut validation = Validation::new(named);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&self.settings.audience);
        validation.leeway = leeway_s(&self.settings);
        validation.validate_nbf = true;
        validation
    }

    fn principal(&self, claims: &Map<String, Value>) -> Result<Principal, Refusal> {
        let settings = &self.settings;
        let name = |claim: &str| {
            let value = claims.get(claim).and_then(Value::as_str);
            let fits = |text: &&str| {
                (1..=LONGEST_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
            };
            value.filter(fits).map(str::to_owned)
        };
        let tenant = name(&settings.tenant_claim).ok_or_else(|| {
            Refusal::BadClaim(format!(
                "the token's claim {} names the tenant: wanted a text of 1 to {LONGEST_NAME} bytes",
                settings.tenant_claim
            ))
        })?;
        let subject = name("sub").unwrap_or_else(|| tenant.clone());
        let tier = name(&settings.tier_claim).filter(|tier| self.tiers.contains(tier));
        let scopes = match claims.get(&settings.scope_claim) {
            None => settings.scopes.clone().unwrap_or_default(),
            Some(claim) => scopes_of(claim),
        };
        Ok(Principal(Arc::new(Who {
            actor: Actor { id: format!("jwt:{}:{subject}", self.name), name: subject },
            tenant: tenant.into(),
            tier: tier.unwrap_or_else(|| settings.tier.clone()),
            scopes,
        })))
    }
}

/// What came, for a sentence.
fn short(came: &str) -> String {
    came.chars().take(100).collect()
}

/// The library counts whole seconds.
fn leeway_s(of: &settings::Issuer) -> u64 {
    of.leeway.as_secs_f64().ceil() as u64
}

/// The scopes among the words of a claim, a text or a list of texts. Words of other services
/// are passed over, and so is `admin`, which many services use: the scopes have to be spelt out.
fn scopes_of(claim: &Value) -> Scopes {
    let texts: Vec<&str> = match claim {
        Value::String(text) => vec![text],
        Value::Array(texts) => texts.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let words = texts.iter().flat_map(|text| text.split_ascii_whitespace());
    words.filter_map(|word| word.parse::<Scope>().ok()).collect()
}

fn refusal_of(kind: &ErrorKind, header: &Header) -> Refusal {
    match kind {
        ErrorKind::ExpiredSignature => Refusal::ExpiredToken,
        ErrorKind::ImmatureSignature => Refusal::NotYetValid,
        ErrorKind::InvalidAudience => Refusal::WrongAudience,
        // It is the one that the settings were found by.
        ErrorKind::InvalidIssuer => Refusal::BadClaim("the token's claim iss is not right".into()),
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => {
            Refusal::WrongAlgorithm(short(&header.alg))
        }
        ErrorKind::MissingRequiredClaim(claim) => {
            Refusal::BadClaim(format!("the token has no claim {claim}"))
        }
        ErrorKind::InvalidClaimFormat(claim) => {
            Refusal::BadClaim(format!("the token's claim {claim} has another form"))
        }
        ErrorKind::InvalidToken
        | ErrorKind::Base64(_)
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => Refusal::Malformed(Cow::Borrowed("this is no JSON web token")),
        _ => Refusal::BadSignature,
    }
}
