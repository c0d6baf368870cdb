//! Whose program a local client is: the kernel is asked for the owner of the client's own socket.
//!
//! A port on the loopback is open to every user of the host, and what is behind it is one user's VPN. Only that user
//! and root (who could become that user anyway) are served. The kernel's answer is trusted, nothing else is: where
//! it cannot be had, nobody is served.
//!
//! A socket that its program has closed has no owner any more and is reported with uid 0 (as are the remains in
//! `TIME_WAIT`), so that an answer counts only with an inode, which such sockets have lost.

mod diag;
mod table;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// The user who may do everything.
const ROOT: u32 = 0;
/// The map of a user namespace that knows all users, as the host's own does (`user_namespaces(7)`).
const ALL_USERS: [&str; 3] = ["0", "0", "4294967295"];

/// Tables read at a time: a crowd of clients waits, in place of a thread for each.
static TABLE_READS: Semaphore = Semaphore::const_new(2);

/// Who may use a listener.
#[derive(Clone, Debug, Default)]
pub enum Users {
    /// Whoever can connect to it.
    #[default]
    Everybody,
    /// Programs of this user, by uid, and of root.
    Only(u32),
    /// Programs of those on a list that may change, and of root.
    Listed(UserList),
}

impl Users {
    /// Tells whether nobody has to be asked for.
    pub(crate) fn is_everybody(&self) -> bool {
        match self {
            Self::Everybody => true,
            Self::Only(_) => false,
            Self::Listed(list) => list.read(|users| users.is_none()),
        }
    }

    /// Tells whether this user may.
    pub(crate) fn contain(&self, uid: u32) -> bool {
        let is_known = |known: bool| uid == ROOT || (known && stand_in() != Some(uid));
        match self {
            Self::Everybody => true,
            Self::Only(own) => is_known(uid == *own),
            Self::Listed(list) => list.read(|users| users.is_none_or(|users| is_known(users.contains(&uid)))),
        }
    }
}

/// Users who may use a listener, changed while it serves; clones are the same list. New ones have nobody on them.
#[derive(Clone, Debug)]
pub struct UserList(Arc<RwLock<Option<BTreeSet<u32>>>>);

impl Default for UserList {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Some(BTreeSet::new()))))
    }
}

impl UserList {
    /// Puts others on the list, by uid; `None` is everybody. What is open already goes on.
    pub fn set(&self, users: Option<BTreeSet<u32>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = users;
    }

    fn read<T>(&self, look: impl FnOnce(Option<&BTreeSet<u32>>) -> T) -> T {
        look(self.0.read().unwrap_or_else(PoisonError::into_inner).as_ref())
    }
}

/// What a client came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
}

/// A local client as both ends call it, IPv4 addresses as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Client {
    transport: Transport,
    /// The client's own address.
    own: SocketAddr,
    /// The address that it talks to.
    to: SocketAddr,
}

/// Why the kernel could not be asked.
#[derive(Debug, thiserror::Error)]
enum LookupError {
    #[error("the kernel's socket diagnosis cannot be asked")]
    Diagnosis(#[source] std::io::Error),
    #[error("the kernel's socket diagnosis answered something else than asked for")]
    Answer,
    #[error("the table of sockets in /proc/net cannot be read")]
    Table(#[source] std::io::Error),
}

/// Tells whether the program behind `client`, which talks to `ours` on this host, may.
///
/// A TCP client is told by both addresses. A datagram can be sent with any of the host's addresses, and a port can be
/// shared, so that there every socket on the client's port must be allowed.
pub(crate) async fn is_allowed(
    users: &Users,
    transport: Transport,
    client: SocketAddr,
    ours: SocketAddr,
) -> bool {
    if users.is_everybody() {
        return true;
    }
    match owners(Client::new(transport, client, ours)).await {
        Ok(owners) => !owners.is_empty() && owners.into_iter().all(|uid| users.contain(uid)),
        Err(error) => {
            static WARNED: AtomicBool = AtomicBool::new(false);
            if WARNED.swap(true, Ordering::Relaxed) {
                debug!(%error, "cannot tell whose client it is");
            } else {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "local clients are refused, since it cannot be told whose they are; \
                     `--allow-other-users` serves every user of this host"
                );
            }
            false
        }
    }
}

/// Tells whether the TCP client on this host has closed its socket for good. "Cannot tell" is no.
pub(crate) async fn is_closed(client: SocketAddr, ours: SocketAddr) -> bool {
    let owners = owners(Client::new(Transport::Tcp, client, ours)).await;
    owners.is_ok_and(|owners| owners.is_empty())
}

/// The user of a TCP client on this host; `None` where that cannot be told.
pub(crate) async fn user_of(client: SocketAddr, ours: SocketAddr) -> Option<u32> {
    let owners = owners(Client::new(Transport::Tcp, client, ours)).await.ok()?;
    let uid = *owners.first()?;
    owners.iter().all(|other| *other == uid).then_some(uid)
}

/// The users of the sockets in question; none where the client is gone.
async fn owners(client: Client) -> Result<Vec<u32>, LookupError> {
    match diag::owners(client) {
        Ok(owners) => Ok(owners),
        Err(error) => {
            tracing::trace!(%error, "reading the table of sockets instead");
            // Never closed, so that there is always a permit in the end.
            let _permit = TABLE_READS.acquire().await;
            // The table may be long, and the runtime has other things to do.
            let read = tokio::task::spawn_blocking(move || table::owners(client)).await;
            read.unwrap_or_else(|panic| Err(LookupError::Table(panic.into())))
        }
    }
}

impl Client {
    fn new(transport: Transport, client: SocketAddr, ours: SocketAddr) -> Self {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        Self {
            transport,
            own: canonical(client),
            to: canonical(ours),
        }
    }

    /// Tells whether a socket with these ends is the client's.
    fn is(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let found = Self::new(self.transport, local, remote);
        match self.transport {
            Transport::Tcp => found == *self,
            Transport::Udp => local.port() == self.own.port(),
        }
    }
}

/// The uid that stands for all users whom our user namespace does not know, where there are such: it may be anybody.
fn stand_in() -> Option<u32> {
    static STAND_IN: OnceLock<Option<u32>> = OnceLock::new();
    *STAND_IN.get_or_init(|| {
        let map = fs::read_to_string("/proc/self/uid_map").ok()?;
        if map.split_whitespace().eq(ALL_USERS) {
            return None;
        }
        let uid = fs::read_to_string("/proc/sys/kernel/overflowuid").ok()?;
        uid.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests;
