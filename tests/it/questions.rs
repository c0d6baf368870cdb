//! Whatever servers ask, answered at a terminal: names and passwords, passphrases, the three kinds of challenge.
//!
//! `script` (util-linux) gives the program a terminal of its own; what the test types goes in by a pipe.

use std::fs::File;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use crate::netns::{Net, run};
use crate::process::finish;
use crate::runner::Confinement;
use crate::server::{Login, Options, SOON, Server, USER};

/// A program on a terminal.
#[derive(Debug)]
pub(crate) struct OnTerminal {
    child: Child,
    keyboard: ChildStdin,
    screen: std::path::PathBuf,
    seen: usize,
}

impl OnTerminal {
    /// Starts `command` on a terminal of its own.
    pub(crate) fn start(net: &Net, command: &Command) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line = words
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect::<Vec<_>>()
            .join(" ");
        let screen = net.dir().join("screen");
        let file = File::create(&screen).expect("a file for the screen");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
            .envs(
                command
                    .get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .stdin(Stdio::piped())
            .stdout(file)
            .spawn()
            .expect("script");
        let keyboard = child.stdin.take().expect("a pipe");
        Self {
            child,
            keyboard,
            screen,
            seen: 0,
        }
    }

    /// Everything on the screen so far.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.screen).expect("the screen")).into_owned()
    }

    /// Waits until `text` is on the screen, below what was waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + SOON;
        loop {
            let screen = self.text();
            if let Some(at) = screen[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(Instant::now() < deadline, "no {text:?} on the screen:\n{screen}");
            assert!(
                self.child.try_wait().expect("a state").is_none(),
                "ended without {text:?}:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types a line.
    pub(crate) fn answer(&mut self, line: &str) {
        self.keyboard
            .write_all(format!("{line}\n").as_bytes())
            .expect("a line typed");
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("──── screen ────\n{}", self.text());
        }
    }
}

/// A lab whose server checks passwords by `script`, and the profile that asks for them.
fn lab(test: &str, script: &str, extra: &'static str) -> (Net, Server) {
    let net = Net::new(test);
    let path = net.write_program("verify.sh", script);
    let options = Options {
        extra: Box::leak(
            format!(
                "auth-user-pass-verify {} via-file\nusername-as-common-name\n{}",
                path.display(),
                extra.replace("DIR", &net.dir().display().to_string())
            )
            .into_boxed_str(),
        ),
        ..Options::default()
    };
    let server = Server::start(&net, options);
    (net, server)
}

fn client(net: &Net, server: &Server, extra: &str) -> Command {
    let path = net.write("client.ovpn", &server.profile(extra));
    let mut command = net.tunless(&net.client, Confinement::Unprivileged);
    command.arg(path);
    command
}

#[test]
fn name_and_password_are_asked_for_and_the_password_is_not_shown() {
    let net = Net::new("ask-password");
    let server = Server::start(
        &net,
        Options {
            login: Login::Both,
            ..Options::default()
        },
    );
    let command = client(&net, &server, "auth-user-pass\nauth-retry interact\n");
    let mut screen = OnTerminal::start(&net, &command);
    screen.wait_for("User name: ");
    screen.answer(USER.0);
    screen.wait_for("Password of alice: ");
    screen.answer("a wrong one");
    screen.wait_for("authentication failed");
    screen.wait_for("User name: ");
    screen.answer(USER.0);
    screen.wait_for("Password of alice: ");
    screen.answer(USER.1);
    screen.wait_for("connected to ");
    let text = screen.text();
    assert!(!text.contains("a wrong one") && !text.contains(USER.1), "{text}");
}

#[test]
fn the_profile_s_challenge_goes_into_the_password() {
    // base64 of "correct horse" and of "2468".
    let script = "#!/bin/sh\n[ \"$(sed -n 2p \"$1\")\" = SCRV1:Y29ycmVjdCBob3JzZQ==:MjQ2OA== ]\n";
    let (net, server) = lab("ask-static", script, "");
    let extra = "static-challenge \"PIN of your token?\" 1\n<auth-user-pass>\nalice\ncorrect horse\n</auth-user-pass>\n";
    let mut screen = OnTerminal::start(&net, &client(&net, &server, extra));
    screen.wait_for("PIN of your token? ");
    screen.answer("2468");
    screen.wait_for("connected to ");
    server.process.log();
}

#[test]
fn the_server_s_challenge_is_answered_in_the_next_attempt() {
    let script = "#!/bin/sh\n\
        password=$(sed -n 2p \"$1\")\n\
        [ \"$password\" = CRV1::lab42::1357 ] && exit 0\n\
        [ \"$password\" = 'correct horse' ] || exit 1\n\
        echo 'CRV1:R:lab42:YWxpY2U=:Code on your phone?' > \"$auth_failed_reason_file\"\n\
        exit 1\n";
    let (net, server) = lab("ask-dynamic", script, "");
    let extra = "<auth-user-pass>\nalice\ncorrect horse\n</auth-user-pass>\n";
    let mut screen = OnTerminal::start(&net, &client(&net, &server, extra));
    screen.wait_for("Code on your phone? ");
    screen.answer("1357");
    screen.wait_for("connected to ");
    assert!(!screen.text().contains("1357"), "{}", screen.text());
}

#[test]
fn a_question_while_the_server_decides_is_answered_on_the_control_channel() {
    let script = "#!/bin/sh\n\
        printf '60\\ncrtext\\nCR_TEXT:R,E:Your word?' > \"$auth_pending_file\"\n\
        echo \"$auth_control_file\" > DIR/pending\n\
        exit 2\n";
    let net = Net::new("ask-pending");
    let folder = net.dir().display().to_string();
    let verify = net.write_program("verify.sh", &script.replace("DIR", &folder));
    let respond = net.write_program(
        "respond.sh",
        &format!(
            "#!/bin/sh\n[ \"$(base64 -d < \"$1\")\" = swordfish ] && verdict=1 || verdict=0\n\
             echo $verdict > \"$(cat {folder}/pending)\"\n"
        ),
    );
    let extra = format!(
        "auth-user-pass-verify {} via-file\nusername-as-common-name\nclient-crresponse {}\n",
        verify.display(),
        respond.display()
    );
    let server = Server::start(
        &net,
        Options {
            extra: Box::leak(extra.into_boxed_str()),
            ..Options::default()
        },
    );
    let extra = "<auth-user-pass>\nalice\ncorrect horse\n</auth-user-pass>\n";
    let mut screen = OnTerminal::start(&net, &client(&net, &server, extra));
    screen.wait_for("Your word? ");
    screen.answer("swordfish");
    screen.wait_for("connected to ");
}

#[test]
fn an_encrypted_key_is_opened_with_the_passphrase() {
    let net = Net::new("ask-passphrase");
    let server = Server::start(&net, Options::default());
    let profile = server.profile("");
    let plain = net.write("plain.key", &server.client.key);
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
    let profile = profile.replace(server.client.key.trim_end(), sealed.trim_end());
    let path = net.write("client.ovpn", &profile);
    let command = || {
        let mut command = net.tunless(&net.client, Confinement::Unprivileged);
        command.arg(&path);
        command
    };
    let mut screen = OnTerminal::start(&net, &command());
    screen.wait_for("Passphrase of the private key: ");
    screen.answer("sesame open");
    screen.wait_for("the passphrase does not fit the private key");
    screen.wait_for("Passphrase of the private key: ");
    screen.answer("open sesame");
    screen.wait_for("connected to ");
    assert!(!screen.text().contains("open sesame"), "{}", screen.text());
    drop(screen);
    // Without a terminal, and without another word, it ends and says what was missing.
    let ended = finish(net.dir(), "no-terminal", &mut command(), SOON);
    assert_eq!(ended.status, Some(3), "{}", ended.stderr);
    assert!(ended.stderr.contains("passphrase"), "{}", ended.stderr);
    let mut known = command();
    known.env("TUNLESS_KEY_PASSPHRASE", "open sesame");
    let mut tunnel = crate::tunnel::Tunnel::start(&net, &mut known);
    tunnel.end(nix::sys::signal::Signal::SIGTERM);
}
