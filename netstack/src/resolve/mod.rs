//! Names, asked of the tunnel's servers through the tunnel; the host's resolver is never asked.
//!
//! Pure: the stack sends what [`Resolver::poll_action`] gives and feeds what comes back.

mod cache;
pub(crate) mod message;
pub(crate) mod name;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::config::Limits;
use crate::error::FlowError;
use crate::rng::Rng;
use crate::slab::{Id, Slab};
use crate::timers::Timers;
use cache::Cache;
use message::{Answer, Family};

/// Times that each server is asked about one question.
const ROUNDS: usize = 3;
/// Wait for the second family once the first has addresses (RFC 8305 §3 has 50 ms; links here are slower).
const SECOND_FAMILY_WAIT: Duration = Duration::from_millis(150);
/// Addresses of one name that are used.
const MAX_ADDRESSES: usize = 16;

/// Who waits for a lookup.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A caller of `resolve`.
    Reply(oneshot::Sender<Result<Vec<IpAddr>, FlowError>>),
    /// A connection that is being opened.
    Connect(Id),
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
    /// Open a flow for that question.
    Open {
        lookup: Id,
        question: usize,
        to: SocketAddr,
    },
    /// A lookup is over.
    Done {
        waiter: Waiter,
        result: Result<Vec<IpAddr>, FlowError>,
    },
}

#[derive(Debug)]
enum Progress {
    /// Asked over UDP; the port and id are the question's.
    Udp,
    /// Asked over TCP; what has come so far.
    Tcp(Vec<u8>),
    Done(Result<(), FlowError>),
}

#[derive(Debug)]
struct Question {
    family: Family,
    id: u16,
    port: u16,
    tries: usize,
    retry_at: Instant,
    progress: Progress,
    addresses: Vec<IpAddr>,
}

#[derive(Debug)]
struct Lookup {
    key: String,
    /// The name that is asked for now, then those to try if it does not exist.
    name: String,
    more_names: VecDeque<String>,
    questions: Vec<Question>,
    waiter: Option<Waiter>,
    deadline: Instant,
    ttl: Duration,
    settle_at: Option<Instant>,
    pending: Option<Instant>,
}

impl Lookup {
    fn next_timeout(&self) -> Instant {
        let retries = self
            .questions
            .iter()
            .filter_map(|question| match question.progress {
                Progress::Udp | Progress::Tcp(_) => Some(question.retry_at),
                Progress::Done(_) => None,
            });
        retries.chain(self.settle_at).fold(self.deadline, Instant::min)
    }
}

/// All lookups of one stack.
#[derive(Debug)]
pub(crate) struct Resolver {
    servers: Vec<SocketAddr>,
    search_domains: Vec<String>,
    families: Vec<Family>,
    lookups: Slab<Lookup>,
    by_port: HashMap<u16, (Id, usize)>,
    cache: Cache,
    timers: Timers,
    actions: VecDeque<Action>,
    timeout: Duration,
    retry: Duration,
}

impl Resolver {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            servers: Vec::new(),
            search_domains: Vec::new(),
            families: Vec::new(),
            lookups: Slab::new(limits.lookups),
            by_port: HashMap::new(),
            cache: Cache::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
            timeout: limits.resolve_timeout,
            retry: limits.resolve_retry,
        }
    }

    /// Takes the settings of a session; answers of another session's servers are forgotten.
    pub(crate) fn set_network(
        &mut self,
        servers: Vec<SocketAddr>,
        search_domains: Vec<String>,
        families: Vec<Family>,
    ) {
        if self.servers != servers || self.search_domains != search_domains || self.families != families {
            self.cache.clear();
        }
        self.servers = servers;
        self.search_domains = search_domains;
        self.families = families;
    }

    /// Starts a lookup; its end comes as an action.
    pub(crate) fn start(&mut self, now: Instant, text: &str, waiter: Waiter, rng: &mut Rng) {
        if let Some(address) = name::literal(text) {
            return self.actions.push_back(Action::Done {
                waiter,
                result: Ok(vec![address]),
            });
        }
        let mut names = VecDeque::from(name::candidates(text, &self.search_domains));
        let Some(first) = names.pop_front() else {
            return self.refuse(waiter, FlowError::NameNotFound);
        };
        if self.servers.is_empty() {
            return self.refuse(waiter, FlowError::NoResolver);
        }
        let key = text.to_ascii_lowercase();
        if let Some(addresses) = self.cache.find(now, &key) {
            return self.actions.push_back(Action::Done {
                waiter,
                result: Ok(addresses),
            });
        }
        let lookup = Lookup {
            key,
            name: first,
            more_names: names,
            questions: Vec::new(),
            waiter: Some(waiter),
            deadline: now + self.timeout,
            ttl: Duration::MAX,
            settle_at: None,
            pending: None,
        };
        match self.lookups.insert(lookup) {
            Ok(id) => self.ask_all(now, id, rng),
            Err(lookup) => {
                if let Some(waiter) = lookup.waiter {
                    self.refuse(waiter, FlowError::TooManyFlows);
                }
            }
        }
    }

    fn refuse(&mut self, waiter: Waiter, error: FlowError) {
        self.actions.push_back(Action::Done {
            waiter,
            result: Err(error),
        });
    }

    /// Asks for each family of the current name.
    fn ask_all(&mut self, now: Instant, id: Id, rng: &mut Rng) {
        let Some(lookup) = self.lookups.get_mut(id) else {
            return;
        };
        lookup.questions = self
            .families
            .iter()
            .map(|family| Question {
                family: *family,
                id: 0,
                port: 0,
                tries: 0,
                retry_at: now,
                progress: Progress::Udp,
                addresses: Vec::new(),
            })
            .collect();
        for question in 0..self.families.len() {
            self.ask(now, id, question, rng);
        }
        self.advance(now, id, rng);
    }

    /// Sends a question to the next server in turn, from a new port with a new id.
    fn ask(&mut self, now: Instant, id: Id, index: usize, rng: &mut Rng) {
        let Some(lookup) = self.lookups.get_mut(id) else {
            return;
        };
        let Some(question) = lookup.questions.get_mut(index) else {
            return;
        };
        self.by_port.remove(&question.port);
        let servers = self.servers.len();
        let server = question
            .tries
            .checked_rem(servers)
            .and_then(|turn| self.servers.get(turn));
        let by_port = &self.by_port;
        let port = rng.port(|port| !by_port.contains_key(&port));
        let (Some(server), Some(port), true) = (server, port, question.tries < servers * ROUNDS) else {
            question.progress = Progress::Done(Err(FlowError::ResolverFailed));
            return;
        };
        question.id = rng.next_u16();
        question.port = port;
        let Some(payload) = message::encode_query(question.id, &lookup.name, question.family) else {
            question.progress = Progress::Done(Err(FlowError::NameNotFound));
            return;
        };
        let round = u32::try_from(question.tries / servers).unwrap_or(u32::MAX);
        question.retry_at = now + self.retry.saturating_mul(2u32.saturating_pow(round));
        question.tries += 1;
        question.progress = Progress::Udp;
        self.by_port.insert(port, (id, index));
        self.actions.push_back(Action::Send {
            port,
            to: *server,
            payload,
        });
    }

    /// Whether a datagram from there to that port is an answer.
    pub(crate) fn is_waiting_on(&self, port: u16, from: SocketAddr) -> bool {
        self.by_port.contains_key(&port) && self.servers.contains(&from)
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
        let Some((id, index)) = self.by_port.get(&port).copied() else {
            return;
        };
        let Some(lookup) = self.lookups.get_mut(id) else {
            return;
        };
        let Some(question) = lookup.questions.get_mut(index) else {
            return;
        };
        let asked = asked_server(&self.servers, question.tries);
        if asked != Some(from) || !matches!(question.progress, Progress::Udp) {
            return;
        }
        let answer = message::decode_answer(bytes, question.id, &lookup.name, question.family);
        if answer == Answer::Truncated {
            self.by_port.remove(&port);
            question.progress = Progress::Tcp(Vec::new());
            question.retry_at = now + self.retry.saturating_mul(4);
            self.actions.push_back(Action::Open {
                lookup: id,
                question: index,
                to: from,
            });
            self.reschedule(id);
        } else {
            self.on_answer(now, id, index, answer, rng);
        }
    }

    /// What to write to the flow of a question once it is open, length first (RFC 1035 §4.2.2).
    pub(crate) fn stream_query(&self, id: Id, index: usize) -> Option<Vec<u8>> {
        let lookup = self.lookups.get(id)?;
        let question = lookup.questions.get(index)?;
        let Progress::Tcp(_) = question.progress else {
            return None;
        };
        let query = message::encode_query(question.id, &lookup.name, question.family)?;
        let mut framed = u16::try_from(query.len()).ok()?.to_be_bytes().to_vec();
        framed.extend(query);
        Some(framed)
    }

    /// Takes bytes of the flow of a question. Returns whether more are wanted.
    pub(crate) fn handle_stream(
        &mut self,
        now: Instant,
        id: Id,
        index: usize,
        bytes: &[u8],
        rng: &mut Rng,
    ) -> bool {
        let Some(lookup) = self.lookups.get_mut(id) else {
            return false;
        };
        let Some(question) = lookup.questions.get_mut(index) else {
            return false;
        };
        let Progress::Tcp(received) = &mut question.progress else {
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
        let answer = match message::decode_answer(whole, question.id, &lookup.name, question.family) {
            Answer::Truncated | Answer::Foreign => Answer::Useless,
            answer @ (Answer::Addresses { .. } | Answer::NameNotFound | Answer::Useless) => answer,
        };
        self.on_answer(now, id, index, answer, rng);
        false
    }

    /// The flow of a question has gone.
    pub(crate) fn handle_stream_lost(&mut self, now: Instant, id: Id, index: usize, rng: &mut Rng) {
        let question = self
            .lookups
            .get(id)
            .and_then(|lookup| lookup.questions.get(index));
        if question.is_some_and(|question| matches!(question.progress, Progress::Tcp(_))) {
            self.on_answer(now, id, index, Answer::Useless, rng);
        }
    }

    fn on_answer(&mut self, now: Instant, id: Id, index: usize, answer: Answer, rng: &mut Rng) {
        let Some(lookup) = self.lookups.get_mut(id) else {
            return;
        };
        let Some(question) = lookup.questions.get_mut(index) else {
            return;
        };
        match answer {
            Answer::Foreign => return,
            Answer::Useless | Answer::Truncated => self.ask(now, id, index, rng),
            Answer::NameNotFound => question.progress = Progress::Done(Err(FlowError::NameNotFound)),
            Answer::Addresses { addresses, ttl } => {
                question.addresses = addresses;
                question.progress = Progress::Done(Ok(()));
                lookup.ttl = lookup.ttl.min(ttl);
                if !question.addresses.is_empty() {
                    lookup.settle_at.get_or_insert(now + SECOND_FAMILY_WAIT);
                }
            }
        }
        self.advance(now, id, rng);
    }

    /// Ends the lookup if enough is known, goes on to the next name, or waits.
    fn advance(&mut self, now: Instant, id: Id, rng: &mut Rng) {
        let Some(lookup) = self.lookups.get_mut(id) else {
            return;
        };
        let is_pending = |question: &Question| !matches!(question.progress, Progress::Done(_));
        let found: Vec<IpAddr> = lookup
            .questions
            .iter()
            .flat_map(|question| &question.addresses)
            .copied()
            .take(MAX_ADDRESSES)
            .collect();
        let is_time = lookup.settle_at.is_some_and(|at| at <= now);
        let is_all = !lookup.questions.iter().any(is_pending);
        if !found.is_empty() && (is_all || is_time) {
            let (key, ttl) = (lookup.key.clone(), lookup.ttl);
            if is_all {
                self.cache.keep(now, key, found.clone(), ttl);
            }
            self.end(id, Ok(found));
        } else if is_all {
            self.end_without_address(now, id, rng);
        } else if lookup.deadline <= now {
            self.end(id, Err(FlowError::TimedOut));
        } else {
            self.reschedule(id);
        }
    }

    fn end_without_address(&mut self, now: Instant, id: Id, rng: &mut Rng) {
        let Some(lookup) = self.lookups.get_mut(id) else {
            return;
        };
        let failure = lookup
            .questions
            .iter()
            .find_map(|question| match question.progress {
                Progress::Done(Err(error)) if error != FlowError::NameNotFound => Some(error),
                Progress::Udp | Progress::Tcp(_) | Progress::Done(_) => None,
            });
        let ports: Vec<u16> = lookup.questions.iter().map(|question| question.port).collect();
        let next = if failure.is_none() {
            lookup.more_names.pop_front()
        } else {
            None
        };
        if let Some(name) = next {
            lookup.name = name;
            for port in ports {
                self.by_port.remove(&port);
            }
            self.ask_all(now, id, rng);
        } else {
            self.end(id, Err(failure.unwrap_or(FlowError::NameNotFound)));
        }
    }

    fn end(&mut self, id: Id, result: Result<Vec<IpAddr>, FlowError>) {
        let Some(mut lookup) = self.lookups.remove(id) else {
            return;
        };
        for question in &lookup.questions {
            self.by_port.remove(&question.port);
        }
        if let Some(waiter) = lookup.waiter.take() {
            self.actions.push_back(Action::Done { waiter, result });
        }
    }

    fn reschedule(&mut self, id: Id) {
        if let Some(lookup) = self.lookups.get_mut(id) {
            let at = lookup.next_timeout();
            self.timers.schedule(id, at, &mut lookup.pending);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.timers.earliest()
    }

    /// Asks again where nothing came back, and ends what took too long.
    pub(crate) fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        while let Some((at, id)) = self.timers.pop_due(now) {
            let Some(lookup) = self.lookups.get_mut(id) else {
                continue;
            };
            if lookup.pending != Some(at) {
                continue;
            }
            lookup.pending = None;
            if lookup.deadline <= now {
                let found: Vec<IpAddr> = lookup
                    .questions
                    .iter()
                    .flat_map(|question| &question.addresses)
                    .copied()
                    .collect();
                let result = if found.is_empty() {
                    Err(FlowError::TimedOut)
                } else {
                    Ok(found)
                };
                self.end(id, result);
                continue;
            }
            let late: Vec<usize> = (0..lookup.questions.len())
                .filter(|index| {
                    lookup.questions.get(*index).is_some_and(|question| {
                        question.retry_at <= now && !matches!(question.progress, Progress::Done(_))
                    })
                })
                .collect();
            for index in late {
                self.ask(now, id, index, rng);
            }
            self.advance(now, id, rng);
        }
    }

    /// What the stack has to do.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }
}

/// The server that was asked last, after that many tries.
fn asked_server(servers: &[SocketAddr], tries: usize) -> Option<SocketAddr> {
    let turn = tries.checked_sub(1)?.checked_rem(servers.len())?;
    servers.get(turn).copied()
}
