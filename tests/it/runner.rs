//! Runs the program as somebody who may do nothing: uid and gid 65534, all capability sets empty, `no_new_privs`,
//! `/dev/net/tun` masked, from a folder that is open to everybody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::netns::{Host, Net};

/// The program under test.
pub(crate) const TUNLESS: &str = env!("CARGO_BIN_EXE_tunless");

/// How much is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confinement {
    /// An ordinary user without capabilities, who has no TUN device.
    Unprivileged,
    /// Besides that: read-only files, no writes to `/proc/sys`, a seccomp filter like a container's.
    Confined,
}

impl Net {
    /// A command that runs the program under test on `host`.
    pub(crate) fn tunless(&self, host: &Host, confinement: Confinement) -> Command {
        let program = self.dir().join("tunless");
        if !program.exists() {
            fs::copy(TUNLESS, &program).expect("a copy of the program");
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("its permissions");
        }
        let mut command = self.confined(host, confinement);
        command.arg(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("TUNLESS_")) {
            command.env_remove(name);
        }
        command
    }

    /// A command on `host` to which the program to confine, by its absolute path, is still to be added.
    pub(crate) fn confined(&self, host: &Host, confinement: Confinement) -> Command {
        let script = self.script("confine.sh", include_str!("confine.sh"));
        self.script("seccomp.py", include_str!("seccomp.py"));
        let mut command = host.command("/bin/sh");
        command.arg(script).arg(match confinement {
            Confinement::Unprivileged => "unprivileged",
            Confinement::Confined => "confined",
        });
        command.arg(self.dir());
        command
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        self.write_program(name, text)
    }
}
