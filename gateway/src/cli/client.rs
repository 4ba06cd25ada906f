//! The admin client: one method per HTTP verb, each an [`Answer`] or a [`CliError`] that
//! carries the exit code.
//!
//! It follows no redirect and uses no proxy: the key goes to the address that it was found for.

mod answer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, IF_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::RequestBuilder;
use reqwest::multipart::Form;
use serde::Serialize;
use weighbridge_config::client::{ClientSettings, ClientSource, Credential};
use weighbridge_registry::Revision;

pub use answer::Answer;

use super::error::{CliError, Exit, innermost, with_causes};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything but uploads and predictions.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Above the largest `limits.max_timeout` that anyone waits for by hand.
const PREDICT_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// What an upload may take besides one second per [`SLOWEST_UPLOAD`] bytes.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(120);
const SLOWEST_UPLOAD: u64 = 64 << 10;
/// The most bytes of an answer that are kept.
const LARGEST_ANSWER: usize = 256 << 20;

/// Talks to the admin API of one server.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    url_source: ClientSource,
    credential_source: ClientSource,
    /// None where the connection itself shows a certificate.
    authorization: Option<HeaderValue>,
}

/// What came of one question of many.
#[derive(Debug)]
pub enum Polled {
    Answer(Answer),
    /// The server cannot be reached, or cannot answer, which may pass.
    Away(CliError),
}

/// Whose certificates are accepted.
#[derive(Debug)]
pub enum Trust {
    /// Those signed by what the system trusts.
    System,
    /// Those signed by a certificate of this PEM file.
    SignedBy(PathBuf),
    Anyone,
}

fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, CliError> {
    let pem = std::fs::read(file)
        .map_err(|error| CliError::usage(format!("cannot read {}: {error}", file.display())))?;
    match reqwest::Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(CliError::usage(format!("{} holds no certificate in PEM", file.display()))),
    }
}

/// The certificate of a client and its key.
fn identity(file: &Path) -> Result<reqwest::Identity, CliError> {
    let shown = file.display();
    let pem = std::fs::read(file)
        .map_err(|error| CliError::usage(format!("cannot read {shown}: {error}")))?;
    reqwest::Identity::from_pem(&pem).map_err(|_| {
        CliError::usage(format!("{shown} does not hold a certificate and its private key in PEM"))
    })
}

impl Client {
    pub fn new(settings: ClientSettings, trust: &Trust) -> Result<Self, CliError> {
        let (authorization, identity) = match &settings.credential {
            Credential::Key(key) => {
                let header = HeaderValue::try_from(format!("Bearer {}", key.expose()));
                let mut header =
                    header.map_err(|_| CliError::usage("the key does not fit into a header"))?;
                header.set_sensitive(true);
                (Some(header), None)
            }
            Credential::Certificate(_) if settings.url.starts_with("http://") => {
                let url = &settings.url;
                return Err(CliError::usage(format!(
                    "no certificate can be shown to {url}: wanted https://"
                )));
            }
            Credential::Certificate(file) => (None, Some(identity(file)?)),
        };
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")));
        let http = match trust {
            // Reading the system's roots takes time, and fails where none are.
            Trust::System if settings.url.starts_with("http://") => http.tls_certs_only([]),
            Trust::System => http,
            Trust::SignedBy(file) => http.tls_certs_only(certificates(file)?),
            Trust::Anyone => http.tls_danger_accept_invalid_certs(true),
        };
        let http = match identity {
            Some(identity) => http.identity(identity),
            None => http,
        };
        let http = http.build().map_err(|error| CliError::failed(with_causes(&error)))?;
        let ClientSettings { url, url_source, credential_source, .. } = settings;
        Ok(Self { http, url, url_source, credential_source, authorization })
    }

    /// The address of the admin API.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub async fn get(&self, path: &str) -> Result<Answer, CliError> {
        self.send(self.request(Method::GET, path)).await
    }

    /// A `GET` whose answer may be that there is no such thing.
    pub async fn find(&self, path: &str) -> Result<Option<Answer>, CliError> {
        let (status, answer) = self.exchange(self.request(Method::GET, path)).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        self.checked(status, answer).map(Some)
    }

    /// A `GET` that will be repeated, so that a server that is away for a moment ends nothing.
    pub async fn poll(&self, path: &str) -> Result<Polled, CliError> {
        match self.exchange(self.request(Method::GET, path)).await {
            Ok((status, answer)) if is_passing(status) => {
                self.checked(status, answer).map(Polled::Answer).or_else(|e| Ok(Polled::Away(e)))
            }
            Ok((status, answer)) => self.checked(status, answer).map(Polled::Answer),
            Err(error) if error.exit == Exit::Unreachable => Ok(Polled::Away(error)),
            Err(error) => Err(error),
        }
    }

    /// A `GET` with a query.
    pub async fn list(&self, path: &str, query: &[(&str, String)]) -> Result<Answer, CliError> {
        self.send(self.request(Method::GET, path).query(query)).await
    }

    /// A change without a body, such as `POST …/rollback` or `DELETE`.
    pub async fn change(
        &self,
        method: Method,
        path: &str,
        if_revision: Option<Revision>,
    ) -> Result<Answer, CliError> {
        self.send(based_on(self.request(method, path), if_revision)).await
    }

    pub async fn put<B: Serialize>(
        &self,
        path: &str,
        body: &B,
        if_revision: Option<Revision>,
    ) -> Result<Answer, CliError> {
        self.send(based_on(self.request(Method::PUT, path).json(body), if_revision)).await
    }

    pub async fn post<B: Serialize>(
        &self,
        path: &str,
        body: &B,
        if_revision: Option<Revision>,
    ) -> Result<Answer, CliError> {
        self.send(based_on(self.request(Method::POST, path).json(body), if_revision)).await
    }

    pub async fn patch<B: Serialize>(
        &self,
        path: &str,
        body: &B,
        if_revision: Option<Revision>,
    ) -> Result<Answer, CliError> {
        self.send(based_on(self.request(Method::PATCH, path).json(body), if_revision)).await
    }

    pub async fn delete(
        &self,
        path: &str,
        if_revision: Option<Revision>,
    ) -> Result<Answer, CliError> {
        self.change(Method::DELETE, path, if_revision).await
    }

    /// Sends a form with files of about `size` bytes; it may take longer the larger it is.
    pub async fn upload(&self, path: &str, form: Form, size: u64) -> Result<Answer, CliError> {
        let longest = UPLOAD_TIMEOUT + Duration::from_secs(size / SLOWEST_UPLOAD);
        let request = self.request(Method::POST, path).timeout(longest).multipart(form);
        self.send(request).await.map_err(|mut error| {
            if error.exit == Exit::Unreachable {
                // A server that refuses early may close before its reason has been read.
                error.text.push_str("\nthe upload was cut off: the server's log may say why");
            }
            error
        })
    }

    /// Posts a prediction to `url`, an address of the data listener.
    pub async fn predict(
        &self,
        url: &str,
        body: Vec<u8>,
        headers: HeaderMap,
    ) -> Result<Answer, CliError> {
        let request = self
            .authorized(self.http.post(url))
            .header(CONTENT_TYPE, "application/json")
            .headers(headers)
            .timeout(PREDICT_TIMEOUT)
            .body(body);
        self.send(request).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}/admin/v1/{path}", self.url);
        self.authorized(self.http.request(method, url)).timeout(ANSWER_TIMEOUT)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.authorization {
            Some(key) => request.header(AUTHORIZATION, key.clone()),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, CliError> {
        let (status, answer) = self.exchange(request).await?;
        self.checked(status, answer)
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Answer), CliError> {
        let mut response = request.send().await.map_err(|error| self.unanswered(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let url = response.url().clone();
        let mut body = Vec::new();
        let cut_off = |error: reqwest::Error| self.unanswered(error.with_url(url.clone()));
        while let Some(chunk) = response.chunk().await.map_err(cut_off)? {
            if body.len() + chunk.len() > LARGEST_ANSWER {
                return Err(CliError::failed(format!("the answer of {url} is too large")));
            }
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok((status, Answer { headers, body, url: url.into() }))
    }

    fn checked(&self, status: StatusCode, answer: Answer) -> Result<Answer, CliError> {
        if status.is_success() {
            return Ok(answer);
        }
        let request_id = answer.header("x-request-id");
        let mut error = CliError::of_answer(status, &answer.body, request_id);
        if error.exit == Exit::NotAllowed {
            let credential = if self.authorization.is_some() { "key" } else { "certificate" };
            error.text.push_str(&format!("\nthe {credential} is from {}", self.credential_source));
        }
        Err(error)
    }

    /// No answer, or half of one.
    fn unanswered(&self, error: reqwest::Error) -> CliError {
        let reached = !error.is_connect();
        let at = error.url().map(ToString::to_string).unwrap_or_default();
        let told = innermost(&error.without_url());
        if at.starts_with(&self.url) && !reached {
            let (url, source) = (&self.url, &self.url_source);
            return CliError::unreachable(format!(
                "cannot reach {url}: is `weighbridge serve` running? (address from {source})\n{told}"
            ));
        }
        let what = if reached { "no answer from" } else { "cannot reach" };
        CliError::unreachable(format!("{what} {at}: {told}"))
    }
}

fn based_on(request: RequestBuilder, revision: Option<Revision>) -> RequestBuilder {
    match revision {
        Some(revision) => request.header(IF_MATCH, format!("\"{revision}\"")),
        None => request,
    }
}

fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

#[cfg(test)]
pub(super) mod tests;
