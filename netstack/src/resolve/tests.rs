//! The resolver in virtual time, with name servers that behave in every way they can.

use std::net::Ipv4Addr;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;
use crate::slab::Slab;

const FIRST: &str = "10.8.0.53:53";
const SECOND: &str = "10.8.0.54:53";
const CORP: &str = "10.8.0.99:53";
const TIMEOUT: Duration = Duration::from_secs(12);

/// A server's answer to a message; over TCP if the last is true.
type Server = Box<dyn FnMut(SocketAddr, &Message, bool) -> Option<Vec<u8>>>;

/// What the answer of a caller comes by.
type Pending = oneshot::Receiver<Result<Vec<u8>, QueryError>>;

struct Bench {
    resolver: Resolver,
    rng: Rng,
    start: Instant,
    now: Instant,
    server: Server,
    /// Server, name and transport of each question.
    asked: Vec<String>,
    ended: VecDeque<Result<Vec<IpAddr>, FlowError>>,
    aborted: usize,
    flows: Slab<()>,
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn groups() -> Vec<ResolverGroup> {
    let corp = ResolverGroup {
        servers: vec![address(CORP)],
        domains: vec!["corp.example".to_owned()],
    };
    vec![corp, ResolverGroup::general([address(FIRST), address(SECOND)])]
}

impl Bench {
    fn new(server: impl FnMut(SocketAddr, &Message, bool) -> Option<Vec<u8>> + 'static) -> Self {
        let now = Instant::now();
        let limits = Limits {
            resolve_timeout: TIMEOUT,
            lookups: 8,
            ..Limits::default()
        };
        let mut bench = Self {
            resolver: Resolver::new(&limits),
            rng: Rng::new(5),
            start: now,
            now,
            server: Box::new(server),
            asked: Vec::new(),
            ended: VecDeque::new(),
            aborted: 0,
            flows: Slab::new(64),
        };
        bench.set_groups(&groups());
        bench
    }

    fn set_groups(&mut self, groups: &[ResolverGroup]) {
        let search = vec!["corp.example".to_owned()];
        self.resolver.set_network(
            self.now,
            (groups, |_| true),
            search,
            vec![Family::V4],
            &mut self.rng,
        );
    }

    fn query(&mut self, query: &Message) -> Pending {
        let (reply, answer) = oneshot::channel();
        let bytes = query.to_vec().unwrap();
        self.resolver.query(self.now, &bytes, reply, &mut self.rng);
        answer
    }

    /// Asks and runs until there is an answer.
    fn ask(&mut self, query: &Message) -> Result<Message, QueryError> {
        let mut pending = self.query(query);
        self.run();
        let Ok(answer) = pending.try_recv() else {
            panic!("nobody answered")
        };
        answer.map(|bytes| message(&bytes))
    }

    fn look_up(&mut self, name: &str) -> Result<Vec<IpAddr>, FlowError> {
        let (reply, _nobody) = oneshot::channel();
        self.resolver
            .start(self.now, name, Owner::Reply(reply), &mut self.rng);
        self.run();
        self.ended.pop_front().unwrap()
    }

    /// Carries out what is asked for and lets time go on until nothing is left to do.
    fn run(&mut self) {
        let began = self.now;
        loop {
            while let Some(action) = self.resolver.poll_action() {
                self.act(action);
            }
            let is_idle = self.resolver.exchanges.len() == 0 && self.resolver.lookups.len() == 0;
            let Some(at) = self.resolver.poll_timeout().filter(|_| !is_idle) else {
                return;
            };
            self.now = self.now.max(at);
            assert!(self.now - began < TIMEOUT * 3, "this never ends");
            self.resolver.handle_timeout(self.now, &mut self.rng);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Send { port, to, payload } => {
                let query = Message::from_vec(&payload).unwrap();
                self.asked.push(format!("{to} {} udp", query.queries[0].name));
                assert!(self.resolver.is_waiting_on(port, to));
                if let Some(answer) = (self.server)(to, &query, false) {
                    self.resolver
                        .handle_datagram(self.now, port, to, &answer, &mut self.rng);
                }
            }
            Action::Open {
                exchange,
                attempt,
                to,
            } => {
                let flow = self.flows.insert(()).unwrap();
                self.resolver.handle_stream_started(exchange, attempt, flow);
                let query = self.resolver.stream_query(exchange, attempt).unwrap();
                let query = Message::from_vec(&query[2..]).unwrap();
                self.asked.push(format!("{to} {} tcp", query.queries[0].name));
                if let Some(answer) = (self.server)(to, &query, true) {
                    if answer.is_empty() {
                        return self
                            .resolver
                            .handle_stream_lost(self.now, exchange, attempt, &mut self.rng);
                    }
                    let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
                    for byte in length.iter().chain(&answer) {
                        self.resolver
                            .handle_stream(self.now, exchange, attempt, &[*byte], &mut self.rng);
                    }
                }
            }
            Action::Abort(_) => self.aborted += 1,
            Action::Done { result, .. } => self.ended.push_back(result),
        }
    }
}

fn message(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    // As it is written: `from_str` makes it lower case.
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn reply(query: &Message, code: ResponseCode) -> Message {
    let mut message = query.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = code;
    message
}

fn record(query: &Message, ttl: u32) -> Record {
    let name = query.queries[0].name.clone();
    let data = if query.queries[0].query_type == RecordType::TXT {
        RData::TXT(TXT::new(vec!["text".to_owned()]))
    } else {
        RData::A(A(Ipv4Addr::new(192, 0, 2, 1)))
    };
    Record::from_rdata(name, ttl, data)
}

fn good(query: &Message) -> Option<Vec<u8>> {
    let mut message = reply(query, ResponseCode::NoError);
    message.insert_answers(vec![record(query, 60)]);
    message.to_vec().ok()
}

fn nothing(query: &Message, code: ResponseCode, soa: Option<(u32, u32)>) -> Option<Vec<u8>> {
    let mut message = reply(query, code);
    let root = Name::root();
    message.insert_authorities(
        soa.map(|(ttl, minimum)| {
            let data = RData::SOA(SOA::new(root.clone(), root.clone(), 1, 2, 3, 4, minimum));
            Record::from_rdata(root.clone(), ttl, data)
        })
        .into_iter()
        .collect(),
    );
    message.to_vec().ok()
}

#[test]
fn the_answer_bears_the_clients_id_letters_and_flags() {
    let mut bench = Bench::new(|_, query, _| {
        assert_eq!(query.queries[0].name.to_string(), "www.example.");
        assert!(query.metadata.recursion_desired && query.edns.is_some());
        let mut message = reply(query, ResponseCode::NoError);
        message.metadata.authentic_data = true;
        message.insert_answers(vec![record(query, 60)]);
        message.to_vec().ok()
    });
    let mut query = question("wWw.Example.", RecordType::TXT);
    let answer = bench.ask(&query).unwrap();
    assert_eq!(answer.metadata.id, 0x1234);
    assert_eq!(answer.queries[0].name.to_string(), "wWw.Example.");
    assert_eq!((answer.answers.len(), answer.edns.is_some()), (1, false));
    assert!(!answer.metadata.authentic_data, "nobody asked for it");
    query.metadata.authentic_data = true;
    query.metadata.recursion_desired = false;
    query.set_edns(Edns::new());
    let answer = bench.ask(&query).unwrap();
    assert!(answer.edns.is_some() && answer.metadata.authentic_data);
    assert!(!answer.metadata.recursion_desired);
    assert_eq!(bench.asked.len(), 1);
}

#[test]
fn times_to_live_run_down_and_then_it_is_asked_again() {
    let mut bench = Bench::new(|_, query, _| good(query));
    let query = question("www.example.", RecordType::TXT);
    for (seconds, ttl, asked) in [(0, 60, 1), (20, 40, 1), (39, 1, 1), (1, 60, 2)] {
        bench.now += Duration::from_secs(seconds);
        assert_eq!(bench.ask(&query).unwrap().answers[0].ttl, ttl);
        assert_eq!(bench.asked.len(), asked);
    }
}

#[test]
fn long_and_impossible_times_to_live_are_bounded() {
    for (ttl, shown) in [(86_400, 3600), (u32::MAX, 0), (0, 0)] {
        let mut bench = Bench::new(move |_, query, _| {
            let mut message = reply(query, ResponseCode::NoError);
            message.insert_answers(vec![record(query, ttl)]);
            message.to_vec().ok()
        });
        let query = question("www.example.", RecordType::A);
        assert_eq!(bench.ask(&query).unwrap().answers[0].ttl, shown);
        bench.now += Duration::from_secs(3601);
        bench.ask(&query).unwrap();
        assert_eq!(bench.asked.len(), 2, "kept for ever");
    }
}

#[test]
fn what_does_not_exist_is_remembered_as_long_as_its_zone_says() {
    for (code, soa, kept) in [
        (ResponseCode::NXDomain, Some((600, 30)), 30),
        (ResponseCode::NoError, Some((20, 3000)), 20),
        (ResponseCode::NXDomain, Some((86_400, 86_400)), 300),
        (ResponseCode::NXDomain, None, 0),
    ] {
        let mut bench = Bench::new(move |_, query, _| nothing(query, code, soa));
        let query = question("missing.example.", RecordType::MX);
        assert_eq!(bench.ask(&query).unwrap().metadata.response_code, code);
        if kept > 0 {
            bench.now += Duration::from_secs(kept - 1);
            bench.ask(&query).unwrap();
            assert_eq!(bench.asked.len(), 1, "{code} {soa:?}");
        }
        bench.now += Duration::from_secs(1);
        bench.ask(&query).unwrap();
        assert_eq!(bench.asked.len(), 2, "{code} {soa:?}");
    }
}

#[test]
fn lookups_and_queries_share_what_is_known() {
    let mut bench = Bench::new(|_, query, _| good(query));
    assert_eq!(
        bench.look_up("www.example").unwrap(),
        ["192.0.2.1".parse::<IpAddr>().unwrap()]
    );
    bench.ask(&question("WWW.example.", RecordType::A)).unwrap();
    assert_eq!(bench.asked.len(), 1);
    // Another bit, another answer.
    let mut checked = question("www.example.", RecordType::A);
    checked.metadata.checking_disabled = true;
    assert!(bench.ask(&checked).unwrap().metadata.checking_disabled);
    assert_eq!(bench.asked.len(), 2);
}

#[test]
fn those_who_ask_the_same_wait_for_one_answer() {
    let mut bench = Bench::new(|_, query, _| good(query));
    let query = question("www.example.", RecordType::TXT);
    let mut first = bench.query(&query);
    let mut second = bench.query(&query);
    drop(bench.query(&query));
    bench.run();
    assert_eq!(bench.asked.len(), 1);
    assert!(first.try_recv().unwrap().is_ok() && second.try_recv().unwrap().is_ok());
}

#[test]
fn too_many_queries_are_refused_and_room_comes_back() {
    let mut bench = Bench::new(|_, query, _| good(query));
    let ask = |bench: &mut Bench, number: usize| {
        bench.query(&question(&format!("h{number}.example."), RecordType::TXT))
    };
    let waiting: Vec<Pending> = (0..8).map(|number| ask(&mut bench, number)).collect();
    let refused = ask(&mut bench, 8).try_recv().unwrap();
    assert_eq!(refused, Err(QueryError::Failed(FlowError::TooManyFlows)));
    bench.run();
    assert!(
        waiting
            .into_iter()
            .all(|mut answer| answer.try_recv().unwrap().is_ok())
    );
    assert!(bench.ask(&question("h8.example.", RecordType::TXT)).is_ok());
}

#[test]
fn each_way_a_server_can_fail_ends_in_an_error_within_the_time() {
    struct Way(&'static str, FlowError, fn(&Message, bool) -> Option<Vec<u8>>);
    let ways = [
        Way("silence", FlowError::TimedOut, |_, _| None),
        Way("SERVFAIL", FlowError::ResolverFailed, |query, _| {
            nothing(query, ResponseCode::ServFail, None)
        }),
        Way("REFUSED", FlowError::ResolverFailed, |query, _| {
            nothing(query, ResponseCode::Refused, None)
        }),
        Way("garbage", FlowError::ResolverFailed, |query, _| {
            Some([&query.metadata.id.to_be_bytes()[..], &[0xff; 60]].concat())
        }),
        Way("wrong id", FlowError::TimedOut, |query, _| {
            let mut other = query.clone();
            other.metadata.id ^= 1;
            good(&other)
        }),
        Way("wrong question", FlowError::TimedOut, |query, _| {
            let mut other = question("other.example.", RecordType::TXT);
            other.metadata.id = query.metadata.id;
            good(&other)
        }),
        Way("truncated for ever", FlowError::ResolverFailed, |query, _| {
            let mut message = reply(query, ResponseCode::NoError);
            message.metadata.truncation = true;
            message.to_vec().ok()
        }),
        Way("TCP reset", FlowError::ResolverFailed, |query, is_tcp| {
            let mut message = reply(query, ResponseCode::NoError);
            message.metadata.truncation = true;
            if is_tcp {
                Some(Vec::new())
            } else {
                message.to_vec().ok()
            }
        }),
        Way("silence over TCP", FlowError::ResolverFailed, |query, is_tcp| {
            let mut message = reply(query, ResponseCode::NoError);
            message.metadata.truncation = true;
            if is_tcp { None } else { message.to_vec().ok() }
        }),
        Way("cut records", FlowError::ResolverFailed, |query, _| {
            let whole = good(query)?;
            Some(whole[..whole.len() - 3].to_vec())
        }),
    ];
    for Way(mode, failure, answer) in ways {
        let mut bench = Bench::new(move |_, query, is_tcp| answer(query, is_tcp));
        let began = bench.now;
        let error = bench.ask(&question("www.example.", RecordType::TXT)).unwrap_err();
        assert_eq!(error, QueryError::Failed(failure), "{mode}");
        let error = bench.look_up("www.example").unwrap_err();
        assert_eq!(error, failure, "{mode}");
        assert!(bench.now - began <= TIMEOUT * 2, "{mode}");
        assert!(
            bench.asked.iter().any(|asked| asked.starts_with(SECOND)),
            "{mode}"
        );
        let general = [FIRST, SECOND];
        let is_known = |asked: &String| general.iter().any(|server| asked.starts_with(server));
        assert!(bench.asked.iter().all(is_known), "{mode}: {:?}", bench.asked);
        assert!(bench.asked.len() <= 24, "{mode}: {:?}", bench.asked);
        assert_eq!(bench.resolver.exchanges.len(), 0, "{mode}");
        let streams = bench.asked.iter().filter(|asked| asked.ends_with("tcp")).count();
        assert!(
            bench.aborted <= streams && (streams == 0 || bench.aborted > 0),
            "{mode}"
        );
    }
}

#[test]
fn the_next_server_is_asked_when_one_fails() {
    let mut bench = Bench::new(|to, query, _| {
        if to == address(FIRST) {
            nothing(query, ResponseCode::ServFail, None)
        } else {
            good(query)
        }
    });
    assert!(bench.ask(&question("www.example.", RecordType::TXT)).is_ok());
    assert_eq!(bench.asked.len(), 2);
    assert_eq!(bench.now, bench.start, "it was waited for");
}

#[test]
fn a_server_that_does_not_know_edns_is_asked_without_it() {
    let mut bench = Bench::new(|_, query, _| {
        if query.edns.is_some() {
            nothing(query, ResponseCode::FormErr, None)
        } else {
            good(query)
        }
    });
    assert!(bench.ask(&question("www.example.", RecordType::TXT)).is_ok());
}

#[test]
fn somebody_who_guesses_ids_has_few_tries() {
    let mut bench = Bench::new(|_, _, _| None);
    let _pending = bench.query(&question("www.example.", RecordType::TXT));
    let Some(Action::Send { port, to, .. }) = bench.resolver.poll_action() else {
        panic!("nothing is asked")
    };
    let elsewhere = address("10.8.0.66:53");
    assert!(!bench.resolver.is_waiting_on(port, elsewhere));
    for id in 0..33_u16 {
        let guess = [&id.to_be_bytes()[..], &[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
        bench
            .resolver
            .handle_datagram(bench.now, port, to, &guess, &mut bench.rng);
    }
    assert!(!bench.resolver.is_waiting_on(port, to), "the port is still open");
}

#[test]
fn names_of_a_domain_go_to_its_server_and_nowhere_else() {
    let mut bench = Bench::new(|to, query, _| {
        if to == address(CORP) {
            nothing(query, ResponseCode::ServFail, None)
        } else {
            good(query)
        }
    });
    let inside = question("db.corp.example.", RecordType::A);
    assert!(bench.ask(&inside).is_err());
    assert!(bench.asked.iter().all(|asked| asked.starts_with(CORP)));
    bench.ask(&question("www.example.", RecordType::A)).unwrap();
    assert!(bench.asked.last().unwrap().starts_with(FIRST));
}

#[test]
fn search_domains_are_tried_in_order_and_a_final_dot_ends_the_search() {
    let mut bench = Bench::new(|_, query, _| {
        if query.queries[0].name.to_string() == "host.corp.example." {
            good(query)
        } else {
            nothing(query, ResponseCode::NXDomain, Some((60, 60)))
        }
    });
    assert!(bench.look_up("host").is_ok());
    assert_eq!(bench.asked, [format!("{CORP} host.corp.example. udp")]);
    assert_eq!(bench.look_up("host.").unwrap_err(), FlowError::NameNotFound);
    assert_eq!(bench.look_up("a.b").unwrap_err(), FlowError::NameNotFound);
    let asked = bench.asked.split_off(1);
    assert_eq!(
        asked,
        [
            format!("{FIRST} host. udp"),
            format!("{FIRST} a.b. udp"),
            format!("{CORP} a.b.corp.example. udp")
        ]
    );
    // All of that is known by now.
    assert_eq!(bench.look_up("a.b").unwrap_err(), FlowError::NameNotFound);
    assert_eq!(bench.asked.len(), 1);
}

#[test]
fn other_servers_are_asked_anew_and_old_answers_forgotten() {
    let mut bench = Bench::new(|_, query, _| good(query));
    let query = question("www.example.", RecordType::TXT);
    bench.ask(&query).unwrap();
    let mut waiting = bench.query(&question("slow.example.", RecordType::TXT));
    while bench.resolver.poll_action().is_some() {}
    let other = "10.9.0.53:53";
    bench.set_groups(&[ResolverGroup::general([address(other)])]);
    bench.asked.clear();
    bench.run();
    assert!(waiting.try_recv().unwrap().is_ok());
    bench.ask(&query).unwrap();
    assert_eq!(bench.asked.len(), 2);
    assert!(
        bench.asked.iter().all(|asked| asked.starts_with(other)),
        "{:?}",
        bench.asked
    );
    bench.set_groups(&[]);
    assert_eq!(
        bench.ask(&query).unwrap_err(),
        QueryError::Failed(FlowError::NoResolver)
    );
}

#[test]
fn the_cache_is_bounded_in_number_and_bytes() {
    let mut bench = Bench::new(|_, query, _| {
        let text = RData::TXT(TXT::new(vec!["x".repeat(250); 8]));
        let mut message = reply(query, ResponseCode::NoError);
        message.insert_answers(vec![Record::from_rdata(query.queries[0].name.clone(), 600, text)]);
        message.to_vec().ok()
    });
    for number in 0..1200 {
        bench
            .ask(&question(&format!("h{number}.example."), RecordType::TXT))
            .unwrap();
    }
    let (entries, bytes) = bench.resolver.exchanges.cache.size();
    assert!(
        entries > 100 && entries <= 1024 && bytes <= 1024 * 1024,
        "{entries} {bytes}"
    );
    bench.ask(&question("h1199.example.", RecordType::TXT)).unwrap();
    assert_eq!(bench.asked.len(), 1200);
}

#[test]
fn messages_that_are_no_queries_are_refused() {
    let mut bench = Bench::new(|_, _, _| panic!("it was asked"));
    let mut two = question("a.example.", RecordType::A);
    two.add_query(Query::query(Name::root(), RecordType::A));
    let answer = reply(&question("a.example.", RecordType::A), ResponseCode::NoError);
    for (bad, error) in [
        (two, QueryError::Malformed),
        (answer, QueryError::Malformed),
        (
            Message::new(1, MessageType::Query, OpCode::Query),
            QueryError::Malformed,
        ),
        (
            Message::new(1, MessageType::Query, OpCode::Status),
            QueryError::NotSupported,
        ),
    ] {
        assert_eq!(bench.ask(&bad).unwrap_err(), error);
    }
}
