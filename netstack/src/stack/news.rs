//! News between the parts: what a flow's change means for a connection or a name, and a name's for a connection.

use std::net::SocketAddr;
use std::time::Instant;

use super::Stack;
use crate::carrier::{Change, Owner};
use crate::connect::Path;
use crate::error::FlowError;
use crate::packet::Tuple;
use crate::resolve::{self, Action};
use crate::slab::Id;

/// Bytes that are read from a name server's flow at once.
const STREAM_READ_BYTES: usize = 4096;

impl Stack {
    /// Carries news between the parts until there is none. Each step ends something that is bounded in number.
    pub(super) fn drive(&mut self, now: Instant) {
        loop {
            if let Some((flow, owner, change)) = self.carrier.poll_change() {
                self.on_change(now, flow, owner, change);
            } else if let Some(action) = self.resolver.poll_action() {
                self.on_action(now, action);
            } else {
                return;
            }
        }
    }

    fn on_change(&mut self, now: Instant, flow: Id, owner: Owner, change: Change) {
        match owner {
            Owner::Relay => {}
            Owner::Listener(port) => self.on_accept_change(flow, port, change),
            Owner::Connect(id) => {
                let Self {
                    carrier,
                    rng,
                    addresses,
                    dialer,
                    ..
                } = self;
                dialer.on_change(
                    now,
                    id,
                    flow,
                    change,
                    &mut Path {
                        carrier,
                        rng,
                        addresses,
                    },
                );
            }
            Owner::Query(exchange, attempt) => self.on_query_change(now, flow, (exchange, attempt), change),
        }
    }

    fn on_query_change(&mut self, now: Instant, flow: Id, (exchange, attempt): (Id, usize), change: Change) {
        match change {
            Change::Opened => {
                let Some(query) = self.resolver.stream_query(exchange, attempt) else {
                    return self.carrier.abort(flow);
                };
                // A query fits the smallest ring.
                self.carrier.with_flow(flow, |flow| {
                    flow.commit(|room| {
                        room.iter_mut().zip(&query).for_each(|(to, from)| *to = *from);
                        query.len()
                    })
                });
            }
            Change::Moved => self.read_query_flow(now, flow, exchange, attempt),
            Change::Lost(_) => self
                .resolver
                .handle_stream_lost(now, exchange, attempt, &mut self.rng),
        }
    }

    fn read_query_flow(&mut self, now: Instant, flow: Id, exchange: Id, attempt: usize) {
        loop {
            let mut chunk = [0; STREAM_READ_BYTES];
            let read = self.carrier.with_flow(flow, |flow| {
                flow.consume(|bytes| {
                    chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
                    bytes.len().min(STREAM_READ_BYTES)
                })
            });
            let chunk = read.and_then(|read| chunk.get(..read)).unwrap_or_default();
            if chunk.is_empty() {
                let is_at_end = self
                    .carrier
                    .with_flow(flow, |flow| flow.is_at_end())
                    .unwrap_or(true);
                if is_at_end {
                    self.resolver
                        .handle_stream_lost(now, exchange, attempt, &mut self.rng);
                    self.carrier.abort(flow);
                }
                return;
            }
            if !self
                .resolver
                .handle_stream(now, exchange, attempt, chunk, &mut self.rng)
            {
                return self.carrier.abort(flow);
            }
        }
    }

    fn on_action(&mut self, now: Instant, action: Action) {
        match action {
            Action::Send { port, to, payload } => self.send_datagram(port, to, &payload),
            Action::Open {
                exchange,
                attempt,
                to,
            } => match self.open_query_flow(now, (exchange, attempt), to) {
                Ok(flow) => self.resolver.handle_stream_started(exchange, attempt, flow),
                Err(_) => self
                    .resolver
                    .handle_stream_lost(now, exchange, attempt, &mut self.rng),
            },
            Action::Abort(flow) => self.carrier.abort(flow),
            Action::Done {
                owner: resolve::Owner::Reply(reply),
                result,
            } => drop(reply.send(result)),
            Action::Done {
                owner: resolve::Owner::Connect(id),
                result,
            } => {
                let Self {
                    carrier,
                    rng,
                    addresses,
                    dialer,
                    ..
                } = self;
                dialer.on_resolved(
                    now,
                    id,
                    result,
                    &mut Path {
                        carrier,
                        rng,
                        addresses,
                    },
                );
            }
        }
    }

    fn open_query_flow(
        &mut self,
        now: Instant,
        (exchange, attempt): (Id, usize),
        to: SocketAddr,
    ) -> Result<Id, FlowError> {
        let source = self
            .addresses
            .source_for(to.ip())
            .ok_or(FlowError::NetworkUnreachable)?;
        let carrier = &self.carrier;
        let port = self
            .rng
            .port(|port| carrier.is_free(SocketAddr::new(source, port), to))
            .ok_or(FlowError::TooManyFlows)?;
        let tuple = Tuple {
            local: SocketAddr::new(source, port),
            remote: to,
        };
        self.carrier.connect(now, tuple, Owner::Query(exchange, attempt))
    }
}
