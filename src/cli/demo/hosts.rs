//! The private hosts: two web pages and the resolver that knows the second one's name.

use std::{io, net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, RecordType, rdata::A},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};

use super::{BY_NAME, NAME};

/// What the host at an address says.
pub(super) const ADDRESS_PAGE: &str = "Hello from 10.98.0.1, a host that exists inside this tunnel only.\n";
/// What the host with a name says.
pub(super) const NAME_PAGE: &str = "Hello from hello.demo.internal, resolved inside this tunnel.\n";

/// Longest time for a request to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests at once on one page; more wait in the listener's queue.
const REQUESTS: usize = 64;
/// Longest request head.
const HEAD_BYTES: usize = 8192;
/// Time to live of the answer.
const TTL_SECONDS: u32 = 60;

/// The hosts, until they are stopped.
#[derive(Debug)]
pub(super) struct Hosts {
    pub(super) by_address: SocketAddr,
    pub(super) by_name: SocketAddr,
    pub(super) resolver: SocketAddr,
    tasks: JoinSet<()>,
}

impl Hosts {
    pub(super) async fn start() -> io::Result<Self> {
        let first = TcpListener::bind("127.0.0.1:0").await?;
        let second = TcpListener::bind("127.0.0.1:0").await?;
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        let (by_address, by_name) = (first.local_addr()?, second.local_addr()?);
        let resolver = socket.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(first, ADDRESS_PAGE));
        tasks.spawn(serve(second, NAME_PAGE));
        tasks.spawn(resolve(socket));
        Ok(Self {
            by_address,
            by_name,
            resolver,
            tasks,
        })
    }

    pub(super) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(listener: TcpListener, page: &'static str) {
    let mut requests = JoinSet::new();
    loop {
        while requests.len() >= REQUESTS {
            requests.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                requests.spawn(async move {
                    if let Err(error) = timeout(PATIENCE, answer(stream, page)).await {
                        tracing::debug!(%error, "a request to the demo's page took too long");
                    }
                });
            }
            Err(error) => tracing::debug!(%error, "the demo's page cannot accept"),
        }
        while requests.try_join_next().is_some() {}
    }
}

/// Reads one request's head, whatever it says, and answers with the page.
async fn answer(mut stream: TcpStream, page: &str) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES {
        match stream.read_buf(&mut head).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let text = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
        page.len()
    );
    let written = async {
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    if let Err(error) = written.await {
        tracing::debug!(%error, "the demo's page was not taken");
    }
}

async fn resolve(socket: UdpSocket) {
    let mut query = [0; 1500];
    loop {
        let received = socket.recv_from(&mut query).await;
        let Ok((len, from)) = received else { continue };
        let reply = query.get(..len).and_then(reply_to);
        if let Some(reply) = reply
            && let Err(error) = socket.send_to(&reply, from).await
        {
            tracing::debug!(%error, "the demo's resolver cannot answer");
        }
    }
}

/// Knows one address of one name, and that everything else does not exist.
fn reply_to(query: &[u8]) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    if query.metadata.message_type != MessageType::Query {
        return None;
    }
    let question = query.queries.first()?.clone();
    let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
    reply.metadata.authoritative = true;
    reply.metadata.recursion_desired = query.metadata.recursion_desired;
    reply.metadata.recursion_available = true;
    let known = question
        .name()
        .to_string()
        .trim_end_matches('.')
        .eq_ignore_ascii_case(NAME);
    if !known {
        reply.metadata.response_code = ResponseCode::NXDomain;
    } else if let (RecordType::A, SocketAddr::V4(address)) = (question.query_type(), BY_NAME) {
        let record = Record::from_rdata(question.name().clone(), TTL_SECONDS, RData::A(A(*address.ip())));
        reply.add_answer(record);
    }
    reply.add_query(question);
    reply.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use hickory_proto::{op::Query, rr::Name};

    use super::*;

    fn ask(name: &str, kind: RecordType) -> Message {
        let mut query = Message::query();
        query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
        Message::from_vec(&reply_to(&query.to_vec().unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn the_resolver_knows_one_name() {
        let known = ask("Hello.demo.internal.", RecordType::A);
        assert_eq!(known.answers.len(), 1);
        assert!(ask("hello.demo.internal.", RecordType::AAAA).answers.is_empty());
        let unknown = ask("other.demo.internal.", RecordType::A);
        assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(reply_to(b"no query"), None);
    }
}
