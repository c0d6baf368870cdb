//! What connections come from, TCP or a Unix socket, and who is at the other end.
//!
//! The sockets come open from the caller. Whether a client may use them is decided here, once, before anything that
//! it sent is read.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tracing::debug;

use crate::incoming::Local;
use crate::owner::{self, Transport, Users};

/// A socket that accepts connections.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket. Its file is the caller's to remove.
    Unix(UnixListener),
}

impl From<TcpListener> for Listener {
    fn from(listener: TcpListener) -> Self {
        Self::Tcp(listener)
    }
}

impl From<UnixListener> for Listener {
    fn from(listener: UnixListener) -> Self {
        Self::Unix(listener)
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Somebody with an address, who reached us at `ours`.
    Address { client: SocketAddr, ours: SocketAddr },
    /// A user of this host; `None` where the system does not say which.
    User { uid: Option<u32> },
}

impl Peer {
    /// Tells whether this one may use the listener.
    pub(crate) async fn is_allowed(self, users: &Users) -> bool {
        match self {
            Self::Address { client, ours } => owner::is_allowed(users, Transport::Tcp, client, ours).await,
            Self::User { uid } => users.is_everybody() || uid.is_some_and(|uid| users.contain(uid)),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { client, .. } => write!(f, "{client}"),
            Self::User { uid: Some(uid) } => write!(f, "uid {uid}"),
            Self::User { uid: None } => f.write_str("an unknown user"),
        }
    }
}

/// What connections come from.
pub(crate) trait Accept: Send {
    /// A connection.
    type Stream: Local;

    /// Waits for the next one. Dropping the future loses none.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, client) = self.accept().await?;
        // Fails when the client is gone already, which reading will show.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%client, %error, "cannot turn off delays");
        }
        let ours = stream.local_addr()?;
        Ok((stream, Peer::Address { client, ours }))
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _unnamed) = self.accept().await?;
        let uid = stream.peer_cred().map(|user| user.uid());
        if let Err(error) = &uid {
            debug!(%error, "cannot tell whose client it is");
        }
        Ok((stream, Peer::User { uid: uid.ok() }))
    }
}
