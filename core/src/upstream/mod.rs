//! What is said to a proxy before the first packet: HTTP `CONNECT` and SOCKS 5, bytes in and bytes out.
//!
//! A [`Dialogue`] asks the proxy for a way to the server, by the server's name, and ends with the bytes that came
//! behind the proxy's answer: they are the server's. It never decides what follows from a refusal, and what it takes
//! is bounded. `http` and `socks` are the two languages, `challenge` reads which logins an HTTP proxy offers.

mod challenge;
mod error;
mod http;
mod socks;
#[cfg(test)]
mod tests;

pub use error::{UpstreamError, UpstreamFailure};

use crate::{
    config::{ProxyCredentials, ProxyKind, UpstreamProxy},
    secret::SecretBytes,
};

/// Bytes of all that a proxy may answer; far above what any sends.
pub const MAX_ANSWER_BYTES: usize = 16 << 10;

/// How far a dialogue has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The proxy has more to say.
    More,
    /// The way is open. These bytes came behind the proxy's answer: the stream begins with them.
    Open(Vec<u8>),
}

/// One attempt to get through a proxy.
#[derive(Debug)]
pub struct Dialogue {
    language: Language,
    output: Option<SecretBytes>,
}

#[derive(Debug)]
enum Language {
    Http(http::Answer),
    Socks(socks::Exchange),
    /// It has come to its end.
    Over,
}

impl Dialogue {
    /// Asks `proxy` for a way to `port` of `host`, a name or an address; `credentials` are those to send with it.
    ///
    /// # Errors
    /// The target or the credentials cannot be sent to such a proxy.
    pub fn start(
        proxy: &UpstreamProxy,
        (host, port): (&str, u16),
        credentials: Option<&ProxyCredentials>,
    ) -> Result<Self, UpstreamError> {
        if let Some(why) = credentials.and_then(|credentials| proxy.kind.objection(credentials)) {
            return Err(UpstreamError::Credentials(why));
        }
        Ok(match &proxy.kind {
            ProxyKind::Http(options) => Self {
                output: Some(http::request(options, host, port, credentials)?),
                language: Language::Http(http::Answer::new(options.login, credentials.is_some())),
            },
            ProxyKind::Socks5 => {
                let (exchange, greeting) = socks::Exchange::start(host, port, credentials)?;
                Self {
                    output: Some(greeting),
                    language: Language::Socks(exchange),
                }
            }
        })
    }

    /// What is to be sent now; nothing is repeated.
    pub fn poll_output(&mut self) -> Option<SecretBytes> {
        self.output.take()
    }

    /// Takes what the proxy sent, in pieces of any length. Nothing follows an error or [`Progress::Open`].
    ///
    /// # Errors
    /// The proxy refuses, or what it says cannot be read.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<Progress, UpstreamError> {
        let came = match &mut self.language {
            Language::Http(answer) => answer.handle_input(bytes),
            Language::Socks(exchange) => exchange.handle_input(bytes, &mut self.output),
            Language::Over => Err(UpstreamError::Closed),
        };
        if !matches!(came, Ok(Progress::More)) {
            self.language = Language::Over;
        }
        came
    }
}
