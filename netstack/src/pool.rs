//! Buffers of flows under one budget: the fuller it is, the smaller the next flow's.
//!
//! Untouched pages of a fresh buffer cost no memory; what a flow has touched is kept for the next one, up to a limit.

use crate::flow::{SizeClass, TcpFlow};

/// Smallest ring that is made.
const MIN_RING_BYTES: usize = 4 * 1024;
/// Buffers that wait for the next flow.
const MAX_SPARE_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug)]
struct Class {
    receive_bytes: usize,
    transmit_bytes: usize,
    /// Bytes in use up to which this class is chosen.
    up_to_bytes: usize,
    spare: Vec<TcpFlow>,
}

impl Class {
    fn bytes(&self) -> usize {
        self.receive_bytes + self.transmit_bytes
    }
}

/// All buffers of one stack.
#[derive(Debug)]
pub(crate) struct Pool {
    classes: [Class; 3],
    in_use_bytes: usize,
    spare_bytes: usize,
}

impl Pool {
    /// Full-size buffers for the first three eighths of the budget, quarters up to five eighths, then 1/32.
    pub(crate) fn new(receive_bytes: usize, transmit_bytes: usize, budget_bytes: usize) -> Self {
        let class = |divisor: usize, eighths: usize| Class {
            receive_bytes: (receive_bytes / divisor).clamp(MIN_RING_BYTES, 1 << 30),
            transmit_bytes: (transmit_bytes / divisor).clamp(MIN_RING_BYTES, 1 << 30),
            up_to_bytes: budget_bytes / 8 * eighths,
            spare: Vec::new(),
        };
        Self {
            classes: [class(1, 3), class(4, 5), class(32, 8)],
            in_use_bytes: 0,
            spare_bytes: 0,
        }
    }

    pub(crate) fn in_use_bytes(&self) -> usize {
        self.in_use_bytes
    }

    /// Buffers for a flow, or nothing if the budget is used up.
    pub(crate) fn take(&mut self) -> Option<TcpFlow> {
        let in_use = self.in_use_bytes;
        let (index, class) = self
            .classes
            .iter_mut()
            .enumerate()
            .find(|(_, class)| in_use + class.bytes() <= class.up_to_bytes)?;
        let bytes = class.bytes();
        let mut flow = match class.spare.pop() {
            Some(flow) => {
                self.spare_bytes -= bytes;
                flow
            }
            None => TcpFlow::new(SizeClass(index), class.receive_bytes, class.transmit_bytes),
        };
        self.in_use_bytes += bytes;
        flow.refresh();
        Some(flow)
    }

    /// Takes a flow's buffers back. A flow that is still open is forgotten without a word to the far end.
    pub(crate) fn give(&mut self, mut flow: TcpFlow) {
        let Some(class) = self.classes.get_mut(flow.class.0) else {
            return;
        };
        let bytes = class.bytes();
        self.in_use_bytes = self.in_use_bytes.saturating_sub(bytes);
        if self.spare_bytes + bytes <= MAX_SPARE_BYTES {
            self.spare_bytes += bytes;
            flow.abort();
            class.spare.push(flow);
        }
    }

    /// Takes back the buffers of a flow that is not to be used again.
    pub(crate) fn discard(&mut self, flow: TcpFlow) {
        if let Some(class) = self.classes.get(flow.class.0) {
            self.in_use_bytes = self.in_use_bytes.saturating_sub(class.bytes());
        }
        drop(flow);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_shrink_as_the_budget_fills_and_come_back() {
        let budget = 8 * 1024 * 1024;
        let mut pool = Pool::new(512 * 1024, 256 * 1024, budget);
        let mut flows = Vec::new();
        while let Some(flow) = pool.take() {
            flows.push(flow);
        }
        assert!(pool.in_use_bytes() <= budget);
        assert!(flows.len() > 100, "{} flows", flows.len());
        let sizes: Vec<_> = flows.iter().map(|flow| flow.socket().recv_capacity()).collect();
        assert!(sizes.is_sorted_by(|a, b| a >= b));
        for flow in flows {
            pool.give(flow);
        }
        assert_eq!(pool.in_use_bytes(), 0);
        assert!(pool.spare_bytes <= MAX_SPARE_BYTES);
    }
}
