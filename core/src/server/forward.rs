//! Inner packets: from clients to the device and to each other, and from the device to clients.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::{
    data,
    server::{endpoint::Endpoint, event::GoneReason, peer::Peer, pool::Lease},
    session::{DataError, Opened, SessionError},
    tunnel::{PacketSink, Sent, Transmit, WireSink},
    wire::{Inner, PeerId},
};

/// Packets between clients that may wait to be sent.
const MAX_RELAYED: usize = 256;

/// Which client has which inner address. Looked up for each packet, never iterated.
#[derive(Debug, Default)]
pub(super) struct InnerRoutes {
    slots: HashMap<IpAddr, usize>,
}

impl InnerRoutes {
    pub(super) fn insert(&mut self, lease: Lease, slot: usize) {
        self.slots.insert(lease.v4.into(), slot);
        if let Some(v6) = lease.v6 {
            self.slots.insert(v6.into(), slot);
        }
    }

    pub(super) fn remove(&mut self, lease: Lease) {
        self.slots.remove(&lease.v4.into());
        if let Some(v6) = lease.v6 {
            self.slots.remove(&v6.into());
        }
    }

    fn find(&self, address: IpAddr) -> Option<usize> {
        self.slots.get(&address).copied()
    }
}

/// Where a client's packet goes.
#[derive(Clone, Copy)]
enum Way {
    Device,
    Client(usize),
    Nowhere,
}

impl Endpoint {
    /// Opens a client's data packet; what may pass goes to the device, or to another client.
    pub(super) fn handle_data(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &mut [u8],
        sink: &mut dyn PacketSink,
    ) {
        let by_id = data::peer_id(datagram).filter(|id| *id != PeerId::DISABLED);
        let slot = match by_id {
            Some(id) => usize::try_from(id.value()).ok(),
            None => self.slots_at(from).first().copied(),
        };
        let Some(peer) = slot
            .and_then(|slot| self.peers.get_mut(slot))
            .and_then(|peer| peer.as_deref_mut())
        else {
            self.dropped_datagrams += 1;
            return;
        };
        let slot = slot.unwrap_or_default();
        let floats = peer.address != from;
        if floats && self.stream {
            self.dropped_datagrams += 1;
            return;
        }
        let owns = |peer: &Peer, source| peer.owns(source);
        match peer.session.open(now, datagram) {
            Ok(Opened::Packet(inner)) => {
                let header = Inner::decode(inner)
                    .ok()
                    .filter(|header| owns(peer, header.source));
                match header {
                    Some(header) => {
                        let way = self.way(slot, header.destination);
                        self.pass(now, way, inner, sink);
                    }
                    None => peer.dropped_packets += 1,
                }
            }
            Ok(Opened::InBand) => {}
            Err(DataError::NoKey) => return,
            Err(error) => {
                tracing::trace!(%error, "data packet dropped");
                if self.stream {
                    self.remove(slot, GoneReason::Failed(SessionError::DataOverStream(error)));
                }
                return;
            }
        }
        if floats {
            self.move_to(slot, from);
        }
        // Only what a data packet can bring about is looked at: an in-band exit, a renewal that is due.
        if self.peer(slot).is_some_and(|peer| peer.session.has_events()) {
            self.drain_peer(now, slot);
        }
    }

    fn way(&self, from: usize, destination: IpAddr) -> Way {
        match self.by_inner.find(destination) {
            Some(to) if to != from && self.config.client_to_client => Way::Client(to),
            Some(_) => Way::Nowhere,
            None => Way::Device,
        }
    }

    fn pass(&mut self, now: Instant, way: Way, inner: &mut [u8], sink: &mut dyn PacketSink) {
        match way {
            Way::Device => sink.deliver(inner),
            Way::Client(slot) => {
                let ready = |peer: &&mut Peer| peer.is_in() && peer.session.has_keys();
                let Some(peer) = self.peer_mut(slot).filter(ready) else {
                    self.dropped_datagrams += 1;
                    return;
                };
                let mut bytes = vec![0; inner.len() + peer.session.overhead_bytes()];
                let to = peer.address;
                if let Ok(len) = peer.session.seal(now, inner, &mut bytes) {
                    bytes.truncate(len);
                    let events = peer.session.has_events();
                    self.relay(Transmit { to, bytes });
                    if events {
                        self.drain_peer(now, slot);
                    }
                }
            }
            Way::Nowhere => self.dropped_datagrams += 1,
        }
    }

    /// Queues a datagram that was sealed outside the batch; drops it when too many wait.
    pub(super) fn relay(&mut self, transmit: Transmit) {
        if self.relayed.len() < MAX_RELAYED {
            self.relayed.push_back(transmit);
        }
    }

    /// Seals a packet of the device for the client that has its destination address.
    pub(super) fn forward_in(&mut self, now: Instant, packet: &mut [u8], wire: &mut dyn WireSink) -> Sent {
        let Some(slot) = Inner::decode(packet)
            .ok()
            .and_then(|header| self.by_inner.find(header.destination))
        else {
            return Sent::Dropped;
        };
        let Some(peer) = self
            .peer_mut(slot)
            .filter(|peer| peer.is_in() && peer.session.has_keys())
        else {
            return Sent::Dropped;
        };
        let Some(out) = wire.reserve(peer.address, packet.len() + peer.session.overhead_bytes()) else {
            return Sent::Full;
        };
        match peer.session.seal(now, packet, out) {
            Ok(len) => {
                wire.commit(len);
                if peer.session.has_events() {
                    self.drain_peer(now, slot);
                }
                Sent::Sealed
            }
            Err(_no_key) => {
                peer.dropped_packets += 1;
                Sent::Dropped
            }
        }
    }
}
