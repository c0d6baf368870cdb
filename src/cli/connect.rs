//! `tunless connect`: one tunnel in the foreground, with a proxy in front of it.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    task::spawn_blocking,
};
use tokio_util::sync::CancellationToken;
use tunless_core::{
    client::{Credentials, ExitKind, Setup, State as Progress},
    config::{ClientConfig, CredentialSource},
    secret::SecretString,
};
use tunless_netstack::Limits;
use tunless_proxy as proxy;

use super::{
    args::Connect,
    credentials::{self, Known},
    listen::{self, Wanted},
    output::Output,
    profile,
    terminal::{TerminalGuard, TerminalState},
};
use crate::{
    cli::exit::{Failure, Status},
    driver::{
        Command, End, Event, Handle, Question, StackConnector, State, Up,
        client::{self, Options, Running},
        shutdown::{PROXY_GRACE, Signals},
    },
};

/// Reads the profile, connects, and serves the proxy until the end.
pub(super) async fn run(args: &Connect, output: Output) -> Result<Status, Failure> {
    let (mut config, notes) = profile::read_client(&args.profile)?;
    for note in notes {
        tracing::info!("{note}");
    }
    let (known, password) = known_credentials(&mut config, args)?;
    let setup = Setup::new(config).with_context(|| args.profile.display().to_string())?;
    let proxy_auth = listen::credentials(args.proxy_auth.as_deref())?;
    let wanted = Wanted {
        address: args.listen,
        insecure: args.insecure_listen,
        credentials: proxy_auth.as_ref(),
    };
    let options = Options {
        setup: Arc::new(setup),
        credentials: known,
        dns: args.dns.clone(),
        limits: Limits::default(),
        connect_timeout: args.connect_timeout,
    };
    let mut signals = Signals::new().context("cannot take signals over")?;
    let session = Session::start(options, &wanted, output).await?;
    // The prompt's thread does not end with the process's others: what it did to the terminal is undone here.
    let terminal = TerminalGuard::default();
    let prompter = Prompter {
        password,
        terminal: terminal.state.clone(),
    };
    session.run(&mut signals, output, prompter).await
}

/// What is known of user name and password; a name alone is noted in `config`, a password alone comes second.
fn known_credentials(
    config: &mut ClientConfig,
    args: &Connect,
) -> Result<(Option<Credentials>, Option<SecretString>), Failure> {
    let Some(source) = &config.credentials else {
        return Ok((None, None));
    };
    match credentials::gather(source, args.auth_user_pass.as_deref())? {
        Known::Both(known) => Ok((Some(known), None)),
        Known::Part { username, password } => {
            if let Some(username) = username {
                config.credentials = Some(CredentialSource::PromptPassword { username });
            }
            Ok((None, password))
        }
    }
}

/// Asks a person, on a thread of its own.
#[derive(Debug)]
struct Prompter {
    /// A password whose user name is missing; it is tried once.
    password: Option<SecretString>,
    terminal: TerminalState,
}

impl Prompter {
    fn ask(&mut self, handle: Handle, question: Question) {
        let (password, terminal) = (self.password.take(), self.terminal.clone());
        // Ends with the answer; a process that ends meanwhile does not wait for a person.
        let ask = move || {
            let answer = credentials::prompt(&question.kind, password, &terminal);
            handle.send(Command::Answer {
                question: question.id,
                answer,
            });
        };
        let spawned = std::thread::Builder::new()
            .name("tunless-prompt".into())
            .spawn(ask);
        if let Err(error) = spawned {
            tracing::error!(%error, "cannot ask for user name and password");
        }
    }
}

/// A tunnel and the proxy in front of it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) listening: SocketAddr,
    /// User name of the proxy's own password, if it has one.
    user: Option<String>,
    running: Running,
    events: Receiver<Event>,
    proxy: tokio::task::JoinHandle<proxy::Drained>,
    shutdown: CancellationToken,
}

impl Session {
    pub(super) async fn start(
        options: Options,
        wanted: &Wanted<'_>,
        output: Output,
    ) -> Result<Self, Failure> {
        let listener = listen::open(wanted).await?;
        let listening = listener.local_addr().context("the listener has no address")?;
        let first = listen::first_line(wanted, listening);
        output.say("listening", &first, json!({ "address": listening.to_string() }));
        let mut events = None;
        let running = client::start(options, |handle| events = Some(handle.events()))
            .context("cannot start the tunnel")?;
        let events = events.unwrap_or_else(|| running.handle.events());
        let settings = proxy::Settings {
            credentials: wanted.credentials.cloned(),
            limits: proxy::Limits {
                drain: PROXY_GRACE,
                ..proxy::Limits::default()
            },
            ..proxy::Settings::default()
        };
        let shutdown = CancellationToken::new();
        let connector = StackConnector::new(running.stack.clone());
        let proxy = tokio::spawn(proxy::serve(listener, connector, settings, shutdown.clone()));
        Ok(Self {
            listening,
            user: wanted.credentials.map(|known| known.user().into_owned()),
            running,
            events,
            proxy,
            shutdown,
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.running.handle
    }

    /// Shows what happens until the tunnel ends, or a signal ends it.
    async fn run(
        mut self,
        signals: &mut Signals,
        output: Output,
        mut prompter: Prompter,
    ) -> Result<Status, Failure> {
        let mut connected = 0_u32;
        let end = loop {
            let event = tokio::select! {
                signal = signals.recv() => {
                    tracing::info!(signal, "leaving");
                    break self.stop().await?;
                }
                event = self.events.recv() => event,
            };
            match event {
                Ok(Event::Ended(_)) | Err(RecvError::Closed) => break self.stop().await?,
                Ok(Event::Question(question)) => prompter.ask(self.handle().clone(), question),
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

    /// Leaves the server, ends the proxy and waits for both.
    pub(super) async fn stop(self) -> Result<End, Failure> {
        self.running.handle.send(Command::Disconnect);
        self.shutdown.cancel();
        if let Err(error) = self.proxy.await {
            tracing::debug!(%error, "the proxy failed");
        }
        let running = self.running;
        Ok(spawn_blocking(move || running.join())
            .await
            .context("cannot wait for the tunnel")?)
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
                show_up(&up, self.listening, *connected, output);
                if *connected == 0 && !output.is_json() {
                    output.say("try", &self.line_to_paste(&up), json!({}));
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
                &format!("the server says: {text}"),
                json!({ "text": text }),
            ),
            Event::Renewed => tracing::info!("keys renewed"),
            Event::Question(_) | Event::QuestionGone(_) | Event::Ended(_) => {}
        }
    }
}

impl Session {
    /// What to type to try the proxy; by an address where names cannot be resolved.
    fn line_to_paste(&self, up: &Up) -> String {
        let proxy = reachable(self.listening);
        let user = self.user.as_ref().map(|user| format!(" --proxy-user {user}"));
        let user = user.unwrap_or_default();
        if up.dns.is_empty() {
            format!(
                "the server pushed no DNS: names are refused unless you give --dns ADDR\n\
                 curl --proxy socks5h://{proxy}{user} http://ADDRESS/"
            )
        } else {
            format!("curl --proxy socks5h://{proxy}{user} https://example.com/")
        }
    }
}

/// The lines that a person waits for.
pub(super) fn show_up(up: &Up, listening: SocketAddr, before: u32, output: Output) {
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
    let text = format!(
        "connected to {}{again} ({}/{}, {}, {})\ninner address {inner} on {}; DNS {dns}",
        up.host, up.address, up.carrier, up.tls, up.cipher, up.device
    );
    let fields = json!({
        "host": up.host, "address": up.address.to_string(), "carrier": up.carrier, "tls": up.tls,
        "cipher": up.cipher, "device": up.device, "inner": up.inner.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "dns": up.dns.iter().map(ToString::to_string).collect::<Vec<_>>(), "proxy": listening.to_string(),
        "mtu": up.mtu_bytes, "again": before > 0,
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
