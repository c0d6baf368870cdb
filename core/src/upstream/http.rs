//! HTTP `CONNECT` (RFC 9110 §9.3.6): one request, and the head of the answer.
//!
//! Lines end with CR LF, or with LF alone as RFC 9112 §2.2 allows; nothing else is forgiven.

use std::net::Ipv6Addr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{MAX_ANSWER_BYTES, Progress, UpstreamError, challenge};
use crate::{
    config::{HttpHeader, HttpLogin, HttpProxy, HttpVersion, ProxyCredentials, upstream::is_token_byte},
    secret::SecretBytes,
};

/// Characters of a proxy's own words that are shown.
const SHOWN: usize = 160;

/// Writes the request.
pub(super) fn request(
    options: &HttpProxy,
    host: &str,
    port: u16,
    credentials: Option<&ProxyCredentials>,
) -> Result<SecretBytes, UpstreamError> {
    let host = target(host)?;
    let version = match options.version {
        HttpVersion::V10 => "1.0",
        HttpVersion::V11 => "1.1",
    };
    let to = format!("{host}:{port}");
    let line = |parts: &[&str]| Zeroizing::new(parts.concat());
    let mut lines = vec![line(&["CONNECT ", &to, " HTTP/", version])];
    let is_host = |header: &HttpHeader| header.name.eq_ignore_ascii_case("host");
    if !options.headers.iter().any(is_host) {
        lines.push(line(&["Host: ", &to]));
    }
    if let Some(agent) = &options.agent {
        lines.push(line(&["User-Agent: ", agent]));
    }
    for header in &options.headers {
        lines.push(line(&[&header.name, ": ", header.value.expose()]));
    }
    if let Some(ProxyCredentials { username, password }) = credentials {
        let both = line(&[username, ":", password.expose()]);
        let both = Zeroizing::new(STANDARD.encode(both.as_bytes()));
        lines.push(line(&["Proxy-Authorization: Basic ", &both]));
    }
    // In one piece of its final size: what grows leaves copies behind.
    let len = lines.iter().map(|line| line.len() + 2).sum::<usize>() + 2;
    let mut bytes = Vec::with_capacity(len);
    for line in &lines {
        bytes.extend_from_slice(line.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    Ok(SecretBytes::new(bytes))
}

/// The server as the request names it.
fn target(host: &str) -> Result<String, UpstreamError> {
    if host.parse::<Ipv6Addr>().is_ok() {
        return Ok(format!("[{host}]"));
    }
    let is_odd = |c: char| c.is_control() || c.is_whitespace() || ":/?#@[]%".contains(c);
    if host.is_empty() || host.contains(is_odd) {
        return Err(UpstreamError::Target(host.to_owned()));
    }
    Ok(host.to_owned())
}

/// The answer as far as it has come.
#[derive(Debug)]
pub(super) struct Answer {
    login: HttpLogin,
    /// Whether the request carried credentials.
    sent: bool,
    input: Vec<u8>,
    /// Where the line begins that is not complete.
    line: usize,
    /// Bytes of answers before the one that counts.
    before: usize,
}

impl Answer {
    pub(super) fn new(login: HttpLogin, sent: bool) -> Self {
        Self {
            login,
            sent,
            input: Vec::new(),
            line: 0,
            before: 0,
        }
    }

    pub(super) fn handle_input(&mut self, bytes: &[u8]) -> Result<Progress, UpstreamError> {
        let mut fresh = self.input.len();
        self.input.extend_from_slice(bytes);
        loop {
            if !could_be_http(&self.input) {
                return Err(UpstreamError::NotHttp);
            }
            let end = self.head_end(fresh);
            if self.before + end.unwrap_or(self.input.len()) > MAX_ANSWER_BYTES {
                return Err(UpstreamError::TooLong);
            }
            let Some(end) = end else {
                return Ok(Progress::More);
            };
            let rest = self.input.split_off(end);
            let head = Head::parse(&std::mem::replace(&mut self.input, rest))?;
            if head.status == 101 || head.status >= 200 {
                return self.judge(head);
            }
            // An interim answer (RFC 9110 §15.2): the real one follows.
            self.before += end;
            (self.line, fresh) = (0, 0);
        }
    }

    /// Where the head ends, if it is complete; what stands before `fresh` has been looked at.
    fn head_end(&mut self, mut fresh: usize) -> Option<usize> {
        while let Some(at) = self.input.get(fresh..)?.iter().position(|byte| *byte == b'\n') {
            let line = self.input.get(self.line..fresh + at).unwrap_or_default();
            let is_last = line.is_empty() || line == b"\r";
            fresh += at + 1;
            self.line = fresh;
            if is_last {
                return Some(fresh);
            }
        }
        None
    }

    fn judge(&mut self, head: Head) -> Result<Progress, UpstreamError> {
        match head.status {
            // What follows a success is the stream, whatever the fields say (RFC 9110 §9.3.6).
            200..=299 => Ok(Progress::Open(std::mem::take(&mut self.input))),
            407 => Err(self.wanted(&head.schemes)),
            500..=599 => Err(UpstreamError::Unreachable(head.said)),
            _ => Err(UpstreamError::Refused(head.said)),
        }
    }

    fn wanted(&self, schemes: &[String]) -> UpstreamError {
        if schemes.is_empty() {
            return UpstreamError::Malformed("it wants a login and does not say which");
        }
        if !schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic")) {
            return UpstreamError::Method(schemes.join(" or "));
        }
        match self.login {
            HttpLogin::NotInClear => UpstreamError::NotInClear,
            HttpLogin::Never => UpstreamError::LoginOff,
            HttpLogin::WhenAsked | HttpLogin::AtOnce if self.sent => UpstreamError::CredentialsRefused,
            HttpLogin::WhenAsked | HttpLogin::AtOnce => UpstreamError::WantsCredentials,
        }
    }
}

/// Tells whether an answer in HTTP/1 may begin like this.
fn could_be_http(input: &[u8]) -> bool {
    let begin = b"HTTP/1.";
    input.iter().zip(begin).all(|(got, wanted)| got == wanted)
}

/// What counts of an answer's head.
#[derive(Debug)]
struct Head {
    status: u16,
    /// Status and reason as they may be shown.
    said: String,
    schemes: Vec<String>,
}

impl Head {
    fn parse(head: &[u8]) -> Result<Self, UpstreamError> {
        let text = String::from_utf8_lossy(head);
        let mut lines = text
            .split('\n')
            .map(|line| line.strip_suffix('\r').unwrap_or(line));
        let (status, said) = lines
            .next()
            .and_then(status_line)
            .ok_or(UpstreamError::Malformed(
                "its first line is no status line of HTTP",
            ))?;
        let mut schemes = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            let (name, value) =
                field(line).ok_or(UpstreamError::Malformed("a line of its head is no field"))?;
            if name.eq_ignore_ascii_case("proxy-authenticate") {
                challenge::schemes(value, &mut schemes);
            }
        }
        Ok(Self {
            status,
            said,
            schemes,
        })
    }
}

/// Reads `HTTP/1.x CODE REASON`, of which the reason may be missing.
fn status_line(line: &str) -> Option<(u16, String)> {
    let rest = line.strip_prefix("HTTP/1.")?;
    let (minor, said) = rest.split_once(' ')?;
    let (code, reason) = said.split_once(' ').unwrap_or((said, ""));
    let digits = |text: &str, len| text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(minor, 1) || !digits(code, 3) || code.starts_with('0') || !is_clean(reason) {
        return None;
    }
    let said: String = said.trim_end().chars().take(SHOWN).collect();
    Some((code.parse().ok()?, said))
}

/// Reads `NAME: VALUE`.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let is_token = !name.is_empty() && name.bytes().all(is_token_byte);
    (is_token && is_clean(value)).then(|| (name, value.trim()))
}

/// A CR alone, a NUL and the like have no place in a head; a tab has.
fn is_clean(text: &str) -> bool {
    !text.contains(|c: char| c.is_control() && c != '\t')
}
