//! Ports inside the tunnel that lead to the host: what the far side opens is dialled by this host and joined.
//!
//! The one place that dials outside the tunnel, since the user asked for exactly these destinations; names in them
//! are the host's resolver's business. Nothing that comes through the tunnel chooses where a dial goes.

use std::{fmt, io, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tunless_netstack::{Flow, FlowError, InnerListener, LocalSocket, StackHandle};

use crate::driver::shutdown::PROXY_GRACE;

/// Connections of all forwards together; more are reset.
const MAX_CONNECTIONS: usize = 256;
/// Longest time for a dial; the stack keeps a flow without a socket for longer.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// A port inside the tunnel and where it leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The inner port; 0 for any.
    pub port: u16,
    /// What is dialled.
    pub to: Destination,
}

/// What the host dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// A name or an address, and a port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Why a text is no forward.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadForward {
    /// Not the form at all.
    #[error("{0:?} is not a forward; write PORT:HOST:PORT, PORT:[ADDRESS]:PORT or PORT:/PATH")]
    Form(String),
    /// Something that is no port.
    #[error("{0:?} is not a port")]
    Port(String),
}

/// An inner port that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on inner port {port}; give each -R a port of its own, or 0 for any")]
pub struct OpenError {
    port: u16,
    #[source]
    source: FlowError,
}

impl FromStr for Forward {
    type Err = BadForward;

    fn from_str(text: &str) -> Result<Self, BadForward> {
        let bad_form = || BadForward::Form(text.to_owned());
        let port = |text: &str| text.parse().map_err(|_| BadForward::Port(text.to_owned()));
        let (inner, to) = text.split_once(':').ok_or_else(bad_form)?;
        let inner = port(inner)?;
        if to.starts_with('/') {
            return Ok(Self {
                port: inner,
                to: Destination::Unix(to.into()),
            });
        }
        let (host, outer) = to.rsplit_once(':').ok_or_else(bad_form)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let literal = rest.strip_suffix(']').ok_or_else(bad_form)?;
                let address: std::net::Ipv6Addr = literal.parse().map_err(|_| bad_form())?;
                address.to_string()
            }
            None if host.is_empty() || host.contains([':', '/']) => return Err(bad_form()),
            None => host.to_owned(),
        };
        match port(outer)? {
            0 => Err(BadForward::Port(outer.to_owned())),
            outer => Ok(Self {
                port: inner,
                to: Destination::Tcp(host, outer),
            }),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A forward whose port is open.
#[derive(Debug)]
pub struct Opened {
    listener: InnerListener,
    to: Destination,
}

impl Opened {
    /// The inner port.
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// Where it leads.
    pub fn to(&self) -> &Destination {
        &self.to
    }
}

/// Opens the inner ports, all or none.
///
/// # Errors
/// A port that is in use or too many of them.
pub async fn open(stack: &StackHandle, forwards: &[Forward]) -> Result<Vec<Opened>, OpenError> {
    let mut opened = Vec::with_capacity(forwards.len());
    for Forward { port, to } in forwards {
        let listener = stack.listen(*port).await;
        let listener = listener.map_err(|source| OpenError { port: *port, source })?;
        let to = to.clone();
        opened.push(Opened { listener, to });
    }
    Ok(opened)
}

/// What all forwards share.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_CONNECTIONS))
}

/// Serves one forward until the shutdown; then open connections have a moment to end.
pub(super) async fn serve(opened: Opened, room: Arc<Semaphore>, shutdown: CancellationToken) {
    let Opened { mut listener, to } = opened;
    let mut running = JoinSet::new();
    loop {
        // Each branch is cancel-safe: none takes anything unless it is the one that is done.
        tokio::select! {
            () = shutdown.cancelled() => break,
            flow = listener.accept() => {
                let Some(flow) = flow else { break };
                // Without room the flow is dropped, which resets it.
                if let Ok(permit) = Arc::clone(&room).try_acquire_owned() {
                    let to = to.clone();
                    running.spawn(async move {
                        join(flow, &to).await;
                        drop(permit);
                    });
                } else {
                    tracing::debug!(peer = %flow.remote, "too many forwarded connections");
                }
            }
            Some(_) = running.join_next(), if !running.is_empty() => {}
        }
    }
    drop(listener);
    let rest = async { while running.join_next().await.is_some() {} };
    if timeout(PROXY_GRACE, rest).await.is_err() {
        running.shutdown().await;
    }
}

/// Dials and carries; a dial that fails resets the flow.
async fn join(flow: Flow, to: &Destination) {
    let dialled = match timeout(DIAL_TIMEOUT, dial(to)).await {
        Ok(dialled) => dialled,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    };
    let peer = flow.remote;
    match dialled {
        Ok(socket) => {
            let end = flow.relay(socket, Vec::new()).await;
            tracing::debug!(%peer, %to, up = end.up_bytes, down = end.down_bytes, reason = ?end.reason, "forwarded");
        }
        Err(error) => tracing::debug!(%peer, %to, %error, "cannot forward"),
    }
}

async fn dial(to: &Destination) -> io::Result<LocalSocket> {
    match to {
        Destination::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.into_std().map(LocalSocket::Tcp)
        }
        Destination::Unix(path) => {
            let stream = UnixStream::connect(path).await?;
            stream.into_std().map(LocalSocket::Unix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_and_shown() {
        for (text, port, shown) in [
            ("8080:127.0.0.1:80", 8080, "127.0.0.1:80"),
            ("0:localhost:22", 0, "localhost:22"),
            ("5:[::1]:80", 5, "[::1]:80"),
            ("5:/run/a:b.sock", 5, "/run/a:b.sock"),
        ] {
            let forward: Forward = text.parse().unwrap();
            assert_eq!(
                (forward.port, forward.to.to_string().as_str()),
                (port, shown),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_forward_is_refused() {
        for text in [
            "",
            "8080",
            "8080:80",
            "8080:host",
            "x:host:80",
            "8080::80",
            "8080:::1:80",
            "8080:[::1:80",
            "8080:[host]:80",
            "8080:host:0",
            "8080:host:70000",
            "70000:host:80",
            "8080:a/b:80",
            "/path",
        ] {
            assert!(text.parse::<Forward>().is_err(), "{text}");
        }
    }
}
