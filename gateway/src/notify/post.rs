//! One attempt over the wire. The address that was checked is the one that is connected to: names
//! are resolved here, and each attempt has a connection of its own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::OnceCell;
use weighbridge_config::Secret;

use super::address::{AddressPolicy, Forbidden, Scheme, Target};
use super::retry::{Attempt, Outcome};
use super::signature::sign;
use crate::now_ms;

/// Shared by the addresses of a name, so that one that is dead does not use up the attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What is sent to one receiver; all attempts carry the same id and body.
#[derive(Debug, Clone)]
pub struct Message {
    /// Such as `rollout.promoted`.
    pub event: String,
    /// By which a receiver knows a message that it has seen already.
    pub delivery: String,
    pub body: Bytes,
}

/// Looks up a name's addresses; ports are ignored.
pub type Lookup = Arc<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>>
        + Send
        + Sync,
>;

/// The resolver of the system.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
    })
}

/// Sends messages to receivers.
pub struct Post {
    policy: Arc<AddressPolicy>,
    lookup: Lookup,
    /// Roots to trust; those of the system when there are none.
    roots: Vec<reqwest::Certificate>,
    plain: OnceCell<reqwest::Client>,
    tls: OnceCell<reqwest::Client>,
}

impl std::fmt::Debug for Post {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Post({:?})", self.policy)
    }
}

impl Post {
    pub fn new(
        policy: Arc<AddressPolicy>,
        lookup: Lookup,
        roots: Vec<reqwest::Certificate>,
    ) -> Self {
        Self { policy, lookup, roots, plain: OnceCell::new(), tls: OnceCell::new() }
    }

    /// Sends `message` once.
    pub async fn attempt(&self, target: &Target, message: &Message, secret: &Secret) -> Attempt {
        let client = match self.client(target.scheme).await {
            Ok(client) => client,
            Err(error) => return failed(innermost(&error)),
        };
        let signature = sign(secret.expose(), now_ms() / 1000, &message.body);
        let request = client
            .post(target.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("weighbridge-event", &message.event)
            .header("weighbridge-delivery", &message.delivery)
            .header("weighbridge-signature", signature)
            .body(message.body.clone());
        match request.send().await {
            // The body is nobody's business: it is not read, and the connection ends here.
            Ok(answer) => judged(answer.status(), answer.headers()),
            Err(error) => match forbidden(&error) {
                Some(forbidden) => {
                    Attempt::Refused { outcome: Outcome::Forbidden, reason: forbidden.to_string() }
                }
                // Paths of webhooks are often secrets.
                None => failed(innermost(&error.without_url())),
            },
        }
    }

    /// The client for a scheme: made on first need, since reading the system's roots takes time
    /// and may fail.
    async fn client(&self, scheme: Scheme) -> Result<&reqwest::Client, reqwest::Error> {
        let cell = if scheme == Scheme::Tls { &self.tls } else { &self.plain };
        cell.get_or_try_init(async || self.make_client(scheme)).await
    }

    fn make_client(&self, scheme: Scheme) -> Result<reqwest::Client, reqwest::Error> {
        let resolver = CheckedResolver {
            policy: Arc::clone(&self.policy),
            scheme,
            lookup: Arc::clone(&self.lookup),
        };
        let client = reqwest::Client::builder()
            .dns_resolver(resolver)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .connect_timeout(CONNECT_TIMEOUT)
            .https_only(scheme == Scheme::Tls)
            .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));
        match scheme {
            Scheme::Tls if self.roots.is_empty() => client.build(),
            // Nobody is trusted by a client that speaks no TLS.
            _ => client.tls_certs_only(self.roots.clone()).build(),
        }
    }
}

/// Resolves names to the addresses that the policy permits.
struct CheckedResolver {
    policy: Arc<AddressPolicy>,
    scheme: Scheme,
    lookup: Lookup,
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, scheme) = (Arc::clone(&self.policy), self.scheme);
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let (mut admitted, mut refused) = (Vec::new(), None);
            for address in found.await? {
                match policy.admit(scheme, address.ip()) {
                    Ok(()) => admitted.push(address),
                    Err(forbidden) => refused = Some(forbidden),
                }
            }
            match (admitted.is_empty(), refused) {
                (true, Some(forbidden)) => Err(forbidden.into()),
                (true, None) => Err("the name has no address".into()),
                (false, _) => Ok(Box::new(admitted.into_iter()) as Addrs),
            }
        })
    }
}

/// What an answer means.
fn judged(status: StatusCode, headers: &HeaderMap) -> Attempt {
    let reason = format!("it answered {status}");
    let is_passing = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    match status {
        status if status.is_success() => Attempt::Delivered,
        _ if is_passing => {
            Attempt::Failed { reason, not_before: retry_after(headers, SystemTime::now()) }
        }
        _ => Attempt::Refused { outcome: Outcome::Refused, reason },
    }
}

/// The wait that an answer asks for; none when it asks for none that can be understood.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Duration {
    let asked = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match asked.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = httpdate::parse_http_date(asked).ok();
            until.and_then(|until| until.duration_since(now).ok()).unwrap_or_default()
        }
    }
}

fn failed(reason: String) -> Attempt {
    Attempt::Failed { reason, not_before: Duration::ZERO }
}

/// The refusal of the resolver, which arrives below the errors of the layers above it.
fn forbidden(error: &reqwest::Error) -> Option<&Forbidden> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(forbidden) = error.downcast_ref() {
            return Some(forbidden);
        }
        cause = error.source();
    }
    None
}

/// What lies at the bottom of an error: the layers above only say that it failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_deserve_another_attempt_or_not() {
        for (status, again) in [
            (301, false),
            (302, false),
            (307, false),
            (400, false),
            (401, false),
            (404, false),
            (408, true),
            (410, false),
            (413, false),
            (422, false),
            (429, true),
            (500, true),
            (501, true),
            (503, true),
            (599, true),
        ] {
            let judged = judged(StatusCode::from_u16(status).unwrap(), &HeaderMap::new());
            assert_eq!(matches!(judged, Attempt::Failed { .. }), again, "{status}: {judged:?}");
        }
        for status in [200, 202, 204] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(judged(status, &HeaderMap::new()), Attempt::Delivered);
        }
    }

    #[test]
    fn the_wait_comes_as_seconds_or_as_a_date() {
        let now = httpdate::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").unwrap();
        for (asked, seconds) in [
            ("7", 7),
            (" 7 ", 7),
            ("Sun, 22 Nov 2026 10:01:30 GMT", 90),
            ("Sun, 22 Nov 2026 09:00:00 GMT", 0),
            ("soon", 0),
            ("-1", 0),
            ("", 0),
            ("99999999999999999999999", 0),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, asked.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), Duration::from_secs(seconds), "{asked}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), Duration::ZERO);
    }
}
