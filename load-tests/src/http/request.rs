//! Where requests go and what their bytes are: serialised once, sent as they stand ever after.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

/// A server named by a URL such as `http://127.0.0.1:8080` or `http://host:80/prefix`.
#[derive(Debug, Clone)]
pub struct Target {
    /// The first address that the host resolves to.
    pub address: SocketAddr,
    /// What the `host` header says.
    authority: String,
    /// A path that all requests start with; empty or without a `/` at its end.
    prefix: String,
}

impl Target {
    /// Parses the URL and resolves its host, once.
    pub fn resolve(url: &str) -> Result<Self> {
        let Some(rest) = url.strip_prefix("http://") else {
            bail!("the url {url:?} does not start with http:// (TLS is not spoken here)");
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let path = path.trim_end_matches('/');
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| {
            // An IPv6 address in brackets has colons of its own: its last piece ends in "]".
            !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
        });
        let host_and_port = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let address = host_and_port
            .to_socket_addrs()
            .with_context(|| format!("resolve the host of {url:?}"))?
            .next()
            .with_context(|| format!("the host of {url:?} has no address"))?;
        let prefix = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Self { address, authority: authority.to_owned(), prefix })
    }

    /// The bytes of a `GET`.
    pub fn get(&self, path: &str, headers: &[Header]) -> Vec<u8> {
        self.request("GET", path, headers, None)
    }

    /// The bytes of a `POST`, declared as JSON unless `headers` name another content type.
    pub fn post(&self, path: &str, headers: &[Header], body: &[u8]) -> Vec<u8> {
        self.request("POST", path, headers, Some(body))
    }

    /// The bytes of any request; a body is declared as JSON unless `headers` say otherwise.
    pub fn request(
        &self,
        verb: &str,
        path: &str,
        headers: &[Header],
        body: Option<&[u8]>,
    ) -> Vec<u8> {
        let mut head = format!(
            "{verb} {}{path} HTTP/1.1\r\nhost: {}\r\nuser-agent: weighbridge-load-tests\r\n",
            self.prefix, self.authority
        );
        for Header { name, value } in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            if !headers.iter().any(|header| header.name.eq_ignore_ascii_case("content-type")) {
                head.push_str("content-type: application/json\r\n");
            }
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(body.unwrap_or_default());
        bytes
    }
}

/// One request header, written `name: value` on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub name: String,
    pub value: String,
}

impl Header {
    /// A header from parts that the caller vouches for.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

impl FromStr for Header {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, value) =
            text.split_once(':').with_context(|| format!("{text:?} is not 'name: value'"))?;
        let (name, value) = (name.trim(), value.trim());
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        ensure!(!name.is_empty() && name.bytes().all(token), "{name:?} is not a header name");
        ensure!(
            !value.bytes().any(|byte| byte.is_ascii_control()),
            "the value of the header {name} holds a control character"
        );
        let framing = ["content-length", "transfer-encoding", "host"];
        ensure!(
            !framing.contains(&name.to_ascii_lowercase().as_str()),
            "the header {name} is written by the tool itself"
        );
        Ok(Self::new(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_gives_address_and_prefix() {
        let target = Target::resolve("http://127.0.0.1:8080/ml/").unwrap();
        assert_eq!(target.address, "127.0.0.1:8080".parse().unwrap());
        let request = String::from_utf8(target.get("/v2", &[])).unwrap();
        assert!(request.starts_with("GET /ml/v2 HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n"));
        assert!(request.ends_with("\r\n\r\n"));
        assert_eq!(Target::resolve("http://[::1]").unwrap().address.port(), 80);
        assert_eq!(Target::resolve("http://[::1]:81").unwrap().address.port(), 81);
        assert!(Target::resolve("https://127.0.0.1").is_err());
    }

    #[test]
    fn a_post_states_its_length_and_type_once() {
        let target = Target::resolve("http://127.0.0.1:1").unwrap();
        let plain = String::from_utf8(target.post("/p", &[], b"{}")).unwrap();
        assert!(plain.contains("content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"));
        let own = [Header::new("Content-Type", "application/octet-stream")];
        let binary = String::from_utf8(target.post("/p", &own, b"{}")).unwrap();
        assert!(!binary.contains("application/json"));
    }

    #[test]
    fn headers_are_checked() {
        let header: Header = "Authorization: Bearer a:b".parse().unwrap();
        assert_eq!(header, Header::new("Authorization", "Bearer a:b"));
        for wrong in ["nothing", "a b: c", ": c", "a: b\r\nc: d", "Content-Length: 3"] {
            assert!(wrong.parse::<Header>().is_err(), "{wrong:?}");
        }
    }
}
