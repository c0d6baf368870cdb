//! The first words on a TCP connection that leads to a proxy; behind them it is the server's.
//!
//! Moves the bytes of a [`Dialogue`], which knows what they mean. Nothing of the protocol is sent before the proxy
//! has opened the way, and what it sent behind its answer is not lost.

use std::io::{ErrorKind, Read, Write};

use tunless_core::{
    secret::SecretBytes,
    upstream::{Dialogue, Progress, UpstreamError},
};

use super::{TcpTransport, TransportError};

/// Bytes read at a time; an answer has hardly more.
const READ_BYTES: usize = 2048;

/// Why there is no way.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamFault {
    /// The proxy says so.
    #[error(transparent)]
    Proxy(#[from] UpstreamError),
    /// The connection to the proxy failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// A dialogue and what of it waits to be written.
#[derive(Debug)]
pub struct Upstream {
    dialogue: Dialogue,
    output: SecretBytes,
    written: usize,
}

impl Upstream {
    /// Begins; nothing is written before [`Self::advance`].
    pub fn new(dialogue: Dialogue) -> Self {
        Self {
            dialogue,
            output: SecretBytes::default(),
            written: 0,
        }
    }

    /// Writes and reads what the socket takes and has; `true` once the way is open and `tcp` is the server's.
    ///
    /// # Errors
    /// The proxy refuses, or the connection to it ended.
    pub fn advance(&mut self, tcp: &mut TcpTransport) -> Result<bool, UpstreamFault> {
        let mut buf = [0; READ_BYTES];
        loop {
            self.write(tcp)?;
            let count = match tcp.stream().read(&mut buf) {
                Ok(0) => return Err(UpstreamError::Closed.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(UpstreamError::Closed.into());
                }
                Err(source) => return Err(tcp.failed(source).into()),
            };
            match self.dialogue.handle_input(buf.get(..count).unwrap_or_default())? {
                Progress::More => {}
                Progress::Open(rest) => {
                    tcp.take_back(&rest);
                    return Ok(true);
                }
            }
        }
    }

    fn write(&mut self, tcp: &mut TcpTransport) -> Result<(), TransportError> {
        loop {
            let waiting = self.output.expose().get(self.written..).unwrap_or_default();
            if waiting.is_empty() {
                let Some(next) = self.dialogue.poll_output() else {
                    return Ok(());
                };
                (self.output, self.written) = (next, 0);
                continue;
            }
            match tcp.stream().write(waiting) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // It may have said why before it closed.
                Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
                    return Ok(());
                }
                Err(source) => return Err(tcp.failed(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        net::{TcpListener, TcpStream},
        thread,
        time::Duration,
    };

    use tunless_core::config::{ProxyKind, UpstreamProxy};

    use super::*;
    use crate::transport::Received;

    /// A proxy that does as `serve` says; `check` gets what comes of it at our end.
    fn through(
        serve: impl FnOnce(TcpStream) -> io::Result<()> + Send + 'static,
        check: impl FnOnce(Option<UpstreamFault>, TcpTransport),
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let proxy = thread::spawn(move || serve(listener.accept().unwrap().0).unwrap());
        let mut tcp = TcpTransport::connect(there, None, 1000).unwrap();
        let config = UpstreamProxy {
            host: there.ip().to_string(),
            port: there.port(),
            kind: ProxyKind::Socks5,
            credentials: None,
        };
        let mut upstream = Upstream::new(Dialogue::start(&config, ("vpn.example", 443), None).unwrap());
        let mut poll = mio::Poll::new().unwrap();
        let both = mio::Interest::READABLE | mio::Interest::WRITABLE;
        poll.registry()
            .register(tcp.source(), mio::Token(0), both)
            .unwrap();
        let mut events = mio::Events::with_capacity(4);
        let fault = loop {
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            assert!(!events.is_empty(), "nothing came for five seconds");
            if !tcp.connected().unwrap() {
                continue;
            }
            match upstream.advance(&mut tcp) {
                Ok(true) => break None,
                Ok(false) => {}
                Err(fault) => break Some(fault),
            }
        };
        proxy.join().unwrap();
        poll.registry().deregister(tcp.source()).unwrap();
        check(fault, tcp);
    }

    #[test]
    fn packets_that_came_with_the_answer_are_the_first_of_the_stream() {
        let serve = |mut stream: TcpStream| {
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting)?;
            stream.write_all(&[5, 0])?;
            let mut request = [0; 18];
            stream.read_exact(&mut request)?;
            assert_eq!(&request[4..16], b"\x0bvpn.example");
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 3, b'a', b'b', b'c', 0])
        };
        through(serve, |fault, mut tcp| {
            assert!(fault.is_none(), "{fault:?}");
            let mut got = Vec::new();
            let received = tcp.recv(1, &mut |_, bytes| got.push(bytes.to_vec()));
            assert!(matches!(received, Ok(Received::More)));
            assert_eq!(got, [b"abc"]);
        });
    }

    #[test]
    fn a_proxy_that_goes_away_is_told_from_a_socket_that_fails() {
        let serve = |mut stream: TcpStream| {
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting)
        };
        through(serve, |fault, _| {
            assert!(matches!(fault, Some(UpstreamFault::Proxy(UpstreamError::Closed))));
        });
    }
}
