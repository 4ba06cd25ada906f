//! The kinds of failures: one table for HTTP and gRPC.

use http::StatusCode;
use tonic::Code;

/// What went wrong, by what the caller does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    InvalidRequest,
    Unauthenticated,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Conflict,
    PreconditionFailed,
    BodyTooLarge,
    Unprocessable,
    ModelFailed,
    Internal,
    Unsupported,
    /// What the settings do not allow.
    NotOffered,
    NotReady,
    QueueFull,
    Unavailable,
    DeadlineExceeded,
    BodyTimeout,
    UnsupportedEncoding,
    RateLimited,
    QuotaUsedUp,
    Overloaded,
}

/// Whose mistake a failure is. Only the model's counts against a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    Client,
    Model,
    Gateway,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::InvalidRequest,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::BodyTooLarge,
        Self::Unprocessable,
        Self::ModelFailed,
        Self::Internal,
        Self::Unsupported,
        Self::NotOffered,
        Self::NotReady,
        Self::QueueFull,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::BodyTimeout,
        Self::UnsupportedEncoding,
        Self::RateLimited,
        Self::QuotaUsedUp,
        Self::Overloaded,
    ];

    /// Status of HTTP, status of gRPC, short name (part of the problem's `type`), title, blame.
    fn row(self) -> (StatusCode, Code, &'static str, &'static str, Blame) {
        use Blame::{Client, Gateway, Model};
        use StatusCode as S;
        match self {
            Self::InvalidRequest => (
                S::BAD_REQUEST,
                Code::InvalidArgument,
                "invalid-request",
                "invalid request",
                Client,
            ),
            Self::Unauthenticated => (
                S::UNAUTHORIZED,
                Code::Unauthenticated,
                "unauthenticated",
                "a key is needed",
                Client,
            ),
            Self::Forbidden => {
                (S::FORBIDDEN, Code::PermissionDenied, "forbidden", "not allowed", Client)
            }
            Self::NotFound => (S::NOT_FOUND, Code::NotFound, "not-found", "not found", Client),
            Self::MethodNotAllowed => (
                S::METHOD_NOT_ALLOWED,
                Code::Unimplemented,
                "method-not-allowed",
                "method not allowed",
                Client,
            ),
            Self::Conflict => (
                S::CONFLICT,
                Code::FailedPrecondition,
                "conflict",
                "the present state forbids it",
                Client,
            ),
            Self::PreconditionFailed => (
                S::PRECONDITION_FAILED,
                Code::Aborted,
                "precondition-failed",
                "changed meanwhile",
                Client,
            ),
            Self::BodyTooLarge => (
                S::PAYLOAD_TOO_LARGE,
                Code::ResourceExhausted,
                "body-too-large",
                "body too large",
                Client,
            ),
            Self::Unprocessable => (
                S::UNPROCESSABLE_ENTITY,
                Code::InvalidArgument,
                "unprocessable",
                "cannot be used",
                Client,
            ),
            Self::BodyTimeout => (
                S::REQUEST_TIMEOUT,
                Code::DeadlineExceeded,
                "body-timeout",
                "the body did not arrive",
                Client,
            ),
            Self::UnsupportedEncoding => (
                S::UNSUPPORTED_MEDIA_TYPE,
                Code::Unimplemented,
                "unsupported-encoding",
                "the body is packed in an unknown way",
                Client,
            ),
            Self::RateLimited => (
                S::TOO_MANY_REQUESTS,
                Code::ResourceExhausted,
                "rate-limited",
                "too many requests",
                Client,
            ),
            Self::QuotaUsedUp => (
                S::TOO_MANY_REQUESTS,
                Code::ResourceExhausted,
                "quota-used-up",
                "the quota is used up",
                Client,
            ),
            Self::Overloaded => (
                S::SERVICE_UNAVAILABLE,
                Code::Unavailable,
                "overloaded",
                "too much is going on",
                Gateway,
            ),
            Self::ModelFailed => (
                S::INTERNAL_SERVER_ERROR,
                Code::Internal,
                "model-failed",
                "the model failed",
                Model,
            ),
            Self::Internal => {
                (S::INTERNAL_SERVER_ERROR, Code::Internal, "internal", "internal error", Gateway)
            }
            Self::Unsupported => {
                (S::NOT_IMPLEMENTED, Code::Unimplemented, "unsupported", "not supported", Client)
            }
            Self::NotReady => {
                (S::SERVICE_UNAVAILABLE, Code::Unavailable, "not-ready", "not ready", Gateway)
            }
            // Triton's status for it, whatever one thinks of it.
            Self::NotOffered => {
                (S::SERVICE_UNAVAILABLE, Code::Unavailable, "not-offered", "not offered", Client)
            }
            Self::QueueFull => (
                S::SERVICE_UNAVAILABLE,
                Code::Unavailable,
                "queue-full",
                "too much is waiting",
                Gateway,
            ),
            Self::Unavailable => {
                (S::SERVICE_UNAVAILABLE, Code::Unavailable, "unavailable", "unavailable", Gateway)
            }
            Self::DeadlineExceeded => (
                S::GATEWAY_TIMEOUT,
                Code::DeadlineExceeded,
                "deadline-exceeded",
                "the deadline has passed",
                Gateway,
            ),
        }
    }

    /// The status code of HTTP.
    pub fn status(self) -> StatusCode {
        self.row().0
    }

    /// The status code of gRPC.
    pub fn code(self) -> Code {
        self.row().1
    }

    /// The short name, also used as the label `outcome` of metrics.
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// The title for people.
    pub fn title(self) -> &'static str {
        self.row().3
    }

    /// Whose mistake it is.
    pub fn blame(self) -> Blame {
        self.row().4
    }

    /// Whether there may be thousands a second of it, each like the one before.
    pub fn comes_in_floods(self) -> bool {
        let by_load = matches!(self, Self::QueueFull | Self::Overloaded | Self::DeadlineExceeded);
        by_load || self.blame() == Blame::Client
    }

    /// Seconds after which the same request may succeed.
    pub(super) fn retry_after(self) -> Option<u32> {
        match self {
            Self::QueueFull | Self::Unavailable | Self::Overloaded => Some(1),
            Self::NotReady => Some(5),
            _ => None,
        }
    }
}
