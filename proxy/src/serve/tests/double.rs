//! A connector for tests: a script instead of a tunnel, sockets on the loopback instead of flows.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, copy_bidirectional};

use super::*;
use crate::connect::{Flow, LocalSocket, RelayEnd, RelayReason, Target};

/// What the script says about one target.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    /// Connects to this loopback address.
    Open(SocketAddr),
    /// Fails.
    Fail(ConnectError),
    /// Never answers.
    Hang,
}

/// Does what its script says and remembers the early bytes of each flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    fates: Arc<HashMap<String, Fate>>,
    early: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Script {
    pub(super) fn new(fates: &[(&str, Fate)]) -> Self {
        let fates = fates
            .iter()
            .map(|(target, fate)| ((*target).to_owned(), *fate))
            .collect();
        Self {
            fates: Arc::new(fates),
            early: Arc::default(),
        }
    }

    pub(super) fn early(&self) -> Vec<Vec<u8>> {
        self.early.lock().unwrap().clone()
    }
}

impl Connector for Script {
    type Flow = Opened;

    async fn connect(&self, target: Target) -> Result<Opened, ConnectError> {
        match self.fates.get(&target.to_string()) {
            Some(Fate::Open(address)) => {
                let far = TcpStream::connect(address)
                    .await
                    .map_err(|_| ConnectError::Refused)?;
                Ok(Opened {
                    far,
                    early: self.early.clone(),
                })
            }
            Some(Fate::Fail(error)) => Err(*error),
            Some(Fate::Hang) => pending().await,
            None => Err(ConnectError::NameNotFound),
        }
    }
}

#[derive(Debug)]
pub(super) struct Opened {
    far: TcpStream,
    early: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Flow for Opened {
    fn bound(&self) -> SocketAddr {
        "10.8.0.2:49152".parse().unwrap()
    }

    async fn relay(mut self, local: LocalSocket, early: Vec<u8>) -> RelayEnd {
        let LocalSocket::Tcp(local) = local else {
            panic!("a Unix socket from a TCP listener")
        };
        let mut local = TcpStream::from_std(local).expect("non-blocking");
        self.far.write_all(&early).await.unwrap();
        let early_bytes = u64::try_from(early.len()).unwrap();
        self.early.lock().unwrap().push(early);
        match copy_bidirectional(&mut local, &mut self.far).await {
            Ok((up, down)) => RelayEnd {
                up_bytes: up + early_bytes,
                down_bytes: down,
                reason: RelayReason::Finished,
            },
            Err(_) => RelayEnd {
                up_bytes: 0,
                down_bytes: 0,
                reason: RelayReason::RemoteReset,
            },
        }
    }
}

/// A far end that serves one connection after the other with `serve_one`, for as long as the test runs.
pub(super) async fn far_end<F>(serve_one: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve_one(stream));
        }
    });
    address
}

/// Sends back what it gets, and its end after the client's.
pub(super) async fn echo() -> SocketAddr {
    far_end(|mut stream| async move {
        let (mut from, mut to) = stream.split();
        tokio::io::copy(&mut from, &mut to).await.unwrap_or_default();
        to.shutdown().await.unwrap_or_default();
    })
    .await
}

/// Takes everything until the client's end, then says how much it was.
pub(super) async fn counter() -> SocketAddr {
    far_end(|mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream
            .write_all(format!("{} bytes", all.len()).as_bytes())
            .await
            .unwrap();
    })
    .await
}
