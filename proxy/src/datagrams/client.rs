//! Whose datagrams an association takes: those of one port of the address that its control connection came from.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tracing::debug;

use crate::owner::{self, Transport, Users};

/// Time after which the owner of the client's port is looked at again.
const RECHECK: Duration = Duration::from_secs(1);

/// The client of an association.
#[derive(Debug)]
pub(super) struct Client {
    ip: IpAddr,
    /// The association's own address.
    ours: SocketAddr,
    /// Known from the first valid datagram on, and then for good.
    address: OnceLock<SocketAddr>,
    /// Whose programs may be the client.
    users: Users,
    /// When that was last looked at.
    checked: Mutex<Option<Instant>>,
}

impl Client {
    /// A client at `ip`, which will send to `ours`.
    pub(super) fn new(ip: IpAddr, ours: SocketAddr, users: Users) -> Self {
        Self {
            ip: ip.to_canonical(),
            ours,
            address: OnceLock::new(),
            users,
            checked: Mutex::default(),
        }
    }

    /// Where it is, once it has been heard of.
    pub(super) fn known(&self) -> Option<SocketAddr> {
        self.address.get().copied()
    }

    /// Whether a datagram of this source is worth a look.
    pub(super) fn may_be(&self, source: SocketAddr) -> bool {
        match self.address.get() {
            Some(address) => *address == source,
            None => source.ip().to_canonical() == self.ip && source != self.ours,
        }
    }

    /// Whether a valid datagram of this source, which [`Client::may_be`] has let through, is the client's. The first
    /// one decides for those that follow.
    pub(super) async fn is(&self, source: SocketAddr) -> bool {
        if self.address.get().is_some_and(|address| *address != source) {
            return false;
        }
        if self.is_fresh() {
            return true;
        }
        if !is_acceptable_source(&self.users, source, self.ours).await {
            debug!(%source, "datagram of somebody else's port");
            return false;
        }
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        *self.address.get_or_init(|| source) == source
    }

    /// Whether the socket behind the port was looked at just now: a port that its client has closed may be anybody's.
    fn is_fresh(&self) -> bool {
        let checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        checked.is_some_and(|checked| checked.elapsed() < RECHECK)
    }
}

/// Whether the socket at `peer`, which sends to our port `ours`, may be the client. Asked once a valid datagram has
/// come from the right address, and about once a second while there are more.
async fn is_acceptable_source(users: &Users, peer: SocketAddr, ours: SocketAddr) -> bool {
    // A port cannot be answered, or the answer would come back to ourselves.
    peer.port() != 0 && peer != ours && owner::is_allowed(users, Transport::Udp, peer, ours).await
}
