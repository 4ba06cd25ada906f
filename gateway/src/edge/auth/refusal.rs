//! Why nobody is let in: one word for the metrics, one sentence for the client.

use std::borrow::Cow;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Missing,
    Malformed(Cow<'static, str>),
    UnknownKey,
    RevokedKey,
    ExpiredKey,
    UnknownCertificate,
    ExpiredCertificate,
    ExpiredToken,
    NotYetValid,
    WrongAudience,
    /// The one that came.
    WrongIssuer(String),
    /// There is a token, and no issuer is known.
    NoIssuers,
    /// The one that came.
    WrongAlgorithm(String),
    /// No key of the issuer is known by the token's key id.
    UnknownKeyId,
    BadSignature,
    /// A claim that the settings ask for is missing or has another form.
    BadClaim(String),
    /// The keys of the issuer of that name could not be fetched yet.
    NoKeys(String),
    /// Valid, and not allowed: the scope that is asked for.
    NoScope(String),
}

impl Refusal {
    /// The label `reason` of the metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed(_) => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::RevokedKey => "revoked_key",
            Self::ExpiredKey => "expired_key",
            Self::UnknownCertificate => "unknown_certificate",
            Self::ExpiredCertificate => "expired_certificate",
            Self::ExpiredToken => "expired_token",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer(_) | Self::NoIssuers => "wrong_issuer",
            Self::WrongAlgorithm(_) => "wrong_algorithm",
            Self::UnknownKeyId => "unknown_key_id",
            Self::BadSignature => "bad_signature",
            Self::BadClaim(_) => "bad_claim",
            Self::NoKeys(_) => "no_keys",
            Self::NoScope(_) => "no_scope",
        }
    }

    /// For the client.
    pub fn detail(self) -> Cow<'static, str> {
        match self {
            Self::Missing => {
                "a key is needed: send Authorization: Bearer KEY (weighbridge keys create makes one)"
                    .into()
            }
            Self::Malformed(what) => what,
            // The same for all three: a thief learns nothing.
            Self::UnknownKey | Self::RevokedKey | Self::ExpiredKey => {
                "this key is not valid (unknown, revoked or expired)".into()
            }
            Self::UnknownCertificate => {
                "no client of the settings has a name of this certificate ([clients.…] subject)"
                    .into()
            }
            Self::ExpiredCertificate => "the client certificate has expired".into(),
            Self::ExpiredToken => "the token has expired (exp)".into(),
            Self::NotYetValid => "the token is not valid yet (nbf)".into(),
            Self::WrongAudience => "the token is for somebody else (aud)".into(),
            Self::WrongIssuer(came) => {
                format!("tokens of the issuer \"{came}\" are not accepted (iss)").into()
            }
            Self::NoIssuers => {
                "this is no key, and the settings name no issuer of tokens ([issuers.…])".into()
            }
            Self::WrongAlgorithm(came) => {
                format!("tokens of this issuer are not accepted with \"{came}\" (alg)").into()
            }
            Self::UnknownKeyId => "the issuer has no key of this id (kid)".into(),
            Self::BadSignature => "the signature of the token is not right".into(),
            Self::BadClaim(what) => what.into(),
            Self::NoKeys(issuer) => {
                format!("the keys of the issuer {issuer} cannot be had at the moment").into()
            }
            Self::NoScope(scope) => format!("this needs the scope {scope}").into(),
        }
    }
}
