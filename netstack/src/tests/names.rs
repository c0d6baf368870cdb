//! Names, asked of a server behind the exit.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::{Options, PATIENCE, World, join, network, serve, shared};
use crate::{FlowError, Limits, Network, QueryError, Target};

const RESOLVER: &str = "10.8.0.53:53";

/// Answers queries on UDP and TCP as `answer` says; nothing is sent if it gives nothing.
fn name_server(
    answer: impl Fn(&Message, bool) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let (udp, tcp) = one_port();
    let address = udp.local_addr().unwrap();
    let asked = shared(Vec::new());
    let answer = Arc::new(answer);
    let (log, udp_answer) = (Arc::clone(&asked), Arc::clone(&answer));
    std::thread::spawn(move || {
        let mut buf = [0; 2048];
        while let Ok((read, from)) = udp.recv_from(&mut buf) {
            let query = Message::from_vec(&buf[..read]).unwrap();
            log.lock().unwrap().push(query.queries[0].name.to_string());
            if let Some(reply) = udp_answer(&query, false) {
                udp.send_to(&reply, from).unwrap();
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut query).unwrap();
            if let Some(reply) = answer(&Message::from_vec(&query).unwrap(), true) {
                let length = u16::try_from(reply.len()).unwrap().to_be_bytes();
                stream.write_all(&[&length[..], &reply].concat()).unwrap();
            }
        }
    });
    (address, asked)
}

/// A port that is free for both protocols.
fn one_port() -> (UdpSocket, TcpListener) {
    for _ in 0..256 {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both protocols");
}

fn reply(query: &Message, code: ResponseCode, records: Vec<Record>) -> Message {
    let mut message = query.clone();
    message.metadata.message_type = MessageType::Response;
    message.metadata.response_code = code;
    message.edns = None;
    message.insert_answers(records);
    message
}

fn addresses(query: &Message, name: &str, addresses: &[&str]) -> Vec<Record> {
    let wanted = query.queries[0].query_type;
    let name = Name::from_str(name).unwrap();
    let data = addresses.iter().filter_map(|text| match text.parse().unwrap() {
        IpAddr::V4(address) if wanted == RecordType::A => Some(RData::A(A(address))),
        IpAddr::V6(address) if wanted == RecordType::AAAA => Some(RData::AAAA(AAAA(address))),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    });
    data.map(|data| Record::from_rdata(name.clone(), 60, data))
        .collect()
}

fn world(server: SocketAddr) -> World {
    let limits = Limits {
        resolve_timeout: Duration::from_secs(3),
        resolve_retry: Duration::from_millis(200),
        ..Limits::default()
    };
    World::start(
        Options {
            limits,
            ..Options::new()
        }
        .redirect(RESOLVER, server),
    )
}

fn resolve(world: &World, name: &str) -> Result<Vec<String>, FlowError> {
    let found = world.wait(world.handle.resolve(name))?;
    let mut found: Vec<String> = found.iter().map(ToString::to_string).collect();
    found.sort();
    Ok(found)
}

#[test]
fn both_families_are_asked_and_aliases_followed() {
    let (server, asked) = name_server(|query, _| {
        let alias = RData::CNAME(CNAME(Name::from_str("real.example.").unwrap()));
        let mut records = vec![Record::from_rdata(query.queries[0].name.clone(), 60, alias)];
        records.extend(addresses(
            query,
            "real.example.",
            &["192.0.2.1", "192.0.2.2", "2001:db8::1"],
        ));
        // Not part of the chain.
        records.extend(addresses(
            query,
            "other.example.",
            &["192.0.2.66", "2001:db8::66"],
        ));
        Some(reply(query, ResponseCode::NoError, records).to_vec().unwrap())
    });
    let world = world(server);
    assert_eq!(
        resolve(&world, "Alias.Example").unwrap(),
        ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
    );
    assert_eq!(asked.lock().unwrap().len(), 2);
    // Fresh answers are not asked for again.
    assert_eq!(resolve(&world, "alias.example").unwrap().len(), 3);
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(resolve(&world, "[2001:db8::7]").unwrap(), ["2001:db8::7"]);
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let (server, _) = name_server(|query, is_tcp| {
        let all: Vec<String> = (1..=10).map(|number| format!("192.0.2.{number}")).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let mut message = reply(
            query,
            ResponseCode::NoError,
            addresses(query, "big.example.", &all),
        );
        if !is_tcp {
            message.answers.clear();
            message.metadata.truncation = true;
        }
        Some(message.to_vec().unwrap())
    });
    assert_eq!(resolve(&world(server), "big.example").unwrap().len(), 10);
}

#[test]
fn a_query_of_any_type_goes_through_and_a_long_answer_comes_over_tcp() {
    let (server, asked) = name_server(|query, is_tcp| {
        let text = RData::TXT(TXT::new(vec!["x".repeat(200); 10]));
        let record = Record::from_rdata(query.queries[0].name.clone(), 60, text);
        let mut message = reply(query, ResponseCode::NoError, vec![record]);
        if !is_tcp {
            message.answers.clear();
            message.metadata.truncation = true;
        }
        Some(message.to_vec().unwrap())
    });
    let world = world(server);
    let mut query = Message::new(77, MessageType::Query, OpCode::Query);
    query.add_query(Query::query(
        Name::from_str("Long.Example.").unwrap(),
        RecordType::TXT,
    ));
    for _ in 0..2 {
        let answer = world.wait(world.handle.query(query.to_vec().unwrap())).unwrap();
        assert!(answer.len() > 2000);
        let answer = Message::from_vec(&answer).unwrap();
        assert_eq!((answer.metadata.id, answer.answers.len()), (77, 1));
        assert_eq!(answer.queries, query.queries);
    }
    assert_eq!(asked.lock().unwrap().len(), 1);
    let nonsense = world.wait(world.handle.query(vec![0; 5])).unwrap_err();
    assert_eq!(nonsense, QueryError::Malformed);
}

#[test]
fn a_name_that_does_not_exist_is_said_so_at_once() {
    let (server, asked) =
        name_server(|query, _| Some(reply(query, ResponseCode::NXDomain, Vec::new()).to_vec().unwrap()));
    let world = world(server);
    assert_eq!(
        resolve(&world, "missing.example").unwrap_err(),
        FlowError::NameNotFound
    );
    // Both families, as it is and within the search domain.
    assert_eq!(asked.lock().unwrap().len(), 4);
    for bad in ["", "a..b", "with space", &"x".repeat(64), &"long.".repeat(60)] {
        assert_eq!(
            resolve(&world, bad).unwrap_err(),
            FlowError::NameNotFound,
            "{bad:?}"
        );
    }
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[test]
fn a_name_without_addresses_is_not_found() {
    let (server, _) =
        name_server(|query, _| Some(reply(query, ResponseCode::NoError, Vec::new()).to_vec().unwrap()));
    assert_eq!(
        resolve(&world(server), "empty.example").unwrap_err(),
        FlowError::NameNotFound
    );
}

#[test]
fn single_labels_are_looked_for_in_the_search_domains() {
    let (server, _) = name_server(|query, _| {
        let records = addresses(query, "intra.corp.example.", &["192.0.2.9"]);
        let is_known = query.queries[0].name.to_string() == "intra.corp.example.";
        let message = if is_known {
            reply(query, ResponseCode::NoError, records)
        } else {
            reply(query, ResponseCode::NXDomain, Vec::new())
        };
        Some(message.to_vec().unwrap())
    });
    let world = world(server);
    assert_eq!(resolve(&world, "intra").unwrap(), ["192.0.2.9"]);
    assert_eq!(resolve(&world, "intra.").unwrap_err(), FlowError::NameNotFound);
}

#[test]
fn garbage_and_foreign_answers_are_survived() {
    // Each family gets an answer with another id, then the right id before nonsense, then the truth.
    let counts = shared([0; 2]);
    let (server, _) = name_server(move |query, _| {
        let family = usize::from(query.queries[0].query_type == RecordType::AAAA);
        let mut counts = counts.lock().unwrap();
        counts[family] += 1;
        let right = reply(
            query,
            ResponseCode::NoError,
            addresses(query, "host.example.", &["192.0.2.1"]),
        );
        match counts[family] {
            1 => {
                let mut foreign = right;
                foreign.metadata.id = query.metadata.id.wrapping_add(1);
                foreign.to_vec().ok()
            }
            2 => Some([&query.metadata.id.to_be_bytes()[..], &[0xff; 40]].concat()),
            _ => right.to_vec().ok(),
        }
    });
    assert_eq!(resolve(&world(server), "host.example").unwrap(), ["192.0.2.1"]);
}

#[test]
fn a_server_that_always_fails_is_given_up() {
    let (server, asked) =
        name_server(|query, _| Some(reply(query, ResponseCode::ServFail, Vec::new()).to_vec().unwrap()));
    assert_eq!(
        resolve(&world(server), "host.example").unwrap_err(),
        FlowError::ResolverFailed
    );
    assert_eq!(asked.lock().unwrap().len(), 6);
}

#[test]
fn silence_is_a_time_out_after_some_tries() {
    let (server, asked) = name_server(|_, _| None);
    let error = resolve(&world(server), "host.example").unwrap_err();
    assert!(
        matches!(error, FlowError::TimedOut | FlowError::ResolverFailed),
        "{error}"
    );
    assert!(asked.lock().unwrap().len() >= 4);
}

#[test]
fn without_a_resolver_names_are_refused_and_literals_are_not() {
    let network = Network {
        resolvers: Vec::new(),
        ..network()
    };
    let world = World::start(Options {
        network: Some(network),
        ..Options::new()
    });
    assert_eq!(
        resolve(&world, "host.example").unwrap_err(),
        FlowError::NoResolver
    );
    assert_eq!(resolve(&world, "192.0.2.1").unwrap(), ["192.0.2.1"]);
}

#[test]
fn connecting_by_name_falls_back_to_the_address_that_works() {
    let (server, _) = name_server(|query, _| {
        let all = ["fd00::77", "10.8.0.77", "10.8.0.1"];
        let records = addresses(query, "host.example.", &all);
        Some(reply(query, ResponseCode::NoError, records).to_vec().unwrap())
    });
    let web = serve(|mut stream| stream.write_all(b"hello").unwrap());
    let world = World::start(
        Options::new()
            .redirect(RESOLVER, server)
            .redirect("10.8.0.1:80", web),
    );
    let flow = world
        .wait(world.handle.connect(Target::Name("host.example".to_owned(), 80)))
        .unwrap();
    assert_eq!(flow.remote.to_string(), "10.8.0.1:80");
    let (mut stream, _end) = join(flow);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut hello = Vec::new();
    stream.read_to_end(&mut hello).unwrap();
    assert_eq!(hello, b"hello");
}
