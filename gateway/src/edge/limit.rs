//! What a tenant may use: rates of requests and rows for each model, and quotas for each day.
//!
//! Requests are counted before the body is read, rows and quotas once it is decoded
//! ([`crate::api::admit`]), so that one large request costs what many small ones do.
//!
//! * [`rate`]: the rates, by the generic cell rate algorithm (crate `governor`).
//! * [`quota`]: the quotas.

pub mod quota;
pub mod rate;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue};
use weighbridge_config::settings::{self, DEFAULT_TIER};

use crate::edge::auth::need::model_of;
use crate::edge::auth::{Guard, Principal};
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::telemetry::events;

use rate::{Limiter, Outcome, Standing};

/// All tiers of the settings.
#[derive(Debug, Default)]
pub struct Tiers {
    by_name: HashMap<String, Arc<Tier>>,
    default: Arc<Tier>,
}

/// A tier with the state of its limits.
#[derive(Debug, Default)]
pub struct Tier {
    pub settings: settings::Tier,
    pub requests: Option<Arc<Limiter>>,
    pub rows: Option<Arc<Limiter>>,
}

impl Tiers {
    /// The tiers of the settings. Rates that `before` had already keep what they have counted.
    pub fn new(
        settings: &std::collections::BTreeMap<String, settings::Tier>,
        before: &Self,
    ) -> Self {
        let tier = |(name, of): (&String, &settings::Tier)| {
            let known = before.by_name.get(name);
            let kept = |now: Option<settings::Rate>, known: Option<&Arc<Limiter>>| {
                let now = now?;
                let known = known.filter(|known| known.rate() == now);
                Some(known.cloned().unwrap_or_else(|| Arc::new(Limiter::new(now))))
            };
            let tier = Tier {
                settings: of.clone(),
                requests: kept(of.requests, known.and_then(|tier| tier.requests.as_ref())),
                rows: kept(of.rows, known.and_then(|tier| tier.rows.as_ref())),
            };
            (name.clone(), Arc::new(tier))
        };
        let by_name: HashMap<_, _> = settings.iter().map(tier).collect();
        let default = by_name.get(DEFAULT_TIER).cloned().unwrap_or_default();
        Self { by_name, default }
    }

    /// The tier of that name; `default` where a key names one that is gone.
    pub fn get(&self, name: &str) -> &Arc<Tier> {
        self.by_name.get(name).unwrap_or(&self.default)
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Requests,
    Rows,
}

impl Unit {
    /// The name of the policy in the headers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Rows => "rows",
        }
    }
}

/// How a tenant stands with its rates, for the headers of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standings(pub Vec<(Unit, Standing)>);

/// The layer that counts requests by tenant and model.
pub async fn requests(
    State(guard): State<Guard>,
    path: RawPathParams,
    request: Request,
    next: Next,
) -> Response {
    let principal = request.extensions().get::<Principal>();
    let model = path.iter().find(|(name, _)| *name == "model").map(|(_, value)| value);
    let (Some(principal), Some(model)) = (principal, model) else {
        return next.run(request).await;
    };
    // Who asks whether a model is ready, or what it takes, has not asked it anything yet.
    if request.method().is_safe() {
        return next.run(request).await;
    }
    let checked = count(&guard.gateway, principal, model_of(model));
    let mut standings = Standings::default();
    let mut response = match checked {
        None => next.run(request).await,
        Some(Ok(standing)) => {
            standings.0.push((Unit::Requests, standing));
            next.run(request).await
        }
        Some(Err(problem)) => problem.into_response(),
    };
    // Those of the rows, which the handler knows.
    let more = response.extensions_mut().remove::<Standings>().unwrap_or_default();
    standings.0.extend(more.0);
    write(&standings, response.headers_mut());
    response
}

/// Counts a request. None where the tenant's tier has no rate of requests.
pub fn count(
    gateway: &Gateway,
    principal: &Principal,
    model: &str,
) -> Option<Result<Standing, Problem>> {
    let door = gateway.door.load();
    let limiter = door.tiers.get(&principal.0.tier).requests.as_ref()?;
    // Names that clients make up get no bucket: the answer is a 404 without it.
    gateway.live.load().model(model)?;
    Some(match limiter.check(&principal.0.tenant, model, 1) {
        Outcome::Allowed(standing) => Ok(standing),
        outcome => {
            events::limited(model, "requests");
            Err(refused(Unit::Requests, 1, outcome, &limiter.rate(), model))
        }
    })
}

/// What a tenant is told that has used up its rate.
pub fn refused(
    unit: Unit,
    count: u32,
    outcome: Outcome,
    rate: &settings::Rate,
    model: &str,
) -> Problem {
    let name = unit.name();
    match outcome {
        Outcome::Wait(standing) => {
            let wait = standing.reset;
            let shown = humantime::format_duration(Duration::from_millis(millis_up(wait)));
            let detail = format!(
                "too many {name} for {model}: this tenant may send {rate}; try again in {shown}"
            );
            let mut problem = Problem::new(Kind::RateLimited, detail).retry_after(wait);
            problem.standings = Standings(vec![(unit, standing)]);
            problem
        }
        Outcome::Never { most } => Problem::new(
            Kind::BodyTooLarge,
            format!(
                "this request has {count} {name}, and one with more than {most} can never pass: \
                 this tenant may send {rate}; send fewer at once"
            ),
        ),
        Outcome::Allowed(_) => Problem::internal("a request within its rate was refused"),
    }
}

fn millis_up(duration: Duration) -> u64 {
    duration.as_micros().div_ceil(1000) as u64
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Writes the fields `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers:
/// lists of structured fields, the quota `q` with its window `w` in seconds, what remains (`r`)
/// and when the whole of it is back (`t`).
pub fn write(standings: &Standings, headers: &mut HeaderMap) {
    let list = |item: &dyn Fn(&(Unit, Standing)) -> String| {
        standings.0.iter().map(item).collect::<Vec<_>>().join(", ")
    };
    let policy = list(&|(unit, of)| {
        format!("\"{}\";q={};w={}", unit.name(), of.quota, of.window.as_secs_f64().ceil())
    });
    let limit = list(&|(unit, of)| {
        format!("\"{}\";r={};t={}", unit.name(), of.remaining, of.reset.as_secs_f64().ceil())
    });
    for (name, text) in [(POLICY, policy), (LIMIT, limit)] {
        if let Ok(value) = HeaderValue::from_str(&text)
            && !text.is_empty()
        {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn tiers(rate: &str, before: &Tiers) -> Tiers {
        let requests = Some(rate.parse().unwrap());
        let tier = settings::Tier { requests, ..settings::Tier::default() };
        Tiers::new(&BTreeMap::from([("gold".to_owned(), tier)]), before)
    }

    #[test]
    fn a_reload_keeps_what_was_counted_unless_the_rate_changed() {
        let first = tiers("1/h", &Tiers::default());
        let check = |tiers: &Tiers| tiers.get("gold").requests.as_ref().unwrap().check("a", "m", 1);
        assert!(matches!(check(&first), Outcome::Allowed(_)));
        let same = tiers("1/h", &first);
        assert!(matches!(check(&same), Outcome::Wait(_)));
        let other = tiers("2/h", &same);
        assert!(matches!(check(&other), Outcome::Allowed(_)));
        assert!(other.get("silver").requests.is_none(), "an unknown tier is the default one");
    }

    #[test]
    fn headers_name_each_policy() {
        let standing = |remaining, reset| Standing {
            quota: 200,
            window: Duration::from_millis(1_500),
            remaining,
            reset: Duration::from_millis(reset),
        };
        let standings =
            Standings(vec![(Unit::Requests, standing(42, 2_100)), (Unit::Rows, standing(0, 900))]);
        let mut headers = HeaderMap::new();
        write(&standings, &mut headers);
        assert_eq!(headers["ratelimit-policy"], "\"requests\";q=200;w=2, \"rows\";q=200;w=2");
        assert_eq!(headers["ratelimit"], "\"requests\";r=42;t=3, \"rows\";r=0;t=1");
        let mut none = HeaderMap::new();
        write(&Standings::default(), &mut none);
        assert!(none.is_empty());
    }
}
