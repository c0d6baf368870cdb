//! A client and far ends without a network: a conversation over a pair of sockets, far ends by script.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::connect::{
    ConnectError, Connector, Datagrams, Flow, HostName, LocalSocket, Meter, RelayEnd, RelayReason, Target,
};
use crate::detect::Request;
use crate::http::{Port, converse};
use crate::incoming::{Incoming, Local};
use crate::serve::Settings;

/// One thing that a far end does.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// Waits until what has arrived on this connection ends with this.
    Await(&'static str),
    /// Sends.
    Say(Vec<u8>),
    /// Lets time pass.
    Pause(Duration),
    /// Ends its direction.
    End,
    /// Resets the connection.
    Reset,
}

/// Waits for the end of a head.
pub(super) const HEAD: Step = Step::Await("\r\n\r\n");

pub(super) fn say(text: &str) -> Step {
    Step::Say(text.as_bytes().to_vec())
}

/// What one connection to a far end does; then it listens for as long as there is something.
pub(super) type Script = Vec<Step>;

/// A far end's connection as it went.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) target: String,
    pub(super) got: Arc<Mutex<Vec<u8>>>,
}

impl Seen {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.got.lock().unwrap()).into_owned()
    }
}

/// Far ends by script: the nth connection does what the nth script says.
#[derive(Clone, Debug, Default)]
pub(super) struct Lab {
    scripts: Arc<Mutex<std::collections::VecDeque<Script>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// What every connection fails with.
    pub(super) failure: Option<ConnectError>,
    /// How long every connection takes to open.
    pub(super) slowness: Duration,
    pub(super) settings: Settings,
    pub(super) shutdown: CancellationToken,
}

/// What a client saw in the end.
#[derive(Debug)]
pub(super) struct Talk {
    /// Everything it got.
    pub(super) got: String,
    /// The CONNECT that took its connection over.
    pub(super) connect: Option<Handed>,
}

/// A CONNECT, and the bytes behind it that were read already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) request: Request,
    pub(super) early: Vec<u8>,
}

impl Lab {
    pub(super) fn new(scripts: Vec<Script>) -> Self {
        Self {
            scripts: Arc::new(Mutex::new(scripts.into())),
            ..Self::default()
        }
    }

    /// The connections so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// What the far ends got, one text a connection.
    pub(super) fn received(&self) -> Vec<String> {
        self.seen().iter().map(Seen::text).collect()
    }

    /// Sends `bytes` and listens until the conversation has ended.
    pub(super) async fn talk(&self, bytes: impl AsRef<[u8]>) -> Talk {
        let whole = usize::MAX;
        self.talk_in_pieces(bytes.as_ref(), whole).await
    }

    /// The same, `piece` bytes at a time.
    pub(super) async fn talk_in_pieces(&self, bytes: &[u8], piece: usize) -> Talk {
        let (mut client, serving) = self.start();
        let (mut read, mut write) = client.split();
        let mut got = Vec::new();
        let send = async {
            for part in bytes.chunks(piece.min(bytes.len().max(1))) {
                if write.write_all(part).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        };
        let listen = async {
            // An end without a farewell is an end as well.
            read.read_to_end(&mut got).await.unwrap_or_default();
        };
        let ((), (), connect) = tokio::join!(send, listen, serving);
        Talk {
            got: String::from_utf8_lossy(&got).into_owned(),
            connect: connect.unwrap(),
        }
    }

    /// A client whose conversation is carried on.
    pub(super) fn start(&self) -> (UnixStream, JoinHandle<Option<Handed>>) {
        let (client, server) = UnixStream::pair().unwrap();
        (client, self.serve(server))
    }

    /// The same over TCP.
    pub(super) async fn start_tcp(&self) -> (TcpStream, JoinHandle<Option<Handed>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), self.serve(accepted.unwrap().0))
    }

    fn serve(&self, server: impl Local) -> JoinHandle<Option<Handed>> {
        let lab = self.clone();
        tokio::spawn(async move {
            let port = Port {
                connector: &lab,
                settings: &lab.settings,
                shutdown: &lab.shutdown,
            };
            let deadline = Instant::now() + lab.settings.limits.head;
            let handed = converse(Incoming::new(server), "client".to_owned(), port, deadline).await;
            handed.map(|(incoming, request)| Handed {
                request,
                early: incoming.into_parts().1,
            })
        })
    }
}

impl Connector for Lab {
    type Flow = FarFlow;
    type Datagrams = NoDatagrams;

    async fn datagrams(&self) -> Result<NoDatagrams, ConnectError> {
        Err(ConnectError::NotAllowed)
    }

    async fn connect(&self, target: Target) -> Result<FarFlow, ConnectError> {
        sleep(self.slowness).await;
        if let Some(error) = self.failure {
            return Err(error);
        }
        let script = self
            .scripts
            .lock()
            .unwrap()
            .pop_front()
            .ok_or(ConnectError::Refused)?;
        let seen = Seen {
            target: target.to_string(),
            got: Arc::default(),
        };
        self.seen.lock().unwrap().push(seen.clone());
        let (near, far) = UnixStream::pair().unwrap();
        let reset = Arc::new(Notify::new());
        tokio::spawn(act(far, script, seen.got, reset.clone()));
        Ok(FarFlow { near, reset })
    }
}

/// Plays a far end.
async fn act(mut far: UnixStream, script: Script, got: Arc<Mutex<Vec<u8>>>, reset: Arc<Notify>) {
    let mut unseen = Vec::new();
    for step in script {
        match step {
            Step::Await(end) => {
                while !unseen.ends_with(end.as_bytes()) {
                    let mut byte = [0];
                    if !matches!(far.read(&mut byte).await, Ok(1)) {
                        return;
                    }
                    unseen.push(byte[0]);
                    got.lock().unwrap().push(byte[0]);
                }
                unseen.clear();
            }
            Step::Say(bytes) => {
                if far.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Step::Pause(time) => sleep(time).await,
            Step::End => far.shutdown().await.unwrap_or_default(),
            Step::Reset => {
                // What was said before arrives first.
                tokio::task::yield_now().await;
                reset.notify_one();
                return;
            }
        }
    }
    let mut byte = [0; 4096];
    while let Ok(count @ 1..) = far.read(&mut byte).await {
        got.lock().unwrap().extend_from_slice(&byte[..count]);
    }
}

/// The lab has no datagrams.
#[derive(Debug)]
pub(super) enum NoDatagrams {}

impl Datagrams for NoDatagrams {
    async fn send_to(&self, _payload: Vec<u8>, _to: Target) -> Result<(), ConnectError> {
        match *self {}
    }

    async fn recv_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        match *self {}
    }

    async fn resolve(&self, _name: &HostName) -> Result<IpAddr, ConnectError> {
        match *self {}
    }
}

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
pub(super) struct FarFlow {
    near: UnixStream,
    reset: Arc<Notify>,
}

impl Flow for FarFlow {
    fn bound(&self) -> SocketAddr {
        "10.8.0.2:49152".parse().unwrap()
    }

    fn meter(&self) -> Arc<dyn Meter> {
        Arc::new(NoMeter)
    }

    async fn relay(mut self, local: LocalSocket, early: Vec<u8>) -> RelayEnd {
        let LocalSocket::Unix(local) = local else {
            panic!("a conversation has one end of a pair")
        };
        assert!(early.is_empty());
        local.set_nonblocking(true).unwrap();
        let mut local = UnixStream::from_std(local).unwrap();
        let end = |up_bytes, down_bytes, reason| RelayEnd {
            up_bytes,
            down_bytes,
            reason,
        };
        let reset = self.reset.clone();
        tokio::select! {
            biased;
            moved = copy_bidirectional(&mut local, &mut self.near) => match moved {
                Ok((up, down)) => end(up, down, RelayReason::Finished),
                Err(_) => end(0, 0, RelayReason::LocalReset),
            },
            () = reset.notified() => end(0, 0, RelayReason::RemoteReset),
        }
    }
}
