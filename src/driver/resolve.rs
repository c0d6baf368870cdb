//! The server's own name, or that of the proxy on the way to it: the only one that is ever asked of the host's
//! resolver.
//!
//! The host's resolver blocks, so each question has a thread of its own that ends with the answer. The event
//! loop never waits for it: past the deadline a late answer is thrown away.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use tunless_core::config::Family;

/// Questions that may be open at once, those given up included.
const MAX_OPEN: usize = 8;
/// Addresses kept of one answer.
const MAX_ADDRESSES: usize = 32;

/// What came of a question.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) question: u64,
    pub(crate) result: Result<Vec<SocketAddr>, String>,
}

/// Asks the host's resolver without blocking the caller.
#[derive(Debug)]
pub(crate) struct HostResolver {
    waker: Arc<mio::Waker>,
    sender: SyncSender<Answer>,
    answers: Receiver<Answer>,
    open: Arc<AtomicUsize>,
    last: u64,
}

impl HostResolver {
    pub(crate) fn new(waker: Arc<mio::Waker>) -> Self {
        let (sender, answers) = sync_channel(MAX_OPEN);
        Self {
            waker,
            sender,
            answers,
            open: Arc::default(),
            last: 0,
        }
    }

    /// Asks; the answer, or the reason why there is none, comes by [`Self::poll_answer`] after a wake-up.
    pub(crate) fn ask(&mut self, host: &str, port: u16, family: Family) -> Result<u64, String> {
        self.last += 1;
        let question = self.last;
        if self.open.fetch_add(1, Ordering::AcqRel) >= MAX_OPEN {
            self.open.fetch_sub(1, Ordering::AcqRel);
            return Err("the host's resolver has not answered earlier questions".into());
        }
        let (sender, waker, open) = (
            self.sender.clone(),
            Arc::clone(&self.waker),
            Arc::clone(&self.open),
        );
        let host = host.to_owned();
        let spawned = thread::Builder::new()
            .name("tunless-resolve".into())
            .spawn(move || {
                let result = look_up(&host, port, family);
                open.fetch_sub(1, Ordering::AcqRel);
                // A full or closed channel means that nobody waits for this answer any more.
                if sender.try_send(Answer { question, result }).is_ok()
                    && let Err(error) = waker.wake()
                {
                    tracing::debug!(%error, "waking the tunnel failed");
                }
            });
        match spawned {
            Ok(_detached) => Ok(question),
            Err(error) => {
                self.open.fetch_sub(1, Ordering::AcqRel);
                Err(format!("no thread for the host's resolver: {error}"))
            }
        }
    }

    /// The next answer, if there is one.
    pub(crate) fn poll_answer(&mut self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

/// An address that stands for itself, if the family allows it.
pub(crate) fn literal(host: &str, port: u16, family: Family) -> Option<Result<SocketAddr, String>> {
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let address: IpAddr = bare.parse().ok()?;
    let fits = fits(address, family);
    Some(if fits {
        Ok(SocketAddr::new(address, port))
    } else {
        Err(format!(
            "{address} is not an {} address, which `proto` asks for",
            family_name(family)
        ))
    })
}

fn look_up(host: &str, port: u16, family: Family) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port).to_socket_addrs().map_err(|error| plain(&error))?;
    let fitting: Vec<_> = found
        .filter(|found| fits(found.ip(), family))
        .take(MAX_ADDRESSES)
        .collect();
    if fitting.is_empty() {
        return Err(format!("it has no {} address", family_name(family)));
    }
    Ok(fitting)
}

fn fits(address: IpAddr, family: Family) -> bool {
    match family {
        Family::Any => true,
        Family::V4 => address.is_ipv4(),
        Family::V6 => address.is_ipv6(),
    }
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::Any => "IP",
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// The resolver's words without the standard library's preface.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.strip_prefix("failed to lookup address information: ") {
        Some(rest) => rest.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn addresses_stand_for_themselves_where_the_family_allows() {
        let v4 = "192.0.2.1:1194".parse().unwrap();
        assert_eq!(literal("192.0.2.1", 1194, Family::Any), Some(Ok(v4)));
        assert_eq!(
            literal("[2001:db8::1]", 1, Family::V6),
            Some(Ok("[2001:db8::1]:1".parse().unwrap()))
        );
        assert!(literal("192.0.2.1", 1, Family::V6).unwrap().is_err());
        assert_eq!(literal("vpn.example", 1, Family::Any), None);
    }

    #[test]
    fn an_answer_wakes_the_loop() {
        let mut poll = mio::Poll::new().unwrap();
        let waker = Arc::new(mio::Waker::new(poll.registry(), mio::Token(1)).unwrap());
        let mut resolver = HostResolver::new(waker);
        let question = resolver.ask("localhost", 7, Family::Any).unwrap();
        let mut events = mio::Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(20))).unwrap();
        let answer = resolver.poll_answer().expect("woken by an answer");
        assert_eq!(answer.question, question);
        assert!(
            answer
                .result
                .unwrap()
                .iter()
                .all(|found| found.ip().is_loopback())
        );
    }
}
