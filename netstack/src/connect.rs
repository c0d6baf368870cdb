//! Connections being opened: the addresses of a target, tried in turn with a head start each (RFC 8305).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::addresses::Addresses;
use crate::carrier::{Carrier, Change, Owner};
use crate::config::Limits;
use crate::error::FlowError;
use crate::handle::{Flow, Shared};
use crate::packet::Tuple;
use crate::rng::Rng;
use crate::slab::{Id, Slab};
use crate::timers::Timers;

/// Addresses of one target that are tried.
const MAX_CANDIDATES: usize = 16;

/// What a connection needs of the stack.
#[derive(Debug)]
pub(crate) struct Path<'a> {
    pub(crate) carrier: &'a mut Carrier,
    pub(crate) rng: &'a mut Rng,
    pub(crate) addresses: &'a Addresses,
}

#[derive(Debug)]
struct Connect {
    port: u16,
    is_resolving: bool,
    candidates: VecDeque<SocketAddr>,
    attempts: Vec<Id>,
    next_at: Option<Instant>,
    deadline: Instant,
    last_error: FlowError,
    reply: oneshot::Sender<Result<Flow, FlowError>>,
    pending: Option<Instant>,
}

/// All connections being opened.
#[derive(Debug)]
pub(crate) struct Dialer {
    connects: Slab<Connect>,
    timers: Timers,
    timeout: Duration,
    stagger: Duration,
    shared: Arc<Shared>,
}

impl Dialer {
    pub(crate) fn new(limits: &Limits, shared: Arc<Shared>) -> Self {
        Self {
            connects: Slab::new(limits.flows),
            timers: Timers::default(),
            timeout: limits.connect_timeout,
            stagger: limits.address_stagger,
            shared,
        }
    }

    /// Begins; the addresses come with [`Dialer::on_resolved`].
    pub(crate) fn start(
        &mut self,
        now: Instant,
        port: u16,
        reply: oneshot::Sender<Result<Flow, FlowError>>,
    ) -> Option<Id> {
        let connect = Connect {
            port,
            is_resolving: true,
            candidates: VecDeque::new(),
            attempts: Vec::new(),
            next_at: None,
            deadline: now + self.timeout,
            last_error: FlowError::NetworkUnreachable,
            reply,
            pending: None,
        };
        match self.connects.insert(connect) {
            Ok(id) => {
                self.reschedule(id);
                Some(id)
            }
            Err(connect) => {
                drop(connect.reply.send(Err(FlowError::TooManyFlows)));
                None
            }
        }
    }

    /// Takes the addresses of the target and tries the first.
    pub(crate) fn on_resolved(
        &mut self,
        now: Instant,
        id: Id,
        result: Result<Vec<IpAddr>, FlowError>,
        path: &mut Path<'_>,
    ) {
        let Some(connect) = self.connects.get_mut(id) else {
            return;
        };
        connect.is_resolving = false;
        match result {
            Ok(found) => {
                connect.candidates = interleave(&found, connect.port, path.addresses);
                self.go_on(now, id, path);
            }
            Err(error) => self.end(id, Err(error), path),
        }
    }

    /// Tries the next address that can be tried; ends the connection if none is left and none under way.
    fn go_on(&mut self, now: Instant, id: Id, path: &mut Path<'_>) {
        let Some(connect) = self.connects.get_mut(id) else {
            return;
        };
        if connect.reply.is_closed() {
            return self.end(id, Err(FlowError::Closed), path);
        }
        while let Some(remote) = connect.candidates.pop_front() {
            match attempt(now, id, remote, path) {
                Ok(flow) => {
                    connect.attempts.push(flow);
                    break;
                }
                Err(error) => connect.last_error = error,
            }
        }
        connect.next_at = (!connect.candidates.is_empty()).then(|| now + self.stagger);
        if connect.attempts.is_empty() {
            let error = connect.last_error;
            self.end(id, Err(error), path);
        } else {
            self.reschedule(id);
        }
    }

    /// Takes what happened to an attempt.
    pub(crate) fn on_change(&mut self, now: Instant, id: Id, flow: Id, change: Change, path: &mut Path<'_>) {
        let Some(connect) = self.connects.get_mut(id) else {
            return path.carrier.abort(flow);
        };
        match change {
            Change::Moved => {}
            Change::Opened => {
                connect.attempts.retain(|attempt| *attempt != flow);
                let opened = path.carrier.release(flow);
                let result = opened
                    .map(|tuple| Flow::new(flow, tuple.local, tuple.remote, Arc::clone(&self.shared)))
                    .ok_or(FlowError::Reset);
                self.end(id, result, path);
            }
            Change::Lost(error) => {
                connect.attempts.retain(|attempt| *attempt != flow);
                connect.last_error = error;
                if connect.attempts.is_empty() || !connect.candidates.is_empty() {
                    self.go_on(now, id, path);
                }
            }
        }
    }

    fn end(&mut self, id: Id, result: Result<Flow, FlowError>, path: &mut Path<'_>) {
        let Some(connect) = self.connects.remove(id) else {
            return;
        };
        for attempt in connect.attempts {
            path.carrier.abort(attempt);
        }
        // If nobody waits any more, the flow in the answer resets itself as it is dropped.
        drop(connect.reply.send(result));
    }

    fn reschedule(&mut self, id: Id) {
        if let Some(connect) = self.connects.get_mut(id) {
            let at = connect
                .next_at
                .map_or(connect.deadline, |next| next.min(connect.deadline));
            self.timers.schedule(id, at, &mut connect.pending);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// Starts the next attempts and ends what took too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant, path: &mut Path<'_>) {
        while let Some((at, id)) = self.timers.pop_due(now) {
            let Some(connect) = self.connects.get_mut(id) else {
                continue;
            };
            if connect.pending != Some(at) {
                continue;
            }
            connect.pending = None;
            if connect.deadline <= now {
                self.end(id, Err(FlowError::TimedOut), path);
            } else if connect.next_at.is_some_and(|next| next <= now) {
                self.go_on(now, id, path);
            } else {
                self.reschedule(id);
            }
        }
    }
}

/// Sends a SYN from a free port of the address of that family.
fn attempt(now: Instant, id: Id, remote: SocketAddr, path: &mut Path<'_>) -> Result<Id, FlowError> {
    let local = path
        .addresses
        .source_for(remote.ip())
        .ok_or(FlowError::NetworkUnreachable)?;
    let carrier = &*path.carrier;
    let port = path
        .rng
        .port(|port| carrier.is_free(SocketAddr::new(local, port), remote))
        .ok_or(FlowError::TooManyFlows)?;
    let tuple = Tuple {
        local: SocketAddr::new(local, port),
        remote,
    };
    path.carrier.connect(now, tuple, Owner::Connect(id))
}

/// Addresses that a host can have and that we have a family for, families alternating, IPv6 first (RFC 8305 §4).
fn interleave(found: &[IpAddr], port: u16, addresses: &Addresses) -> VecDeque<SocketAddr> {
    let usable: Vec<IpAddr> = found
        .iter()
        .map(IpAddr::to_canonical)
        .filter(|address| {
            let is_host = !address.is_unspecified() && !address.is_multicast();
            is_host && port != 0 && addresses.source_for(*address).is_some()
        })
        .collect();
    let mut v6 = usable.iter().filter(|address| address.is_ipv6());
    let mut v4 = usable.iter().filter(|address| address.is_ipv4());
    let mut order = VecDeque::new();
    loop {
        let pair = [v6.next(), v4.next()];
        if pair == [None, None] || order.len() >= MAX_CANDIDATES {
            return order;
        }
        order.extend(
            pair.into_iter()
                .flatten()
                .map(|address| SocketAddr::new(*address, port)),
        );
    }
}
