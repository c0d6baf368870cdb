//! Whether packets go through a tunnel and back, found out by sending some.
//!
//! A question to the resolvers and a connection to the first host of the inner networks go out together; whatever
//! answers first, even with a refusal, shows that the tunnel carries. Nothing leaves outside it, and nothing that
//! anybody visits is named.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use tokio::time::{sleep, timeout};
use tunless_netstack::{FlowError, StackHandle, Target, UdpSocket};

use crate::driver::{SystemRng, Up, clock};

/// Longest time that a probe takes.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// When an unanswered question is asked again.
const RETRY: Duration = Duration::from_millis(700);
/// Resolvers that are asked.
const MAX_RESOLVERS: usize = 3;
/// Port of the connection: the tunnel's far end need not serve it, its refusal is an answer.
const PORT: u16 = 53;

/// Why a probe found no way through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// The session has neither a resolver nor an inner network with another host.
    #[error("the tunnel leads to no address that could be asked; name a resolver inside it with --dns")]
    NobodyToAsk,
    /// Nothing came back.
    #[error("nothing came back through the tunnel within {} s", PROBE_TIMEOUT.as_secs())]
    NoAnswer,
    /// The stack takes no probe.
    #[error("the tunnel takes no probe")]
    Stack(#[source] FlowError),
}

/// Sends something through the tunnel and waits for an answer; gives the time it took. Cancel-safe.
///
/// # Errors
/// No answer within [`PROBE_TIMEOUT`], nobody to ask, or a stack that is closed or full.
pub async fn probe(stack: &StackHandle, up: &Up) -> Result<Duration, ProbeError> {
    let started = clock::now();
    let resolvers: Vec<_> = up.dns.iter().copied().take(MAX_RESOLVERS).collect();
    let hosts: Vec<_> = up.inner.iter().filter_map(first_other_host).collect();
    if resolvers.is_empty() && hosts.is_empty() {
        return Err(ProbeError::NobodyToAsk);
    }
    let answered = async {
        tokio::select! {
            result = ask(stack, &resolvers) => result,
            () = knock(stack, &hosts) => Ok(()),
        }
    };
    timeout(PROBE_TIMEOUT, answered)
        .await
        .unwrap_or(Err(ProbeError::NoAnswer))?;
    Ok(clock::now().duration_since(started))
}

/// The first host of the network, which is the server unless it is ourselves.
fn first_other_host(inner: &IpNet) -> Option<IpAddr> {
    inner.hosts().take(2).find(|host| *host != inner.addr())
}

/// Asks for the root's name servers until any of the resolvers answers.
async fn ask(stack: &StackHandle, resolvers: &[SocketAddr]) -> Result<(), ProbeError> {
    if resolvers.is_empty() {
        return std::future::pending().await;
    }
    let socket = stack.bind_udp().await.map_err(ProbeError::Stack)?;
    let [high, low, ..] = SystemRng::default().next_u64().to_be_bytes();
    let id = [high, low];
    loop {
        for resolver in resolvers {
            socket
                .send_to(question(id), *resolver)
                .map_err(ProbeError::Stack)?;
        }
        tokio::select! {
            answered = answer(&socket, id, resolvers) => return answered,
            () = sleep(RETRY) => {}
        }
    }
}

async fn answer(socket: &UdpSocket, id: [u8; 2], resolvers: &[SocketAddr]) -> Result<(), ProbeError> {
    loop {
        let Some((payload, from)) = socket.recv_from().await else {
            return Err(ProbeError::Stack(FlowError::Closed));
        };
        if resolvers.contains(&from) && is_answer(&payload, id) {
            return Ok(());
        }
    }
}

/// A question for the root's name servers (RFC 1035 §4.1): one that says nothing about anybody.
fn question([high, low]: [u8; 2]) -> Vec<u8> {
    // Recursion desired, one question; the root's name, NS, IN.
    vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]
}

/// Whether it is a response (RFC 1035 §4.1.1) to the question with this number, whatever it says.
fn is_answer(payload: &[u8], id: [u8; 2]) -> bool {
    payload.starts_with(&id) && payload.get(2).is_some_and(|flags| flags & 0x80 != 0)
}

/// Connects to the first host of either family's network until one answers, which a refusal does, too.
async fn knock(stack: &StackHandle, hosts: &[IpAddr]) {
    tokio::select! {
        () = knock_at(stack, hosts.first()) => {}
        () = knock_at(stack, hosts.get(1)) => {}
    }
}

/// Ends with an answer only: others, and the resolvers, may still give one.
async fn knock_at(stack: &StackHandle, host: Option<&IpAddr>) {
    if let Some(host) = host {
        let target = Target::Address(SocketAddr::new(*host, PORT));
        let answered = matches!(
            stack.connect(target).await,
            Ok(_) | Err(FlowError::Refused | FlowError::Reset | FlowError::HostUnreachable)
        );
        if answered {
            return;
        }
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_a_plain_query_for_the_root() {
        use hickory_proto::op::Message;
        let message = Message::from_vec(&question([0x12, 0x34])).unwrap();
        assert_eq!(message.queries.len(), 1);
        let query = &message.queries[0];
        assert!(query.name().is_root());
        assert_eq!(query.query_type(), hickory_proto::rr::RecordType::NS);
    }

    #[test]
    fn only_a_response_to_our_question_counts() {
        assert!(is_answer(&[1, 2, 0x85, 3], [1, 2]), "any code does");
        assert!(!is_answer(&[1, 2, 0x05, 0], [1, 2]), "a question");
        assert!(!is_answer(&[1, 3, 0x85, 0], [1, 2]), "another number");
        assert!(!is_answer(&[1, 2], [1, 2]) && !is_answer(&[], [1, 2]));
    }

    #[test]
    fn the_first_host_of_the_inner_network_is_asked_unless_it_is_us() {
        for (inner, wanted) in [
            ("10.99.0.6/24", Some("10.99.0.1")),
            ("10.99.0.1/24", Some("10.99.0.2")),
            ("10.8.0.6/30", Some("10.8.0.5")),
            ("10.8.0.6/32", None),
        ] {
            let found = first_other_host(&inner.parse().unwrap());
            assert_eq!(found, wanted.map(|text| text.parse().unwrap()), "{inner}");
        }
    }
}
