//! Admission: what is asked of a prediction once, by whichever protocol it came.
//!
//! [`Caller::enter`] comes before the body is read: a place among the requests in hand.
//! [`Caller::admit`] comes after it is decoded: rows and quotas of the tenant. The last
//! question, whether the answer can come in time, is the queue's
//! ([`crate::serving::queue::Queue::push`]), which knows how fast it moves.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Extensions;
use weighbridge_config::settings::Priority;

use crate::edge::auth::Principal;
use crate::edge::door::Door;
use crate::edge::limit::quota::{Charge, UsedUp};
use crate::edge::limit::rate::Outcome;
use crate::edge::limit::{self, Standings, Tier, Unit};
use crate::edge::permits::{BodyMemory, Carried, Permit};
use crate::edge::problem::{Kind, Problem};
use crate::gateway::Gateway;
use crate::now_ms;
use crate::rollout::snapshot::ServedModel;
use crate::serving::fair::Party;
use crate::telemetry::events;

/// Who sends a prediction, with a place among the requests in hand.
#[derive(Debug)]
pub struct Caller {
    pub door: Arc<Door>,
    tier: Arc<Tier>,
    tenant: Arc<str>,
    permit: Option<Arc<Permit>>,
}

/// A request that was counted.
#[derive(Debug)]
pub struct Admission {
    /// For the answer's headers.
    pub standings: Standings,
    charge: Option<Charge>,
}

impl Caller {
    /// Takes up a request.
    pub fn enter(gateway: &Gateway, extensions: &Extensions) -> Result<Self, Problem> {
        let door = gateway.door.load_full();
        let Some(Principal(who)) = extensions.get() else {
            return Err(Problem::internal("a prediction came past the authentication"));
        };
        let tier = Arc::clone(door.tiers.get(&who.tier));
        let class = tier.settings.priority;
        let permit = gateway.permits.enter(&door.settings.limits, class, &who.tenant)?;
        Ok(Self { tier, tenant: Arc::clone(&who.tenant), door, permit: Some(Arc::new(permit)) })
    }

    /// The same without a place among the requests in hand.
    pub fn without_place(self) -> Self {
        Self { permit: None, ..self }
    }

    fn class(&self) -> Priority {
        self.tier.settings.priority
    }

    /// An account for the body.
    pub fn body(&self, gateway: &Gateway) -> BodyMemory {
        gateway.permits.body(&self.door.settings.limits, self.class(), &self.tenant)
    }

    /// What an answer of so many bytes holds until it is handed over: the place of its request,
    /// and `memory`.
    pub fn carried(&self, mut memory: BodyMemory, bytes: u64) -> Carried {
        memory.turn_to(bytes);
        Carried::new(self.permit.clone(), memory)
    }

    /// `response` with what it holds.
    pub fn carry(&self, memory: BodyMemory, mut response: Response) -> Response {
        let bytes = http_body::Body::size_hint(response.body()).lower();
        response.extensions_mut().insert(self.carried(memory, bytes));
        response
    }

    /// How the compute threads know this caller, or a request of it that has asked for the class
    /// `lowered`: nobody gets above the class of the tier.
    pub fn party(&self, lowered: Option<Priority>) -> Party {
        let own = self.class();
        Party {
            tenant: Arc::clone(&self.tenant),
            weight: f64::from(self.tier.settings.weight.max(1)),
            priority: lowered.map_or(own, |class| own.min(class)),
        }
    }

    /// Counts the rows of a decoded request.
    pub fn admit(
        &self,
        gateway: &Gateway,
        model: &ServedModel,
        rows: usize,
    ) -> Result<Admission, Problem> {
        let mut standings = Standings::default();
        if let Some(limiter) = &self.tier.rows {
            let count = u32::try_from(rows).unwrap_or(u32::MAX);
            match limiter.check(&self.tenant, model.name.as_str(), count) {
                Outcome::Allowed(standing) => standings.0.push((Unit::Rows, standing)),
                outcome => {
                    events::limited(model.name.as_str(), "rows");
                    let name = model.name.as_str();
                    return Err(limit::refused(Unit::Rows, count, outcome, &limiter.rate(), name));
                }
            }
        }
        let used = gateway.quotas.charge(&self.tenant, &self.tier.settings, rows as u64, now_ms());
        let charge = used.map_err(|used| {
            events::limited(model.name.as_str(), "quota");
            used_up(used)
        })?;
        Ok(Admission { standings, charge })
    }

    /// Gives the quotas back what a request took that was refused for want of capacity.
    pub fn refund(&self, gateway: &Gateway, admission: &Admission) {
        if let Some(charge) = admission.charge {
            gateway.quotas.refund(&self.tenant, charge);
        }
    }
}

/// The layer of calls that predict nothing, with a body or with an answer that may be large: each
/// takes a place among the requests in hand.
pub async fn placed(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let caller = Caller::enter(&gateway, request.extensions())?;
    let response = next.run(request).await;
    Ok(caller.carry(caller.body(&gateway), response))
}

fn used_up(used: UsedUp) -> Problem {
    let UsedUp { unit, limit, used, more, reset } = used;
    if more > limit {
        let detail = format!(
            "this request has {more} {unit} and can never pass: this tenant's quota is {limit} a \
             day; send fewer at once"
        );
        return Problem::new(Kind::BodyTooLarge, detail);
    }
    let detail = format!(
        "this tenant's quota of {limit} {unit} a day has no room for the {more} of this request \
         ({used} are used); the next day begins at 00:00 UTC"
    );
    Problem::new(Kind::QuotaUsedUp, detail).retry_after(reset)
}
