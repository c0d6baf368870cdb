//! The command line: flags, their variables, and the short form without a command.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Arg, Args, CommandFactory as _, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};
use clap_complete::Shell;
use tunless_proxy::rules::Rule;

use super::flags::listen::ListenFlags;
use crate::control::Verb;

/// Heading of flags about the proxy.
pub(super) const PROXY: &str = "Proxy";
/// Heading of flags about the tunnel.
pub(super) const TUNNEL: &str = "Tunnel";

/// OpenVPN without root: a .ovpn file in, a local proxy out.
#[derive(Debug, Parser)]
#[command(
    name = "tunless",
    version,
    about,
    subcommand_required = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "`tunless PROFILE.ovpn` is short for `tunless connect PROFILE.ovpn`.\n\
    Exit status: 0 done, 1 failed, 2 wrong usage, 3 authentication failed."
)]
pub struct Cli {
    /// What every command knows.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of every command.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Output")]
pub struct Global {
    /// Print JSON lines
    #[arg(long, global = true, value_parser = switch(), env = "TUNLESS_JSON")]
    pub json: bool,
    /// Log more; repeat for still more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, env = "TUNLESS_VERBOSE")]
    pub verbose: u8,
    /// Log and print errors only, whatever -v says
    #[arg(short, long, global = true, value_parser = switch(), env = "TUNLESS_QUIET")]
    pub quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Connect to a server and offer a proxy whose traffic goes through it
    Connect(Connect),
    /// Run a server; clients' traffic leaves through ordinary sockets
    Serve(Serve),
    /// Read profiles and say what would happen, without connecting
    Check(Check),
    /// Run a server, a private web page and a client in one process, to try things out offline
    Demo(Demo),
    /// Bring a tunnel up, test names, leaks, MTU, throughput and clock through it, and say what to do
    Doctor(Doctor),
    /// Make a key
    Genkey(Genkey),
    /// Show the tunnels that run
    Status(Status),
    /// Ask a running tunnel, or tell it what to do
    Ctl(Ctl),
    /// Store profiles at the D-Bus services
    Configs(super::flags::front::Configs),
    /// Start sessions at the D-Bus services, ask and steer them
    Sessions(super::flags::front::Sessions),
    /// Run the D-Bus services that front ends of OpenVPN 3 Linux speak to
    Dbus(super::flags::dbus::Dbus),
    /// Print what a shell needs to complete commands and flags
    Completions(Completions),
    /// Print the manual page, or write the pages of all commands into a folder
    Man(Man),
}

impl Command {
    /// Tells whether standard output carries bytes of a connection, so that nothing else may be written to it.
    pub(super) fn owns_stdout(&self) -> bool {
        matches!(self, Self::Connect(connect) if connect.local.stdio.is_some())
    }
}

/// `tunless connect`.
#[derive(Debug, Args)]
pub struct Connect {
    /// The profile (.ovpn)
    pub profile: PathBuf,
    /// What ends the tunnel on this host
    #[arg(long, value_enum, default_value_t = Device::Auto, env = "TUNLESS_DEVICE", help_heading = TUNNEL)]
    pub device: Device,
    /// Local ends
    #[command(flatten)]
    pub local: ListenFlags,
    /// Who we are
    #[command(flatten)]
    pub login: Login,
    /// Resolver to ask through the tunnel, in place of the server's; may be repeated
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = resolver_address, value_delimiter = ',', env = "TUNLESS_DNS", help_heading = TUNNEL)]
    pub dns: Vec<SocketAddr>,
    /// Give up when the first connection is not up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, env = "TUNLESS_CONNECT_TIMEOUT", help_heading = TUNNEL)]
    pub connect_timeout: Option<Duration>,
    /// Ports inside the tunnel
    #[command(flatten)]
    pub remote: super::flags::remote::Flags,
    /// What does not go through the tunnel, PATTERN=direct or PATTERN=refuse, or does, PATTERN=tunnel; may be repeated,
    /// the first that matches wins. PATTERN: 10.0.0.0/8, corp.example (with all below), .corp.example (below alone),
    /// =host.example (alone), * (everything)
    #[arg(
        long,
        value_name = "PATTERN=ACTION",
        value_delimiter = ',',
        env = "TUNLESS_ROUTE",
        help_heading = PROXY
    )]
    pub route: Vec<Rule>,
    /// The name service
    #[command(flatten)]
    pub name_service: super::flags::dns::DnsFlags,
}

/// Where user name, password and passphrase come from.
#[derive(Debug, Args)]
#[command(next_help_heading = TUNNEL)]
pub struct Login {
    /// File with the user name and the password for the server, a line each
    #[arg(long, value_name = "FILE", env = "TUNLESS_AUTH_USER_PASS")]
    pub auth_user_pass: Option<PathBuf>,
    /// File with the passphrase of the private key on its first line (or set `TUNLESS_KEY_PASSPHRASE`)
    #[arg(long, value_name = "FILE", env = "TUNLESS_KEY_PASSPHRASE_FILE")]
    pub key_passphrase: Option<PathBuf>,
}

/// `tunless doctor`.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The profile (.ovpn)
    pub profile: PathBuf,
    /// Who we are
    #[command(flatten)]
    pub login: Login,
    /// Resolver to ask through the tunnel, in place of the server's; may be repeated
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = resolver_address, value_delimiter = ',', env = "TUNLESS_DNS")]
    pub dns: Vec<SocketAddr>,
    /// Name behind the tunnel to look up; may be repeated
    #[arg(long, value_name = "NAME", value_delimiter = ',', env = "TUNLESS_DOCTOR_NAME")]
    pub name: Vec<String>,
    /// Page behind the tunnel to measure the speed and the clock with, <http://HOST/PATH>
    #[arg(long, value_name = "URL", env = "TUNLESS_DOCTOR_URL")]
    pub url: Option<String>,
}

/// What ends the tunnel on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The best there is: the embedded stack
    Auto,
    /// The embedded stack behind a proxy
    Netstack,
}

/// `tunless serve`.
#[derive(Debug, Args)]
pub struct Serve {
    /// The server's configuration
    pub config: PathBuf,
    /// Network that clients may reach in spite of the rules, the server's own loopback for instance; may be repeated
    #[arg(long, value_name = "NET", value_delimiter = ',', env = "TUNLESS_ALLOW")]
    pub allow: Vec<ipnet::IpNet>,
    /// Network that clients must not reach; may be repeated
    #[arg(long, value_name = "NET", value_delimiter = ',', env = "TUNLESS_DENY")]
    pub deny: Vec<ipnet::IpNet>,
}

/// `tunless check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Profiles or server configurations
    #[arg(required = true)]
    pub profiles: Vec<PathBuf>,
}

/// `tunless demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Fetch both pages through the own proxy, check them, and end with 0 or 1
    #[arg(long, value_parser = switch(), env = "TUNLESS_DEMO_ONCE")]
    pub once: bool,
    /// Where the proxy listens; 127.0.0.1:1080, or the next free port, if not given
    #[arg(short = 'D', long, value_name = "[ADDR:]PORT", value_parser = listen_address, env = "TUNLESS_LISTEN")]
    pub listen: Option<SocketAddr>,
}

/// `tunless genkey`.
#[derive(Debug, Args)]
pub struct Genkey {
    /// What the key is for
    #[arg(value_enum)]
    pub kind: KeyKind,
    /// File to write, which must not exist; standard output if not given
    pub file: Option<PathBuf>,
}

/// What a key is for; all three are the same 2048 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeyKind {
    /// `tls-auth`
    TlsAuth,
    /// `tls-crypt`
    TlsCrypt,
    /// `secret`, OpenVPN's older name
    Secret,
}

/// `tunless status`.
#[derive(Debug, Args)]
pub struct Status {
    /// The tunnel's device, netstack0 for instance; all tunnels if not given
    pub name: Option<String>,
    /// The same as NAME
    #[arg(long, value_name = "NAME", env = "TUNLESS_CTL_DEVICE")]
    pub device: Option<String>,
}

/// `tunless ctl`.
#[derive(Debug, Args)]
pub struct Ctl {
    /// The tunnel's device, netstack0 for instance, or its control socket; not needed where one tunnel runs
    #[arg(long, value_name = "NAME", env = "TUNLESS_CTL_DEVICE")]
    pub device: Option<String>,
    /// What to ask or tell
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// What a running tunnel is asked or told.
#[derive(Debug, Subcommand)]
pub enum CtlCommand {
    /// Print how far the tunnel has come
    State,
    /// Print all counters
    Statistics,
    /// List the connections through the proxy
    Connections,
    /// Cut one connection off
    Close {
        /// Its number in the list
        id: u64,
    },
    /// Leave the server and wait for `resume`; no traffic goes out meanwhile
    Pause,
    /// Connect again after `pause`
    Resume,
    /// Leave the server and connect anew
    Reconnect,
    /// Leave the server and end the program
    Disconnect,
    /// Log more or less from now on
    LogLevel {
        /// 0 to 11 as OpenVPN's `verb`, or error, warn, info, debug, trace
        level: Verb,
    },
    /// Print what happens until the tunnel ends
    Events,
    /// Answer the tunnel's question for user name and password, on the terminal
    Answer {
        /// Read user name (unless it is known) and password from standard input, a line each
        #[arg(long, value_parser = switch(), env = "TUNLESS_CTL_STDIN")]
        stdin: bool,
    },
}

/// `tunless completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// `tunless man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Folder for the pages, which must exist; the main page goes to standard output if not given
    pub folder: Option<PathBuf>,
}

/// Puts `connect` in front when no command is given.
pub fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let is_bare = match args.get(1).map(|first| first.to_string_lossy()) {
        None => false,
        Some(first) if matches!(&*first, "-h" | "--help" | "-V" | "--version") => false,
        Some(_) => {
            let named = first_named(args.get(1..).unwrap_or_default());
            named.is_some_and(|named| !is_command(named))
        }
    };
    if is_bare {
        args.insert(1, "connect".into());
    }
    args
}

/// Tells whether this names a command, which a profile's name cannot be.
fn is_command(arg: &OsString) -> bool {
    let cli = Cli::command();
    arg == "help" || cli.get_subcommands().any(|command| arg == command.get_name())
}

/// The first argument that is neither a flag nor the value of one.
fn first_named(args: &[OsString]) -> Option<&OsString> {
    let cli = Cli::command();
    let connect = cli.find_subcommand("connect");
    let flags: Vec<&Arg> = cli
        .get_arguments()
        .chain(connect.into_iter().flat_map(clap::Command::get_arguments))
        .collect();
    let mut rest = args.iter();
    while let Some(arg) = rest.next() {
        let text = arg.to_string_lossy();
        if text == "--" {
            return rest.next();
        }
        if text == "-" || !text.starts_with('-') {
            return Some(arg);
        }
        if wants_next(&text, &flags) {
            rest.next();
        }
    }
    None
}

/// Tells whether the value of this flag, or of the last one of a cluster such as `-vD`, is the next argument.
fn wants_next(text: &str, flags: &[&Arg]) -> bool {
    let takes_value = |found: Option<&&Arg>| found.is_some_and(|flag| flag.get_action().takes_values());
    if let Some(long) = text.strip_prefix("--") {
        return takes_value(flags.iter().find(|flag| flag.get_long() == Some(long)));
    }
    let mut letters = text.chars().skip(1);
    let mut with_value = letters
        .by_ref()
        .skip_while(|letter| !takes_value(flags.iter().find(|flag| flag.get_short() == Some(*letter))));
    with_value.next().is_some() && letters.next().is_none()
}

/// Variables of switches: empty, `0`, `n`, `no`, `f`, `false` and `off` mean no, all else yes.
pub(crate) fn switch() -> FalseyValueParser {
    FalseyValueParser::new()
}

/// Reads `[ADDR:]PORT`.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
    let port = port
        .parse()
        .map_err(|_| format!("{port:?} is not a port; write [ADDR:]PORT"))?;
    let host = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    let host = match host {
        "localhost" => "127.0.0.1",
        "" | "*" => "0.0.0.0",
        host => host,
    };
    let address = host
        .parse()
        .map_err(|_| format!("{host:?} is not an IP address; write [ADDR:]PORT"))?;
    Ok(SocketAddr::new(address, port))
}

fn resolver_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    if let Ok(address) = bare.parse() {
        return Ok(SocketAddr::new(address, 53));
    }
    text.parse()
        .map_err(|_| format!("{text:?} is not an IP address with or without a port"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=31_536_000) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("{text:?} is not a number of seconds above 0")),
    }
}

#[cfg(test)]
mod tests {
    use clap::builder::TypedValueParser as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        let args = line.split_whitespace().map(OsString::from).collect();
        Cli::try_parse_from(with_command(args))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_bare_profile_is_connected_to() {
        for line in [
            "tunless a.ovpn",
            "tunless connect a.ovpn",
            "tunless -v a.ovpn",
            "tunless -D 1081 a.ovpn",
            "tunless -W host:22 a.ovpn",
            "tunless -D /run/check -L 1:a.test:2 a.ovpn",
            "tunless --proxy-auth check a.ovpn",
            "tunless --proxy-auth=check a.ovpn",
            "tunless -vD 1081 a.ovpn",
            "tunless -vD1081 -qW serve:22 a.ovpn",
            "tunless -- a.ovpn",
        ] {
            let cli = parse(line).unwrap();
            let Command::Connect(connect) = cli.command else {
                panic!("{line}")
            };
            assert_eq!(connect.profile, PathBuf::from("a.ovpn"), "{line}");
        }
        assert!(matches!(
            parse("tunless check a.ovpn b.ovpn").unwrap().command,
            Command::Check(_)
        ));
        assert!(matches!(
            parse("tunless -v check a.ovpn").unwrap().command,
            Command::Check(_)
        ));
        assert!(parse("tunless").is_err() && parse("tunless --help").is_err());
    }

    #[test]
    fn every_command_is_told_from_a_profile() {
        for command in Cli::command().get_subcommands() {
            assert!(is_command(&command.get_name().into()), "{}", command.get_name());
        }
        assert!(is_command(&"help".into()) && !is_command(&"status.ovpn".into()));
    }

    #[test]
    fn every_command_and_flag_says_what_it_is() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for arg in command.get_arguments() {
                assert!(
                    arg.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    arg.get_id()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn listeners_are_read_with_and_without_an_address() {
        for (text, wanted) in [
            ("1081", "127.0.0.1:1081"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("[::1]:1080", "[::1]:1080"),
            ("::1:1080", "[::1]:1080"),
            ("localhost:9", "127.0.0.1:9"),
            ("*:9", "0.0.0.0:9"),
        ] {
            assert_eq!(listen_address(text), Ok(wanted.parse().unwrap()), "{text}");
        }
        for bad in ["", "x", "host:1", "127.0.0.1:", "127.0.0.1:70000"] {
            assert!(listen_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resolvers_have_port_53_unless_said_otherwise() {
        assert_eq!(resolver_address("10.0.0.1"), Ok("10.0.0.1:53".parse().unwrap()));
        assert_eq!(
            resolver_address("2001:db8::1"),
            Ok("[2001:db8::1]:53".parse().unwrap())
        );
        assert_eq!(
            resolver_address("10.0.0.1:5353"),
            Ok("10.0.0.1:5353".parse().unwrap())
        );
        assert!(resolver_address("dns.example").is_err());
    }

    #[test]
    fn variables_of_switches_take_numbers_and_words() {
        let cli = Cli::command();
        for (text, wanted) in [
            ("1", true),
            ("yes", true),
            ("0", false),
            ("false", false),
            ("", false),
        ] {
            let got = switch().parse_ref(&cli, None, text.as_ref());
            assert_eq!(got.ok(), Some(wanted), "{text:?}");
        }
        for command in cli.get_subcommands().chain([&cli]) {
            for arg in command.get_arguments().filter(|arg| arg.get_env().is_some()) {
                let strict = format!("{:?}", arg.get_value_parser()) == "ValueParser::bool";
                assert!(!strict, "{} takes only true and false", arg.get_id());
            }
        }
    }

    #[test]
    fn every_flag_has_one_variable_of_its_own_command() {
        let cli = Cli::command();
        let nested = cli.get_subcommands().flat_map(clap::Command::get_subcommands);
        for command in cli.get_subcommands().chain(nested) {
            for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
                let env = arg.get_env().map(|env| env.to_string_lossy().into_owned());
                let id = arg.get_id().as_str();
                assert!(
                    matches!(id, "help" | "version") || env.is_some_and(|env| env.starts_with("TUNLESS_")),
                    "{} --{id}",
                    command.get_name()
                );
            }
        }
    }
}
