//! One request and its response over two connections (RFC 9112 §9, RFC 9110 §15.2).
//!
//! Both directions run at once, so that an answer can overtake the rest of its request. A message that stopped half
//! way is never ended as if it were whole: its connection ends instead.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::REQUEST_BYTES;
use super::body::{Body, FramingError, LAST_CHUNK, Length, response_length};
use super::chunked::ChunkError;
use super::fields::{self, Onward, persists};
use super::head::{RequestHead, ResponseHead, Syntax, Version};
use super::share::Shared;
use super::upstream::Upstream;
use super::wire::{CopyError, Reader, copy, copy_raw, write};
use crate::connect::RelayReason;
use crate::incoming::Local;

/// Longest head of a response.
const RESPONSE_BYTES: usize = 64 * 1024;
/// Most interim responses to one request. Our choice: two are usual (100, 103), slow work may send some more (102).
const INTERIM: usize = 64;

/// A request on its way.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) head: &'a RequestHead,
    /// The head as the far end gets it.
    pub(super) bytes: Vec<u8>,
    pub(super) length: Length,
    /// Whether the far end was offered another protocol.
    pub(super) offers_upgrade: bool,
}

/// The client's connection.
#[derive(Debug)]
pub(super) struct Client<'a, S> {
    pub(super) reader: Reader<&'a Shared<S>>,
    pub(super) writer: &'a Shared<S>,
}

/// What became of an exchange.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The client has the whole response.
    Done {
        /// Whether it may send another request.
        client_persists: bool,
        /// Whether the far end takes another one.
        upstream_persists: bool,
    },
    /// The client has got nothing and can still be told what went wrong.
    Failed(Fault),
    /// The client has gone, or has part of a response, and its connection has to end.
    Broken {
        /// Whether only a reset tells it that something is missing.
        reset: bool,
    },
    /// The protocol was changed, and that conversation is over.
    Tunnelled,
}

/// Why there was no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the far end ended the connection without a response")]
    NoResponse(Option<RelayReason>),
    #[error("the far end ended the connection within the head of its response")]
    Incomplete,
    #[error("the far end's response is not understood: {0}")]
    Syntax(Syntax),
    #[error("the far end's response has an ambiguous body: {0}")]
    Framing(FramingError),
    #[error("the head of the far end's response is larger than {RESPONSE_BYTES} bytes")]
    TooLarge,
    #[error("the far end sent more than {INTERIM} interim responses")]
    TooManyInterim,
    #[error("the far end changed the protocol without having been asked to")]
    Upgrade,
    #[error("the far end asks for the password of a proxy, which it is not")]
    ProxyChallenge,
    #[error("malformed body: {0}")]
    RequestBody(ChunkError),
}

/// What both directions know of each other.
#[derive(Debug, Default)]
struct Progress {
    /// The whole request has been sent.
    sent: AtomicBool,
    /// The client has got bytes that cannot be taken back.
    begun: AtomicBool,
    /// The client has ended its direction behind this request.
    is_last: AtomicBool,
}

impl Progress {
    fn has_sent(&self) -> bool {
        self.sent.load(Ordering::Relaxed)
    }

    fn is_last(&self) -> bool {
        self.is_last.load(Ordering::Relaxed)
    }

    fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }
}

/// How far the response came.
#[derive(Debug)]
enum Received {
    Whole {
        client_persists: bool,
        upstream_persists: bool,
    },
    /// The far end's connection ended, as it should if it was its own end.
    UntilClose {
        client_persists: bool,
        in_chunks: bool,
    },
    Upgraded,
    Failed(Fault),
    Broken {
        reset: bool,
    },
}

/// Runs one exchange. Cancelled by dropping; then both connections have to end.
pub(super) async fn run<S: Local>(
    request: &Outgoing<'_>,
    client: &mut Client<'_, S>,
    upstream: &mut Upstream,
    shutdown: &CancellationToken,
) -> Outcome {
    let progress = Progress::default();
    let Upstream {
        reader,
        writer,
        relay,
        tracked,
        ..
    } = upstream;
    let work = async {
        tokio::select! {
            // In this order a response never seems to have overtaken its request when both are ready.
            biased;
            stopped = send(request, &mut client.reader, writer, &progress) => stopped,
            received = receive(request, reader, &mut client.writer, &progress, shutdown) => received,
            () = tracked.closed() => Received::Broken { reset: false },
        }
    };
    let received = relay.drive(work).await;
    match received {
        Received::Whole {
            client_persists,
            upstream_persists,
        } => Outcome::Done {
            client_persists: client_persists && !client.reader.has_ended(),
            upstream_persists: upstream_persists && reader.waiting().is_empty(),
        },
        Received::UntilClose {
            client_persists,
            in_chunks,
        } => {
            // A reset looks like an end on the near side's socket; only the relay knows.
            let farewell = relay.drive(writer.shutdown()).await;
            let is_whole = farewell.is_ok() && is_proper_end(relay.ended().await);
            let last = if in_chunks { LAST_CHUNK } else { b"" };
            if is_whole && write(&mut client.writer, last).await.is_ok() {
                Outcome::Done {
                    client_persists: client_persists && !client.reader.has_ended(),
                    upstream_persists: false,
                }
            } else {
                Outcome::Broken { reset: !in_chunks }
            }
        }
        Received::Upgraded => {
            let both = async {
                tokio::select! {
                    ended = tunnel(client, reader, writer) => ended,
                    () = tracked.closed() => Ok(()),
                }
            };
            if let Err(error) = relay.drive(both).await {
                tracing::debug!(%error, "tunnel ended");
            }
            relay.ended().await;
            Outcome::Tunnelled
        }
        Received::Failed(Fault::NoResponse(_)) => Outcome::Failed(Fault::NoResponse(relay.ended().await)),
        Received::Failed(fault) => Outcome::Failed(fault),
        Received::Broken { reset } => Outcome::Broken { reset },
    }
}

/// An end of the far end's direction is proper unless the relay says something else; one that is still running has
/// only seen that end.
fn is_proper_end(reason: Option<RelayReason>) -> bool {
    matches!(reason, None | Some(RelayReason::Finished))
}

/// Both directions of a changed protocol, each with its own end.
async fn tunnel<S, FarR, FarW>(
    client: &mut Client<'_, S>,
    reader: &mut Reader<FarR>,
    writer: &mut FarW,
) -> io::Result<()>
where
    S: Local,
    FarR: AsyncRead + Unpin,
    FarW: AsyncWrite + Unpin,
{
    tokio::try_join!(
        copy_raw(&mut client.reader, writer),
        copy_raw(reader, &mut client.writer)
    )
    .map(|_| ())
}

/// Sends the request and then watches the client. Returns only when there is no point in waiting for a response.
async fn send<S, W>(
    request: &Outgoing<'_>,
    client: &mut Reader<&Shared<S>>,
    upstream: &mut W,
    progress: &Progress,
) -> Received
where
    S: Local,
    W: AsyncWrite + Unpin,
{
    let body = Body::new(request.length, request.length == Length::Chunked);
    match copy(client, upstream, body, request.bytes.clone()).await {
        Ok(()) => progress.sent.store(true, Ordering::Relaxed),
        // The far end may have answered before it stopped listening.
        Err(CopyError::Sink(error)) => tracing::debug!(%error, "the far end takes no more of the request"),
        Err(CopyError::Malformed(error)) if !progress.has_begun() => {
            return Received::Failed(Fault::RequestBody(error));
        }
        Err(error @ (CopyError::Malformed(_) | CopyError::Source(_))) => {
            tracing::debug!(%error, "request cut short");
            return Received::Broken { reset: false };
        }
    }
    if client.read_ahead(REQUEST_BYTES).await.is_ok() {
        // An end behind the request is no failure: its response is still awaited (RFC 9112 §9.6).
        progress.is_last.store(client.has_ended(), Ordering::Relaxed);
        client.gone(REQUEST_BYTES).await;
    }
    Received::Broken { reset: false }
}

/// Passes the response on: interim ones, the final one, its body.
async fn receive<R, W>(
    request: &Outgoing<'_>,
    upstream: &mut Reader<R>,
    client: &mut W,
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Received
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let takes_interim = request.head.version == Version::Http11;
    let mut interim = 0;
    let head = loop {
        let head = match read_head(upstream, interim > 0).await {
            Ok(head) => head,
            Err(fault) => return Received::Failed(fault),
        };
        match head.status {
            101 => return change_protocol(request, &head, client, progress).await,
            100..=199 => {}
            407 => return Received::Failed(Fault::ProxyChallenge),
            _ => break head,
        }
        interim += 1;
        if interim > INTERIM {
            return Received::Failed(Fault::TooManyInterim);
        }
        if takes_interim {
            let onward = Onward {
                length: Length::None,
                closes: false,
                tells_length: false,
            };
            progress.begun.store(true, Ordering::Relaxed);
            if write(client, &fields::response(&head, onward)).await.is_err() {
                return Received::Broken { reset: false };
            }
            // Whole messages need not be taken back.
            progress.begun.store(false, Ordering::Relaxed);
        }
    };
    let length = match response_length(&head, &request.head.method) {
        Ok(length) => length,
        Err(error) => return Received::Failed(Fault::Framing(error)),
    };
    pass_response(request, &head, length, (upstream, client), progress, shutdown).await
}

async fn pass_response<R, W>(
    request: &Outgoing<'_>,
    head: &ResponseHead,
    length: Length,
    (upstream, client): (&mut Reader<R>, &mut W),
    progress: &Progress,
    shutdown: &CancellationToken,
) -> Received
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let takes_chunks = request.head.version == Version::Http11;
    let onward_length = match length {
        Length::Chunked | Length::UntilClose if takes_chunks => Length::Chunked,
        Length::Chunked | Length::UntilClose => Length::UntilClose,
        Length::None | Length::Exact(_) => length,
    };
    let in_chunks = onward_length == Length::Chunked;
    // RFC 9112 §9.3: a proxy keeps no connection with an HTTP/1.0 client.
    let client_persists = takes_chunks
        && persists(&request.head.fields, Version::Http11)
        && progress.has_sent()
        && !progress.is_last()
        && !shutdown.is_cancelled();
    // A 204 that announces a body (RFC 9110 §8.6) may well send one.
    let is_odd =
        head.status == 204 && (head.fields.has("Content-Length") || head.fields.has("Transfer-Encoding"));
    let upstream_persists = progress.has_sent()
        && length != Length::UntilClose
        && persists(&head.fields, head.version)
        && !is_odd;
    let onward = Onward {
        length: onward_length,
        closes: !client_persists,
        tells_length: head.status == 304 || (request.head.method == "HEAD" && head.status != 204),
    };
    progress.begun.store(true, Ordering::Relaxed);
    let body = Body::new(length, in_chunks);
    match copy(upstream, client, body, fields::response(head, onward)).await {
        Ok(()) if length == Length::UntilClose => Received::UntilClose {
            client_persists,
            in_chunks,
        },
        Ok(()) => Received::Whole {
            client_persists,
            upstream_persists,
        },
        Err(error) => {
            tracing::debug!(%error, "response cut short");
            Received::Broken {
                reset: onward_length == Length::UntilClose,
            }
        }
    }
}

/// RFC 9110 §7.8. What was not asked for is no change but an attempt to speak to the client without being understood.
async fn change_protocol<W: AsyncWrite + Unpin>(
    request: &Outgoing<'_>,
    head: &ResponseHead,
    client: &mut W,
    progress: &Progress,
) -> Received {
    if !request.offers_upgrade || !progress.has_sent() || !head.fields.has("Upgrade") {
        return Received::Failed(Fault::Upgrade);
    }
    let onward = Onward {
        length: Length::None,
        closes: false,
        tells_length: false,
    };
    progress.begun.store(true, Ordering::Relaxed);
    match write(client, &fields::response(head, onward)).await {
        Ok(()) => Received::Upgraded,
        Err(_) => Received::Broken { reset: false },
    }
}

async fn read_head<R: AsyncRead + Unpin>(
    upstream: &mut Reader<R>,
    heard_of: bool,
) -> Result<ResponseHead, Fault> {
    let mut seen = 0;
    loop {
        let waiting = upstream.waiting();
        let line_ended = waiting.get(seen..).is_some_and(|fresh| fresh.contains(&b'\n'));
        seen = waiting.len();
        if line_ended && let Some((head, bytes)) = ResponseHead::decode(waiting).map_err(Fault::Syntax)? {
            upstream.consume(bytes);
            return Ok(head);
        }
        if seen >= RESPONSE_BYTES {
            return Err(Fault::TooLarge);
        }
        // A failure to read is an end: which of both it was is for the relay to say.
        if upstream.fill(RESPONSE_BYTES - seen).await.unwrap_or(0) == 0 {
            return Err(if seen == 0 && !heard_of {
                Fault::NoResponse(None)
            } else {
                Fault::Incomplete
            });
        }
    }
}
