//! smoltcp's device for one packet at a time: what comes in is borrowed, what goes out lands in a slot.

use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Room for one packet.
#[derive(Debug)]
pub(crate) struct Slot {
    bytes: Box<[u8]>,
    len: usize,
}

impl Slot {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        Self {
            bytes: vec![0; capacity_bytes].into_boxed_slice(),
            len: 0,
        }
    }

    pub(crate) fn packet(&mut self) -> Option<&mut [u8]> {
        if self.len == 0 {
            return None;
        }
        self.bytes.get_mut(..self.len)
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }
}

/// The device.
#[derive(Debug)]
pub(crate) struct OnePacket<'a> {
    pub(crate) incoming: Option<&'a [u8]>,
    pub(crate) outgoing: &'a mut Slot,
    pub(crate) mtu_bytes: usize,
}

/// A packet that came in.
#[derive(Debug)]
pub(crate) struct Incoming<'a>(&'a [u8]);

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Leave to write one packet.
#[derive(Debug)]
pub(crate) struct Outgoing<'a>(&'a mut Slot);

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        if let Some(room) = self.0.bytes.get_mut(..len) {
            self.0.len = len;
            f(room)
        } else {
            // Larger than any MTU: written somewhere, sent nowhere.
            f(&mut vec![0; len])
        }
    }
}

impl Device for OnePacket<'_> {
    type RxToken<'b>
        = Incoming<'b>
    where
        Self: 'b;
    type TxToken<'b>
        = Outgoing<'b>
    where
        Self: 'b;

    fn receive(&mut self, _: Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        let packet = self.incoming.take()?;
        Some((Incoming(packet), Outgoing(self.outgoing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Outgoing<'_>> {
        (self.outgoing.len == 0).then_some(Outgoing(self.outgoing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu_bytes;
        capabilities
    }
}
