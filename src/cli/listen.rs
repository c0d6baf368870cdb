//! Local ends: those that were asked for, or the next free port from 1080, and the lines that say where they are.

use std::{net::SocketAddr, path::Path};

use anyhow::{Context as _, anyhow};
use serde_json::{Value, json};
use tunless_proxy::{Credentials, rules::Rules};

use super::{
    flags::{dns::DnsFlags, listen::ListenFlags},
    output::Output,
    profile,
};
use crate::{
    cli::exit::Failure,
    front::{
        Plan,
        forward::{LocalForward, OpenForward},
        listen::{Access, DEFAULT_PORT, Open, Place},
        remote,
    },
};

/// What is to be offered.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// Where the proxy listens; nothing is the default port.
    pub(super) proxies: Vec<Place>,
    /// There is no proxy unless it was asked for.
    pub(super) no_default: bool,
    pub(super) forwards: Vec<LocalForward>,
    /// Ports inside the tunnel that lead to the host.
    pub(super) remotes: Vec<remote::Forward>,
    pub(super) dns: DnsFlags,
    /// What goes through the tunnel, directly, or nowhere.
    pub(super) rules: Rules,
    pub(super) credentials: Option<Credentials>,
    pub(super) insecure: bool,
    pub(super) other_users: bool,
}

impl Wanted {
    /// Reads what the flags name, and checks that nothing is open to more people than was meant.
    pub(super) fn new(flags: &ListenFlags) -> Result<Self, Failure> {
        if let Some(address) = flags.exposed().next()
            && !flags.insecure_listen
        {
            return Err(exposed(address));
        }
        Ok(Self {
            proxies: flags.listen.clone(),
            no_default: flags.stdio.is_some(),
            forwards: flags.local_forward.clone(),
            remotes: Vec::new(),
            dns: DnsFlags::default(),
            rules: Rules::default(),
            insecure: flags.insecure_listen,
            credentials: credentials(flags.proxy_auth.as_deref())?,
            other_users: flags.allow_other_users,
        })
    }

    /// A proxy at `address`, or at the default one.
    pub(super) fn at(address: Option<SocketAddr>) -> Result<Self, Failure> {
        let proxies: Vec<_> = address.into_iter().map(Place::Net).collect();
        match address {
            Some(address) if proxies.iter().any(Place::is_exposed) => Err(exposed(address)),
            Some(_) | None => Ok(Self {
                proxies,
                ..Self::default()
            }),
        }
    }

    /// Who gets in at the proxy.
    fn access(&self) -> Access {
        Access {
            other_users: self.other_users,
            password: self.credentials.is_some(),
            listed: None,
        }
    }

    /// Opens everything. Needs a tokio runtime.
    pub(super) async fn open(self) -> Result<Plan, Failure> {
        let mut proxies = Vec::new();
        for place in &self.proxies {
            proxies.push(Open::new(place, &self.access()).await.map_err(failure("-D"))?);
        }
        if proxies.is_empty() && !self.no_default {
            proxies.push(
                Open::default_proxy(&self.access())
                    .await
                    .map_err(|error| anyhow!(error))?,
            );
        }
        // People and programs look for the first line with an address.
        proxies.sort_by_key(|open| open.place.address().is_none());
        let access = Access {
            password: false,
            ..self.access()
        };
        let mut forwards = Vec::new();
        for forward in &self.forwards {
            forwards.push(OpenForward::new(forward, &access).await.map_err(failure("-L"))?);
        }
        Ok(Plan {
            dns: self.dns.open(self.insecure).await?,
            access,
            proxies,
            credentials: self.credentials,
            rules: self.rules,
            forwards,
            ..Plan::default()
        })
    }
}

fn exposed(address: SocketAddr) -> Failure {
    Failure::usage(anyhow!(
        "{address} would let everybody who can reach it use the tunnel; give `--proxy-auth FILE` for a password of \
         the proxy, or `--insecure-listen` if that is meant"
    ))
}

fn failure(flag: &'static str) -> impl Fn(crate::front::listen::ListenError) -> Failure {
    move |error| anyhow!(error).context(format!("`{flag}`")).into()
}

/// Reads the proxy's own user name and password.
fn credentials(file: Option<&Path>) -> anyhow::Result<Option<Credentials>> {
    let Some(file) = file else { return Ok(None) };
    let (user, password) = profile::two_lines(file)?;
    let known = Credentials::new(&user, &password).with_context(|| file.display().to_string())?;
    Ok(Some(known))
}

/// Says where everything is. `is_default` when no listener was asked for.
pub(super) fn announce(plan: &Plan, is_default: bool, output: Output) {
    for open in &plan.proxies {
        output.say(
            "listening",
            &listening_line(&open.place, is_default),
            fields(&open.place),
        );
    }
    for address in plan.dns.iter().filter_map(|(udp, _)| udp.local_addr().ok()) {
        let fields = json!({ "service": "dns", "address": address.to_string() });
        output.say("listening", &format!("DNS on {address}"), fields);
    }
    for forward in plan.forwards.iter().map(OpenForward::describe) {
        let LocalForward {
            place,
            target,
            carries,
        } = forward;
        let mut fields = fields(&place);
        if let Value::Object(more) = &mut fields {
            more.insert("target".into(), target.to_string().into());
            more.insert("carries".into(), carries.to_string().into());
        }
        output.say(
            "forwarding",
            &format!("forwarding {place} to {target} ({carries})"),
            fields,
        );
    }
}

fn fields(place: &Place) -> Value {
    match place {
        Place::Net(address) => json!({ "address": address.to_string() }),
        Place::Unix(path) => json!({ "path": path }),
    }
}

/// Where the proxy is, and that the default port was taken if it was.
fn listening_line(got: &Place, is_default: bool) -> String {
    match got.address() {
        Some(address) if is_default && address.port() != DEFAULT_PORT => {
            format!("listening on {got}, since port {DEFAULT_PORT} is taken")
        }
        Some(_) | None => format!("listening on {got}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{
        args::{Cli, Command},
        exit::Status,
    };

    fn wanted(line: &str) -> Result<Wanted, Failure> {
        let cli = Cli::try_parse_from(
            ["tunless", "connect", "a.ovpn"]
                .into_iter()
                .chain(line.split(' ')),
        );
        let Ok(Command::Connect(connect)) = cli.map(|cli| cli.command) else {
            panic!("{line}")
        };
        Wanted::new(&connect.local)
    }

    #[tokio::test]
    async fn a_taken_default_port_moves_to_the_next_free_one() {
        let first = Wanted::default().open().await.unwrap();
        let second = Wanted::default().open().await.unwrap();
        let address = |plan: &Plan| plan.proxies[0].place.address().unwrap();
        assert!(address(&first).ip().is_loopback() && address(&first).port() < address(&second).port());
        let line = listening_line(&second.proxies[0].place, true);
        assert!(line.contains(&address(&second).to_string()), "{line}");
    }

    #[tokio::test]
    async fn several_listeners_open_and_addresses_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let line = format!("-D {} -D 127.0.0.1:0,[::1]:0 -L 0:a.test:80", path.display());
        let plan = wanted(&line).unwrap().open().await.unwrap();
        let places: Vec<_> = plan.proxies.iter().map(|open| &open.place).collect();
        assert_eq!((places.len(), plan.forwards.len()), (3, 1));
        assert!(places[0].address().is_some() && *places[2] == Place::Unix(path.clone()));
        drop(plan);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn standard_input_needs_no_proxy_but_may_have_one() {
        let plan = wanted("-W a.test:22").unwrap().open().await.unwrap();
        assert!(plan.proxies.is_empty());
        let plan = wanted("-W a.test:22 -D 0").unwrap().open().await.unwrap();
        assert_eq!(plan.proxies.len(), 1);
    }

    #[test]
    fn what_others_can_reach_needs_a_password_or_a_word() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("auth");
        std::fs::write(&file, "ann\nsecret\n").unwrap();
        let with_password = format!("--proxy-auth {}", file.display());
        for (line, is_fine) in [
            ("-D 0.0.0.0:0".to_owned(), false),
            ("-D [::]:0".to_owned(), false),
            ("-D 127.0.0.1:0 -D 0.0.0.0:0".to_owned(), false),
            ("-L 0.0.0.0:0:a.test:80".to_owned(), false),
            (format!("-L 0.0.0.0:0:a.test:80 {with_password}"), false),
            ("-D 0.0.0.0:0 --insecure-listen".to_owned(), true),
            ("-L 0.0.0.0:0:a.test:80 --insecure-listen".to_owned(), true),
            (format!("-D 0.0.0.0:0 {with_password}"), true),
            ("-D [::1]:0 -L 0:a.test:80".to_owned(), true),
        ] {
            let status = wanted(&line).map(|_| ()).map_err(|failure| failure.status);
            assert_eq!(
                status,
                if is_fine { Ok(()) } else { Err(Status::Usage) },
                "{line}"
            );
        }
    }
}
