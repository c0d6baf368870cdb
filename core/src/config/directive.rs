//! The table of every option: name, parameters, where it may stand, and what is done with it.
//!
//! A pure table. An option that is not applied is `Ignored` where that is harmless and `Refused` where it would
//! change security or connectivity; both say why. Values are checked by those who read them.

use crate::wire::Role;

use self::{
    Side::{Both, Client, Server},
    Status::{Applied, Ignored, Refused},
};

const BUFFERS: &str = "socket buffers have sizes of their own";
const CLIENTFILE: &str = "it belongs into a file for one client, and those are not read yet; remove it";
const COMMAND: &str = "it is a command, not part of a configuration; remove it";
const GROUPS: &str = "key exchange groups are X25519, P-256, P-384 and X25519 with ML-KEM";
const IMPLIED: &str = "it is always so";
const LOGGING: &str = "the log goes to standard error";
const MANAGEMENT: &str = "there is no management socket yet; questions are asked on the terminal";
const PKCS11: &str = "keys on tokens are not used yet; name the key with `cert` and `key`";
const PRIVILEGE: &str = "there are no privileges to drop";
const PROCESS: &str = "the process stays in the foreground and as it was started";
const SCRIPTS: &str = "no scripts are run";
const WINDOWS: &str = "it is for Windows only";

/// Which role an option is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Clients.
    Client,
    /// Servers.
    Server,
    /// Either.
    Both,
}

/// What is done with an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has its effect; some of its values may still be refused.
    Applied,
    /// It has none, which harms nothing: why.
    Ignored(&'static str),
    /// It is an error, because ignoring it would change security or connectivity: why, and what to do.
    Refused(&'static str),
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name.
    pub name: &'static str,
    /// Least number of parameters, without the name.
    pub min: u8,
    /// Greatest number of parameters; 15 stands for any number.
    pub max: u8,
    /// Which role it is for.
    pub side: Side,
    /// What is done with it.
    pub status: Status,
    /// Whether it may be written as a block.
    pub inline: bool,
    /// Whether it may differ between remotes, inside `<connection>`.
    pub per_remote: bool,
    /// Whether a client takes it from a server.
    pub pushable: bool,
}

impl Spec {
    const fn inline(mut self) -> Self {
        self.inline = true;
        self
    }

    const fn per_remote(mut self) -> Self {
        self.per_remote = true;
        self
    }

    const fn pushable(mut self) -> Self {
        self.pushable = true;
        self
    }

    /// Tells whether the option is for `role`.
    pub fn is_for(&self, role: Role) -> bool {
        match self.side {
            Both => true,
            Client => role == Role::Client,
            Server => role == Role::Server,
        }
    }
}

const fn row(name: &'static str, min: u8, max: u8, side: Side, status: Status) -> Spec {
    Spec {
        name,
        min,
        max,
        side,
        status,
        inline: false,
        per_remote: false,
        pushable: false,
    }
}

/// Finds an option by its name or by an older one.
pub fn find(name: &str) -> Option<&'static Spec> {
    let name = ALIASES
        .iter()
        .find(|(alias, _)| *alias == name)
        .map_or(name, |(_, real)| real);
    let at = TABLE.binary_search_by(|spec| spec.name.cmp(name)).ok()?;
    TABLE.get(at)
}

/// Finds the option whose name is nearest to a misspelt one, if any is near.
pub fn suggest(name: &str) -> Option<&'static str> {
    if name.len() > 40 {
        return None;
    }
    let limit = if name.len() < 5 { 1 } else { 2 };
    let known = TABLE.iter().map(|spec| spec.name);
    let near = known.map(|known| (distance(name, known), known)).min();
    near.filter(|(distance, _)| *distance <= limit)
        .map(|(_, known)| known)
}

/// Insertions, deletions and replacements that lead from one name to the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (line, a) in from.bytes().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(to.bytes()) {
            let above = *cell;
            let replaced = diagonal + usize::from(a != b && !(matches!(a, b'_') && b == b'-'));
            left = replaced.min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// Older or other names of options.
pub static ALIASES: &[(&str, &str)] = &[
    ("ncp-ciphers", "data-ciphers"),
    ("parameter", "echo"),
    ("server-poll-timeout", "connect-timeout"),
    ("udp-mtu", "link-mtu"),
];

/// Every option, sorted by name.
pub static TABLE: &[Spec] = &[
    row("allow-compression", 1, 1, Both, Applied),
    row("allow-deprecated-insecure-static-crypto", 0, 0, Both, Ignored("static keys are not used")),
    row("allow-nonadmin", 0, 1, Client, Ignored(WINDOWS)),
    row("allow-pull-fqdn", 0, 0, Client, Ignored("names in routes are not resolved")),
    row("allow-recursive-routing", 0, 0, Client, Applied),
    row("askpass", 0, 1, Both, Applied),
    row("auth", 1, 1, Both, Applied),
    row("auth-gen-token", 0, 3, Server, Refused("tokens are not made yet; remove it, and set `reneg-sec` so that clients are not asked often")),
    row("auth-gen-token-secret", 0, 1, Server, Refused("tokens are not made yet; remove it together with `auth-gen-token`")).inline(),
    row("auth-nocache", 0, 0, Client, Applied),
    row("auth-retry", 1, 1, Client, Applied),
    row("auth-token", 1, 1, Client, Refused("a token comes from the server only; remove it")).pushable(),
    row("auth-token-user", 1, 1, Client, Refused("a token comes from the server only; remove it")).pushable(),
    row("auth-user-pass", 0, 2, Client, Applied).inline(),
    row("auth-user-pass-optional", 0, 0, Server, Refused("passwords are not checked yet; remove it")),
    row("auth-user-pass-verify", 1, 3, Server, Refused("no scripts are run, so no password could be checked; use certificates")),
    row("bcast-buffers", 1, 1, Server, Ignored("buffers have sizes of their own")),
    row("bind", 0, 1, Both, Applied).per_remote(),
    row("bind-dev", 1, 1, Both, Refused("sockets are not tied to a device, which needs privileges; remove it")).per_remote().pushable(),
    row("block-ipv6", 0, 0, Both, Applied).pushable(),
    row("block-outside-dns", 0, 0, Both, Ignored("names are never asked outside the tunnel")).pushable(),
    row("ca", 1, 1, Both, Applied).inline(),
    row("capath", 1, 1, Both, Refused("folders of certificates are not read; join them into one file and name it with `ca`")),
    row("ccd-exclusive", 0, 0, Server, Refused("per-client files are not read yet; remove it")),
    row("cd", 1, 1, Both, Applied),
    row("cert", 1, 1, Both, Applied).inline(),
    row("chroot", 1, 1, Both, Ignored(PRIVILEGE)),
    row("cipher", 1, 1, Both, Applied).pushable(),
    row("client", 0, 0, Client, Applied),
    row("client-cert-not-required", 0, 0, Server, Refused("the reference implementation removed it; write `verify-client-cert none`")),
    row("client-config-dir", 1, 1, Server, Refused("per-client files are not read yet; remove it")),
    row("client-connect", 1, 1, Server, Refused("no scripts are run, and clients would pass that it refuses; remove it")),
    row("client-crresponse", 1, 1, Server, Refused("no scripts are run; remove it")),
    row("client-disconnect", 1, 1, Server, Ignored(SCRIPTS)),
    row("client-nat", 4, 4, Client, Refused("addresses are not rewritten; remove it")).pushable(),
    row("client-to-client", 0, 0, Server, Applied),
    row("comp-lzo", 0, 1, Both, Refused("compression and its framing are not spoken; remove it here and at the other side")).pushable(),
    row("comp-noadapt", 0, 0, Both, Ignored("nothing is compressed")),
    row("compat-mode", 1, 1, Both, Applied),
    row("compat-names", 0, 1, Both, Refused("the reference implementation removed it; remove it, and check `verify-x509-name`")),
    row("compress", 0, 1, Both, Applied).pushable(),
    row("config", 1, 1, Both, Refused("configurations do not include others; copy the lines of that file to here")),
    row("connect-freq", 2, 2, Server, Applied),
    row("connect-freq-initial", 2, 2, Server, Applied),
    row("connect-retry", 1, 2, Client, Applied).per_remote(),
    row("connect-retry-max", 1, 1, Client, Applied).per_remote(),
    row("connect-timeout", 1, 1, Client, Applied).per_remote(),
    row("connection", 0, 0, Client, Applied).inline(),
    row("crl-verify", 1, 2, Both, Applied).inline(),
    row("cryptoapicert", 1, 1, Client, Refused("keys of the Windows store are not used; export the key and name it with `cert` and `key`")),
    row("daemon", 0, 1, Both, Ignored(PROCESS)),
    row("data-ciphers", 1, 1, Both, Applied),
    row("data-ciphers-fallback", 1, 1, Both, Applied),
    row("dev", 1, 1, Both, Applied),
    row("dev-node", 1, 1, Both, Ignored("there is no device to name")),
    row("dev-type", 1, 1, Both, Applied),
    row("dh", 1, 1, Server, Ignored("key exchange uses elliptic curves")).inline(),
    row("dhcp-internal", 1, 1, Client, Ignored(WINDOWS)),
    row("dhcp-option", 1, 15, Client, Applied).pushable(),
    row("dhcp-pre-release", 0, 0, Client, Ignored(WINDOWS)).pushable(),
    row("dhcp-release", 0, 0, Client, Ignored(WINDOWS)).pushable(),
    row("dhcp-renew", 0, 0, Client, Ignored(WINDOWS)).pushable(),
    row("disable", 0, 0, Server, Refused(CLIENTFILE)),
    row("disable-dco", 0, 0, Both, Ignored("data stays in this program anyway")),
    row("disable-occ", 0, 0, Both, Ignored("a difference in the options string never ends a session")),
    row("dns", 2, 15, Client, Applied).pushable(),
    row("dns-updown", 1, 2, Client, Ignored(SCRIPTS)),
    row("down", 1, 1, Both, Ignored(SCRIPTS)),
    row("down-pre", 0, 0, Both, Ignored(SCRIPTS)),
    row("duplicate-cn", 0, 0, Server, Applied),
    row("ecdh-curve", 1, 1, Both, Ignored(GROUPS)),
    row("echo", 0, 15, Both, Ignored("there is nobody to tell")).pushable(),
    row("engine", 0, 1, Both, Refused("crypto engines are not loaded; remove it")),
    row("errors-to-stderr", 0, 0, Both, Ignored(LOGGING)).pushable(),
    row("explicit-exit-notify", 0, 1, Both, Applied).per_remote().pushable(),
    row("extra-certs", 1, 1, Both, Applied).inline(),
    row("fast-io", 0, 0, Both, Ignored("packets travel in batches anyway")),
    row("float", 0, 0, Both, Ignored("an authenticated peer may always change its address")).per_remote(),
    row("force-tls-key-material-export", 0, 0, Both, Refused("keys are exported whenever the other side can, but not by force; remove it")),
    row("fragment", 1, 2, Both, Refused("packets are not fragmented below IP; remove it here and at the other side, and lower `tun-mtu`")).per_remote(),
    row("genkey", 0, 4, Both, Refused(COMMAND)),
    row("gremlin", 1, 1, Both, Refused("packets are not damaged on purpose; remove it")),
    row("group", 1, 1, Both, Ignored(PRIVILEGE)),
    row("hand-window", 1, 1, Both, Applied),
    row("hash-size", 2, 2, Server, Ignored("tables grow as needed")),
    row("help", 0, 0, Both, Refused(COMMAND)),
    row("http-proxy", 2, 4, Client, Applied).per_remote(),
    row("http-proxy-option", 2, 3, Client, Applied).per_remote(),
    row("http-proxy-override", 2, 3, Client, Refused("it would replace the proxies of some remotes only; write `http-proxy` in its place")),
    row("http-proxy-retry", 0, 0, Client, Ignored("other attempts follow anyway")).per_remote(),
    row("http-proxy-timeout", 1, 1, Client, Ignored("`connect-timeout` is for the proxy, too")).per_remote(),
    row("http-proxy-user-pass", 1, 1, Client, Applied).inline(),
    row("ifconfig", 2, 2, Both, Applied).pushable(),
    row("ifconfig-ipv6", 2, 2, Both, Applied).pushable(),
    row("ifconfig-ipv6-pool", 1, 1, Server, Refused("the IPv6 pool follows from `server-ipv6`; remove it")),
    row("ifconfig-ipv6-push", 1, 2, Server, Refused(CLIENTFILE)),
    row("ifconfig-noexec", 0, 0, Both, Ignored("nothing is configured on this machine")).pushable(),
    row("ifconfig-nowarn", 0, 0, Both, Ignored("nobody compares these")).pushable(),
    row("ifconfig-pool", 2, 3, Server, Applied),
    row("ifconfig-pool-linear", 0, 0, Server, Refused("a pool of single addresses needs `topology p2p`, which is not served; remove it")),
    row("ifconfig-pool-persist", 1, 2, Server, Ignored("addresses are not remembered across restarts yet")),
    row("ifconfig-push", 2, 3, Server, Refused(CLIENTFILE)),
    row("ifconfig-push-constraint", 2, 2, Server, Refused(CLIENTFILE)),
    row("ignore-unknown-option", 1, 15, Both, Applied),
    row("inactive", 1, 2, Both, Applied).pushable(),
    row("inetd", 0, 2, Both, Refused("sockets are not inherited; remove it")),
    row("ip-remote-hint", 1, 1, Client, Refused("names are resolved, not replaced; write the address into `remote`")),
    row("ip-win32", 1, 4, Client, Ignored(WINDOWS)).pushable(),
    row("ipchange", 1, 1, Client, Ignored(SCRIPTS)),
    row("iproute", 1, 1, Both, Ignored("no programs are run")),
    row("iroute", 1, 2, Server, Refused(CLIENTFILE)),
    row("iroute-ipv6", 1, 1, Server, Refused(CLIENTFILE)),
    row("keepalive", 2, 2, Both, Applied),
    row("key", 1, 1, Both, Applied).inline(),
    row("key-derivation", 1, 1, Client, Refused("is negotiated; remove it")).pushable(),
    row("key-direction", 1, 1, Both, Applied).per_remote(),
    row("key-method", 1, 1, Both, Ignored("method 2 is the only one")),
    row("keying-material-exporter", 2, 2, Both, Ignored("there is no plug-in to export to")),
    row("keysize", 1, 1, Both, Ignored("the key sizes follow from the ciphers")),
    row("learn-address", 1, 1, Server, Refused("no scripts are run, and addresses would pass that it refuses; remove it")),
    row("link-mtu", 1, 1, Both, Ignored("`tun-mtu` decides")).per_remote(),
    row("lladdr", 1, 1, Client, Ignored("only TAP devices have one")).pushable(),
    row("local", 1, 3, Both, Applied).per_remote(),
    row("log", 1, 1, Both, Ignored(LOGGING)),
    row("log-append", 1, 1, Both, Ignored(LOGGING)),
    row("lport", 1, 1, Both, Applied).per_remote(),
    row("machine-readable-output", 0, 0, Both, Ignored(LOGGING)),
    row("management", 1, 4, Both, Ignored(MANAGEMENT)),
    row("management-client", 0, 0, Both, Ignored(MANAGEMENT)),
    row("management-client-auth", 0, 0, Server, Refused("there is no management socket, so nobody would decide about clients; remove it")),
    row("management-client-group", 1, 1, Both, Ignored(MANAGEMENT)),
    row("management-client-pf", 0, 0, Server, Refused("there is no packet filter; remove it")),
    row("management-client-user", 1, 1, Both, Ignored(MANAGEMENT)),
    row("management-external-cert", 1, 1, Client, Refused("there is no management socket to ask for the certificate; name it with `cert`")),
    row("management-external-key", 0, 15, Client, Refused("there is no management socket to ask for signatures; name the key with `key`")),
    row("management-forget-disconnect", 0, 0, Both, Ignored(MANAGEMENT)),
    row("management-hold", 0, 0, Both, Ignored(MANAGEMENT)),
    row("management-log-cache", 1, 1, Both, Ignored(MANAGEMENT)),
    row("management-query-passwords", 0, 0, Both, Ignored(MANAGEMENT)),
    row("management-query-proxy", 0, 0, Both, Ignored(MANAGEMENT)),
    row("management-query-remote", 0, 0, Both, Ignored(MANAGEMENT)),
    row("management-signal", 0, 0, Both, Ignored(MANAGEMENT)),
    row("management-up-down", 0, 0, Both, Ignored(MANAGEMENT)),
    row("mark", 1, 1, Both, Refused("packets are not marked, which needs privileges; remove it")),
    row("max-clients", 1, 1, Server, Applied),
    row("max-packet-size", 1, 1, Both, Applied).per_remote(),
    row("max-routes", 0, 1, Both, Ignored("routes have a limit of their own")),
    row("max-routes-per-client", 1, 1, Server, Ignored("clients have no networks behind them yet")),
    row("mktun", 0, 0, Both, Refused(COMMAND)),
    row("mlock", 0, 0, Both, Ignored("memory is not locked, keys are wiped after use")),
    row("mode", 1, 1, Both, Applied),
    row("mssfix", 0, 2, Both, Applied).per_remote(),
    row("mtu-disc", 1, 1, Both, Ignored("the size of outer packets is not probed")).per_remote(),
    row("mtu-dynamic", 0, 2, Both, Refused("the reference implementation removed it; remove it, and lower `tun-mtu`")),
    row("mtu-test", 0, 0, Both, Ignored("the size of outer packets is not probed")),
    row("multihome", 0, 0, Server, Refused("several addresses at once are not told apart; name one with `local`")),
    row("mute", 1, 1, Both, Ignored(LOGGING)).pushable(),
    row("mute-replay-warnings", 0, 0, Both, Ignored("replays are counted, not logged one by one")),
    row("ncp-disable", 0, 0, Both, Refused("ciphers are always negotiated; remove it")),
    row("nice", 1, 1, Both, Ignored(PROCESS)),
    row("no-iv", 0, 0, Both, Refused("the reference implementation removed it for its danger; remove it")),
    row("no-name-remapping", 0, 0, Both, Refused("the reference implementation removed it; remove it")),
    row("no-replay", 0, 0, Both, Refused("replays are always refused; remove it")),
    row("nobind", 0, 0, Both, Applied).per_remote(),
    row("ns-cert-type", 1, 1, Both, Applied),
    row("opt-verify", 0, 0, Server, Refused("the reference implementation removed it; remove it")),
    row("override-username", 1, 1, Server, Refused(CLIENTFILE)),
    row("passtos", 0, 0, Both, Ignored("the class of inner packets is not shown outside")),
    row("pause-exit", 0, 0, Client, Ignored(WINDOWS)),
    row("peer-fingerprint", 1, 1, Both, Applied).inline(),
    row("peer-id", 1, 1, Client, Refused("is assigned by the server; remove it")).pushable(),
    row("persist-key", 0, 0, Both, Ignored("keys stay in memory anyway")).pushable(),
    row("persist-local-ip", 0, 0, Both, Ignored(IMPLIED)),
    row("persist-remote-ip", 0, 0, Client, Ignored("names are resolved for each round")),
    row("persist-tun", 0, 0, Both, Ignored(IMPLIED)).pushable(),
    row("ping", 1, 1, Both, Applied).pushable(),
    row("ping-exit", 1, 1, Both, Applied).pushable(),
    row("ping-restart", 1, 1, Both, Applied).pushable(),
    row("ping-timer-rem", 0, 0, Both, Ignored("timers start with the session")).pushable(),
    row("pkcs11-cert-private", 1, 15, Client, Refused(PKCS11)),
    row("pkcs11-id", 1, 1, Client, Refused(PKCS11)),
    row("pkcs11-id-management", 0, 0, Client, Refused(PKCS11)),
    row("pkcs11-pin-cache", 1, 1, Client, Refused(PKCS11)),
    row("pkcs11-private-mode", 1, 15, Client, Refused(PKCS11)),
    row("pkcs11-protected-authentication", 1, 15, Client, Refused(PKCS11)),
    row("pkcs11-providers", 1, 15, Client, Refused(PKCS11)),
    row("pkcs12", 1, 1, Both, Refused("PKCS#12 files are not read; turn it into PEM with `openssl pkcs12 -nodes`, then use `ca`, `cert` and `key`")).inline(),
    row("plugin", 1, 15, Both, Refused("plug-ins are not loaded; remove it")),
    row("port", 1, 1, Both, Applied).per_remote(),
    row("port-share", 2, 3, Server, Refused("the port is not shared with another service; remove it")),
    row("preresolve", 0, 0, Both, Ignored("names are resolved when they are needed")),
    row("prng", 1, 2, Both, Ignored("random numbers come from the operating system")),
    row("proto", 1, 1, Both, Applied).per_remote(),
    row("proto-force", 1, 1, Client, Applied),
    row("protocol-flags", 1, 15, Client, Refused("is negotiated; remove it")).pushable(),
    row("providers", 1, 15, Both, Ignored("crypto is built in")),
    row("pull", 0, 0, Client, Applied),
    row("pull-filter", 2, 2, Client, Applied),
    row("push", 1, 1, Server, Applied),
    row("push-continuation", 1, 1, Client, Refused("is part of a message; remove it")).pushable(),
    row("push-peer-info", 0, 0, Client, Applied),
    row("push-remove", 1, 1, Server, Refused(CLIENTFILE)),
    row("push-reset", 0, 0, Server, Refused(CLIENTFILE)),
    row("rcvbuf", 1, 1, Both, Ignored(BUFFERS)).pushable(),
    row("rdns-internal", 0, 0, Client, Ignored(WINDOWS)),
    row("redirect-gateway", 0, 15, Client, Applied).pushable(),
    row("redirect-private", 0, 15, Client, Applied).pushable(),
    row("register-dns", 0, 0, Client, Ignored(WINDOWS)).pushable(),
    row("remap-usr1", 1, 1, Both, Ignored(PROCESS)),
    row("remote", 1, 3, Client, Applied).per_remote(),
    row("remote-cert-eku", 1, 1, Both, Applied),
    row("remote-cert-ku", 0, 15, Both, Applied),
    row("remote-cert-tls", 1, 1, Both, Applied),
    row("remote-random", 0, 0, Client, Applied),
    row("remote-random-hostname", 0, 0, Client, Applied),
    row("reneg-bytes", 1, 1, Both, Applied),
    row("reneg-pkts", 1, 1, Both, Applied),
    row("reneg-sec", 1, 2, Both, Applied),
    row("replay-persist", 1, 1, Both, Ignored("every session has new keys")),
    row("replay-window", 0, 2, Both, Applied),
    row("resolv-retry", 1, 1, Client, Applied),
    row("rmtun", 0, 0, Both, Refused(COMMAND)),
    row("route", 1, 4, Both, Applied).pushable(),
    row("route-delay", 0, 2, Client, Ignored("routes are there as soon as the tunnel is")).pushable(),
    row("route-gateway", 1, 1, Both, Applied).pushable(),
    row("route-ipv6", 1, 3, Both, Applied).pushable(),
    row("route-ipv6-gateway", 1, 1, Both, Applied).pushable(),
    row("route-method", 1, 1, Client, Ignored(WINDOWS)).pushable(),
    row("route-metric", 1, 1, Both, Applied).pushable(),
    row("route-noexec", 0, 0, Both, Ignored("no routes are set on this machine")),
    row("route-nopull", 0, 0, Client, Applied),
    row("route-pre-down", 1, 1, Both, Ignored(SCRIPTS)),
    row("route-table", 1, 1, Both, Ignored("no routes are set on this machine")),
    row("route-up", 1, 1, Both, Ignored(SCRIPTS)),
    row("rport", 1, 1, Client, Applied).per_remote(),
    row("script-security", 1, 2, Both, Ignored(SCRIPTS)),
    row("secret", 1, 2, Both, Refused("a session under one static key has no forward secrecy and is not spoken; use certificates")).inline(),
    row("server", 2, 3, Server, Applied),
    row("server-bridge", 0, 4, Server, Refused("TAP is not served; use `server`")),
    row("server-ipv6", 1, 2, Server, Applied),
    row("service", 1, 2, Both, Ignored(WINDOWS)),
    row("session-timeout", 1, 1, Both, Applied).pushable(),
    row("setcon", 1, 1, Both, Ignored(PRIVILEGE)),
    row("setenv", 1, 2, Both, Applied),
    row("setenv-safe", 1, 2, Both, Ignored(SCRIPTS)).pushable(),
    row("shaper", 1, 1, Both, Ignored("traffic is not slowed down")).pushable(),
    row("show-adapters", 0, 0, Both, Refused(COMMAND)),
    row("show-ciphers", 0, 0, Both, Refused(COMMAND)),
    row("show-curves", 0, 0, Both, Refused(COMMAND)),
    row("show-digests", 0, 0, Both, Refused(COMMAND)),
    row("show-engines", 0, 0, Both, Refused(COMMAND)),
    row("show-gateway", 0, 1, Both, Refused(COMMAND)),
    row("show-groups", 0, 0, Both, Refused(COMMAND)),
    row("show-net", 0, 0, Both, Refused(COMMAND)),
    row("show-net-up", 0, 0, Client, Ignored(WINDOWS)).pushable(),
    row("show-pkcs11-ids", 0, 2, Both, Refused(COMMAND)),
    row("show-tls", 0, 0, Both, Refused(COMMAND)),
    row("show-valid-subnets", 0, 0, Both, Refused(COMMAND)),
    row("single-session", 0, 0, Client, Refused("a session may always be followed by another; remove it")),
    row("sndbuf", 1, 1, Both, Ignored(BUFFERS)).pushable(),
    row("socket-flags", 1, 15, Both, Ignored("sockets have the flags they need")).pushable(),
    row("socks-proxy", 1, 3, Client, Applied).per_remote(),
    row("socks-proxy-retry", 0, 0, Client, Ignored("other attempts follow anyway")).per_remote(),
    row("stale-routes-check", 1, 2, Server, Ignored("a client's addresses leave with it")),
    row("static-challenge", 2, 3, Client, Applied),
    row("status", 1, 2, Both, Ignored("no status file is written yet")),
    row("status-version", 0, 1, Both, Ignored("no status file is written yet")),
    row("suppress-timestamps", 0, 0, Both, Ignored(LOGGING)),
    row("syslog", 0, 1, Both, Ignored(LOGGING)),
    row("tap-sleep", 1, 1, Client, Ignored(WINDOWS)).pushable(),
    row("tcp-nodelay", 0, 0, Server, Ignored("it is always set")),
    row("tcp-queue-limit", 1, 1, Server, Ignored("queues have limits of their own")),
    row("test-crypto", 0, 0, Both, Refused(COMMAND)),
    row("tls-auth", 1, 2, Both, Applied).inline().per_remote(),
    row("tls-cert-profile", 1, 1, Both, Applied),
    row("tls-cipher", 1, 1, Both, Applied),
    row("tls-ciphersuites", 1, 1, Both, Applied),
    row("tls-client", 0, 0, Client, Applied),
    row("tls-crypt", 1, 1, Both, Applied).inline().per_remote(),
    row("tls-crypt-v2", 1, 2, Both, Refused("its per-client keys are not read yet; use `tls-crypt`")).inline().per_remote(),
    row("tls-crypt-v2-genkey", 0, 2, Both, Refused(COMMAND)),
    row("tls-crypt-v2-max-age", 1, 1, Server, Refused("`tls-crypt-v2` is not served yet; use `tls-crypt`")),
    row("tls-crypt-v2-verify", 1, 1, Server, Refused("no scripts are run, and clients would pass that it refuses; remove it")),
    row("tls-exit", 0, 0, Both, Applied),
    row("tls-export-cert", 1, 1, Both, Ignored(SCRIPTS)),
    row("tls-groups", 1, 1, Both, Ignored(GROUPS)),
    row("tls-remote", 1, 1, Both, Refused("the reference implementation removed it; write `verify-x509-name NAME name`")),
    row("tls-server", 0, 0, Server, Applied),
    row("tls-timeout", 1, 1, Both, Applied),
    row("tls-verify", 1, 1, Both, Refused("no scripts are run, and certificates would pass that it refuses; use `verify-x509-name`")),
    row("tls-version-max", 1, 1, Both, Applied),
    row("tls-version-min", 1, 2, Both, Applied),
    row("tmp-dir", 1, 1, Both, Ignored("no temporary files are written")),
    row("topology", 1, 1, Both, Applied).pushable(),
    row("tran-window", 1, 1, Both, Applied),
    row("tun-ipv6", 0, 0, Both, Ignored("IPv6 is always carried")).pushable(),
    row("tun-mtu", 1, 1, Both, Applied).per_remote().pushable(),
    row("tun-mtu-extra", 1, 1, Both, Ignored("only TAP devices need it")).per_remote(),
    row("tun-mtu-max", 1, 1, Both, Applied),
    row("txqueuelen", 1, 1, Both, Ignored("there is no device with a queue")),
    row("up", 1, 1, Both, Ignored(SCRIPTS)),
    row("up-delay", 0, 1, Both, Ignored(SCRIPTS)),
    row("up-restart", 0, 0, Both, Ignored(SCRIPTS)),
    row("use-prediction-resistance", 0, 0, Both, Ignored("random numbers come from the operating system")),
    row("user", 1, 1, Both, Ignored(PRIVILEGE)),
    row("username-as-common-name", 0, 0, Server, Applied),
    row("verb", 1, 1, Both, Applied).pushable(),
    row("verify-client-cert", 0, 1, Server, Applied),
    row("verify-hash", 1, 2, Both, Refused("the hash of an authority is not compared; use `peer-fingerprint`")).inline(),
    row("verify-x509-name", 1, 2, Both, Applied),
    row("version", 0, 0, Both, Refused(COMMAND)),
    row("vlan-accept", 1, 1, Server, Refused("TAP is not served; remove it")),
    row("vlan-pvid", 1, 1, Server, Refused("TAP is not served; remove it")),
    row("vlan-tagging", 0, 0, Server, Refused("TAP is not served; remove it")),
    row("win-sys", 1, 1, Client, Ignored(WINDOWS)),
    row("windows-driver", 1, 1, Client, Ignored(WINDOWS)),
    row("writepid", 1, 1, Both, Ignored(PROCESS)),
    row("x509-track", 1, 1, Both, Ignored(SCRIPTS)),
    row("x509-username-field", 1, 15, Server, Refused("the name of a client is its common name; remove it")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_and_unique() {
        for pair in TABLE.windows(2) {
            assert!(
                pair[0].name < pair[1].name,
                "{} before {}",
                pair[0].name,
                pair[1].name
            );
        }
        for (alias, real) in ALIASES {
            assert!(
                TABLE.iter().all(|spec| spec.name != *alias),
                "{alias} is a name, too"
            );
            assert_eq!(find(alias).unwrap().name, *real);
        }
    }

    #[test]
    fn parameters_are_between_none_and_fifteen() {
        for spec in TABLE {
            assert!(spec.min <= spec.max && spec.max <= 15, "{}", spec.name);
        }
    }

    #[test]
    fn every_reason_reads_on_from_the_name() {
        for spec in TABLE {
            if let Ignored(why) | Refused(why) = spec.status {
                assert!(!why.is_empty() && !why.ends_with('.'), "{}: {why}", spec.name);
            }
            if let Refused(why) = spec.status {
                assert!(why.contains(';'), "{} has no remedy: {why}", spec.name);
            }
        }
    }

    #[test]
    fn blocks_have_one_parameter_in_place_of_the_file() {
        for spec in TABLE
            .iter()
            .filter(|spec| spec.inline && spec.name != "connection")
        {
            assert!(spec.max >= 1 && spec.min <= 1, "{}", spec.name);
        }
    }

    #[test]
    fn options_for_servers_are_not_pushed_and_do_not_differ_by_remote() {
        for spec in TABLE.iter().filter(|spec| spec.side == Server) {
            assert!(!spec.pushable && !spec.per_remote, "{}", spec.name);
        }
    }

    #[test]
    fn misspelt_names_find_their_neighbour() {
        assert_eq!(suggest("remot"), Some("remote"));
        assert_eq!(suggest("tls_crypt"), Some("tls-crypt"));
        assert_eq!(suggest("auth-userpass"), Some("auth-user-pass"));
        assert_eq!(suggest("verbose-everything"), None);
        assert_eq!(suggest("x"), None);
    }
}
