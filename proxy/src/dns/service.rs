//! The two sockets of the name service: who may ask, how much at once, and for how long.
//!
//! Policy when a limit is reached: over UDP the newest query is answered with a failure, over TCP a client that has
//! too much open is not read from, and a connection too many is closed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::message::{Incoming, Request, read};
use super::{Resolve, ResolveError, local};
use crate::owner::{self, Transport, Users};

/// Longest query that is taken over UDP; what is cut off by it is malformed.
const UDP_QUERY_BYTES: usize = 4096;
/// Pause after an error of a socket, so that a lasting one does not spin.
const ERROR_PAUSE: Duration = Duration::from_millis(50);

/// Numbers and times that bound what clients can use up.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Queries at once over both sockets, 512 by default.
    pub queries: usize,
    /// TCP connections at once, 64 by default.
    pub connections: usize,
    /// Queries at once on one TCP connection, 32 by default.
    pub queries_each: usize,
    /// Longest silence of a TCP client, and longest wait for it to take an answer, 10 s by default.
    pub idle: Duration,
    /// Longest wait for the resolver, 20 s by default: beyond its own limits, so that its more exact answer comes first.
    pub patience: Duration,
    /// Whose programs may ask; only those on this host can be told apart.
    pub users: Users,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queries: 512,
            connections: 64,
            queries_each: 32,
            idle: Duration::from_secs(10),
            patience: Duration::from_secs(20),
            users: Users::default(),
        }
    }
}

/// What all tasks know.
#[derive(Clone)]
struct Service<R> {
    resolver: R,
    limits: Limits,
    queries: Arc<Semaphore>,
}

/// Answers queries on both sockets, which have the same address, until `shutdown` is cancelled; what is under way
/// then is cut off.
pub async fn serve<R: Resolve>(
    udp: UdpSocket,
    tcp: TcpListener,
    resolver: R,
    limits: Limits,
    shutdown: CancellationToken,
) {
    let service = Service {
        resolver,
        queries: Arc::new(Semaphore::new(limits.queries)),
        limits,
    };
    let datagrams = service.serve_datagrams(Arc::new(udp));
    let connections = service.serve_connections(tcp);
    tokio::select! {
        () = shutdown.cancelled() => {}
        // Neither ends by itself; dropping them ends their tasks.
        () = async { tokio::join!(datagrams, connections); } => {}
    }
}

/// Whether a datagram from there may be a query.
fn may_ask(source: SocketAddr, own: Option<SocketAddr>) -> bool {
    // A query that seems to come from ourselves would be answered to ourselves.
    source.port() != 0 && Some(source) != own
}

impl<R: Resolve> Service<R> {
    async fn serve_datagrams(&self, socket: Arc<UdpSocket>) {
        let own = socket.local_addr().ok();
        let mut tasks = JoinSet::new();
        let mut buf = vec![0; UDP_QUERY_BYTES];
        loop {
            while tasks.try_join_next().is_some() {}
            let (length, source) = match socket.recv_from(&mut buf).await {
                Ok(received) => received,
                Err(error) => {
                    debug!(%error, "receiving a query failed");
                    sleep(ERROR_PAUSE).await;
                    continue;
                }
            };
            let users = &self.limits.users;
            let is_wanted = may_ask(source, own)
                && owner::is_allowed(users, Transport::Udp, source, own.unwrap_or(source)).await;
            if !is_wanted {
                debug!(%source, "a query of somebody else");
                continue;
            }
            let message = buf.get(..length).unwrap_or_default();
            let at_once = match read(message) {
                Incoming::Ignore => continue,
                Incoming::Answer(answer) => answer,
                Incoming::Ask(request) => match Arc::clone(&self.queries).try_acquire_owned() {
                    Err(_) => request.fail(ResolveError::Overloaded),
                    Ok(permit) => {
                        let (service, socket) = (self.clone(), Arc::clone(&socket));
                        let message = message.to_vec();
                        tasks.spawn(async move {
                            let answer = service.answer(&request, message, permit).await;
                            send(&socket, &request.fit_datagram(answer), source).await;
                        });
                        continue;
                    }
                },
            };
            send(&socket, &at_once, source).await;
        }
    }

    /// The answer to a question, here or from the resolver.
    async fn answer(&self, request: &Request, message: Vec<u8>, permit: OwnedSemaphorePermit) -> Vec<u8> {
        let _permit = permit;
        if let Some(answer) = local::answer(request) {
            return answer;
        }
        match timeout(self.limits.patience, self.resolver.query(message)).await {
            Ok(Ok(answer)) if request.is_answered_by(&answer) => answer,
            Ok(Ok(_)) => request.fail(ResolveError::Failed),
            Ok(Err(error)) => {
                debug!(%error, "a query has no answer");
                request.fail(error)
            }
            Err(_elapsed) => request.fail(ResolveError::TimedOut),
        }
    }

    async fn serve_connections(&self, listener: TcpListener) {
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            match listener.accept().await {
                Ok((stream, peer)) if tasks.len() < self.limits.connections => {
                    let service = self.clone();
                    tasks.spawn(async move { service.attend(stream, peer).await });
                }
                Ok((_, peer)) => debug!(%peer, "too many connections to the name service, closed"),
                Err(error) => {
                    debug!(%error, "accepting a connection to the name service failed");
                    sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    async fn attend(&self, stream: TcpStream, peer: SocketAddr) {
        let users = &self.limits.users;
        let own = stream.local_addr().unwrap_or(peer);
        if !owner::is_allowed(users, Transport::Tcp, peer, own).await {
            debug!(%peer, "a connection of another user to the name service, closed");
            return;
        }
        if let Err(error) = self.serve_connection(stream).await {
            debug!(%peer, %error, "a connection of the name service ended");
        }
    }

    /// Answers queries in the order in which their answers come (RFC 7766 §7).
    async fn serve_connection(&self, stream: TcpStream) -> io::Result<()> {
        let (mut reader, mut writer) = stream.into_split();
        let mut tasks: JoinSet<Vec<u8>> = JoinSet::new();
        let mut received = Vec::new();
        let mut is_open = true;
        while is_open || !tasks.is_empty() {
            while tasks.len() < self.limits.queries_each
                && let Some(message) = take_message(&mut received)
            {
                self.start(&mut tasks, message);
            }
            let may_read = is_open && tasks.len() < self.limits.queries_each;
            let is_idle = tasks.is_empty();
            tokio::select! {
                Some(answer) = tasks.join_next() => {
                    let answer = answer.map_err(io::Error::other)?;
                    let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
                    if !answer.is_empty() {
                        let framed = [&length.to_be_bytes()[..], &answer].concat();
                        timeout(self.limits.idle, writer.write_all(&framed)).await??;
                    }
                }
                read = reader.read_buf(&mut received), if may_read => is_open = read? > 0,
                () = sleep(self.limits.idle), if is_idle => return Ok(()),
            }
        }
        Ok(())
    }

    /// Starts on a query; what must not be answered gets the empty answer.
    fn start(&self, tasks: &mut JoinSet<Vec<u8>>, message: Vec<u8>) {
        let service = self.clone();
        tasks.spawn(async move {
            match read(&message) {
                Incoming::Ignore => Vec::new(),
                Incoming::Answer(answer) => answer,
                Incoming::Ask(request) => match Arc::clone(&service.queries).try_acquire_owned() {
                    Ok(permit) => service.answer(&request, message, permit).await,
                    Err(_) => request.fail(ResolveError::Overloaded),
                },
            }
        });
    }
}

/// Takes the first whole message, which has its length in front.
fn take_message(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = received.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let message = rest.get(..length)?.to_vec();
    received.drain(..length + 2);
    Some(message)
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    // A client that is gone asks for nothing more.
    if let Err(error) = socket.send_to(answer, to).await {
        debug!(%error, "sending an answer failed");
    }
}

#[cfg(test)]
mod tests;
