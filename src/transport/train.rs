//! A train: datagrams of one size to one destination, laid out end to end, so that one system call sends them.
//!
//! Holds bytes only; [`super::udp`] sends them. Order is never changed: whatever does not fit the train ends it.

use std::net::SocketAddr;

/// Most bytes in a train: the longest UDP payload over IPv4.
pub const TRAIN_BYTES: usize = 65_507;
/// Most datagrams in a train: the kernel's `UDP_MAX_SEGMENTS` before Linux 6.9.
pub const TRAIN_SEGMENTS: usize = 64;

/// Datagrams that wait to be sent together.
#[derive(Debug)]
pub struct Train {
    buf: Box<[u8]>,
    len: usize,
    /// Length of the slot behind `len` that was handed out and not yet committed.
    slot: usize,
    to: Option<SocketAddr>,
    /// Size of each datagram but the last.
    segment: usize,
    segments: usize,
    /// A shorter datagram has been added: it has to be the last.
    closed: bool,
    max_segments: usize,
    /// Longest datagram that may travel with others.
    max_segment: usize,
}

impl Train {
    /// Makes an empty train of at most `max_segments` datagrams (1: no segmentation).
    pub fn new(max_segments: usize) -> Self {
        Self {
            buf: vec![0; TRAIN_BYTES].into_boxed_slice(),
            len: 0,
            slot: 0,
            to: None,
            segment: 0,
            segments: 0,
            closed: false,
            max_segments: max_segments.clamp(1, TRAIN_SEGMENTS),
            max_segment: TRAIN_BYTES,
        }
    }

    /// Tells whether a datagram of `len` bytes to `to` may join.
    pub fn takes(&self, to: SocketAddr, len: usize) -> bool {
        if len > TRAIN_BYTES {
            return false;
        }
        self.segments == 0
            || (!self.closed
                && self.to == Some(to)
                && self.segments < self.max_segments
                && self.segment <= self.max_segment
                && len <= self.segment
                && self.len + len <= TRAIN_BYTES)
    }

    /// Hands out room for a datagram, if it may join.
    pub fn reserve(&mut self, to: SocketAddr, len: usize) -> Option<&mut [u8]> {
        if !self.takes(to, len) {
            return None;
        }
        self.to = Some(to);
        self.slot = len;
        self.buf.get_mut(self.len..self.len + len)
    }

    /// Adds the first `len` bytes of the slot that was reserved last; an empty datagram adds nothing.
    pub fn commit(&mut self, len: usize) {
        let len = len.min(self.slot);
        self.slot = 0;
        if len == 0 {
            return;
        }
        if self.segments == 0 {
            self.segment = len;
        }
        self.closed = len < self.segment;
        self.segments += 1;
        self.len += len;
    }

    /// The datagrams, where they go, and the size of each but the last; `None` when there are none.
    pub fn load(&self) -> Option<Load<'_>> {
        let to = self.to.filter(|_| self.segments > 0)?;
        Some(Load {
            to,
            bytes: self.buf.get(..self.len)?,
            segment: self.segment,
            segments: self.segments,
        })
    }

    /// Forgets the datagrams.
    pub fn clear(&mut self) {
        self.len = 0;
        self.slot = 0;
        self.segments = 0;
        self.closed = false;
        self.to = None;
    }

    /// Removes the first `datagrams`, which have been sent one by one.
    pub fn drop_front(&mut self, datagrams: usize) {
        let sent = (datagrams * self.segment).min(self.len);
        self.buf.copy_within(sent..self.len, 0);
        self.len -= sent;
        self.segments = self.segments.saturating_sub(datagrams);
        if self.segments == 0 {
            self.clear();
        }
    }

    /// Limits trains from now on to one datagram.
    pub fn stop_segmenting(&mut self) {
        self.max_segments = 1;
    }

    /// Lets datagrams that are longer than `bytes` travel alone from now on.
    pub fn limit_segment(&mut self, bytes: usize) {
        self.max_segment = self.max_segment.min(bytes);
    }

    /// Most datagrams in a train.
    pub fn max_segments(&self) -> usize {
        self.max_segments
    }
}

/// What a train holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load<'a> {
    /// Where all of it goes.
    pub to: SocketAddr,
    /// The datagrams, end to end.
    pub bytes: &'a [u8],
    /// Size of each datagram but the last.
    pub segment: usize,
    /// How many there are.
    pub segments: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn add(train: &mut Train, port: u16, len: usize) -> bool {
        let Some(slot) = train.reserve(to(port), len) else {
            return false;
        };
        slot.fill(u8::try_from(len % 251).unwrap());
        train.commit(len);
        true
    }

    #[test]
    fn equal_datagrams_join_and_a_shorter_one_is_the_last() {
        let mut train = Train::new(64);
        assert!(add(&mut train, 1, 100) && add(&mut train, 1, 100) && add(&mut train, 1, 40));
        assert!(!add(&mut train, 1, 40), "nothing follows a shorter datagram");
        let load = train.load().unwrap();
        assert_eq!((load.segment, load.segments, load.bytes.len()), (100, 3, 240));
    }

    #[test]
    fn another_destination_or_a_longer_datagram_does_not_join() {
        let mut train = Train::new(64);
        assert!(add(&mut train, 1, 100));
        assert!(!add(&mut train, 2, 100) && !add(&mut train, 1, 101));
        train.clear();
        assert!(add(&mut train, 2, 101));
    }

    #[test]
    fn a_train_ends_at_its_limits() {
        let mut train = Train::new(64);
        assert!((0..64).all(|_| add(&mut train, 1, 10)));
        assert!(!add(&mut train, 1, 10), "65 datagrams");
        train.clear();
        assert!((0..46).all(|_| add(&mut train, 1, 1400)));
        assert!(!add(&mut train, 1, 1400), "more than {TRAIN_BYTES} bytes");
        train.clear();
        assert!(!add(&mut train, 1, TRAIN_BYTES + 1));
    }

    #[test]
    fn a_slot_that_is_not_committed_adds_nothing() {
        let mut train = Train::new(64);
        train.reserve(to(1), 100).unwrap().fill(1);
        assert_eq!(train.load(), None);
        assert!(add(&mut train, 2, 50));
        assert_eq!(train.load().unwrap().bytes, [50; 50]);
    }

    #[test]
    fn datagrams_that_were_sent_singly_leave_the_front() {
        let mut train = Train::new(64);
        assert!(add(&mut train, 1, 100) && add(&mut train, 1, 100) && add(&mut train, 1, 40));
        train.drop_front(2);
        let load = train.load().unwrap();
        assert_eq!((load.segments, load.bytes), (1, &[40_u8; 40][..]));
        train.drop_front(1);
        assert_eq!(train.load(), None);
    }
}
