//! The terminal's attributes: a process that ends while a password is typed leaves them as they were.

use std::{
    fs::File,
    os::fd::AsFd,
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    sys::termios::{SetArg, Termios, tcgetattr, tcsetattr},
    unistd::{getpgrp, tcgetpgrp},
};

/// What the terminal was like before the open prompt, if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct TerminalState(Arc<Mutex<Option<Termios>>>);

impl TerminalState {
    /// Remembers the attributes; a prompt follows.
    pub(super) fn save(&self) {
        let now = File::open("/dev/tty").ok().and_then(|tty| tcgetattr(tty).ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The prompt has ended and put the terminal right itself.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn restore(&self) {
        let saved = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(saved) = saved else { return };
        // Setting attributes from the background would stop the process, and the shell has its own meanwhile.
        match File::open("/dev/tty") {
            Ok(tty) if tcgetpgrp(&tty) == Ok(getpgrp()) => set(&tty, &saved),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "no terminal to restore"),
        }
    }
}

fn set(tty: impl AsFd, saved: &Termios) {
    if let Err(error) = tcsetattr(tty, SetArg::TCSANOW, saved) {
        tracing::debug!(%error, "the terminal stays as it is");
    }
}

/// Restores the terminal when it is dropped while a prompt is open.
#[derive(Debug, Default)]
pub(super) struct TerminalGuard {
    pub(super) state: TerminalState,
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        self.state.restore();
    }
}

#[cfg(test)]
mod tests {
    use nix::{pty::openpty, sys::termios::LocalFlags};

    use super::*;

    #[test]
    fn echo_comes_back() {
        let pty = openpty(None, None).unwrap();
        let saved = tcgetattr(&pty.slave).unwrap();
        let mut silent = saved.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        set(&pty.slave, &silent);
        assert!(
            !tcgetattr(&pty.slave)
                .unwrap()
                .local_flags
                .contains(LocalFlags::ECHO)
        );
        set(&pty.slave, &saved);
        assert!(
            tcgetattr(&pty.slave)
                .unwrap()
                .local_flags
                .contains(LocalFlags::ECHO)
        );
    }
}
