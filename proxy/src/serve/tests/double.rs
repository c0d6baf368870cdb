//! A connector for tests: a script instead of a tunnel, sockets on the loopback instead of flows.

use std::collections::HashMap;
use std::future::pending;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::*;
use crate::connect::{Datagrams, Flow, HostName, LocalSocket, Meter, RelayEnd, RelayReason, Target};

/// A handed-over socket of either kind.
trait AnySocket: AsyncRead + AsyncWrite + Send + Unpin {}

impl AnySocket for TcpStream {}

impl AnySocket for UnixStream {}

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

/// A datagram that went into the tunnel.
pub(super) type Sent = (Vec<u8>, Target);
/// One that comes back out; nothing where the tunnel ends.
type Back = Option<(Vec<u8>, SocketAddr)>;

/// Does what its script says and remembers the early bytes of each flow.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    fates: Arc<HashMap<String, Fate>>,
    early: Arc<Mutex<Vec<Vec<u8>>>>,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Script {
    pub(super) fn new(fates: &[(&str, Fate)]) -> Self {
        let fates = fates
            .iter()
            .map(|(target, fate)| ((*target).to_owned(), *fate))
            .collect();
        Self {
            fates: Arc::new(fates),
            ..Self::default()
        }
    }

    pub(super) fn early(&self) -> Vec<Vec<u8>> {
        self.early.lock().unwrap().clone()
    }

    /// Every datagram that went into the tunnel.
    pub(super) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

impl Connector for Script {
    type Flow = Opened;
    type Datagrams = Mirror;

    async fn datagrams(&self) -> Result<Mirror, ConnectError> {
        match self.fates.get(DATAGRAMS) {
            None | Some(Fate::Open(_)) => {}
            Some(Fate::Fail(error)) => return Err(*error),
            Some(Fate::Hang) => return pending().await,
        }
        let (tell, heard) = mpsc::unbounded_channel();
        Ok(Mirror {
            script: self.clone(),
            tell,
            heard: tokio::sync::Mutex::new(heard),
        })
    }

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

/// The target whose fate is that of ports for datagrams.
pub(super) const DATAGRAMS: &str = "datagrams";
/// A payload with which the tunnel ends.
pub(super) const THE_END: &[u8] = b"the end";

/// Sends everything back, from where it was sent to. The script says where names lead: `Open` to that address.
#[derive(Debug)]
pub(super) struct Mirror {
    script: Script,
    tell: mpsc::UnboundedSender<Back>,
    heard: tokio::sync::Mutex<mpsc::UnboundedReceiver<Back>>,
}

impl Datagrams for Mirror {
    async fn send_to(&self, payload: Vec<u8>, to: Target) -> Result<(), ConnectError> {
        self.script
            .sent
            .lock()
            .unwrap()
            .push((payload.clone(), to.clone()));
        let from = match to {
            Target::Address(address) => address,
            Target::Name(name, port) => SocketAddr::new(self.resolve(&name).await?, port),
        };
        let back = (payload != THE_END).then_some((payload, from));
        self.tell.send(back).map_err(|_| ConnectError::TunnelDown)
    }

    async fn recv_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        self.heard.lock().await.recv().await.flatten()
    }

    async fn resolve(&self, name: &HostName) -> Result<IpAddr, ConnectError> {
        match self.script.fates.get(name.as_str()) {
            Some(Fate::Open(address)) => Ok(address.ip()),
            Some(Fate::Fail(error)) => Err(*error),
            Some(Fate::Hang) => pending().await,
            None => Err(ConnectError::NameNotFound),
        }
    }
}

/// Counts nothing.
#[derive(Debug)]
struct NoMeter;

impl Meter for NoMeter {
    fn up_bytes(&self) -> u64 {
        0
    }

    fn down_bytes(&self) -> u64 {
        0
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

    fn meter(&self) -> Arc<dyn Meter> {
        Arc::new(NoMeter)
    }

    async fn relay(mut self, local: LocalSocket, early: Vec<u8>) -> RelayEnd {
        let mut local: Box<dyn AnySocket> = match local {
            LocalSocket::Tcp(local) => Box::new(TcpStream::from_std(local).expect("non-blocking")),
            LocalSocket::Unix(local) => Box::new(UnixStream::from_std(local).expect("non-blocking")),
        };
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
