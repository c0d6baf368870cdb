//! Local ends: where they are, opening them, and whose programs they serve.

use std::{fmt, io, net::SocketAddr, path::PathBuf};

use nix::unistd::Uid;
use tokio::net::{TcpListener, UdpSocket, UnixListener};
use tunless_proxy as proxy;

use super::unix::{self, SocketFile, UnixSocketError};

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Access {
    /// Every user of this host may.
    pub other_users: bool,
    /// Clients have to know a password, which is a check of its own.
    pub password: bool,
}

impl Access {
    /// Whose programs are served at `place`.
    pub(super) fn users(self, place: &Place) -> proxy::Users {
        let own = proxy::Users::Only(Uid::effective().as_raw());
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
    /// Opens a listener. Needs a tokio runtime.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub async fn new(place: &Place, access: Access) -> Result<Self, ListenError> {
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
    pub async fn new(place: &Place, access: Access) -> Result<Self, ListenError> {
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
        let own = proxy::Users::Only(Uid::effective().as_raw());
        let everybody = proxy::Users::Everybody;
        let users = |place: &str, password, other_users| {
            let place = match place.parse() {
                Ok(address) => Place::Net(address),
                Err(_) => Place::Unix(place.into()),
            };
            Access {
                other_users,
                password,
            }
            .users(&place)
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
