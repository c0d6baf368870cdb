//! Debian's `openvpn` as the server, with a configuration made from options, and the profile that fits it.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use crate::netns::{Net, SERVER, SERVER_V6, run};
use crate::pki::{Authority, CLIENT_NAME, Identity, Purpose, SERVER_NAME};
use crate::process::Process;

/// The port that the server listens on.
pub(crate) const PORT: u16 = 1194;
/// The tunnel's own address of the server.
pub(crate) const TUNNEL_SERVER: &str = "10.99.0.1";
/// First three numbers of the clients' inner addresses.
pub(crate) const TUNNEL_PREFIX: &str = "10.99.0.";
/// What the clients' inner IPv6 addresses start with.
pub(crate) const TUNNEL_PREFIX_V6: &str = "fd99::";
/// The user that the server knows, and the password.
pub(crate) const USER: (&str, &str) = ("alice", "correct horse");
/// Longest time until a server listens or a client is connected.
pub(crate) const SOON: Duration = Duration::from_secs(15);

/// How packets travel outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp4,
    Udp6,
    Tcp4,
}

/// What protects the control channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrap {
    None,
    TlsAuth,
    TlsCrypt,
}

/// How the client says who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    Certificate,
    Password,
    Both,
}

/// Where data keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Derivation {
    Exporter,
    Prf,
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) transport: Transport,
    pub(crate) wrap: Wrap,
    pub(crate) login: Login,
    pub(crate) derivation: Derivation,
    pub(crate) cipher: &'static str,
    /// The only TLS version, `1.2` or `1.3`.
    pub(crate) tls: Option<&'static str>,
    pub(crate) reneg_sec: u32,
    /// Seconds between pings and seconds without one until a restart.
    pub(crate) keepalive: (u32, u32),
    /// Whether `explicit-exit-notify` and DNS are pushed.
    pub(crate) push_resolver: bool,
    pub(crate) purpose: Purpose,
    pub(crate) extra: &'static str,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: Transport::Udp4,
            wrap: Wrap::TlsCrypt,
            login: Login::Certificate,
            derivation: Derivation::Exporter,
            cipher: "AES-256-GCM",
            tls: None,
            reneg_sec: 3600,
            keepalive: (10, 60),
            push_resolver: true,
            purpose: Purpose::Server,
            extra: "",
        }
    }
}

/// A running server with what its clients need.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) authority: Authority,
    pub(crate) client: Identity,
    static_key: String,
    options: Options,
}

impl Server {
    /// Starts a server on the server host and waits until it listens.
    pub(crate) fn start(net: &Net, options: Options) -> Self {
        let authority = Authority::new("lab authority");
        let identity = authority.issue(SERVER_NAME, options.purpose);
        let client = authority.issue(CLIENT_NAME, Purpose::Client);
        let static_key = static_key(net, "static.key");
        let config = server_config(net, &options, &authority, &identity, &static_key);
        let path = net.write("server.conf", &config);
        let mut command = net.server.command("openvpn");
        command.arg("--config").arg(path).current_dir(net.dir());
        if options.derivation == Derivation::Prf {
            command.env("LD_PRELOAD", without_exporter(net));
        }
        let mut process = Process::start(net.dir(), "openvpn-server", &mut command);
        process.wait_for("Initialization Sequence Completed", SOON);
        Self {
            process,
            authority,
            client,
            static_key,
            options,
        }
    }

    /// Starts the server of the same configuration again, after the last one has ended.
    pub(crate) fn start_again(&mut self, net: &Net) {
        let mut command = net.server.command("openvpn");
        command
            .arg("--config")
            .arg(net.dir().join("server.conf"))
            .current_dir(net.dir());
        self.process = Process::start(net.dir(), "openvpn-server", &mut command);
        self.process.wait_for("Initialization Sequence Completed", SOON);
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.ip(), PORT)
    }

    fn ip(&self) -> IpAddr {
        match self.options.transport {
            Transport::Udp4 | Transport::Tcp4 => SERVER,
            Transport::Udp6 => SERVER_V6,
        }
    }

    /// The profile that fits, everything inline, with `extra` lines.
    pub(crate) fn profile(&self, extra: &str) -> String {
        self.profile_with(&self.authority.certificate, &self.static_key, extra)
    }

    /// The profile with another authority or static key.
    pub(crate) fn profile_with(&self, authority: &str, static_key: &str, extra: &str) -> String {
        let proto = match self.options.transport {
            Transport::Udp4 => "udp4",
            Transport::Udp6 => "udp6",
            Transport::Tcp4 => "tcp4-client",
        };
        let mut text = format!(
            "client\ndev tun\nproto {proto}\nremote {} {PORT}\nnobind\nremote-cert-tls server\n\
             data-ciphers {}\nverb 4\n{extra}\n<ca>\n{authority}</ca>\n",
            self.ip(),
            self.options.cipher,
        );
        if self.options.login != Login::Password {
            inline(&mut text, "cert", &self.client.certificate);
            inline(&mut text, "key", &self.client.key);
        }
        if self.options.login != Login::Certificate && !extra.contains("auth-user-pass") {
            inline(&mut text, "auth-user-pass", &format!("{}\n{}\n", USER.0, USER.1));
        }
        match self.options.wrap {
            Wrap::None => {}
            Wrap::TlsAuth => {
                text.push_str("key-direction 1\n");
                inline(&mut text, "tls-auth", static_key);
            }
            Wrap::TlsCrypt => inline(&mut text, "tls-crypt", static_key),
        }
        text
    }

    /// TLS handshakes that the server has completed: one for a connection, one for each change of keys.
    pub(crate) fn handshakes(&self) -> usize {
        self.process.log().matches("Control Channel: TLSv").count()
    }

    /// Fails the test when the server's log tells of anything that a correct client does not cause.
    pub(crate) fn assert_no_errors(&self) {
        let log = self.process.log();
        let since_start = log
            .split_once("Initialization Sequence Completed")
            .expect("a server that started")
            .1;
        let words = [
            "error",
            "bad packet",
            "replay",
            "failed",
            "mismatch",
            "inconsistent",
        ];
        let complains = |line: &&str| words.iter().any(|word| line.to_ascii_lowercase().contains(word));
        let complaints: Vec<_> = since_start.lines().filter(complains).collect();
        assert!(
            complaints.is_empty(),
            "the server complains:\n{}",
            complaints.join("\n")
        );
    }
}

/// A fresh static key, text.
pub(crate) fn static_key(net: &Net, name: &str) -> String {
    let path = net.dir().join(name);
    run(Command::new("openvpn").args(["--genkey", "secret"]).arg(&path));
    std::fs::read_to_string(path).expect("the static key")
}

/// Appends an inline block.
pub(crate) fn inline(text: &mut String, name: &str, body: &str) {
    writeln!(text, "<{name}>\n{}\n</{name}>", body.trim_end()).expect("text");
}

fn server_config(net: &Net, options: &Options, ca: &Authority, identity: &Identity, key: &str) -> String {
    let proto = match options.transport {
        Transport::Udp4 => "udp4\nexplicit-exit-notify 1",
        Transport::Udp6 => "udp6\nexplicit-exit-notify 1",
        Transport::Tcp4 => "tcp4-server",
    };
    let (ping, restart) = options.keepalive;
    let mut text = format!(
        "dev tun\ndisable-dco\nproto {proto}\nport {PORT}\ntopology subnet\nserver 10.99.0.0 255.255.255.0\n\
         server-ipv6 fd99::/64\npush \"route 10.88.0.0 255.255.255.0\"\npush \"route-ipv6 fd88::/64\"\n\
         keepalive {ping} {restart}\ndh none\ndata-ciphers {}\nreneg-sec {}\nverb 4\nscript-security 2\n{}\n",
        options.cipher, options.reneg_sec, options.extra
    );
    if options.push_resolver {
        text.push_str("push \"dhcp-option DNS 10.88.0.2\"\npush \"dhcp-option DOMAIN inner.test\"\n");
    }
    if let Some(version) = options.tls {
        writeln!(text, "tls-version-min {version}\ntls-version-max {version}").expect("text");
    }
    if options.login != Login::Certificate {
        let script = net.write_program("check-password.sh", &password_script());
        writeln!(
            text,
            "auth-user-pass-verify {} via-file\nusername-as-common-name",
            script.display()
        )
        .expect("text");
    }
    if options.login == Login::Password {
        text.push_str("verify-client-cert none\n");
    }
    inline(&mut text, "ca", &ca.certificate);
    inline(&mut text, "cert", &identity.certificate);
    inline(&mut text, "key", &identity.key);
    match options.wrap {
        Wrap::None => {}
        Wrap::TlsAuth => {
            text.push_str("key-direction 0\n");
            inline(&mut text, "tls-auth", key);
        }
        Wrap::TlsCrypt => inline(&mut text, "tls-crypt", key),
    }
    text
}

fn password_script() -> String {
    let (user, password) = USER;
    format!("#!/bin/sh\n[ \"$(cat \"$1\")\" = \"$(printf '%s\\n%s' '{user}' '{password}')\" ]\n")
}

/// Builds the library that hides the clients' key export ability from the server: no option of OpenVPN 2.6 does,
/// and older servers, which derive keys by the PRF, are not packaged.
fn without_exporter(net: &Net) -> std::path::PathBuf {
    let source = net.write("without_exporter.c", include_str!("without_exporter.c"));
    let library = net.dir().join("without_exporter.so");
    run(Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&library)
        .arg(source));
    library
}
