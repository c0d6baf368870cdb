//! Requests in origin form: what this port says about itself, and to whom (RFC 9112 §3.2.1).
//!
//! A web page can have a browser ask this port under a name of its own (DNS rebinding), so only names that no page can
//! have are answered: addresses, `localhost`, and `wpad`, alone, for the file that is found by that name. Below a domain
//! it is anybody's name.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::answer::Answer;
use super::auth;
use super::head::{RequestHead, Version};
use super::request::HeadError;
use crate::credentials::Credentials;
use crate::serve::Settings;
use crate::site::{Site, SiteRequest};

/// What a browser shows that was pointed at the port itself.
const PAGE: &str = "\
This port is a proxy into a VPN, served by tunless. Set it as a proxy in the program that should use the VPN,
with this address and port:

  SOCKS5, names resolved inside the VPN:  socks5h://ADDRESS:PORT
  HTTP proxy:                             http://ADDRESS:PORT

  curl --proxy socks5h://ADDRESS:PORT https://example.com/

Everything that a program sends through it goes through the VPN, and nothing goes round it.";

/// Paths under which a program looks for its proxies by the name `wpad`.
const WPAD_PATHS: [&str; 2] = ["/wpad.dat", "/proxy.pac"];

/// Answers one request.
pub(super) async fn respond(head: &RequestHead, settings: &Settings) -> Result<Answer, HeadError> {
    let mut hosts = head.fields.values("Host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(HeadError::Hosts);
    }
    if host.is_none() && head.version == Version::Http11 {
        return Err(HeadError::NoHost);
    }
    if head.target.contains('#') {
        return Err(HeadError::Fragment);
    }
    let (path, query) = match head.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (head.target.as_str(), None),
    };
    let host = match host.map(std::str::from_utf8) {
        None => None,
        Some(Ok(host)) if is_own_name(host, path) => Some(host.to_owned()),
        Some(_) => return Ok(misdirected()),
    };
    if !matches!(head.method.as_str(), "GET" | "HEAD") {
        let text = "tunless: method not served here: GET and HEAD show what this port is, CONNECT opens a connection";
        return Ok(Answer::new(405, text).field("Allow", "GET, HEAD, CONNECT"));
    }
    let Some(site) = &settings.site else {
        return Ok(explanation(path));
    };
    let request = SiteRequest {
        path: path.to_owned(),
        query: query.map(str::to_owned),
        host,
        signed_in: is_signed_in(head, settings.credentials.as_ref()),
        is_cross_site: head
            .fields
            .list("Sec-Fetch-Site")
            .iter()
            .any(|site| site == "cross-site" || site == "same-site"),
    };
    Ok(ask_site(site.as_ref(), request).await)
}

async fn ask_site(site: &dyn Site, request: SiteRequest) -> Answer {
    let response = site.respond(request).await;
    let mut answer = Answer::with_body(response.status, response.content_type, response.body);
    for (name, value) in &response.fields {
        answer = answer.field(name, value);
    }
    match response.status {
        401 => answer.field("WWW-Authenticate", auth::CHALLENGE),
        _ => answer,
    }
}

fn explanation(path: &str) -> Answer {
    match path {
        "/" => Answer::new(200, PAGE),
        _ => Answer::new(
            404,
            "tunless: nothing here: this port is a proxy, its root says how to use it",
        ),
    }
}

fn misdirected() -> Answer {
    let text = "tunless: this port does not answer under that name: use its address, or localhost\n\
                (a web page could otherwise read it under a name of its own)";
    Answer::new(421, text)
}

fn is_signed_in(head: &RequestHead, credentials: Option<&Credentials>) -> bool {
    credentials.is_none_or(|credentials| auth::are_right(head.fields.values("Authorization"), credentials))
}

/// Whether `host` (`NAME` or `NAME:PORT`) is a name that this port can have for `path`.
fn is_own_name(host: &str, path: &str) -> bool {
    let behind_literal = host.rfind(']').map_or(0, |bracket| bracket + 1);
    let colon = host
        .get(behind_literal..)
        .and_then(|rest| rest.find(':'))
        .map_or(host.len(), |colon| behind_literal + colon);
    let (name, port) = host.split_at(colon);
    if !port.bytes().skip(1).all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let is_v6 = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|literal| literal.parse::<Ipv6Addr>().is_ok());
    let name = name.to_ascii_lowercase();
    is_v6
        || name.parse::<Ipv4Addr>().is_ok()
        || name == "localhost"
        || (WPAD_PATHS.contains(&path) && name == "wpad")
}
