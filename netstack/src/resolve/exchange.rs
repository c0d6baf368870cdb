//! Questions on their way: each is asked of its servers in turn, over UDP and where that is too short over TCP.
//!
//! Who asks what is asked already waits for the same answer. Nothing here knows what a name is for.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{self, Answer, Verdict};
use super::cache::{Cache, Found};
use super::question::Question;
use super::servers::Servers;
use super::{Action, Waiter};
use crate::config::Limits;
use crate::error::FlowError;
use crate::rng::Rng;
use crate::slab::{Id, Slab};
use crate::timers::Timers;

/// Times that each server is asked about one question.
const ROUNDS: usize = 3;
/// Messages that are no answers, after which a port is given up: somebody is guessing.
const MAX_FOREIGN: usize = 32;
/// Questions that are asked over TCP at once; each may keep 64 KiB.
const MAX_STREAMS: usize = 64;
/// Wait for an answer over TCP, in first retransmission times.
const STREAM_WAIT: u32 = 4;

#[derive(Debug)]
enum Progress {
    /// Asked over UDP.
    Udp,
    /// Asked over TCP: the flow once there is one, and what has come so far.
    Stream { flow: Option<Id>, received: Vec<u8> },
}

#[derive(Debug)]
struct Exchange {
    question: Question,
    servers: Vec<SocketAddr>,
    /// What the server that is asked now has to answer to.
    id: u16,
    port: u16,
    tries: usize,
    foreign: usize,
    with_edns: bool,
    /// Whether any server has said anything.
    is_heard: bool,
    progress: Progress,
    retry_at: Instant,
    deadline: Instant,
    pending: Option<Instant>,
    waiting: Vec<Waiter>,
}

impl Exchange {
    /// The server that was asked last.
    fn server(&self) -> Option<SocketAddr> {
        let turn = self.tries.checked_sub(1)?.checked_rem(self.servers.len())?;
        self.servers.get(turn).copied()
    }

    fn failure(&self) -> FlowError {
        if self.is_heard {
            FlowError::ResolverFailed
        } else {
            FlowError::TimedOut
        }
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Exchanges {
    pub(super) servers: Servers,
    pub(super) cache: Cache,
    table: Slab<Exchange>,
    by_question: BTreeMap<Question, Id>,
    by_port: HashMap<u16, Id>,
    streams: usize,
    timers: Timers,
    actions: VecDeque<Action>,
    ended: VecDeque<(Waiter, Result<Found, FlowError>)>,
    timeout: Duration,
    retry: Duration,
}

impl Exchanges {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            servers: Servers::default(),
            cache: Cache::default(),
            // Two families of each lookup, and the queries.
            table: Slab::new(limits.lookups.saturating_mul(3)),
            by_question: BTreeMap::new(),
            by_port: HashMap::new(),
            streams: 0,
            timers: Timers::default(),
            actions: VecDeque::new(),
            ended: VecDeque::new(),
            timeout: limits.resolve_timeout,
            retry: limits.resolve_retry,
        }
    }

    /// Asks other servers from now on: what is under way begins anew, what was answered is forgotten.
    pub(super) fn set_servers(&mut self, now: Instant, servers: Servers, rng: &mut Rng) {
        if self.servers == servers {
            return;
        }
        self.servers = servers;
        self.cache.clear();
        for id in self.table.ids() {
            if let Some(exchange) = self.table.get_mut(id) {
                exchange.servers = self.servers.for_name(&exchange.question.name);
                exchange.tries = 0;
                exchange.with_edns = true;
                self.send(now, id, rng);
            }
        }
    }

    /// Asks, joins those who ask the same, or answers from what is known.
    pub(super) fn ask(&mut self, now: Instant, question: Question, waiter: Waiter, rng: &mut Rng) {
        if let Some(found) = self.cache.find(now, &question) {
            return self.ended.push_back((waiter, Ok(found)));
        }
        if let Some(exchange) = self
            .by_question
            .get(&question)
            .and_then(|id| self.table.get_mut(*id))
        {
            return exchange.waiting.push(waiter);
        }
        let servers = self.servers.for_name(&question.name);
        if servers.is_empty() {
            return self.ended.push_back((waiter, Err(FlowError::NoResolver)));
        }
        let exchange = Exchange {
            question: question.clone(),
            servers,
            id: 0,
            port: 0,
            tries: 0,
            foreign: 0,
            with_edns: true,
            is_heard: false,
            progress: Progress::Udp,
            retry_at: now,
            deadline: now + self.timeout,
            pending: None,
            waiting: vec![waiter],
        };
        match self.table.insert(exchange) {
            Ok(id) => {
                self.by_question.insert(question, id);
                self.send(now, id, rng);
            }
            Err(exchange) => {
                let refused = exchange
                    .waiting
                    .into_iter()
                    .map(|waiter| (waiter, Err(FlowError::TooManyFlows)));
                self.ended.extend(refused);
            }
        }
    }

    /// Sends a question to the next server in turn, from a new port with a new id.
    fn send(&mut self, now: Instant, id: Id, rng: &mut Rng) {
        self.leave(id);
        let Some(exchange) = self.table.get_mut(id) else {
            return;
        };
        let servers = exchange.servers.len();
        let turn = exchange.tries.checked_rem(servers);
        let server = turn.and_then(|turn| exchange.servers.get(turn).copied());
        let by_port = &self.by_port;
        let port = rng.port(|port| !by_port.contains_key(&port));
        let (Some(server), Some(port), true) = (server, port, exchange.tries < servers * ROUNDS) else {
            let failure = if servers == 0 {
                FlowError::NoResolver
            } else {
                exchange.failure()
            };
            return self.end(id, &Err(failure));
        };
        let round = u32::try_from(exchange.tries / servers).unwrap_or(u32::MAX);
        exchange.id = rng.next_u16();
        exchange.port = port;
        exchange.foreign = 0;
        exchange.tries += 1;
        exchange.retry_at = now + self.retry.saturating_mul(2u32.saturating_pow(round));
        self.by_port.insert(port, id);
        self.actions.push_back(Action::Send {
            port,
            to: server,
            payload: exchange.question.encode(exchange.id, exchange.with_edns),
        });
        self.reschedule(id);
    }

    /// Lets go of the port or flow of the last try.
    fn leave(&mut self, id: Id) {
        let Some(exchange) = self.table.get_mut(id) else {
            return;
        };
        if self.by_port.get(&exchange.port) == Some(&id) {
            self.by_port.remove(&exchange.port);
        }
        if let Progress::Stream { flow, .. } = std::mem::replace(&mut exchange.progress, Progress::Udp) {
            self.streams = self.streams.saturating_sub(1);
            self.actions.extend(flow.map(Action::Abort));
        }
    }

    /// Whether a datagram from there to that port may be an answer.
    pub(super) fn is_waiting_on(&self, port: u16, from: SocketAddr) -> bool {
        let exchange = self.by_port.get(&port).and_then(|id| self.table.get(*id));
        exchange.is_some_and(|exchange| exchange.server() == Some(from))
    }

    /// Takes a datagram for which [`Exchanges::is_waiting_on`] holds.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        port: u16,
        from: SocketAddr,
        bytes: &[u8],
        rng: &mut Rng,
    ) {
        let Some(id) = self.by_port.get(&port).copied() else {
            return;
        };
        let Some(exchange) = self.table.get_mut(id) else {
            return;
        };
        if exchange.server() != Some(from) {
            return;
        }
        match answer::decode_answer(bytes, exchange.id, &exchange.question) {
            Verdict::Foreign => {
                exchange.foreign += 1;
                if exchange.foreign > MAX_FOREIGN {
                    self.send(now, id, rng);
                }
            }
            Verdict::Truncated if self.streams < MAX_STREAMS => self.open_stream(now, id, from),
            verdict @ (Verdict::Answer(_) | Verdict::Truncated | Verdict::TooModern | Verdict::Useless) => {
                self.on_verdict(now, id, verdict, rng);
            }
        }
    }

    fn open_stream(&mut self, now: Instant, id: Id, to: SocketAddr) {
        self.leave(id);
        let Some(exchange) = self.table.get_mut(id) else {
            return;
        };
        self.streams += 1;
        exchange.is_heard = true;
        exchange.progress = Progress::Stream {
            flow: None,
            received: Vec::new(),
        };
        exchange.retry_at = now + self.retry.saturating_mul(STREAM_WAIT);
        self.actions.push_back(Action::Open {
            exchange: id,
            attempt: exchange.tries,
            to,
        });
        self.reschedule(id);
    }

    /// The exchange, if it is asked over TCP by that very attempt.
    fn on_stream(&mut self, id: Id, attempt: usize) -> Option<&mut Exchange> {
        let exchange = self.table.get_mut(id)?;
        let is_current = exchange.tries == attempt && matches!(exchange.progress, Progress::Stream { .. });
        is_current.then_some(exchange)
    }

    /// Takes the flow that was opened for an attempt.
    pub(super) fn handle_stream_started(&mut self, id: Id, attempt: usize, started: Id) {
        if let Some(exchange) = self.on_stream(id, attempt)
            && let Progress::Stream { flow, .. } = &mut exchange.progress
        {
            *flow = Some(started);
        } else {
            self.actions.push_back(Action::Abort(started));
        }
    }

    /// What to write to that flow once it is open, length first (RFC 1035 §4.2.2).
    pub(super) fn stream_query(&mut self, id: Id, attempt: usize) -> Option<Vec<u8>> {
        let exchange = self.on_stream(id, attempt)?;
        let query = exchange.question.encode(exchange.id, exchange.with_edns);
        let mut framed = u16::try_from(query.len()).ok()?.to_be_bytes().to_vec();
        framed.extend(query);
        Some(framed)
    }

    /// Takes bytes of that flow. Returns whether more are wanted.
    pub(super) fn handle_stream(
        &mut self,
        now: Instant,
        id: Id,
        attempt: usize,
        bytes: &[u8],
        rng: &mut Rng,
    ) -> bool {
        let Some(exchange) = self.on_stream(id, attempt) else {
            return false;
        };
        let Progress::Stream { received, .. } = &mut exchange.progress else {
            return false;
        };
        // A message has at most 65535 bytes and its length two.
        let room = (usize::from(u16::MAX) + 2).saturating_sub(received.len());
        received.extend(bytes.iter().take(room));
        let Some((length, rest)) = received.split_first_chunk::<2>() else {
            return true;
        };
        let Some(whole) = rest.get(..usize::from(u16::from_be_bytes(*length))) else {
            return true;
        };
        let verdict = match answer::decode_answer(whole, exchange.id, &exchange.question) {
            // Nobody else can write here, and there is nothing longer than this.
            Verdict::Foreign | Verdict::Truncated => Verdict::Useless,
            verdict @ (Verdict::Answer(_) | Verdict::TooModern | Verdict::Useless) => verdict,
        };
        self.on_verdict(now, id, verdict, rng);
        false
    }

    /// That flow has gone.
    pub(super) fn handle_stream_lost(&mut self, now: Instant, id: Id, attempt: usize, rng: &mut Rng) {
        if let Some(exchange) = self.on_stream(id, attempt) {
            exchange.is_heard = true;
            self.send(now, id, rng);
        }
    }

    fn on_verdict(&mut self, now: Instant, id: Id, verdict: Verdict, rng: &mut Rng) {
        let Some(exchange) = self.table.get_mut(id) else {
            return;
        };
        exchange.is_heard = true;
        match verdict {
            Verdict::Answer(answer) => self.finish(now, id, answer),
            Verdict::TooModern => {
                exchange.with_edns = false;
                self.send(now, id, rng);
            }
            Verdict::Truncated | Verdict::Useless | Verdict::Foreign => self.send(now, id, rng),
        }
    }

    fn finish(&mut self, now: Instant, id: Id, answer: Answer) {
        let answer = Arc::new(answer);
        if let Some(exchange) = self.table.get(id) {
            self.cache.keep(now, &exchange.question, &answer);
        }
        let age = Duration::ZERO;
        self.end(id, &Ok(Found { answer, age }));
    }

    fn end(&mut self, id: Id, result: &Result<Found, FlowError>) {
        self.leave(id);
        if let Some(exchange) = self.table.remove(id) {
            self.by_question.remove(&exchange.question);
            let waiting = exchange.waiting.into_iter();
            self.ended.extend(waiting.map(|waiter| (waiter, result.clone())));
        }
    }

    fn reschedule(&mut self, id: Id) {
        if let Some(exchange) = self.table.get_mut(id) {
            let at = exchange.retry_at.min(exchange.deadline);
            self.timers.schedule(id, at, &mut exchange.pending);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// Asks again where nothing came back, and ends what took too long.
    pub(super) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        while let Some((at, id)) = self.timers.pop_due(now) {
            let Some(exchange) = self.table.get_mut(id) else {
                continue;
            };
            if exchange.pending != Some(at) {
                continue;
            }
            exchange.pending = None;
            if exchange.deadline <= now {
                let failure = exchange.failure();
                self.end(id, &Err(failure));
            } else if exchange.retry_at <= now {
                self.send(now, id, rng);
            } else {
                self.reschedule(id);
            }
        }
    }

    /// What the stack has to do.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Who has an answer, or will get none.
    pub(super) fn poll_ended(&mut self) -> Option<(Waiter, Result<Found, FlowError>)> {
        self.ended.pop_front()
    }

    /// Questions under way.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}
