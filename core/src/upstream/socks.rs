//! SOCKS 5 (RFC 1928) with user name and password (RFC 1929): `CONNECT` alone.

use std::net::IpAddr;

use super::{Progress, UpstreamError};
use crate::{config::ProxyCredentials, secret::SecretBytes};

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const NO_LOGIN: u8 = 0;
const PASSWORD: u8 = 2;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// The exchange as far as it has come.
#[derive(Debug)]
pub(super) struct Exchange {
    awaited: Awaited,
    /// The request for the way, until it is sent.
    request: SecretBytes,
    /// Until it is sent.
    login: Option<SecretBytes>,
    input: Vec<u8>,
}

/// What the proxy says next.
#[derive(Debug, Clone, Copy)]
enum Awaited {
    Method,
    Verdict,
    Reply,
}

impl Exchange {
    /// The exchange and the greeting that begins it. Only the login that is wanted is offered, as `OpenVPN` does.
    pub(super) fn start(
        host: &str,
        port: u16,
        credentials: Option<&ProxyCredentials>,
    ) -> Result<(Self, SecretBytes), UpstreamError> {
        let method = if credentials.is_some() { PASSWORD } else { NO_LOGIN };
        let login = match credentials {
            Some(credentials) => Some(login(credentials)?),
            None => None,
        };
        let exchange = Self {
            awaited: Awaited::Method,
            request: request(host, port)?,
            login,
            input: Vec::new(),
        };
        Ok((exchange, SecretBytes::new(vec![VERSION, 1, method])))
    }

    pub(super) fn handle_input(
        &mut self,
        bytes: &[u8],
        output: &mut Option<SecretBytes>,
    ) -> Result<Progress, UpstreamError> {
        self.input.extend_from_slice(bytes);
        loop {
            if matches!(self.awaited, Awaited::Method | Awaited::Reply)
                && self.input.first().is_some_and(|version| *version != VERSION)
            {
                return Err(UpstreamError::NotSocks);
            }
            let len = match self.awaited {
                Awaited::Method | Awaited::Verdict => 2,
                Awaited::Reply => match reply_len(&self.input)? {
                    Some(len) => len,
                    None => return Ok(Progress::More),
                },
            };
            if self.input.len() < len {
                return Ok(Progress::More);
            }
            let rest = self.input.split_off(len);
            let message = std::mem::replace(&mut self.input, rest);
            let code = message.get(1).copied().unwrap_or_default();
            match self.awaited {
                Awaited::Method => *output = Some(self.on_method(code)?),
                // Some say the version of SOCKS where that of the login belongs: only the verdict counts.
                Awaited::Verdict if code == 0 => {
                    self.awaited = Awaited::Reply;
                    *output = Some(std::mem::take(&mut self.request));
                }
                Awaited::Verdict => return Err(UpstreamError::CredentialsRefused),
                Awaited::Reply => {
                    on_reply(code)?;
                    return Ok(Progress::Open(std::mem::take(&mut self.input)));
                }
            }
            // A proxy that speaks before it was asked is out of step.
            if !self.input.is_empty() {
                return Err(UpstreamError::Malformed("it answers what was not yet asked"));
            }
        }
    }

    fn on_method(&mut self, method: u8) -> Result<SecretBytes, UpstreamError> {
        match (method, self.login.take()) {
            (PASSWORD, Some(login)) => {
                self.awaited = Awaited::Verdict;
                Ok(login)
            }
            (NO_LOGIN, None) => {
                self.awaited = Awaited::Reply;
                Ok(std::mem::take(&mut self.request))
            }
            // It takes no way without a login; what it takes instead it does not say.
            (0xff, None) => Err(UpstreamError::WantsCredentials),
            (0xff, Some(_)) => Err(UpstreamError::NoLogin),
            _ => Err(UpstreamError::Malformed("it chose a login that was not offered")),
        }
    }
}

fn login(credentials: &ProxyCredentials) -> Result<SecretBytes, UpstreamError> {
    let (name, password) = (
        credentials.username.as_bytes(),
        credentials.password.expose().as_bytes(),
    );
    let too_long = |_| UpstreamError::Credentials("user name and password have 1 to 255 bytes each");
    let mut bytes = Vec::with_capacity(3 + name.len() + password.len());
    bytes.push(LOGIN_VERSION);
    for text in [name, password] {
        bytes.push(u8::try_from(text.len()).map_err(too_long)?);
        bytes.extend_from_slice(text);
    }
    Ok(SecretBytes::new(bytes))
}

/// Asks for a way; names are left to the proxy to resolve.
fn request(host: &str, port: u16) -> Result<SecretBytes, UpstreamError> {
    let mut bytes = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            bytes.push(IPV4);
            bytes.extend(address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            bytes.push(IPV6);
            bytes.extend(address.octets());
        }
        Err(_) => {
            let len = u8::try_from(host.len())
                .ok()
                .filter(|len| *len > 0 && !host.contains(':'));
            bytes.push(NAME);
            bytes.push(len.ok_or_else(|| UpstreamError::Target(host.to_owned()))?);
            bytes.extend(host.as_bytes());
        }
    }
    bytes.extend(port.to_be_bytes());
    Ok(SecretBytes::new(bytes))
}

/// Length of the reply that begins like this, as soon as it can be told.
fn reply_len(input: &[u8]) -> Result<Option<usize>, UpstreamError> {
    // A refusal may come without the address: nobody wants it.
    if input.get(1).is_some_and(|code| *code != 0) {
        return Ok(Some(2));
    }
    let Some(kind) = input.get(3) else { return Ok(None) };
    let address = match (*kind, input.get(4)) {
        (IPV4, _) => 4,
        (IPV6, _) => 16,
        (NAME, Some(len)) => 1 + usize::from(*len),
        (NAME, None) => return Ok(None),
        _ => return Err(UpstreamError::Malformed("its address is of no known kind")),
    };
    Ok(Some(4 + address + 2))
}

/// Judges the reply code (RFC 1928 §6).
fn on_reply(code: u8) -> Result<(), UpstreamError> {
    let refused = |text: &str| Err(UpstreamError::Refused(text.to_owned()));
    let unreachable = |text: &str| Err(UpstreamError::Unreachable(text.to_owned()));
    match code {
        0 => Ok(()),
        1 => unreachable("general failure"),
        2 => refused("not allowed by its rules"),
        3 => unreachable("network unreachable"),
        4 => unreachable("host unreachable"),
        5 => unreachable("connection refused"),
        6 => unreachable("time to live exceeded"),
        7 => refused("command not supported"),
        8 => refused("address type not supported"),
        _ => Err(UpstreamError::Refused(format!("code {code}"))),
    }
}
