//! What a test of two peers starts from: options for either side, links, certificates.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    client::{Credentials, Setup},
    config::{ClientConfig, Directives, ServerConfig},
    secret::SecretString,
    testing::{
        Link, Pair, SeededRng,
        certs::{Identity, TestPki},
    },
    wrap::StaticKey,
};

/// 2026-01-01: within the validity of the test certificates.
const UNIX: Duration = Duration::from_hours(490_896);

/// A client and a server to be; every field has a working default.
///
/// In the options, `KEY` and `OTHER` stand for two static keys and `DIR` for the side's key direction.
#[derive(Debug)]
pub struct Scenario {
    /// Options of both sides.
    pub both: String,
    /// More options of the client.
    pub client: String,
    /// More options of the server.
    pub server: String,
    /// User name and password of the client.
    pub credentials: Option<(&'static str, &'static str)>,
    /// From client to server.
    pub up: Link,
    /// From server to client.
    pub down: Link,
    /// Certificates, where the test needs to know them.
    pub pki: Option<TestPki>,
    /// Another certificate for the server.
    pub server_identity: Option<Identity>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            both: String::new(),
            client: String::new(),
            server: String::new(),
            credentials: None,
            up: Link::perfect(1),
            down: Link::perfect(2),
            pki: None,
            server_identity: None,
        }
    }
}

impl Scenario {
    /// Builds the two peers.
    ///
    /// # Panics
    /// If the options cannot be used.
    pub fn pair(self, seed: u64) -> Pair {
        let pki = self.pki.unwrap_or_else(TestPki::new);
        let server_identity = self.server_identity.unwrap_or_else(|| pki.server.clone());
        let auth = if self.credentials.is_some() {
            "auth-user-pass\n"
        } else {
            ""
        };
        let client = format!(
            "client\ndev tun\nremote 192.0.2.1 1194 udp\n{auth}{}{}{}",
            with_keys(&self.both, "1"),
            with_keys(&self.client, "1"),
            certificates(&pki, &pki.client)
        );
        let server = format!(
            "dev tun\nserver 10.8.0.0 255.255.255.0\ntopology subnet\n{}{}{}",
            with_keys(&self.both, "0"),
            with_keys(&self.server, "0"),
            certificates(&pki, &server_identity)
        );
        let client = parse_client(&client);
        let server = parse_server(&server);
        #[expect(
            clippy::expect_used,
            reason = "a test double: options that cannot be used are the test's fault"
        )]
        let setup = Setup::new(client).expect("the test's certificates");
        let credentials = self.credentials.map(|(username, password)| Credentials {
            username: username.to_owned(),
            password: SecretString::from(password),
            is_token: false,
        });
        #[expect(
            clippy::disallowed_methods,
            reason = "the origin of virtual time: any instant will do"
        )]
        let start = Instant::now();
        let links = (self.up, self.down);
        Pair::new(
            (start, UNIX),
            Arc::new(setup),
            Arc::new(server),
            credentials,
            links,
            seed,
        )
    }
}

fn certificates(pki: &TestPki, own: &Identity) -> String {
    format!(
        "<ca>\n{}</ca>\n<cert>\n{}</cert>\n<key>\n{}</key>\n",
        pki.ca, own.cert, own.key
    )
}

fn with_keys(options: &str, direction: &str) -> String {
    let key = |seed| StaticKey::generate(&mut SeededRng::new(seed)).to_text();
    options
        .replace("\nKEY", &format!("\n{}", *key(1)))
        .replace("\nOTHER", &format!("\n{}", *key(2)))
        .replace("DIR", direction)
}

fn no_files(path: &str) -> Result<Vec<u8>, String> {
    Err(format!("a test has no file {path}"))
}

#[expect(
    clippy::panic,
    reason = "a test double: options that cannot be used are the test's fault"
)]
fn parse_client(text: &str) -> ClientConfig {
    let parsed = Directives::parse("client.ovpn", text);
    let config = parsed.and_then(|directives| ClientConfig::resolve(&directives, &mut no_files));
    config.unwrap_or_else(|errors| panic!("{errors}")).0
}

#[expect(
    clippy::panic,
    reason = "a test double: options that cannot be used are the test's fault"
)]
fn parse_server(text: &str) -> ServerConfig {
    let parsed = Directives::parse("server.conf", text);
    let config = parsed.and_then(|directives| ServerConfig::resolve(&directives, &mut no_files));
    config.unwrap_or_else(|errors| panic!("{errors}")).0
}
