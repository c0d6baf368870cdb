//! Names, asked of the tunnel's servers through the tunnel; the host's resolver is never asked.
//!
//! Pure: the stack sends what [`Resolver::poll_action`] gives and feeds what comes back.
//!
//! | module | owns |
//! |---|---|
//! | `lookup` | addresses of a name for a connection |
//! | `exchange` | questions on their way: servers in turn, time-outs, TCP, who waits for the same |
//! | `servers` | which servers are asked for which name |
//! | `question`, `answer` | what goes on the wire and what comes back |
//! | `cache` | answers that are still fresh |
//! | `name` | names that may be asked for, search domains |
//! | `wire` | names and records as bytes |

pub(crate) mod answer;
mod cache;
mod exchange;
mod lookup;
pub(crate) mod name;
pub(crate) mod question;
mod servers;
mod wire;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use tokio::sync::oneshot;

use crate::config::{Limits, ResolverGroup};
use crate::error::{FlowError, QueryError};
use crate::rng::Rng;
use crate::slab::Id;
use cache::Found;
use exchange::Exchanges;
use lookup::{Lookups, Step};
use question::{Asked, Family};
use servers::Servers;

/// Whose lookup it is.
#[derive(Debug)]
pub(crate) enum Owner {
    /// A caller of `resolve`.
    Reply(oneshot::Sender<Result<Vec<IpAddr>, FlowError>>),
    /// A connection that is being opened.
    Connect(Id),
}

/// Who waits for the answer to a question.
#[derive(Debug)]
enum Waiter {
    /// A part of a lookup.
    Lookup(Id, usize),
    /// A caller of `query`.
    Query(Box<Asked>, oneshot::Sender<Result<Vec<u8>, QueryError>>),
}

/// What the stack has to do for the resolver.
#[derive(Debug)]
pub(crate) enum Action {
    /// Send a datagram from that port.
    Send {
        port: u16,
        to: SocketAddr,
        payload: Vec<u8>,
    },
    /// Open a flow for that attempt.
    Open {
        exchange: Id,
        attempt: usize,
        to: SocketAddr,
    },
    /// Reset that flow.
    Abort(Id),
    /// A lookup is over.
    Done {
        owner: Owner,
        result: Result<Vec<IpAddr>, FlowError>,
    },
}

/// All that is asked of one stack.
#[derive(Debug)]
pub(crate) struct Resolver {
    exchanges: Exchanges,
    lookups: Lookups,
    /// Queries that wait, and how many may.
    queries: usize,
    max_queries: usize,
    done: VecDeque<Action>,
}

impl Resolver {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            exchanges: Exchanges::new(limits),
            lookups: Lookups::new(limits),
            queries: 0,
            max_queries: limits.lookups,
            done: VecDeque::new(),
        }
    }

    /// Takes the settings of a session; answers of another session's servers are forgotten, and what is under way
    /// is asked of the new ones. Servers that are not `is_usable` are left out.
    pub(crate) fn set_network(
        &mut self,
        now: Instant,
        (groups, is_usable): (&[ResolverGroup], impl Fn(SocketAddr) -> bool),
        search_domains: Vec<String>,
        families: Vec<Family>,
        rng: &mut Rng,
    ) {
        self.lookups.search_domains = search_domains;
        self.lookups.families = families;
        self.exchanges
            .set_servers(now, Servers::new(groups, is_usable), rng);
        self.settle(now, rng);
    }

    /// Starts a lookup; its end comes as an action.
    pub(crate) fn start(&mut self, now: Instant, text: &str, owner: Owner, rng: &mut Rng) {
        let step = if let Some(address) = name::literal(text) {
            Step::End(owner, Ok(vec![address]))
        } else if name::normalise(text).is_some() && self.exchanges.servers.is_empty() {
            Step::End(owner, Err(FlowError::NoResolver))
        } else {
            self.lookups.start(now, text, owner)
        };
        self.take(now, step, rng);
        self.settle(now, rng);
    }

    /// Forwards a client's message; the answer goes to `reply`.
    pub(crate) fn query(
        &mut self,
        now: Instant,
        message: &[u8],
        reply: oneshot::Sender<Result<Vec<u8>, QueryError>>,
        rng: &mut Rng,
    ) {
        match question::decode_query(message) {
            // Whoever asked may be gone, which is nobody's loss.
            Err(error) => drop(reply.send(Err(error))),
            Ok(_) if self.queries >= self.max_queries => {
                drop(reply.send(Err(QueryError::Failed(FlowError::TooManyFlows))));
            }
            Ok((question, asked)) => {
                self.queries += 1;
                let waiter = Waiter::Query(Box::new(asked), reply);
                self.exchanges.ask(now, question, waiter, rng);
                self.settle(now, rng);
            }
        }
    }

    /// Hands answers to those who wait until none is left. A lookup asks for a bounded number of names.
    fn settle(&mut self, now: Instant, rng: &mut Rng) {
        while let Some((waiter, result)) = self.exchanges.poll_ended() {
            match waiter {
                Waiter::Lookup(id, part) => {
                    let step = self.lookups.on_answer(now, id, part, result);
                    self.take(now, step, rng);
                }
                Waiter::Query(asked, reply) => {
                    self.queries = self.queries.saturating_sub(1);
                    let answer = result.map(|Found { answer, age }| {
                        let seconds = u32::try_from(age.as_secs()).unwrap_or(u32::MAX);
                        asked.render(&answer, seconds)
                    });
                    drop(reply.send(answer.map_err(QueryError::Failed)));
                }
            }
        }
    }

    fn take(&mut self, now: Instant, step: Step, rng: &mut Rng) {
        match step {
            Step::Wait => {}
            Step::Ask(id, questions) => {
                for (part, question) in questions.into_iter().enumerate() {
                    self.exchanges.ask(now, question, Waiter::Lookup(id, part), rng);
                }
            }
            Step::End(owner, result) => self.done.push_back(Action::Done { owner, result }),
        }
    }

    /// Whether a datagram from there to that port may be an answer.
    pub(crate) fn is_waiting_on(&self, port: u16, from: SocketAddr) -> bool {
        self.exchanges.is_waiting_on(port, from)
    }

    /// Takes a datagram to one of our ports.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        port: u16,
        from: SocketAddr,
        bytes: &[u8],
        rng: &mut Rng,
    ) {
        self.exchanges.handle_datagram(now, port, from, bytes, rng);
        self.settle(now, rng);
    }

    /// Takes the flow that was opened for an attempt.
    pub(crate) fn handle_stream_started(&mut self, exchange: Id, attempt: usize, flow: Id) {
        self.exchanges.handle_stream_started(exchange, attempt, flow);
    }

    /// What to write to the flow of an attempt once it is open.
    pub(crate) fn stream_query(&mut self, exchange: Id, attempt: usize) -> Option<Vec<u8>> {
        self.exchanges.stream_query(exchange, attempt)
    }

    /// Takes bytes of the flow of an attempt. Returns whether more are wanted.
    pub(crate) fn handle_stream(
        &mut self,
        now: Instant,
        exchange: Id,
        attempt: usize,
        bytes: &[u8],
        rng: &mut Rng,
    ) -> bool {
        let is_wanted = self.exchanges.handle_stream(now, exchange, attempt, bytes, rng);
        self.settle(now, rng);
        is_wanted
    }

    /// The flow of an attempt has gone.
    pub(crate) fn handle_stream_lost(&mut self, now: Instant, exchange: Id, attempt: usize, rng: &mut Rng) {
        self.exchanges.handle_stream_lost(now, exchange, attempt, rng);
        self.settle(now, rng);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let both = [self.exchanges.poll_timeout(), self.lookups.poll_timeout()];
        both.into_iter().flatten().min()
    }

    /// Asks again where nothing came back, and ends what took too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        self.exchanges.handle_timeout(now, rng);
        self.settle(now, rng);
        while let Some(step) = self.lookups.poll_due(now) {
            self.take(now, step, rng);
        }
        self.settle(now, rng);
    }

    /// What the stack has to do.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.exchanges.poll_action().or_else(|| self.done.pop_front())
    }
}

#[cfg(test)]
mod tests;
