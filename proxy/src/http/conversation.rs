//! The requests of one client, one after the other (RFC 9112 §9.3).
//!
//! A request that arrives while another is served waits. The connection to the last far end is kept for the next
//! request to the same place. Whoever is not understood, or cannot be answered in order, loses the connection.

use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::answer::Answer;
use super::body::{Length, request_length};
use super::exchange::{self, Client, Fault, Outcome, Outgoing};
use super::fields::{self, persists};
use super::head::{RequestHead, Syntax, Version};
use super::request::{Ask, Forward, HeadError, ask, is_own};
use super::share::Shared;
use super::upstream::Upstream;
use super::wire::{Reader, write};
use super::{REQUEST_BYTES, auth, connect, site, too_slow};
use crate::connect::{ConnectError, Connector, RelayReason, Target};
use crate::connections::ConnectionKind;
use crate::detect::{Protocol, Request};
use crate::error::{Rejected, RequestError};
use crate::incoming::{Incoming, Local};
use crate::serve::Settings;

/// Longest time between two requests on a connection.
const IDLE: Duration = Duration::from_mins(1);
/// Longest body of a refused request that is read and thrown away, so that the connection can be kept.
const DISCARD_BYTES: u64 = 64 * 1024;
/// Empty lines let pass before a request: old clients end their bodies with one (RFC 9112 §2.2).
const EMPTY_LINES: usize = 2;

/// What the port's other connections share.
#[derive(Debug)]
pub(crate) struct Port<'a, C> {
    pub(crate) connector: &'a C,
    pub(crate) settings: &'a Settings,
    pub(crate) shutdown: &'a CancellationToken,
}

/// Serves the requests on one connection until it ends, or until a CONNECT takes it over, which is returned with the
/// bytes behind it. The first request has to be there by `deadline`; `client` is what the list of connections says.
pub(crate) async fn converse<S: Local, C: Connector>(
    incoming: Incoming<S>,
    client: String,
    port: Port<'_, C>,
    deadline: Instant,
) -> Option<(Incoming<S>, Request)> {
    let (stream, waiting) = incoming.into_parts();
    let shared = Shared::new(stream);
    let mut conversation = Conversation {
        port,
        name: client,
        client: Client {
            reader: Reader::new(&shared, waiting),
            writer: &shared,
        },
        upstream: None,
    };
    let mut first = Some(deadline);
    let last = loop {
        let next = match conversation.next_head(first.take()).await {
            Heard::Head(head) => conversation.serve(&head).await,
            Heard::Nothing => Next::Close(Vec::new()),
            Heard::Rejected(rejected) => conversation.reject(rejected),
        };
        match next {
            Next::Again => {}
            last @ (Next::Connect(_) | Next::Close(_) | Next::Break { .. }) => break last,
        }
    };
    let Conversation { client, upstream, .. } = conversation;
    let (_, waiting) = client.reader.into_parts();
    let incoming = Incoming::with_waiting(shared.into_inner()?, waiting);
    match last {
        Next::Connect(request) => {
            if let Some(upstream) = upstream {
                upstream.finish().await;
            }
            return Some((incoming, request));
        }
        Next::Close(answer) => incoming.answer_and_close(&answer).await,
        Next::Break { reset: true } => incoming.reset(),
        Next::Again | Next::Break { reset: false } => {}
    }
    None
}

/// What came from the client.
enum Heard {
    Head(RequestHead),
    /// It has ended, or said nothing for too long, or is not to be listened to any more.
    Nothing,
    Rejected(Rejected),
}

/// How it goes on.
enum Next {
    Again,
    Connect(Request),
    /// With these last bytes.
    Close(Vec<u8>),
    /// Without a word.
    Break {
        reset: bool,
    },
}

/// Why there is no connection to a far end.
enum NotConnected {
    /// Nobody waits for it any more.
    Unwanted,
    Failed(ConnectError),
}

struct Conversation<'a, S, C> {
    port: Port<'a, C>,
    name: String,
    client: Client<'a, S>,
    /// The far end of the last request.
    upstream: Option<Upstream>,
}

impl<S: Local, C: Connector> Conversation<'_, S, C> {
    /// Waits for the next request's head, which is the first one where there is a `deadline` for it.
    async fn next_head(&mut self, deadline: Option<Instant>) -> Heard {
        let idle_until = deadline.unwrap_or_else(|| Instant::now() + IDLE);
        loop {
            let Self {
                port,
                client,
                upstream,
                ..
            } = self;
            let head = read_in_time(
                &mut client.reader,
                deadline,
                idle_until,
                port.settings.limits.head,
            );
            tokio::select! {
                biased;
                () = port.shutdown.cancelled() => return Heard::Nothing,
                () = useless(upstream.as_mut()) => {}
                heard = head => return heard,
            }
            if let Some(upstream) = self.upstream.take() {
                upstream.finish().await;
            }
        }
    }

    async fn serve(&mut self, head: &RequestHead) -> Next {
        let length = match request_length(head) {
            Ok(length) => length,
            Err(error) => return self.reject(HeadError::Framing(error).into_rejected()),
        };
        if is_own(head) {
            return match site::respond(head, self.port.settings).await {
                Ok(answer) => self.reply(head, length, answer).await,
                Err(error) => self.reject(error.into_rejected()),
            };
        }
        if let Some(credentials) = &self.port.settings.credentials
            && !auth::are_right(head.fields.values("Proxy-Authorization"), credentials)
        {
            self.port.settings.stats.auth_failures.one();
            return self.reply(head, length, sign_in()).await;
        }
        if head.method == "TRACE" && !length.is_empty() {
            return self.reject(HeadError::TraceBody.into_rejected());
        }
        match ask(head) {
            Err(error) => self.reject(error.into_rejected()),
            Ok(Ask::Connect(target)) => Next::Connect(Request {
                protocol: Protocol::HttpConnect,
                target,
            }),
            Ok(Ask::LastHop) => self.reply(head, length, last_hop(head)).await,
            Ok(Ask::Forward(forward)) => {
                self.port.settings.stats.http_plain.one();
                self.forward(head, length, &forward).await
            }
        }
    }

    async fn forward(&mut self, head: &RequestHead, length: Length, forward: &Forward) -> Next {
        let upgrade = fields::upgrade(head, length);
        let outgoing = Outgoing {
            head,
            bytes: fields::request(head, forward, length, upgrade.as_deref()),
            length,
            offers_upgrade: upgrade.is_some(),
        };
        // RFC 9110 §9.2.2, RFC 9112 §9.3.1: what can be done twice may be asked for twice.
        let may_repeat = length.is_empty() && is_idempotent(&head.method);
        let mut kept = self.kept_for(&forward.target).await;
        loop {
            let is_reused = kept.is_some();
            let connected = match kept.take() {
                Some(upstream) => Ok(upstream),
                None => self.connect(&forward.target).await,
            };
            let mut upstream = match connected {
                Ok(upstream) => upstream,
                Err(NotConnected::Unwanted) => return Next::Break { reset: false },
                Err(NotConnected::Failed(error)) => {
                    let answer = connect::failure_answer(&forward.target, error);
                    return self.reply(head, length, answer).await;
                }
            };
            // Boxed, so that a connection that waits for its next request does not keep room for this.
            let exchange = Box::pin(exchange::run(
                &outgoing,
                &mut self.client,
                &mut upstream,
                self.port.shutdown,
            ));
            let outcome = exchange.await;
            match outcome {
                Outcome::Failed(Fault::NoResponse(_)) if is_reused && may_repeat => {
                    debug!(target = %forward.target, "asked again on a new connection");
                }
                Outcome::Failed(Fault::RequestBody(error)) => {
                    return self.reject(HeadError::Chunk(error).into_rejected());
                }
                Outcome::Failed(fault) => {
                    drop(upstream);
                    debug!(target = %forward.target, error = %fault, "no response");
                    return self
                        .reply_unread(head, length, fault_answer(&forward.target, &fault))
                        .await;
                }
                Outcome::Broken { reset } => return Next::Break { reset },
                Outcome::Tunnelled => return Next::Close(Vec::new()),
                Outcome::Done {
                    client_persists,
                    upstream_persists,
                } => {
                    if upstream_persists && client_persists {
                        upstream.rest();
                        self.upstream = Some(upstream);
                    } else {
                        upstream.finish().await;
                    }
                    return if client_persists {
                        Next::Again
                    } else {
                        Next::Close(Vec::new())
                    };
                }
            }
        }
    }

    /// The kept connection, if it leads to `target` and is still good. Another one is ended.
    async fn kept_for(&mut self, target: &Target) -> Option<Upstream> {
        let mut upstream = self.upstream.take()?;
        if upstream.target == *target && upstream.is_usable().await {
            return Some(upstream);
        }
        upstream.finish().await;
        None
    }

    async fn connect(&mut self, target: &Target) -> Result<Upstream, NotConnected> {
        let Port {
            connector,
            settings,
            shutdown,
        } = &self.port;
        let tracked = settings
            .connections
            .add(ConnectionKind::Http, self.name.clone(), target.to_string());
        let attempt = timeout(connector.connect_timeout(), connector.connect(target.clone()));
        let opened = tokio::select! {
            biased;
            () = shutdown.cancelled() => Err(ConnectError::TunnelDown),
            () = tracked.closed() => return Err(NotConnected::Unwanted),
            opened = attempt => opened.unwrap_or(Err(ConnectError::TimedOut)),
            () = self.client.reader.gone(REQUEST_BYTES) => return Err(NotConnected::Unwanted),
        };
        let joined = opened.and_then(|flow| {
            Upstream::open(flow, target.clone(), tracked, settings.stats.clone()).map_err(|error| {
                tracing::warn!(%error, "cannot make a pair of sockets");
                ConnectError::TooManyConnections
            })
        });
        match joined {
            Ok(upstream) => {
                settings.stats.opened.one();
                Ok(upstream)
            }
            Err(error) => {
                settings.stats.failed.one();
                debug!(%target, %error, "not connected");
                Err(NotConnected::Failed(error))
            }
        }
    }

    /// Gives an answer of this port's own to a request whose body has not been read yet.
    async fn reply(&mut self, head: &RequestHead, length: Length, answer: Answer) -> Next {
        // A client that waits for a 100 may or may not send its body now (RFC 9110 §10.1.1).
        let waits = head.fields.has("Expect");
        let body_bytes = match length {
            Length::None => Some(0),
            Length::Exact(bytes) if bytes == 0 || (bytes <= DISCARD_BYTES && !waits) => Some(bytes),
            Length::Exact(_) | Length::Chunked | Length::UntilClose => None,
        };
        let answer = answer.head_only(head.method == "HEAD");
        let persists = head.version == Version::Http11
            && persists(&head.fields, head.version)
            && !self.port.shutdown.is_cancelled();
        match body_bytes {
            Some(bytes) if persists => {
                let rest = async {
                    write(&mut self.client.writer, &answer.encode(false))
                        .await
                        .is_ok()
                        && discard(&mut self.client.reader, bytes).await
                };
                match timeout(self.port.settings.limits.head, rest).await {
                    Ok(true) => Next::Again,
                    Ok(false) | Err(_) => Next::Break { reset: false },
                }
            }
            Some(_) | None => Next::Close(answer.encode(true)),
        }
    }

    /// The same to a request whose body may have been read in part.
    async fn reply_unread(&mut self, head: &RequestHead, length: Length, answer: Answer) -> Next {
        if length.is_empty() {
            self.reply(head, length, answer).await
        } else {
            Next::Close(answer.head_only(head.method == "HEAD").encode(true))
        }
    }

    fn reject(&self, rejected: Rejected) -> Next {
        rejected.why.count(&self.port.settings.stats).one();
        debug!(error = %rejected.why, "request refused");
        Next::Close(rejected.answer)
    }
}

/// Waits for the end of a kept connection's use; for ever where there is none. Cancel-safe.
async fn useless(upstream: Option<&mut Upstream>) {
    match upstream {
        Some(upstream) => upstream.useless().await,
        None => std::future::pending().await,
    }
}

/// Reads one head. The bytes behind it are left waiting. Cancel-safe.
async fn read_in_time<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    first: Option<Instant>,
    idle_until: Instant,
    longest: Duration,
) -> Heard {
    let is_first = first.is_none();
    if reader.waiting().is_empty() {
        match timeout_at(idle_until, reader.fill(REQUEST_BYTES)).await {
            Ok(Ok(bytes)) if bytes > 0 => {}
            Ok(_) | Err(_) => return Heard::Nothing,
        }
    }
    let deadline = first.unwrap_or_else(|| Instant::now() + longest);
    match timeout_at(deadline, read_head(reader, is_first)).await {
        Ok(Ok(head)) => Heard::Head(head),
        Ok(Err(rejected)) => Heard::Rejected(rejected),
        Err(_) => Heard::Rejected(too_slow()),
    }
}

async fn read_head<R: tokio::io::AsyncRead + Unpin>(
    reader: &mut Reader<R>,
    skips_empty_lines: bool,
) -> Result<RequestHead, Rejected> {
    let mut skippable = if skips_empty_lines { EMPTY_LINES } else { 0 };
    let mut seen = 0;
    loop {
        while skippable > 0 && reader.waiting().starts_with(b"\r\n") {
            reader.consume(2);
            skippable -= 1;
            seen = 0;
        }
        let waiting = reader.waiting();
        // A head ends with a line, so only a new line can complete it: parsing is not repeated byte by byte.
        let line_ended = waiting.get(seen..).is_some_and(|fresh| fresh.contains(&b'\n'));
        seen = waiting.len();
        if line_ended
            && let Some((head, bytes)) =
                RequestHead::decode(waiting).map_err(|error| HeadError::Malformed(error).into_rejected())?
        {
            reader.consume(bytes);
            return Ok(head);
        }
        if seen >= REQUEST_BYTES {
            let line = !reader.waiting().contains(&b'\n');
            return Err(HeadError::TooLarge { line }.into_rejected());
        }
        if reader
            .fill(REQUEST_BYTES - seen)
            .await
            .map_err(RequestError::from)?
            == 0
        {
            return Err(RequestError::Closed.into());
        }
    }
}

/// Reads and throws away a body; `false` when it does not come.
async fn discard<R: tokio::io::AsyncRead + Unpin>(reader: &mut Reader<R>, mut bytes: u64) -> bool {
    while bytes > 0 {
        if reader.waiting().is_empty() && !matches!(reader.fill(REQUEST_BYTES).await, Ok(1..)) {
            return false;
        }
        let count = reader
            .waiting()
            .len()
            .min(usize::try_from(bytes).unwrap_or(usize::MAX));
        reader.consume(count);
        bytes = bytes.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
    }
    true
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
}

fn sign_in() -> Answer {
    let text = "tunless: this proxy wants a user name and a password, give the ones it was started with";
    Answer::new(407, text).field("Proxy-Authenticate", auth::CHALLENGE)
}

/// The answer of the last one to get a request with `Max-Forwards: 0` (RFC 9110 §7.6.2, §9.3.7, §9.3.8). Secrets are
/// not sent back.
fn last_hop(head: &RequestHead) -> Answer {
    if head.method != "TRACE" {
        let methods = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE, CONNECT";
        return Answer::new(200, "tunless: this is a proxy").field("Allow", methods);
    }
    let mut head = head.clone();
    head.fields.retain(|field| {
        !["authorization", "cookie", "proxy-authorization"]
            .contains(&field.name.to_ascii_lowercase().as_str())
    });
    Answer::with_body(200, "message/http", head.encode())
}

/// The answer where a far end took the request and gave nothing in return that can be passed on.
fn fault_answer(target: &Target, fault: &Fault) -> Answer {
    let (error, remedy) = match fault {
        Fault::NoResponse(Some(RelayReason::RemoteReset)) => {
            return connect::failure_answer(target, ConnectError::Reset);
        }
        Fault::NoResponse(Some(RelayReason::Idle)) => {
            return connect::failure_answer(target, ConnectError::TimedOut);
        }
        Fault::NoResponse(Some(RelayReason::TunnelDown)) => {
            return connect::failure_answer(target, ConnectError::TunnelDown);
        }
        Fault::NoResponse(_) | Fault::Incomplete => (
            "http_response_incomplete",
            "try again; if it stays so, look into the service's log",
        ),
        Fault::TooLarge | Fault::Syntax(Syntax::TooManyFields { .. }) => (
            "http_response_header_section_size",
            "the service sends more than proxies take; CONNECT or SOCKS5 carry anything",
        ),
        Fault::Upgrade => (
            "http_upgrade_failed",
            "the service does not speak HTTP/1.1 as its standard says; CONNECT or SOCKS5 carry anything",
        ),
        Fault::Syntax(_)
        | Fault::Framing(_)
        | Fault::TooManyInterim
        | Fault::ProxyChallenge
        | Fault::RequestBody(_) => (
            "http_protocol_error",
            "the service does not speak HTTP/1.1 as its standard says; CONNECT or SOCKS5 carry anything",
        ),
    };
    Answer::new(502, format!("tunless: {target}: {fault}\n{remedy}"))
        .field("Proxy-Status", &format!("tunless; error={error}"))
}
