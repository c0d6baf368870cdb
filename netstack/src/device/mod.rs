//! The device seam: whatever ends the tunnel on this host takes and gives inner packets in the same way.
//!
//! The embedded stack implements it; TUN and TAP interfaces fit behind it as well.

use std::time::Instant;

/// Longest device name in bytes (`IFNAMSIZ` less its NUL).
const MAX_NAME_BYTES: usize = 15;

/// What ends the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// The embedded TCP/IP stack.
    Netstack,
    /// A TUN interface of the host.
    Tun,
    /// A TAP interface of the host.
    Tap,
}

/// Name of a device, 1 to 15 printable ASCII bytes without `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeviceName(String);

/// A name that no device can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("device name {name:?} must have 1 to 15 printable ASCII bytes without a slash")]
pub struct BadDeviceName {
    name: String,
}

impl DeviceName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`BadDeviceName`] for an empty, long or unprintable one.
    pub fn parse(name: &str) -> Result<Self, BadDeviceName> {
        let usable = (1..=MAX_NAME_BYTES).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
            && name != "."
            && name != "..";
        if usable {
            Ok(Self(name.to_owned()))
        } else {
            Err(BadDeviceName {
                name: name.to_owned(),
            })
        }
    }

    /// Name of the embedded stack with that number (`netstack0`, `netstack1`, …).
    pub fn netstack(number: u32) -> Self {
        // Eight bytes and seven digits at most: numbers beyond wrap, uniqueness is the caller's anyway.
        Self(format!("netstack{}", number % 10_000_000))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of a tunnel on this host, as a driver sees it.
///
/// Contract: after any `handle_*` call the driver calls [`Device::transmit`] once the batch is in.
pub trait Device {
    /// What kind of device this is.
    fn kind(&self) -> DeviceKind;
    /// What the device is called.
    fn name(&self) -> &str;
    /// Takes one inner packet that came out of the tunnel.
    fn handle_packet(&mut self, now: Instant, packet: &mut [u8]);
    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant);
    /// Gives up to `budget_packets` inner packets to `emit`. A packet that `emit` refuses is offered again
    /// with the next call. Returns whether more is waiting.
    fn transmit(
        &mut self,
        now: Instant,
        budget_packets: usize,
        emit: &mut dyn FnMut(&mut [u8]) -> bool,
    ) -> bool;
    /// Earliest instant at which [`Device::handle_timeout`] has work.
    fn poll_timeout(&self) -> Option<Instant>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_printable() {
        assert_eq!(DeviceName::netstack(3).as_str(), "netstack3");
        assert!(DeviceName::netstack(u32::MAX).as_str().len() <= MAX_NAME_BYTES);
        assert!(DeviceName::parse("tun0").is_ok());
        for bad in ["", "sixteen-bytes-xx", "a/b", "a b", "ä", ".", ".."] {
            assert!(DeviceName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
