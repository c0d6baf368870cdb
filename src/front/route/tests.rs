//! The router in front of a tunnel that only notes what it is asked for, with real sockets for what goes directly.

use std::sync::Mutex;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};
use tunless_proxy::{Datagrams, Flow as _, RelayEnd, RelayReason};

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// A tunnel that notes its work, knows a few names, and connects to nothing but `192.0.2.0/24`.
#[derive(Debug, Clone, Default)]
struct Noted(Arc<Mutex<Vec<String>>>);

impl Noted {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

#[derive(Debug)]
struct NoFlow;

impl proxy::Flow for NoFlow {
    fn bound(&self) -> SocketAddr {
        "192.0.2.99:9".parse().unwrap()
    }

    fn meter(&self) -> Arc<dyn proxy::Meter> {
        unreachable!("nothing is relayed")
    }

    async fn relay(self, _local: proxy::LocalSocket, _early: Vec<u8>) -> RelayEnd {
        unreachable!("nothing is relayed")
    }
}

impl Datagrams for Noted {
    async fn send_to(&self, payload: Vec<u8>, to: Target) -> Result<(), ConnectError> {
        self.note(format!("send {} to {to}", payload.len()));
        Ok(())
    }

    async fn recv_from(&self) -> Option<(Vec<u8>, SocketAddr)> {
        std::future::pending().await
    }

    async fn resolve(&self, name: &proxy::HostName) -> Result<IpAddr, ConnectError> {
        let found = TunnelConnector::resolve(self, name).await?;
        found.first().copied().ok_or(ConnectError::NameNotFound)
    }
}

impl Connector for Noted {
    type Flow = NoFlow;
    type Datagrams = Self;

    async fn connect(&self, target: Target) -> Result<NoFlow, ConnectError> {
        self.note(format!("connect {target}"));
        match target {
            Target::Address(address) if !address.to_string().starts_with("192.0.2.") => {
                Err(ConnectError::Refused)
            }
            Target::Address(_) | Target::Name(..) => Ok(NoFlow),
        }
    }

    async fn datagrams(&self) -> Result<Self, ConnectError> {
        Ok(self.clone())
    }
}

impl TunnelConnector for Noted {
    async fn resolve(&self, name: &proxy::HostName) -> Result<Vec<IpAddr>, ConnectError> {
        self.note(format!("resolve {name}"));
        let texts = match name.as_str() {
            "mixed.test" => &["10.0.0.1", "10.0.0.2", "fd00::1", "192.0.2.1"][..],
            "private.test" => &["10.0.0.1"],
            _ => return Err(ConnectError::NameNotFound),
        };
        Ok(texts.iter().map(|text| text.parse().unwrap()).collect())
    }
}

fn router(rules: &str) -> (Router<Noted>, Noted) {
    let noted = Noted::default();
    let parsed = rules.split_whitespace().map(|rule| rule.parse().unwrap());
    let rules = Rules::new(parsed.collect()).unwrap();
    (Router::new(noted.clone(), Arc::new(rules)), noted)
}

fn target(host: &str, port: u16) -> Target {
    Target::parse(host, port).unwrap()
}

#[tokio::test]
async fn the_rule_for_a_name_holds_for_datagrams_to_its_address() {
    let (router, noted) = router("private.test=tunnel 10.0.0.0/8=direct");
    let port = router.datagrams().await.unwrap();
    let name = |text: &str| match target(text, 53) {
        Target::Name(name, _) => name,
        Target::Address(address) => panic!("{address}"),
    };
    let inside = port.resolve(&name("private.test")).await.unwrap();
    port.send_to(vec![1; 3], Target::Address(SocketAddr::new(inside, 53)))
        .await
        .unwrap();
    assert_eq!(noted.taken(), ["resolve private.test", "send 3 to 10.0.0.1:53"]);
    assert_eq!(port.decide(&target("10.0.0.9", 53)).action, Action::Direct);
    let refusing = self::router("private.test=refuse").0.datagrams().await.unwrap();
    assert_eq!(
        refusing.resolve(&name("private.test")).await,
        Err(ConnectError::NotAllowed)
    );
}

#[tokio::test]
async fn a_name_that_goes_directly_takes_nothing_else_with_it() {
    let (router, _) = router("localhost=direct");
    let port = router.datagrams().await.unwrap();
    let Target::Name(name, _) = target("localhost", 53) else {
        panic!("an address")
    };
    let found = Target::Address(SocketAddr::new(port.resolve(&name).await.unwrap(), 53));
    assert_eq!(
        port.decide_resolved(&found).action,
        Action::Direct,
        "sent to the name"
    );
    assert_eq!(
        port.decide(&found).action,
        Action::Tunnel,
        "sent to the address itself"
    );
}

#[tokio::test]
async fn without_a_direct_rule_there_is_nothing_that_could_dial() {
    let (router, noted) = router("10.0.0.0/8=refuse a.test=tunnel");
    assert!(router.direct.is_none());
    assert!(router.datagrams().await.unwrap().direct.is_none());
    router.connect(target("192.0.2.7", 80)).await.unwrap();
    router.connect(target("a.test", 80)).await.unwrap_err();
    assert_eq!(noted.taken(), ["connect 192.0.2.7:80", "resolve a.test"]);
}

#[tokio::test]
async fn refused_targets_reach_nobody() {
    let (router, noted) = router("evil.test=refuse 10.0.0.0/8=refuse *=direct");
    for host in ["evil.test", "a.evil.test.", "10.1.1.1", "::ffff:10.1.1.1"] {
        let refused = router.connect(target(host, 80)).await.map(|_| ());
        assert_eq!(refused, Err(ConnectError::NotAllowed), "{host}");
        let datagrams = router.datagrams().await.unwrap();
        let refused = datagrams.send_to(vec![1], target(host, 53)).await;
        assert_eq!(refused, Err(ConnectError::NotAllowed), "{host}");
    }
    assert_eq!(noted.taken(), Vec::<String>::new());
}

#[tokio::test]
async fn a_refused_network_holds_for_the_addresses_of_names_and_the_others_are_raced() {
    let (router, noted) = router("10.0.0.0/8=refuse");
    let refused = router.connect(target("private.test", 80)).await.map(|_| ());
    assert_eq!(refused, Err(ConnectError::NotAllowed));
    assert_eq!(noted.taken(), ["resolve private.test"]);
    router.connect(target("mixed.test", 80)).await.unwrap();
    let wanted = [
        "resolve mixed.test",
        "connect [fd00::1]:80",
        "connect 192.0.2.1:80",
    ];
    assert_eq!(noted.taken(), wanted, "the name is not resolved a second time");
    let datagrams = router.datagrams().await.unwrap();
    datagrams
        .send_to(vec![1, 2], target("mixed.test", 53))
        .await
        .unwrap();
    assert_eq!(noted.taken(), ["resolve mixed.test", "send 2 to [fd00::1]:53"]);
}

#[tokio::test]
async fn a_direct_rule_carries_both_ways_and_half_closes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, noted) = router("127.0.0.0/8=direct");
    let flow = router.connect(target("127.0.0.1", address.port())).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    assert_eq!(flow.bound(), far.peer_addr().unwrap());
    let meter = flow.meter();
    let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(front.local_addr().unwrap()).await.unwrap();
    let (local, _) = front.accept().await.unwrap();
    let local = proxy::LocalSocket::Tcp(local.into_std().unwrap());
    let relay = tokio::spawn(flow.relay(local, b"early ".to_vec()));
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    timeout(LONG, far.read_to_string(&mut asked))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(asked, "early question");
    far.write_all(b"answer").await.unwrap();
    drop(far);
    let mut answered = String::new();
    timeout(LONG, client.read_to_string(&mut answered))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answered, "answer");
    let end = timeout(LONG, relay).await.unwrap().unwrap();
    let wanted = RelayEnd {
        up_bytes: 14,
        down_bytes: 6,
        reason: RelayReason::Finished,
    };
    assert_eq!((end, meter.up_bytes(), meter.down_bytes()), (wanted, 14, 6));
    assert_eq!(
        noted.taken(),
        Vec::<String>::new(),
        "the tunnel has no part in it"
    );
}

#[tokio::test]
async fn everything_direct_does_not_open_this_hosts_own_services() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (router, _) = router("*=direct");
    for host in ["127.0.0.1", "0.0.0.0", "::1", "localhost"] {
        let refused = router.connect(target(host, port)).await.map(|_| ());
        assert_eq!(refused, Err(ConnectError::NotAllowed), "{host}");
    }
}

#[tokio::test]
async fn a_direct_name_is_resolved_by_the_host_and_reaches_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (router, noted) = router("=localhost=direct");
    router.connect(target("localhost", port)).await.unwrap();
    assert_eq!(noted.taken(), Vec::<String>::new());
    drop(listener);
    let refused = router.connect(target("localhost", port)).await.map(|_| ());
    assert_eq!(refused, Err(ConnectError::Refused));
}

#[tokio::test]
async fn direct_datagrams_are_answered_only_by_whom_they_were_sent_to() {
    let far = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (router, noted) = router("127.0.0.0/8=direct");
    let port = router.datagrams().await.unwrap();
    let to = far.local_addr().unwrap();
    port.send_to(b"question".to_vec(), Target::Address(to))
        .await
        .unwrap();
    port.send_to(b"inside".to_vec(), target("192.0.2.1", 53))
        .await
        .unwrap();
    assert_eq!(noted.taken(), ["send 6 to 192.0.2.1:53"]);
    let mut buf = [0; 64];
    let (len, from) = timeout(LONG, far.recv_from(&mut buf)).await.unwrap().unwrap();
    assert_eq!(&buf[..len], b"question");
    let back = SocketAddr::from(([127, 0, 0, 1], from.port()));
    stranger.send_to(b"forged", back).await.unwrap();
    far.send_to(b"answer", back).await.unwrap();
    let got = timeout(LONG, port.recv_from()).await.unwrap();
    assert_eq!(got, Some((b"answer".to_vec(), to)));
}

#[test]
fn families_take_turns_and_the_list_is_short() {
    let parse = |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let found = parse(&["::1", "::2", "::3", "10.0.0.1"]);
    assert_eq!(alternate(&found), parse(&["::1", "10.0.0.1", "::2", "::3"]));
    let many: Vec<IpAddr> = (0..100).map(|last| IpAddr::from([10, 0, 0, last])).collect();
    assert_eq!(alternate(&many).len(), MAX_ADDRESSES);
}
