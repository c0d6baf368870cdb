//! Ways to lose a tunnel, and what is watched meanwhile: an idle connection, an echo step by step, a download.

use std::io::{Error, Read, Result, Write};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::fetch::Via;
use crate::inner::{ECHO, WEB, read_pattern};
use crate::netns::Net;
use crate::process::Process;
use crate::runner::Confinement;
use crate::server::{Options, PORT, Server, Transport};
use crate::stock;
use crate::tunnel::{LISTENER, Tunnel};

/// Longest time until a client is back, on a busy machine.
pub(crate) const BACK: Duration = Duration::from_secs(40);
/// The whole download.
const DOWNLOAD: u64 = 24_000_000;
/// Where it stands still until the loss has begun.
const HALT: u64 = 1_000_000;

/// Which client is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Ours,
    Stock,
}

/// A way to lose a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// SIGKILL, then a new server.
    ServerKilled,
    /// SIGTERM with notice to the clients, then a new server.
    ServerLeaves,
    /// Packets vanish for longer than `ping-restart`.
    PathCut,
    /// The client's link goes down, its routes with it, for longer than `ping-restart`.
    LinkDown,
    /// The client's outer address becomes another one.
    AddressChanged,
    /// The server is reached over another link from now on.
    OtherLink,
    /// The client stands still for longer than the server waits.
    Stopped,
    /// SIGUSR1.
    Restarted,
    /// SIGHUP.
    Reloaded,
}

impl Loss {
    pub(crate) const ALL: [Self; 9] = [
        Self::ServerKilled,
        Self::ServerLeaves,
        Self::PathCut,
        Self::LinkDown,
        Self::AddressChanged,
        Self::OtherLink,
        Self::Stopped,
        Self::Restarted,
        Self::Reloaded,
    ];
}

/// A client that is connected to a server. Dropped in this order: programs first, hosts last.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) client: Process,
    pub(crate) server: Server,
    pub(crate) net: Net,
    who: Who,
}

impl Scene {
    /// A server that is known for its short patience, and `who` connected to it.
    pub(crate) fn new(test: &str, transport: Transport, who: Who, extra: &str) -> Self {
        let net = Net::new(test);
        net.client.sysctl("net.ipv4.conf.all.promote_secondaries", "1");
        crate::inner::Inner::start(&net.inner);
        std::fs::create_dir(net.dir().join("ccd")).expect("a folder for options of clients");
        // Answers come from the address that the client asked, whatever link they take.
        let server = Server::start(
            &net,
            Options {
                transport,
                keepalive: (1, 5),
                extra: "local 10.77.0.2\nclient-config-dir ccd",
                ..Options::default()
            },
        );
        net.client.watch_outer_link(PORT);
        let profile = server.profile(extra);
        let client = match who {
            Who::Ours => Tunnel::connect(&net, Confinement::Unprivileged, &profile).process,
            Who::Stock => stock::connect(&net, &format!("{profile}\npersist-tun\npersist-key\n")),
        };
        Self {
            client,
            server,
            net,
            who,
        }
    }

    /// A connection through the tunnel.
    pub(crate) fn connect(&self, port: u16) -> TcpStream {
        let via = match self.who {
            Who::Ours => Via::Socks(LISTENER),
            Who::Stock => Via::Direct,
        };
        via.connect(&self.net.client, "10.88.0.2", port)
            .expect("a connection through the tunnel")
    }

    /// Waits until the client has connected for the `times`th time.
    pub(crate) fn wait_connected(&mut self, times: usize) {
        let text = match self.who {
            Who::Ours => "connected to ",
            Who::Stock => "Initialization Sequence Completed",
        };
        self.client.wait_for_times(text, times, BACK);
    }

    /// Counts how often the client has connected.
    pub(crate) fn connections(&self) -> usize {
        let log = self.client.log();
        match self.who {
            Who::Ours => log
                .lines()
                .filter(|line| line.starts_with("connected to "))
                .count(),
            Who::Stock => log.matches("Initialization Sequence Completed").count(),
        }
    }

    fn wait_for_silence(&mut self) {
        let text = match self.who {
            Who::Ours => "fell silent (ping-restart)",
            Who::Stock => "Inactivity timeout (--ping-restart)",
        };
        let before = self.client.log().matches(text).count();
        self.client.wait_for_times(text, before + 1, BACK);
    }

    /// Loses the tunnel and heals what was broken; waits for events, never for time.
    pub(crate) fn inflict(&mut self, loss: Loss) {
        match loss {
            Loss::ServerKilled => {
                self.server.process.signal(Signal::SIGKILL);
                self.server.process.wait(BACK);
                self.server.start_again(&self.net);
            }
            Loss::ServerLeaves => {
                self.server.process.signal(Signal::SIGTERM);
                self.server.process.wait(BACK);
                self.server.start_again(&self.net);
            }
            Loss::PathCut => {
                self.net.server.lose_packets(PORT);
                self.wait_for_silence();
                self.net.server.stop_losing_packets();
            }
            Loss::LinkDown => {
                self.net.client.ip("link set wan down");
                self.wait_for_silence();
                self.net.client.ip("link set wan up");
                self.net.client.ip("route replace default via 10.77.0.2");
            }
            Loss::AddressChanged => {
                self.net.client.ip("address add 10.77.0.3/24 dev wan");
                self.net.client.ip("address del 10.77.0.1/24 dev wan");
                self.net.client.ip("route replace default via 10.77.0.2");
            }
            Loss::OtherLink => {
                self.net.add_second_link();
                self.net
                    .client
                    .ip("route add 10.77.0.2/32 via 10.78.0.2 dev wan2");
            }
            Loss::Stopped => {
                let text = "Inactivity timeout (--ping-restart)";
                let before = self.server.process.log().matches(text).count();
                self.client.signal(Signal::SIGSTOP);
                self.server.process.wait_for_times(text, before + 1, BACK);
                self.client.signal(Signal::SIGCONT);
            }
            Loss::Restarted => self.client.signal(Signal::SIGUSR1),
            Loss::Reloaded => self.client.signal(Signal::SIGHUP),
        }
    }

    /// Memory in kilobytes.
    pub(crate) fn resident(&self) -> u64 {
        let field = self.client.status_field("VmRSS");
        let number = field.split_whitespace().next().expect("a number");
        number.parse().expect("kilobytes")
    }
}

/// One step of an echo: sent and waited for.
pub(crate) fn step(mut stream: &TcpStream, number: u64) -> Result<()> {
    stream.write_all(&number.to_be_bytes())?;
    let mut back = [0; 8];
    stream.read_exact(&mut back)?;
    if back == number.to_be_bytes() {
        Ok(())
    } else {
        Err(Error::other(format!("{back:?} came back for {number}")))
    }
}

/// A download that stands still in its midst until it is told to go on.
#[derive(Debug)]
pub(crate) struct Download {
    go_on: Sender<()>,
    thread: JoinHandle<Result<()>>,
}

/// Reads, but halts once.
struct Halting<'a> {
    stream: &'a TcpStream,
    done: u64,
    halted: Option<Sender<()>>,
    go_on: Receiver<()>,
}

impl Read for Halting<'_> {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
        if self.done > HALT
            && let Some(halted) = self.halted.take()
        {
            halted.send(()).map_err(Error::other)?;
            self.go_on.recv().map_err(Error::other)?;
        }
        let count = self.stream.read(buf)?;
        self.done += count as u64;
        Ok(count)
    }
}

impl Download {
    /// Begins; returns when it is in its midst.
    pub(crate) fn start(stream: TcpStream) -> Self {
        let (halted, at_halt) = channel();
        let (go_on, goes_on) = channel();
        let thread = thread::spawn(move || {
            write!(&stream, "GET /bytes/{DOWNLOAD} HTTP/1.1\r\nHost: inner\r\n\r\n")?;
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                (&stream).read_exact(&mut byte)?;
                head.push(byte[0]);
            }
            let mut reader = Halting {
                stream: &stream,
                done: 0,
                halted: Some(halted),
                go_on: goes_on,
            };
            read_pattern(&mut reader, DOWNLOAD)
        });
        at_halt.recv_timeout(BACK).expect("the download begins");
        Self { go_on, thread }
    }

    /// Goes on.
    pub(crate) fn go_on(&self) {
        if let Err(gone) = self.go_on.send(()) {
            eprintln!("the download has ended: {gone}");
        }
    }

    /// The end: every byte was right, or why not.
    #[expect(clippy::unwrap_in_result, reason = "a thread that panics is the test's fault")]
    pub(crate) fn finish(self) -> Result<()> {
        self.thread.join().expect("the download's thread")
    }
}

/// What became of what was watched.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) idle: Result<()>,
    pub(crate) echo: Result<()>,
    pub(crate) download: Result<()>,
    /// From the beginning of the loss to the first answer after it; what heals the loss takes its part of it.
    pub(crate) gap: Duration,
    /// The same from the moment at which everything was as before, but for the client.
    pub(crate) after_healing: Duration,
    pub(crate) resident: (u64, u64),
}

impl Outcome {
    /// A row of the table.
    pub(crate) fn row(&self) -> String {
        let word = |result: &Result<()>| if result.is_ok() { "survives" } else { "breaks" };
        format!(
            "{:9} | {:9} | {:9} | {:6.1} s | {:6.1} s | {} / {} kB",
            word(&self.idle),
            word(&self.echo),
            word(&self.download),
            self.gap.as_secs_f64(),
            self.after_healing.as_secs_f64(),
            self.resident.0,
            self.resident.1
        )
    }
}

/// Loses the tunnel while three connections are watched.
pub(crate) fn observe(scene: &mut Scene, loss: Loss) -> Outcome {
    let (idle, echo) = (scene.connect(ECHO), scene.connect(ECHO));
    step(&idle, 1).expect("an answer before the loss");
    step(&echo, 1).expect("an answer before the loss");
    let download = Download::start(scene.connect(WEB));
    let before = scene.resident();
    let start = Instant::now();
    download.go_on();
    let (went, healed) = thread::scope(|scope| {
        let echoing = scope.spawn(|| step(&echo, 2).map(|()| Instant::now()));
        scene.inflict(loss);
        let healed = Instant::now();
        (echoing.join().expect("the echo's thread"), healed)
    });
    // What answered before the loss took hold says nothing about the gap: the next step does.
    let echo = went.and_then(|_| step(&echo, 3));
    let back = match &echo {
        Ok(()) => Instant::now(),
        Err(_) => first_answer(scene),
    };
    let (gap, after_healing) = (back - start, back - healed);
    let download = download.finish();
    let outcome = Outcome {
        idle: step(&idle, 2),
        echo,
        download,
        gap,
        after_healing,
        resident: (before, scene.resident()),
    };
    if scene.who == Who::Ours {
        assert_eq!(
            scene.net.client.stray_packets(),
            0,
            "packets left outside the tunnel"
        );
    }
    outcome
}

/// When a new connection gets its first answer.
fn first_answer(scene: &Scene) -> Instant {
    let deadline = Instant::now() + BACK;
    loop {
        let via = match scene.who {
            Who::Ours => Via::Socks(LISTENER),
            Who::Stock => Via::Direct,
        };
        let answered = via
            .connect(&scene.net.client, "10.88.0.2", ECHO)
            .and_then(|stream| step(&stream, 9));
        match answered {
            Ok(()) => return Instant::now(),
            Err(error) => assert!(Instant::now() < deadline, "no answer any more: {error}"),
        }
    }
}

/// The inner address of the client as the host behind the server sees it.
pub(crate) fn inner_address(scene: &Scene) -> String {
    crate::fetch::page(&scene.connect(WEB), "/whoami").expect("a page")
}
