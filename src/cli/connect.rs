//! `tunless connect`: one tunnel in the foreground, with a proxy in front of it.

use std::{
    future::pending,
    io::{IsTerminal as _, stderr},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::{JoinHandle, spawn_blocking},
};
use tunless_core::{
    client::{Credentials, ExitKind, Setup, State as Progress},
    config::{ClientConfig, CredentialSource},
    secret::SecretString,
    tls,
};
use tunless_netstack::Limits;
use tunless_proxy::rules::Rules;

use super::{
    args::{Connect, Login},
    beside::{Beside, Early},
    credentials::{self, Known},
    listen::{self, Wanted},
    output::Output,
    profile,
    prompt::{Prompter, printable},
    terminal::TerminalGuard,
};
use crate::{
    cli::exit::{Failure, Status},
    control::statistics,
    driver::{
        Command, End, Event, Handle, QuestionKind, State, Up,
        client::{self, Options, Running},
        clock,
        requests::{Request, Requests},
        shutdown::Signals,
    },
    front::{Front, Tunnel, listen::Place, remote, stdio::StdioError},
};

/// Reads the profile, connects, and serves the proxy until the end.
pub(super) async fn run(args: &Connect, output: Output) -> Result<Status, Failure> {
    let Prepared {
        setup,
        credentials: known,
        password,
    } = prepare(&args.profile, &args.login)?;
    let wanted = Wanted {
        remotes: args.remote.remote_forward.clone(),
        dns: args.name_service.clone(),
        ..Wanted::new(&args.local)?
    };
    let rules =
        Rules::new(args.route.clone()).map_err(|error| Failure::usage(anyhow!(error).context("--route")))?;
    let options = Options {
        setup,
        credentials: known,
        dns: args.dns.clone(),
        limits: Limits::default(),
        fallback_dns: Vec::new(),
        connect_timeout: args.connect_timeout,
    };
    let mut signals = Signals::new().context("cannot take signals over")?;
    let wanted = Wanted { rules, ..wanted };
    let mut requests = Requests::new().context("cannot take signals over")?;
    let session = Session::start(options, wanted, output).await?;
    // The prompt's thread does not end with the process's others: what it did to the terminal is undone here.
    let terminal = TerminalGuard::default();
    let served = Served {
        args,
        // Looked at before it can go away.
        had_terminal: stderr().is_terminal(),
        prompter: Prompter::new(password, terminal.state.clone()),
    };
    session.run(&mut signals, &mut requests, output, served).await
}

/// What a tunnel starts with, as far as it is known without asking anybody.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) setup: Arc<Setup>,
    pub(super) credentials: Option<Credentials>,
    /// A password whose user name is missing.
    pub(super) password: Option<SecretString>,
}

/// Reads the profile and what goes with it.
pub(super) fn prepare(path: &Path, login: &Login) -> Result<Prepared, Failure> {
    let (mut config, notes) = profile::read_client(path)?;
    for note in notes {
        tracing::info!("{note}");
    }
    let (credentials, password) = known_credentials(&mut config, login.auth_user_pass.as_deref())?;
    if let Some(identity) = &mut config.tls.identity
        && tls::is_encrypted_key(identity.key.expose())
    {
        let given = credentials::passphrase(login.key_passphrase.as_deref())?;
        identity.passphrase = given.or_else(|| identity.passphrase.take());
    }
    let setup = Setup::new(config).with_context(|| path.display().to_string())?;
    Ok(Prepared {
        setup: Arc::new(setup),
        credentials,
        password,
    })
}

/// A pipe gives what it has once, and waiting for more would stop everything else.
fn is_file(path: &Path) -> Result<(), Failure> {
    let name = path.display();
    let found = std::fs::metadata(path).with_context(|| format!("cannot read {name}"))?;
    if found.is_file() {
        Ok(())
    } else {
        Err(anyhow!("{name} is no ordinary file and cannot be read again").into())
    }
}

/// What a running session comes back to.
#[derive(Debug)]
struct Served<'a> {
    args: &'a Connect,
    had_terminal: bool,
    prompter: Prompter,
}

impl Served<'_> {
    /// SIGHUP also says that the terminal is gone, and what was started in it goes with it.
    fn is_abandoned(&self) -> bool {
        self.had_terminal && !stderr().is_terminal()
    }

    /// Reads everything again and connects with it; what cannot be used is reported and changes nothing.
    fn reload(&mut self, handle: &Handle, output: Output) {
        let login = &self.args.login;
        let read = [
            Some(&self.args.profile),
            login.auth_user_pass.as_ref(),
            login.key_passphrase.as_ref(),
        ]
        .into_iter()
        .flatten()
        .try_for_each(|path| is_file(path))
        .and_then(|()| prepare(&self.args.profile, login));
        match read {
            Ok(read) => {
                self.prompter.set_password(read.password);
                handle.send(Command::Reload {
                    setup: read.setup,
                    credentials: read.credentials,
                });
                output.notice("reload", "the profile was read again", json!({ "taken": true }));
            }
            Err(failure) => {
                let why = format!("{:#}", failure.error);
                let text = format!("the profile cannot be used, the old one stays: {why}");
                output.notice("reload", &text, json!({ "taken": false, "reason": why }));
            }
        }
    }
}

/// What is known of user name and password; a name alone is noted in `config`, a password alone comes second.
fn known_credentials(
    config: &mut ClientConfig,
    file: Option<&Path>,
) -> Result<(Option<Credentials>, Option<SecretString>), Failure> {
    let Some(source) = &config.credentials else {
        return Ok((None, None));
    };
    match credentials::gather(source, file)? {
        Known::Both(known) => Ok((Some(known), None)),
        Known::Part { username, password } => {
            if let Some(username) = username {
                config.credentials = Some(CredentialSource::PromptPassword { username });
            }
            Ok((None, password))
        }
    }
}

/// A tunnel and the proxy in front of it.
#[derive(Debug)]
pub(super) struct Session {
    /// Where the proxy listens, TCP first; nowhere if nobody asked for it.
    pub(super) listening: Vec<Place>,
    /// User name of the proxy's own password, if it has one.
    user: Option<String>,
    running: Running,
    events: Receiver<Event>,
    front: Front,
    beside: Beside,
}

impl Session {
    pub(super) async fn start(options: Options, wanted: Wanted, output: Output) -> Result<Self, Failure> {
        let is_default = wanted.proxies.is_empty();
        let remotes = wanted.remotes.clone();
        let mut plan = wanted.open().await?;
        listen::announce(&plan, is_default, output);
        let mut subscribed = None;
        let subscribe = |handle: &Handle| {
            subscribed = Some([handle.events(), handle.events(), handle.events(), handle.events()]);
        };
        let running = client::start(options, subscribe).context("cannot start the tunnel")?;
        let [events, journal, notify, watched] = subscribed.context("the tunnel has no events")?;
        plan.remotes = match remote::open(&running.stack, &remotes).await {
            Ok(remotes) => remotes,
            Err(error) => {
                running.handle.send(Command::Disconnect);
                spawn_blocking(move || running.join())
                    .await
                    .context("cannot wait for the tunnel")?;
                return Err(anyhow!(error).into());
            }
        };
        for opened in &plan.remotes {
            let (port, to) = (opened.port(), opened.to().to_string());
            let text = format!("forwarding inner port {port} to {to}");
            output.say("forwarding", &text, json!({ "port": port, "to": to }));
        }
        let listening: Vec<Place> = plan.proxies.iter().map(|open| open.place.clone()).collect();
        let user = plan.credentials.as_ref().map(|known| known.user().into_owned());
        let tunnel = Tunnel {
            handle: &running.handle,
            stack: &running.stack,
            events: watched,
        };
        let front = Front::start(plan, tunnel);
        let early = Early { journal, notify };
        let beside = Beside::start(&running, &front, &listening, early, output);
        Ok(Self {
            listening,
            user,
            running,
            events,
            front,
            beside,
        })
    }

    /// The first address of the proxy.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.listening.iter().find_map(Place::address)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.running.handle
    }

    /// Shows what happens until the tunnel ends, or a signal ends it.
    async fn run(
        mut self,
        signals: &mut Signals,
        requests: &mut Requests,
        output: Output,
        mut served: Served<'_>,
    ) -> Result<Status, Failure> {
        let mut connected = 0_u32;
        let (mut stdio, mut carried) = (served.args.local.stdio.clone(), None);
        let end = loop {
            let event = tokio::select! {
                signal = signals.recv() => {
                    tracing::info!(signal, "leaving");
                    break self.stop().await?;
                }
                ended = ended(&mut carried) => {
                    self.stop().await?;
                    return match ended {
                        Ok(()) => Ok(Status::Done),
                        Err(error) => Err(anyhow!(error).into()),
                    };
                }
                request = requests.recv() => {
                    if request == Request::Reload && served.is_abandoned() {
                        tracing::info!("the terminal is gone, leaving");
                        break self.stop().await?;
                    }
                    self.on_request(request, &mut served, output);
                    continue;
                }
                event = self.events.recv() => event,
            };
            // Until the first connection the tunnel may take as long as its profile says.
            if let Some(target) = stdio.take_if(|_| self.handle().up().is_some()) {
                carried = Some(tokio::spawn(self.front.stdio(target)));
            }
            match event {
                Ok(Event::Ended(_)) | Err(RecvError::Closed) => break self.stop().await?,
                Ok(Event::Question(question)) => {
                    show_question(&question.kind, output);
                    served.prompter.ask(self.handle().clone(), question);
                }
                Ok(Event::QuestionGone(id)) if served.prompter.is_stale(id) => {
                    output.notice(
                        "question-gone",
                        "\nnot needed any more; press Enter",
                        json!({ "id": id }),
                    );
                }
                Ok(event) => self.show(event, &mut connected, output),
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "events missed"),
            }
        };
        match end.kind {
            ExitKind::Done => {
                output.say(
                    "ended",
                    &format!("ended: {}", end.reason),
                    json!({ "reason": end.reason }),
                );
                Ok(Status::Done)
            }
            kind @ (ExitKind::Failed | ExitKind::AuthFailed) => Err(Failure {
                status: kind.into(),
                error: anyhow!(end.reason),
            }),
        }
    }

    fn on_request(&self, request: Request, served: &mut Served<'_>, output: Output) {
        match request {
            Request::Restart => {
                self.handle().send(Command::Restart);
            }
            Request::Reload => served.reload(self.handle(), output),
            Request::Statistics => {
                let (snapshot, up) = (self.handle().snapshot(), self.handle().up());
                let now = clock::now();
                let text = statistics::lines(&snapshot, up.as_deref(), now);
                output.asked(
                    "statistics",
                    &text,
                    statistics::object(&snapshot, up.as_deref(), now),
                );
            }
        }
    }

    /// Leaves the server, ends the proxy and waits for both.
    pub(super) async fn stop(mut self) -> Result<End, Failure> {
        self.beside.leaving();
        self.running.handle.send(Command::Disconnect);
        self.front.stop().await;
        let running = self.running;
        // Kept until the control socket is gone: the next tunnel of this name puts its own there.
        let _name = Arc::clone(&running.name);
        let end = spawn_blocking(move || running.join()).await;
        self.beside.stop().await;
        Ok(end.context("cannot wait for the tunnel")?)
    }

    /// Waits for the tunnel's end.
    pub(super) async fn ended(&mut self) {
        while !matches!(
            self.events.recv().await,
            Ok(Event::Ended(_)) | Err(RecvError::Closed)
        ) {}
    }

    /// Waits for the first connection.
    pub(super) async fn connected(&mut self) -> Result<Arc<Up>, Failure> {
        loop {
            match self.events.recv().await {
                Ok(Event::Connected(up)) => return Ok(up),
                Ok(Event::Ended(end)) => return Err(anyhow!(end.reason).into()),
                Err(RecvError::Closed) => return Err(anyhow!("the tunnel is gone").into()),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    fn show(&self, event: Event, connected: &mut u32, output: Output) {
        match event {
            Event::State { state, detail } => {
                tracing::info!(%state, detail, "state");
                let first = self.handle().snapshot().attempts <= 1;
                if first && state == State::Session(Progress::Wait) && !output.is_json() {
                    output.notice("connecting", &format!("connecting to {detail}"), json!({}));
                }
                if output.is_json() {
                    output.say(
                        "state",
                        "",
                        json!({ "state": state.to_string(), "detail": detail }),
                    );
                }
            }
            Event::Connected(up) => {
                let pages = self.address().map(Pages::of);
                show_up(&up, self.listening.first(), pages.as_ref(), *connected, output);
                if *connected == 0
                    && !output.is_json()
                    && let Some(line) = self.line_to_paste(&up)
                {
                    output.say("try", &line, json!({}));
                    if let Some(Pages { pac, status }) = pages {
                        output.say("pages", &format!("PAC {pac}\nstatus page {status}"), json!({}));
                    }
                }
                *connected += 1;
            }
            Event::Retry { reason, wait, next } => {
                let pause = if wait.is_zero() {
                    "now".into()
                } else {
                    format!("in {} s", wait.as_secs().max(1))
                };
                let text = format!("{reason}; trying {next} {pause}");
                let fields = json!({ "reason": reason, "next": next, "wait_seconds": wait.as_secs_f64() });
                output.notice("retry", &text, fields);
            }
            Event::Info(text) => output.notice(
                "info",
                &format!("the server says: {}", printable(&text)),
                json!({ "text": text }),
            ),
            Event::Renewed => tracing::info!("keys renewed"),
            Event::Question(_) | Event::QuestionGone(_) | Event::Ended(_) => {}
        }
    }
}

impl Session {
    /// What to type to try the proxy; by an address where names cannot be resolved.
    fn line_to_paste(&self, up: &Up) -> Option<String> {
        let proxy = match self.listening.first()? {
            Place::Net(address) => reachable(*address).to_string(),
            // curl takes a path behind `localhost` for a Unix socket.
            Place::Unix(path) => format!("localhost{}", std::path::absolute(path).ok()?.display()),
        };
        let user = self.user.as_ref().map(|user| format!(" --proxy-user {user}"));
        let user = user.unwrap_or_default();
        Some(if up.dns.is_empty() {
            format!(
                "the server pushed no DNS: names are refused unless you give --dns ADDR\n\
                 curl --proxy socks5h://{proxy}{user} http://ADDRESS/"
            )
        } else {
            format!("curl --proxy socks5h://{proxy}{user} https://example.com/")
        })
    }
}

/// The end of what is carried by standard input and output, if anything is. Cancel-safe.
async fn ended(carried: &mut Option<JoinHandle<Result<(), StdioError>>>) -> Result<(), StdioError> {
    match carried {
        Some(task) => task
            .await
            .unwrap_or_else(|panic| Err(StdioError::Io(panic.into()))),
        None => pending().await,
    }
}

/// What a question means where it is not asked on the terminal.
fn show_question(kind: &QuestionKind, output: Output) {
    match kind {
        QuestionKind::OpenUrl { url } => {
            let text = format!("open this page to sign in: {}", printable(url));
            output.notice("open-url", &text, json!({ "url": url }));
        }
        QuestionKind::Challenge { text, echo, .. } if output.is_json() => {
            output.notice("challenge", "", json!({ "text": text, "echo": echo }));
        }
        QuestionKind::Credentials { .. }
        | QuestionKind::ProxyCredentials { .. }
        | QuestionKind::Passphrase { .. }
        | QuestionKind::Challenge { .. } => {}
    }
}

/// Addresses of the port's own pages.
#[derive(Debug)]
struct Pages {
    pac: String,
    status: String,
}

impl Pages {
    fn of(listening: SocketAddr) -> Self {
        let base = format!("http://{}/", reachable(listening));
        Self {
            pac: format!("{base}proxy.pac"),
            status: base,
        }
    }
}

/// The lines that a person waits for.
fn show_up(up: &Up, listening: Option<&Place>, pages: Option<&Pages>, before: u32, output: Output) {
    let again = if before == 0 { "" } else { " again" };
    let list = |items: Vec<String>| {
        if items.is_empty() {
            "none".to_owned()
        } else {
            items.join(", ")
        }
    };
    let inner = list(up.inner.iter().map(ToString::to_string).collect());
    let dns = list(up.dns.iter().map(plain_resolver).collect());
    let through = up.through.as_ref().map(|proxy| format!(" through the {proxy}"));
    let text = format!(
        "connected to {}{again}{} ({}/{}, {}, {})\ninner address {inner} on {}; DNS {dns}",
        up.host,
        through.unwrap_or_default(),
        up.address,
        up.carrier,
        up.tls,
        up.cipher,
        up.device
    );
    let fields = json!({
        "host": up.host, "through": up.through, "address": up.address.to_string(), "carrier": up.carrier, "tls": up.tls,
        "cipher": up.cipher, "device": up.device, "inner": up.inner.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "dns": up.dns.iter().map(ToString::to_string).collect::<Vec<_>>(), "proxy": listening.map(ToString::to_string),
        "mtu": up.mtu_bytes, "again": before > 0, "pac": pages.map(|pages| &pages.pac),
        "status_page": pages.map(|pages| &pages.status),
    });
    output.say("connected", &text, fields);
    for ignored in &up.ignored {
        tracing::info!("left out of what the server pushed: {ignored}");
    }
}

fn plain_resolver(resolver: &SocketAddr) -> String {
    if resolver.port() == 53 {
        resolver.ip().to_string()
    } else {
        resolver.to_string()
    }
}

/// An address that a program on this host can connect to.
fn reachable(listening: SocketAddr) -> SocketAddr {
    let mut address = listening;
    if listening.ip().is_unspecified() {
        address.set_ip(match listening {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_files_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.ovpn");
        assert!(is_file(&path).is_err());
        std::fs::write(&path, "client\n").unwrap();
        assert!(is_file(&path).is_ok());
        assert!(is_file(folder.path()).is_err());
        assert!(is_file(Path::new("/dev/null")).is_err());
    }
}
