//! The command line: flags, their variables, and the short form without a command.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};

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
    /// Make a key
    Genkey(Genkey),
}

/// `tunless connect`.
#[derive(Debug, Args)]
pub struct Connect {
    /// The profile (.ovpn)
    pub profile: PathBuf,
    /// What ends the tunnel on this host
    #[arg(long, value_enum, default_value_t = Device::Auto, env = "TUNLESS_DEVICE")]
    pub device: Device,
    /// Where the proxy listens; 127.0.0.1:1080, or the next free port, if not given
    #[arg(short = 'D', long, value_name = "[ADDR:]PORT", value_parser = listen_address, env = "TUNLESS_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Allow a listener that others can reach without a password
    #[arg(long, value_parser = switch(), env = "TUNLESS_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// File with the user name and the password that the proxy asks for, a line each
    #[arg(long, value_name = "FILE", env = "TUNLESS_PROXY_AUTH")]
    pub proxy_auth: Option<PathBuf>,
    /// File with the user name and the password for the server, a line each
    #[arg(long, value_name = "FILE", env = "TUNLESS_AUTH_USER_PASS")]
    pub auth_user_pass: Option<PathBuf>,
    /// Resolver to ask through the tunnel, in place of the server's; may be repeated
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = resolver_address, value_delimiter = ',', env = "TUNLESS_DNS")]
    pub dns: Vec<SocketAddr>,
    /// Give up when the first connection is not up after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, env = "TUNLESS_CONNECT_TIMEOUT")]
    pub connect_timeout: Option<Duration>,
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

/// Commands, which a profile's name cannot be.
const COMMANDS: [&str; 6] = ["connect", "serve", "check", "demo", "genkey", "help"];

/// Puts `connect` in front when no command is given.
pub fn with_command(mut args: Vec<OsString>) -> Vec<OsString> {
    let mut rest = args.iter().skip(1);
    let is_bare = match rest
        .clone()
        .next()
        .map(|first| first.to_string_lossy().into_owned())
    {
        None => false,
        Some(first) if matches!(first.as_str(), "-h" | "--help" | "-V" | "--version") => false,
        Some(_) => {
            let named = rest.find(|arg| !arg.to_string_lossy().starts_with('-'));
            named.is_some_and(|arg| !COMMANDS.iter().any(|command| arg == command))
        }
    };
    if is_bare {
        args.insert(1, "connect".into());
    }
    args
}

/// Variables of switches: empty, `0`, `n`, `no`, `f`, `false` and `off` mean no, all else yes.
pub(super) fn switch() -> FalseyValueParser {
    FalseyValueParser::new()
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
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
    use clap::{CommandFactory as _, builder::TypedValueParser as _};

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
        assert!(parse("tunless").is_err() && parse("tunless --help").is_err());
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
        for command in Cli::command().get_subcommands() {
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
