//! The keys of an issuer of tokens, from a file or from a URL.
//!
//! A set from a URL is fetched every [`REFRESH`], and at once when a token names a key that is
//! not in it, but not more often than every [`FLOOR`]: strangers could otherwise make this
//! process call the issuer as often as they like. A set that cannot be fetched or read leaves
//! the last good one in force.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey};
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;
use weighbridge_config::Digest;
use weighbridge_config::settings::{self, KeySource};

/// How old a fetched set may grow.
const REFRESH: Duration = Duration::from_secs(300);
/// The least time between two fetches.
const FLOOR: Duration = Duration::from_secs(10);
/// How long a fetch may take: requests with a new key wait for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest set, in bytes.
const LARGEST: usize = 1 << 20;
/// The shortest secret for HS256: RFC 7518, 3.2.
const SHORTEST_SECRET: usize = 32;
/// In the first line of every private key in PEM.
const PRIVATE: &[u8] = b"PRIVATE KEY-----";

/// A key that checks signatures.
pub struct VerifyKey {
    pub id: Option<String>,
    /// What it may be used for: never what a token says.
    pub algorithms: Vec<Algorithm>,
    pub key: DecodingKey,
}

/// The keys of one issuer, as they were read once.
#[derive(Debug)]
pub struct KeySet(pub Vec<VerifyKey>);

/// The keys of one issuer, kept up to date.
#[derive(Debug)]
pub struct Keys {
    /// The group's name in the settings.
    name: String,
    source: KeySource,
    algorithms: Vec<settings::Algorithm>,
    current: ArcSwapOption<KeySet>,
    state: Mutex<State>,
    client: Option<reqwest::Client>,
    /// Fetches under way; each ends within [`PATIENCE`], so that a stop need not wait for them.
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    tried: Option<Instant>,
    /// Of the bytes that were read last, whether they could be used or not.
    seen: Option<Digest>,
    /// Times in a row that the file could not be read.
    missed: u32,
}

impl Keys {
    /// The keys of the issuer `name`. Those of a file are read; those of a URL come later.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no key for the algorithms; names the file.
    pub fn open(name: &str, of: &settings::Issuer) -> anyhow::Result<Self> {
        let mut keys = Self {
            name: name.to_owned(),
            source: of.keys.clone(),
            algorithms: of.algorithms.clone(),
            current: ArcSwapOption::empty(),
            state: Mutex::default(),
            client: None,
            tasks: TaskTracker::new(),
        };
        match &of.keys {
            KeySource::File(path) => {
                let bytes = read(path)?;
                let set = parse(&bytes, &of.algorithms)
                    .map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?;
                let shown = path.display();
                anyhow::ensure!(!set.0.is_empty(), "{shown}: no key for the issuer's algorithms");
                keys.current.store(Some(Arc::new(set)));
                keys.state.get_mut().seen = Some(Digest::of(&bytes));
            }
            KeySource::Url(_) => {
                // Who may choose the URL is trusted; where that server sends us is not.
                let client = reqwest::Client::builder()
                    .redirect(reqwest::redirect::Policy::none())
                    .timeout(PATIENCE)
                    .build()?;
                keys.client = Some(client);
            }
        }
        Ok(keys)
    }

    /// Whether these are the keys of `of`, so that they need not be had again.
    pub fn is_of(&self, of: &settings::Issuer) -> bool {
        self.source == of.keys && self.algorithms == of.algorithms
    }

    /// The set in force; none until the first fetch.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Has the set again if it is due. To be called every few seconds.
    pub async fn tend(self: &Arc<Self>) {
        let is_due = match &self.source {
            KeySource::File(_) => true,
            KeySource::Url(_) => {
                let age = self.state.lock().await.tried.map(|tried| tried.elapsed());
                let most = if self.current().is_some() { REFRESH } else { FLOOR };
                age.is_none_or(|age| age >= most)
            }
        };
        if is_due {
            self.renew(Duration::ZERO).await;
        }
    }

    /// Has the set again because a token names a key that `seen` has not. Whoever comes while
    /// another one fetches waits for that fetch.
    pub async fn renewed(self: &Arc<Self>, seen: Option<&Arc<KeySet>>) -> Option<Arc<KeySet>> {
        if matches!(self.source, KeySource::Url(_)) {
            let is_seen = |now: &Arc<KeySet>| seen.is_some_and(|seen| Arc::ptr_eq(seen, now));
            if self.current().as_ref().is_none_or(is_seen) {
                self.renew(FLOOR).await;
            }
        }
        self.current()
    }

    /// Whoever asks may leave: the fetch goes on to its end, which is near, or a stranger could
    /// break off every one.
    async fn renew(self: &Arc<Self>, floor: Duration) {
        let tried = self.state.lock().await.tried;
        if tried.is_some_and(|tried| tried.elapsed() < floor) {
            return;
        }
        let own = Arc::clone(self);
        let fetch = self.tasks.spawn(async move { own.renew_now(floor).await });
        // Fails when the runtime ends.
        let _ = fetch.await;
    }

    async fn renew_now(&self, floor: Duration) {
        let mut state = self.state.lock().await;
        if state.tried.is_some_and(|tried| tried.elapsed() < floor) {
            return;
        }
        state.tried = Some(Instant::now());
        let bytes = match &self.source {
            KeySource::File(path) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || read(&path)).await;
                match read {
                    Ok(Ok(bytes)) => {
                        state.missed = 0;
                        Ok(bytes)
                    }
                    Ok(Err(error)) => {
                        // A file that is being replaced is missing for a moment.
                        state.missed = state.missed.saturating_add(1);
                        if state.missed == 2 {
                            let (issuer, error) = (&self.name, format!("{error:#}"));
                            tracing::warn!(
                                issuer,
                                error,
                                "the keys cannot be had: those in force stay"
                            );
                        }
                        return;
                    }
                    Err(_) => return,
                }
            }
            KeySource::Url(url) => self.fetch(url.clone()).await,
        };
        let set = bytes.and_then(|bytes| {
            let digest = Digest::of(&bytes);
            if state.seen.replace(digest) == Some(digest) {
                return Ok(None);
            }
            // A set without a key is a set: an issuer that withdraws all its keys means it.
            parse(&bytes, &self.algorithms).map(Some)
        });
        match set {
            Ok(None) => {}
            Ok(Some(set)) => {
                tracing::info!(issuer = self.name, keys = set.0.len(), "new keys are in force");
                self.current.store(Some(Arc::new(set)));
            }
            Err(error) => tracing::warn!(
                issuer = self.name,
                error,
                "the keys cannot be had: those in force stay"
            ),
        }
    }

    async fn fetch(&self, url: url::Url) -> Result<Vec<u8>, String> {
        let Some(client) = &self.client else { return Err("there is no client".to_owned()) };
        let told = |error: reqwest::Error| crate::edge::problem::chain(&error.without_url());
        let mut answer = client.get(url).send().await.map_err(told)?;
        if !answer.status().is_success() {
            return Err(format!("the answer was {}", answer.status()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(told)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LARGEST {
                return Err(format!("the answer is larger than {LARGEST} bytes"));
            }
        }
        Ok(bytes)
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| anyhow::anyhow!("cannot read {}: {error}", path.display()))
}

/// The keys in a JSON web key set, a PEM public key, or the bytes of a secret for HS256.
fn parse(bytes: &[u8], allowed: &[settings::Algorithm]) -> Result<KeySet, String> {
    let allowed: Vec<Algorithm> = allowed.iter().map(|name| algorithm(*name)).collect();
    let text = bytes.trim_ascii();
    let keys = if allowed == [Algorithm::HS256] {
        if text.len() < SHORTEST_SECRET {
            return Err(format!(
                "the secret has {} bytes, wanted at least {SHORTEST_SECRET}",
                text.len()
            ));
        }
        if text.starts_with(b"-----BEGIN") || text.starts_with(b"{") {
            return Err("a secret is wanted for HS256, a public key came".to_owned());
        }
        vec![VerifyKey { id: None, algorithms: allowed, key: DecodingKey::from_secret(text) }]
    } else if text.starts_with(b"-----BEGIN") {
        vec![pem(text, &allowed)?]
    } else {
        let set: JwkSet = serde_json::from_slice(bytes)
            .map_err(|error| format!("wanted a JSON web key set or a PEM public key: {error}"))?;
        set.keys.iter().filter_map(|key| of_jwk(key, &allowed)).collect()
    };
    Ok(KeySet(keys))
}

fn pem(text: &[u8], allowed: &[Algorithm]) -> Result<VerifyKey, String> {
    // The library reads a private key of RSA and finds every signature wrong.
    if text.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
        return Err("a private key came, wanted the public one".to_owned());
    }
    type Reader = fn(&[u8]) -> jsonwebtoken::errors::Result<DecodingKey>;
    let kinds: [(Reader, &[Algorithm]); 3] = [
        (DecodingKey::from_rsa_pem, &[Algorithm::RS256, Algorithm::PS256]),
        (DecodingKey::from_ec_pem, &[Algorithm::ES256]),
        (DecodingKey::from_ed_pem, &[Algorithm::EdDSA]),
    ];
    for (read, fit) in kinds {
        if let Ok(key) = read(text) {
            let algorithms: Vec<Algorithm> =
                fit.iter().copied().filter(|fit| allowed.contains(fit)).collect();
            if algorithms.is_empty() {
                return Err(format!("a key for {fit:?} came, wanted one for {allowed:?}"));
            }
            return Ok(VerifyKey { id: None, algorithms, key });
        }
    }
    Err("wanted a PEM public key of RSA, P-256 or Ed25519".to_owned())
}

/// A key of a set, if it is one for signatures with the issuer's algorithms. Symmetric ones
/// never are: whoever may read the set could sign.
fn of_jwk(jwk: &Jwk, allowed: &[Algorithm]) -> Option<VerifyKey> {
    use jsonwebtoken::jwk::PublicKeyUse;
    if jwk.common.public_key_use.as_ref().is_some_and(|wanted| *wanted != PublicKeyUse::Signature) {
        return None;
    }
    let fit: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[Algorithm::RS256, Algorithm::PS256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            &[Algorithm::ES256]
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => return None,
    };
    let own = match jwk.common.key_algorithm {
        Some(own) => Some(Algorithm::try_from(own).ok()?),
        None => None,
    };
    let algorithms: Vec<Algorithm> = fit
        .iter()
        .copied()
        .filter(|fit| allowed.contains(fit) && own.is_none_or(|own| own == *fit))
        .collect();
    let key = DecodingKey::from_jwk(jwk).ok()?;
    (!algorithms.is_empty()).then(|| VerifyKey { id: jwk.common.key_id.clone(), algorithms, key })
}

/// The library's name of an algorithm.
pub fn algorithm(name: settings::Algorithm) -> Algorithm {
    match name {
        settings::Algorithm::Hs256 => Algorithm::HS256,
        settings::Algorithm::Rs256 => Algorithm::RS256,
        settings::Algorithm::Ps256 => Algorithm::PS256,
        settings::Algorithm::Es256 => Algorithm::ES256,
        settings::Algorithm::EdDsa => Algorithm::EdDSA,
    }
}

impl std::fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VerifyKey({:?} {:?})", self.id, self.algorithms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_no_key_to_check_with() {
        let allowed = [settings::Algorithm::Rs256];
        for kind in ["PRIVATE KEY", "RSA PRIVATE KEY"] {
            let pem = format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n");
            let refused = parse(pem.as_bytes(), &allowed).unwrap_err();
            assert!(refused.contains("private key"), "{refused}");
        }
        let neither = b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert!(parse(neither, &allowed).unwrap_err().contains("wanted a PEM public key"));
    }
}
