//! A tunnel as the D-Bus client process wants it: the driver's handle behind `tunless_dbus`'s seam.
//!
//! It starts with no more than the profile. What was answered beforehand is given when the driver asks for it, so that
//! `auth-nocache` and `auth-retry` mean the same here as on a terminal.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    task::spawn_blocking,
};
use tunless_core::{client::Setup, config::CredentialSource, secret::SecretString};
use tunless_dbus::client::{
    Answer, Answers, Ended, Event, MAX_EVENTS, Need, Prepared, Profile, Program, Tunnel, Users,
};
use tunless_netstack::Limits;
use tunless_proxy::UserList;

use super::{
    overrides,
    tally::Tally,
    translate::{Offer, Step, Translator},
};
use crate::{
    driver::{
        self, Command, Handle, chain,
        client::{self, Options, Running},
    },
    front::{
        Front, Plan, Tunnel as FrontTunnel,
        listen::{Access, Open},
    },
};

/// Makes tunnels out of profiles.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clients;

impl Program for Clients {
    type Tunnel = ClientTunnel;

    fn prepare(&self, profile: Profile) -> Result<Prepared<ClientTunnel>, String> {
        let ready = overrides::prepare(&profile.name, &profile.text, &profile.overrides)
            .map_err(|error| chain(&error))?;
        let log_level = ready.log_level.map(u32::from);
        let setup =
            Setup::new(ready.config).map_err(|error| format!("{}: {}", profile.name, chain(&error)))?;
        let needs = needs(&setup);
        Ok(Prepared {
            tunnel: ClientTunnel {
                setup: Arc::new(setup),
                fallback_dns: ready.dns_fallback,
                users: UserList::default(),
                tally: Arc::default(),
                running: Mutex::default(),
            },
            needs,
            notes: ready.notes,
            log_level,
        })
    }
}

/// What has to be known before this can connect.
fn needs(setup: &Setup) -> Vec<Need> {
    let config = setup.config();
    let mut needs = Vec::new();
    match config.credentials {
        Some(CredentialSource::Prompt | CredentialSource::PromptPassword { .. }) => {
            needs.push(Need::UserPassword);
        }
        Some(CredentialSource::Given { .. }) | None => {}
    }
    if let (Some(own), Some(_)) = (&config.static_challenge, &config.credentials) {
        needs.push(Need::StaticChallenge {
            text: own.text.clone(),
            echo: own.echo,
        });
    }
    if setup.needs_passphrase() {
        needs.push(Need::Passphrase);
    }
    needs
}

/// One client process's tunnel.
#[derive(Debug)]
pub struct ClientTunnel {
    setup: Arc<Setup>,
    fallback_dns: Vec<SocketAddr>,
    users: UserList,
    tally: Arc<Tally>,
    running: Mutex<Option<Handle>>,
}

impl Tunnel for ClientTunnel {
    async fn connect(&self, answers: Answers) -> Result<mpsc::Receiver<Event>, String> {
        let access = Access {
            listed: Some(self.users.clone()),
            ..Access::default()
        };
        // A tunnel is of use without its proxy, but not here: it ends in this process.
        let open = Open::default_proxy(&access)
            .await
            .map_err(|error| chain(&error))?;
        let offer = Offer::at(&open.place);
        let options = Options {
            setup: Arc::clone(&self.setup),
            credentials: self.given(),
            dns: Vec::new(),
            fallback_dns: self.fallback_dns.clone(),
            limits: Limits::default(),
            connect_timeout: None,
        };
        let mut subscribed = None;
        let subscribe = |handle: &Handle| subscribed = Some([handle.events(), handle.events()]);
        let running = client::start(options, subscribe).map_err(|error| chain(&error))?;
        let [told, watched] = subscribed.ok_or("the tunnel has no events")?;
        let plan = Plan {
            proxies: vec![open],
            access,
            ..Plan::default()
        };
        let front = Front::start(
            plan,
            FrontTunnel {
                handle: &running.handle,
                stack: &running.stack,
                events: watched,
            },
        );
        *self.lock() = Some(running.handle.clone());
        let (events, received) = mpsc::channel(MAX_EVENTS);
        let translator = Translator::new(answers, offer);
        tokio::spawn(follow(
            told,
            running,
            front,
            translator,
            Arc::clone(&self.tally),
            events,
        ));
        Ok(received)
    }

    fn answer(&self, question: u64, answer: Answer) {
        let secret = |text: tunless_dbus::client::Secret| SecretString::new(text.as_str());
        let answer = match answer {
            Answer::UserPassword(username, password) => driver::Answer::Credentials {
                username: username.to_string(),
                password: secret(password),
            },
            Answer::Text(text) => driver::Answer::Response(secret(text)),
        };
        self.send(Command::Answer {
            question,
            answer: Some(answer),
        });
    }

    fn pause(&self) {
        self.tally.paused();
        self.send(Command::Pause);
    }

    fn resume(&self) {
        self.send(Command::Resume);
    }

    fn restart(&self) {
        self.send(Command::Restart);
    }

    fn disconnect(&self) {
        self.send(Command::Disconnect);
    }

    fn set_verbosity(&self, level: u32) {
        self.send(Command::SetVerbosity(u8::try_from(level).unwrap_or(u8::MAX)));
    }

    fn set_users(&self, users: Users) {
        self.users.set(match users {
            Users::Only(uids) => Some(uids.into_iter().collect()),
            Users::Nobody => Some(BTreeSet::new()),
            Users::Everybody => None,
        });
    }

    fn statistics(&self) -> Vec<(&'static str, i64)> {
        let snapshot = self.lock().as_ref().map(Handle::snapshot).unwrap_or_default();
        self.tally.statistics(&snapshot)
    }
}

impl ClientTunnel {
    /// User name and password, where the profile has both.
    fn given(&self) -> Option<tunless_core::client::Credentials> {
        match &self.setup.config().credentials {
            Some(CredentialSource::Given { username, password }) => Some(tunless_core::client::Credentials {
                username: username.clone(),
                password: password.clone(),
                is_token: false,
            }),
            Some(CredentialSource::Prompt | CredentialSource::PromptPassword { .. }) | None => None,
        }
    }

    fn send(&self, command: Command) {
        if let Some(handle) = &*self.lock()
            && !handle.send(command)
        {
            tracing::warn!("the tunnel is so far behind that an order is lost");
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Handle>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what happens to a tunnel until it has ended.
async fn follow(
    mut told: Receiver<driver::Event>,
    running: Running,
    front: Front,
    mut translator: Translator,
    tally: Arc<Tally>,
    events: mpsc::Sender<Event>,
) {
    let ended = loop {
        match told.recv().await {
            Ok(event) => {
                tally.on_event(&event);
                let steps = translator.on_event(event);
                if let Some(ended) = take(steps, &running.handle, &events).await {
                    break ended;
                }
            }
            Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "events of the tunnel are lost"),
            Err(RecvError::Closed) => {
                break Ended::Failed("the tunnel's thread failed; this is a bug, please report it".into());
            }
        }
    };
    front.stop().await;
    if let Err(error) = spawn_blocking(move || running.join()).await {
        tracing::warn!(%error, "the tunnel's thread cannot be waited for");
    }
    // Told last: now port and device name are free, and whoever hears it may connect again. Perhaps nobody does.
    let _heard = events.send(Event::Ended(ended)).await;
}

/// Does what follows from an event; gives the tunnel's end.
async fn take(steps: Vec<Step>, handle: &Handle, events: &mpsc::Sender<Event>) -> Option<Ended> {
    for step in steps {
        match step {
            Step::Tell(Event::Ended(ended)) => return Some(ended),
            Step::Tell(event) => {
                // Whoever listened is gone: the process ends, and so does the tunnel.
                if events.send(event).await.is_err() {
                    handle.send(Command::Disconnect);
                }
            }
            Step::Do(command) => {
                handle.send(command);
            }
        }
    }
    None
}
