//! One listener of a gateway, and the requests to it.

use std::time::Duration;

use http::Method;
use reqwest::RequestBuilder;
use serde_json::Value;

use crate::answer::Answer;
use crate::tls;

/// Longer than any request of these tests takes, even when it waits for its deadline.
const PATIENCE: Duration = Duration::from_secs(60);

/// An address and the key that is shown there. Connections are kept and used again.
#[derive(Debug, Clone)]
pub struct Listener {
    pub url: String,
    pub key: Option<String>,
    client: reqwest::Client,
}

impl Listener {
    /// The listener at `url`.
    pub fn new(url: &str, key: Option<String>) -> Self {
        Self::of(url, key, reqwest::Client::builder())
    }

    /// The same address, with a connection of its own for each request: none is used just as the
    /// server closes it.
    pub fn without_reuse(&self) -> Self {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0);
        Self::of(&self.url, self.key.clone(), client)
    }

    fn of(url: &str, key: Option<String>, client: reqwest::ClientBuilder) -> Self {
        // The system's roots are not read for each listener.
        let root = url.starts_with("https://").then(|| reqwest::Certificate::from_pem(tls::ROOT));
        let root = root.map(|root| root.expect("a certificate"));
        let client = client.no_proxy().tls_certs_only(root);
        let client = client.timeout(PATIENCE).build();
        Self { url: url.to_owned(), key, client: client.expect("a client") }
    }

    /// The same address with another key, or with none.
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    /// A request that can be added to.
    pub fn ask(&self, method: Method, path: &str) -> Ask {
        let asked = format!("{method} {path}");
        let mut request = self.client.request(method, format!("{}{path}", self.url));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        Ask { request, asked }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path).send().await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path).json(body).send().await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::PUT, path).json(body).send().await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path).send().await
    }

    /// The host and port, for connections by hand.
    pub fn address(&self) -> &str {
        self.url.split_once("://").map_or(&*self.url, |(_, address)| address)
    }
}

/// A request under construction.
#[derive(Debug)]
pub struct Ask {
    request: RequestBuilder,
    asked: String,
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    pub fn json(mut self, body: &Value) -> Self {
        self.request = self.request.json(body);
        self
    }

    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.request = self.request.body(body);
        self
    }

    /// An upload as `push` makes it.
    pub fn upload(self, info: &Value, onnx: &[u8]) -> Self {
        self.upload_parts(&[("info", info.to_string().as_bytes()), ("model", onnx)])
    }

    /// An upload as `push --golden` makes it.
    pub fn upload_golden(self, info: &Value, golden: &[u8], onnx: &[u8]) -> Self {
        let info = info.to_string();
        self.upload_parts(&[("info", info.as_bytes()), ("golden", golden), ("model", onnx)])
    }

    /// An upload of these parts, in this order.
    pub fn upload_parts(mut self, parts: &[(&'static str, &[u8])]) -> Self {
        let part = |bytes: &[u8]| reqwest::multipart::Part::bytes(bytes.to_vec());
        let form = parts.iter().fold(reqwest::multipart::Form::new(), |form, (name, bytes)| {
            form.part(*name, part(bytes).file_name(*name))
        });
        self.request = self.request.multipart(form);
        self
    }

    /// An upload of a model whose tensor data lies in files of these names.
    pub fn upload_external(mut self, onnx: &[u8], files: &[(&str, &[u8])]) -> Self {
        let part = |bytes: &[u8], name: &str| {
            reqwest::multipart::Part::bytes(bytes.to_vec()).file_name(name.to_owned())
        };
        let form = reqwest::multipart::Form::new();
        let form =
            files.iter().fold(form, |form, (name, bytes)| form.part("external", part(bytes, name)));
        self.request = self.request.multipart(form.part("model", part(onnx, "model.onnx")));
        self
    }

    /// The answer.
    ///
    /// # Panics
    /// When none comes.
    pub async fn send(self) -> Answer {
        let asked = self.asked.clone();
        self.try_send().await.unwrap_or_else(|e| panic!("{asked}: {e:?}"))
    }

    /// The answer, or why none came.
    pub async fn try_send(self) -> reqwest::Result<Answer> {
        let response = self.request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await?, asked: self.asked })
    }
}
