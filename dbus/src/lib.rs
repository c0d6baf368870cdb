//! The D-Bus services that front ends of OpenVPN 3 Linux speak to.
//!
//! | module | owns |
//! |---|---|
//! | `bus` | the way to the bus: connecting, calling, serving objects by tables, who calls |
//! | `names`, `constants` | names, paths and numbers on the wire |
//! | `error` | failures in the form that front ends take apart |
//! | `configuration` | stored profiles |
//! | `sessions` | the session manager: sessions, who may use them, the client process behind each |
//! | `backends` | the starter of client processes |
//! | `client` | one tunnel's process; what connects is the program's, behind a trait |
//! | `log` | the log service, and how the others log through it |
//! | `netcfg` | devices as front ends see them |
//! | `front` | a front end's side: finding the bus, typed calls |
//! | `settings` | what log and network configuration keep of their settings |
//!
//! Arrows point down: `sessions`, `backends`, `client`, `log`, `netcfg` and `configuration` stand on `bus` and talk to each
//! other over the bus alone, so that each can be a process of its own.
//!
//! # Where the documents of the API and its newest services differ
//!
//! What a front end sees follows the newest services; what our own services say to each other follows the documents.
//!
//! | subject | documents | newest services | here |
//! |---|---|---|---|
//! | `ClientAttentionGroup` | `PKCS11_SIGN` 6, `PKCS11_DECRYPT` 7, `OPEN_URL` 8 | `CHALLENGE_AUTH_PENDING` 6, then 7, 8, 9 | newest |
//! | `RegistrationConfirmation` | `(so)` | `(soo)` | documents; the session's path comes by `Client1.SetSession` |
//! | `RegistrationRequest` | `(ss)` | `(ssi)` | documents; the process id is in the bus name |
//! | properties of the client process | without `connection`, `session_path`, `last_log_line` | with them | newest |
//! | `status` of a session | `s` | `(uus)`, major first | newest |
//! | `device_path` of a session | `s` | `o`, introspected as `s` | `o` in both |
//! | `version` of sessions and backends | not listed | `s` | newest |
//! | who gets `StatusChange` and `Log` | front ends, from the session manager | who called `LogForward`, from the log service | newest |
//! | `AttentionRequired` | to whoever listens | the same | the same, but `OPEN_URL`: to connections that used the session |
//! | `statistics` | `a{st}`, 12 keys | `a{sx}`, zeros left out | newest, for what is counted |
//! | `NewTunnel` twice for one profile | starts | refuses | refuses |
//! | `NewTunnel` for a profile that cannot be run | starts | starts, and the session vanishes | refuses, with the reason |
//! | after `CONN_FAILED` | the session stays | it is closed at once | it stays for 20 s, so that the reason can be read |
//! | a client process that crashes | nothing is said | found at the next access | `PROC_KILLED` and `SESS_DESTROYED` at once |
//! | `LookupInterface` | others' interfaces, too | the caller's | documents: the path and nothing more |
//! | `log_verbosity` | least level of `Log` | the session manager's own lines | what the client process sends |
//! | log categories | `DEBUG` 0 | `DEBUG` 1 | newest |
//! | `AddNetworks` | `a(subb)` | `a(suibb)` | newest |
//! | `sessions.TransferOwnership` | elsewhere | gone | there, for root |
//! | `PropertiesChanged` | values | values | names alone: not everybody who hears it may read them |
//! | `dco` | settable | settable | `true` is refused: there is no data channel in the kernel |
//!
//! # By hand
//!
//! On the bus of `tunless dbus all --private`, with the profile's and the session's path in `$P` and `$S`:
//!
//! ```text
//! $ gdbus call --address $BUS --dest net.openvpn.v3.configuration --object-path /net/openvpn/v3/configuration \
//!     --method net.openvpn.v3.configuration.Import work "$(cat client.ovpn)" false false
//! (objectpath '/net/openvpn/v3/configuration/7aa10c16xfcd4x49eex8f01x4043907f8c66',)
//! $ gdbus call --address $BUS --dest net.openvpn.v3.sessions --object-path /net/openvpn/v3/sessions \
//!     --method net.openvpn.v3.sessions.NewTunnel "objectpath '$P'"
//! (objectpath '/net/openvpn/v3/sessions/9c3783c8sf376s4fe5sae01se16aa4409631',)
//! $ busctl --address=$BUS call net.openvpn.v3.sessions $S net.openvpn.v3.sessions Connect
//! $ busctl --address=$BUS get-property net.openvpn.v3.sessions $S net.openvpn.v3.sessions status device_name connected_to
//! (uus) 2 7 ""
//! s "netstack0"
//! (ssu) "udp" "10.99.0.2" 1194
//! $ busctl --address=$BUS get-property net.openvpn.v3.sessions $S io.github.tunless.Session1 proxies device_kind
//! as 1 "127.0.0.1:1080"
//! s "netstack"
//! $ gdbus call --address $BUS --dest net.openvpn.v3.sessions --object-path /net/openvpn/v3/sessions \
//!     --method net.openvpn.v3.sessions.LookupInterface netstack0
//! (objectpath '/net/openvpn/v3/sessions/9c3783c8sf376s4fe5sae01se16aa4409631',)
//! $ gdbus call --address $BUS --dest net.openvpn.v3.sessions --object-path $S --method net.openvpn.v3.sessions.Disconnect
//! ()
//! ```

#![forbid(unsafe_code)]

pub mod backends;
pub mod bus;
pub mod client;
pub mod configuration;
pub mod constants;
pub mod error;
pub mod front;
pub mod log;
pub mod names;
pub mod netcfg;
pub mod sessions;
mod settings;
