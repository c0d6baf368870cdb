//! One client, from its first packet to its last.

use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::{
    server::{
        event::{ClientId, GoneReason, KeyNumber},
        plan::ClientCaps,
        pool::Lease,
    },
    session::Session,
    tls::PeerIdentity,
    wire::KeyId,
};

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) cid: ClientId,
    pub(super) address: SocketAddr,
    pub(super) session: Session,
    pub(super) stage: Stage,
    /// Which key exchange awaits a verdict, if one does.
    pub(super) awaiting: Option<Awaiting>,
    pub(super) next_key: KeyNumber,
    /// What must stay the same through all renegotiations, once it is in.
    pub(super) lock: Option<IdentityLock>,
    pub(super) caps: ClientCaps,
    /// The client asked for its options (or announced that it takes them unasked).
    pub(super) push_wanted: bool,
    pub(super) last_push: Option<Instant>,
    pub(super) dropped_packets: u64,
    /// The deadline under which this peer stands in the endpoint's timer table.
    pub(super) timer: Option<Instant>,
}

/// A verdict that is being awaited.
#[derive(Debug, Clone, Copy)]
pub(super) struct Awaiting {
    pub(super) kid: KeyNumber,
    pub(super) key_id: KeyId,
    /// Without a verdict until then it is refused.
    pub(super) until: Instant,
}

/// How far a client has come.
#[derive(Debug)]
pub(super) enum Stage {
    /// Key exchange and verdict are not complete.
    Joining,
    /// Let in: has addresses, options wait to be sent or were sent.
    In(Box<Inside>),
    /// Refused or leaving; the control channel still works until then.
    Closing {
        /// When it is forgotten.
        until: Instant,
        /// What it still holds.
        lease: Option<Lease>,
        /// Why it goes.
        reason: Option<GoneReason>,
    },
}

/// A client that is in.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) lease: Lease,
    /// The texts that carry its options.
    pub(super) replies: Vec<String>,
    pub(super) announced: bool,
    pub(super) cipher: crate::data::Cipher,
}

/// Who a client is: its renegotiations must say the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IdentityLock {
    pub(super) name: String,
    pub(super) username: Option<String>,
    pub(super) chain_digest: Option<[u8; 32]>,
}

impl Peer {
    pub(super) fn new(cid: ClientId, address: SocketAddr, session: Session) -> Self {
        Self {
            cid,
            address,
            session,
            stage: Stage::Joining,
            awaiting: None,
            next_key: KeyNumber(0),
            lock: None,
            caps: ClientCaps::default(),
            push_wanted: false,
            last_push: None,
            dropped_packets: 0,
            timer: None,
        }
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.lock.as_ref().map(|lock| lock.name.as_str())
    }

    pub(super) fn lease(&self) -> Option<Lease> {
        match &self.stage {
            Stage::Joining => None,
            Stage::In(inside) => Some(inside.lease),
            Stage::Closing { lease, .. } => *lease,
        }
    }

    /// Whether inner packets pass: only while it is in.
    pub(super) fn is_in(&self) -> bool {
        matches!(self.stage, Stage::In(_))
    }

    /// Whether `source` is an address that was leased to this client.
    pub(super) fn owns(&self, source: IpAddr) -> bool {
        let Stage::In(inside) = &self.stage else {
            return false;
        };
        match source {
            IpAddr::V4(v4) => inside.lease.v4 == v4,
            IpAddr::V6(v6) => inside.lease.v6 == Some(v6),
        }
    }

    /// Earliest instant at which this client needs attention.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let session = self.session.poll_timeout().map(|(at, _)| at);
        let stage = match self.stage {
            Stage::Closing { until, .. } => Some(until),
            Stage::Joining | Stage::In(_) => None,
        };
        let verdict = self.awaiting.map(|awaiting| awaiting.until);
        [session, stage, verdict].into_iter().flatten().min()
    }
}

impl IdentityLock {
    pub(super) fn of(
        certificate: Option<&PeerIdentity>,
        username: Option<&str>,
        username_is_name: bool,
    ) -> Self {
        let common_name = certificate.and_then(|identity| identity.common_name.clone());
        let name = match (username_is_name, username, common_name) {
            (true, Some(user), _) | (false, Some(user), None) => user.to_owned(),
            (_, _, Some(common_name)) => common_name,
            (_, None, None) => String::new(),
        };
        Self {
            name: name
                .chars()
                .map(|c| if c.is_control() { '_' } else { c })
                .collect(),
            username: username.map(str::to_owned),
            chain_digest: certificate.map(|identity| identity.chain_digest),
        }
    }
}
