//! What sessions tell in the course of their lives, against the sequences of the API's documents, with Debian's
//! `openvpn` as the server: it asks everything that a server can ask.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;

use super::{ANN, Services};
use crate::netns::{Net, run};
use crate::process::Process;
use crate::server::{Options, SOON, Server, Transport};

/// What the server's script makes of each user.
const VERIFY: &str = "#!/bin/sh\n\
    user=$(sed -n 1p \"$1\"); password=$(sed -n 2p \"$1\")\n\
    case $user in\n\
    alice) [ \"$password\" = 'correct horse' ] ;;\n\
    static) [ \"$password\" = SCRV1:cHc=:NDI= ] ;;\n\
    dynamic)\n\
        [ \"$password\" = CRV1::lab42::77 ] && exit 0\n\
        echo 'CRV1:R:lab42:ZHluYW1pYw==:Your code?' > \"$auth_failed_reason_file\"\n\
        exit 1 ;;\n\
    pending)\n\
        printf '60\\ncrtext\\nCR_TEXT:R,E:Which PIN?' > \"$auth_pending_file\"\n\
        echo \"$auth_control_file\" > DIR/pending\n\
        exit 2 ;;\n\
    web)\n\
        printf '60\\nwebauth\\nWEB_AUTH::https://login.example/?s=1' > \"$auth_pending_file\"\n\
        (n=0; while [ ! -e DIR/shared/go ] && [ $n -lt 600 ]; do n=$((n+1)); sleep 0.05; done\n\
         echo 1 > \"$auth_control_file\") > /dev/null 2>&1 < /dev/null &\n\
        exit 2 ;;\n\
    *) exit 1 ;;\n\
    esac\n";

fn scenario(services: &Services, name: &str, profile: &str) {
    services.net.write("profile.ovpn", profile);
    services.scenario("sequences.py", name, &[&ANN.to_string()]);
}

#[test]
fn a_session_lives_pauses_restarts_and_ends_as_documented() {
    let services = Services::start("dbus-life", Options::default());
    scenario(&services, "life", &services.server.profile(""));
    scenario(&services, "overrides", &services.server.profile(""));
    scenario(&services, "crash", &services.server.profile(""));
    services.no_client_is_left();
}

#[test]
fn every_question_comes_through_the_input_queue() {
    let net = Net::new("dbus-ask");
    let folder = net.dir().display().to_string();
    let shared = net.dir().join("shared");
    std::fs::create_dir(&shared).expect("a folder for both");
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777)).expect("its mode");
    let verify = net.write_program("verify.sh", &VERIFY.replace("DIR", &folder));
    let respond = net.write_program(
        "respond.sh",
        &format!(
            "#!/bin/sh\n[ \"$(base64 -d < \"$1\")\" = 99 ] && verdict=1 || verdict=0\n\
             echo $verdict > \"$(cat {folder}/pending)\"\n"
        ),
    );
    let extra = format!(
        "auth-user-pass-verify {} via-file\nusername-as-common-name\nclient-crresponse {}\n",
        verify.display(),
        respond.display()
    );
    let options = Options {
        extra: Box::leak(extra.into_boxed_str()),
        ..Options::default()
    };
    let server = Server::start(&net, options);
    let services = Services::with(net, server);
    let asks = services.server.profile("auth-user-pass\n");
    for name in [
        "password",
        "static_challenge",
        "dynamic_challenge",
        "pending",
        "web",
    ] {
        scenario(&services, name, &asks);
    }
}

#[test]
fn an_encrypted_key_and_a_wrong_authority_have_their_own_words() {
    let services = Services::start("dbus-keys", Options::default());
    let plain = services.net.write("plain.key", &services.server.client.key);
    let sealed = run(Command::new("openssl")
        .args([
            "pkcs8",
            "-topk8",
            "-v2",
            "aes-256-cbc",
            "-passout",
            "pass:open sesame",
            "-in",
        ])
        .arg(plain));
    let profile = services.server.profile("");
    scenario(
        &services,
        "passphrase",
        &profile.replace(services.server.client.key.trim_end(), sealed.trim_end()),
    );
    let other = crate::pki::Authority::new("another authority").certificate;
    let (ours, theirs) = (services.server.authority.certificate.trim_end(), other.trim_end());
    scenario(&services, "fatal", &profile.replace(ours, theirs));
}

#[test]
fn a_proxy_on_the_way_asks_through_the_input_queue() {
    let options = Options {
        transport: Transport::Tcp4,
        ..Options::default()
    };
    let services = Services::start("dbus-proxy", options);
    let script = services
        .net
        .write("upstream_proxy.py", include_str!("../programs/upstream_proxy.py"));
    let mut command = services.net.server.command("/usr/bin/python3");
    command
        .arg("-B")
        .arg(script)
        .args(["http", "10.77.0.2", "3128", "login=alice:correct horse"]);
    let mut proxy = Process::start(services.net.dir(), "proxy", &mut command);
    proxy.wait_for("serving", SOON);
    scenario(
        &services,
        "proxy",
        &services.server.profile("http-proxy 10.77.0.2 3128\n"),
    );
}

#[test]
fn a_server_that_comes_back_is_told_as_a_reconnection() {
    let options = Options {
        keepalive: (1, 4),
        ..Options::default()
    };
    let mut services = Services::start("dbus-lost", options);
    services.net.write("profile.ovpn", &services.server.profile(""));
    let mut command = services.scenario_command("sequences.py", "lost", &[&ANN.to_string()]);
    let mut scenario = Process::start(services.net.dir(), "lost", &mut command);
    scenario.wait_for("connected", SOON);
    services.server.process.signal(Signal::SIGKILL);
    let net = &services.net;
    services.server.process.wait(SOON);
    services.server.start_again(net);
    scenario.wait_for("done: lost", SOON * 4);
}
