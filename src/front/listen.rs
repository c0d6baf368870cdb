//! Local ends: where they are, opening them, and whose programs they serve.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use nix::unistd::Uid;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tunless_proxy as proxy;

use super::unix::{self, SocketFile, UnixSocketError};

/// Usual port of the proxy, the one registered for SOCKS.
pub const DEFAULT_PORT: u16 = 1080;
/// Last port that is tried from there.
const LAST_PORT: u16 = DEFAULT_PORT + 99;

/// Where a local end is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A TCP address, or one of UDP where a forward says so.
    Net(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Net(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Place {
    /// Tells whether other hosts may reach it.
    pub fn is_exposed(&self) -> bool {
        match self {
            Self::Net(address) => !address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => false,
        }
    }

    /// The address, if it has one.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Net(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

/// Who gets in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Every user of this host may.
    pub other_users: bool,
    /// Clients have to know a password, which is a check of its own.
    pub password: bool,
    /// Who may, in place of the process's own user.
    pub listed: Option<proxy::UserList>,
}

impl Access {
    /// Whose programs are served at `place`.
    pub(super) fn users(&self, place: &Place) -> proxy::Users {
        let own = match &self.listed {
            Some(list) => proxy::Users::Listed(list.clone()),
            None => proxy::Users::Only(Uid::effective().as_raw()),
        };
        let is_told_apart = match place {
            Place::Unix(_) => true,
            // Nobody can tell whose a client on another host is.
            Place::Net(_) => !place.is_exposed() && !self.password,
        };
        if is_told_apart && !self.other_users {
            own
        } else {
            proxy::Users::Everybody
        }
    }
}

/// Why a local end cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// TCP or UDP.
    #[error("cannot listen on {address}; choose another address or port")]
    Net {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A Unix socket.
    #[error(transparent)]
    Unix(#[from] UnixSocketError),
    /// All ports for a proxy that nobody named are taken.
    #[error("127.0.0.1 has no free port from {DEFAULT_PORT} to {LAST_PORT}; choose one with `-D PORT`")]
    NoPort,
    /// What would need a Unix socket for datagrams.
    #[error("{0}: datagrams cannot be forwarded from a Unix socket; give `[ADDR:]PORT`")]
    Datagrams(PathBuf),
}

impl ListenError {
    /// Tells whether somebody else has that address already.
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Net { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// An open listener.
#[derive(Debug)]
pub struct Open {
    /// Where it is; a port that was left to the system is known.
    pub place: Place,
    pub(super) listener: proxy::Listener,
    pub(super) users: proxy::Users,
    /// Goes when the listener does.
    pub(super) file: Option<SocketFile>,
}

impl Open {
    /// Opens the proxy's listener at the first free port from the usual one on.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn default_proxy(access: &Access) -> Result<Self, ListenError> {
        for port in DEFAULT_PORT..=LAST_PORT {
            let place = Place::Net(([127, 0, 0, 1], port).into());
            match Self::new(&place, access).await {
                Err(error) if error.is_taken() => {}
                opened => return opened,
            }
        }
        Err(ListenError::NoPort)
    }

    /// Opens a listener. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn new(place: &Place, access: &Access) -> Result<Self, ListenError> {
        let users = access.users(place);
        match place {
            Place::Net(address) => {
                let failed = |source| ListenError::Net {
                    address: *address,
                    source,
                };
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                Ok(Self {
                    place: Place::Net(listener.local_addr().map_err(failed)?),
                    listener: listener.into(),
                    users,
                    file: None,
                })
            }
            Place::Unix(path) => {
                let (listener, file) = unix::listen(path, access.other_users)?;
                let listener = UnixListener::from_std(listener).map_err(|source| UnixSocketError::Io {
                    path: path.clone(),
                    source,
                })?;
                Ok(Self {
                    place: place.clone(),
                    listener: listener.into(),
                    users,
                    file: Some(file),
                })
            }
        }
    }
}

/// An open socket for datagrams.
#[derive(Debug)]
pub struct OpenDatagrams {
    /// Where it is; a port that was left to the system is known.
    pub place: Place,
    pub(super) socket: UdpSocket,
    pub(super) users: proxy::Users,
}

impl OpenDatagrams {
    /// Opens a socket. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn new(place: &Place, access: &Access) -> Result<Self, ListenError> {
        let address = match place {
            Place::Net(address) => *address,
            Place::Unix(path) => return Err(ListenError::Datagrams(path.clone())),
        };
        let failed = |source| ListenError::Net { address, source };
        let socket = UdpSocket::bind(address).await.map_err(failed)?;
        Ok(Self {
            place: Place::Net(socket.local_addr().map_err(failed)?),
            socket,
            users: access.users(place),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_kept_out_where_they_can_be_told() {
        let (own, everybody) = (Some(Uid::effective().as_raw()), None);
        let users = |place: &str, password, other_users| {
            let place = match place.parse() {
                Ok(address) => Place::Net(address),
                Err(_) => Place::Unix(place.into()),
            };
            let access = Access {
                other_users,
                password,
                listed: None,
            };
            match access.users(&place) {
                proxy::Users::Only(uid) => Some(uid),
                proxy::Users::Everybody => None,
                proxy::Users::Listed(_) => panic!("there is no list"),
            }
        };
        for (place, password, others, wanted) in [
            ("127.0.0.1:1080", false, false, own),
            ("[::1]:1080", false, false, own),
            ("[::ffff:127.0.0.1]:1080", false, false, own),
            ("/run/socket", false, false, own),
            ("/run/socket", true, false, own),
            ("127.0.0.1:1080", true, false, everybody),
            ("0.0.0.0:1080", false, false, everybody),
            ("127.0.0.1:1080", false, true, everybody),
            ("/run/socket", false, true, everybody),
        ] {
            assert_eq!(
                users(place, password, others),
                wanted,
                "{place} {password} {others}"
            );
        }
    }
}
