//! Statuses in words, for people who use `tunless sessions`; programs get the numbers.

use tunless_dbus::constants::{Status, StatusMajor, StatusMinor};

/// A status as people read it: the words that front ends of this API use.
pub(super) fn words(status: &Status) -> String {
    if status.minor == StatusMinor::Unset {
        return "no status yet".into();
    }
    if (status.major, status.minor) == (StatusMajor::Session, StatusMinor::SessAuthUrl) {
        return format!("waiting for a page to be used: {}", status.message);
    }
    let what = match status.minor {
        StatusMinor::Unset => "",
        StatusMinor::CfgError => "the profile cannot be used",
        StatusMinor::CfgOk => "ready",
        StatusMinor::CfgInlineMissing => "the profile lacks files",
        StatusMinor::CfgRequireUser => "waiting for an answer",
        StatusMinor::ConnInit => "initialized",
        StatusMinor::ConnConnecting => "connecting",
        StatusMinor::ConnConnected => "connected",
        StatusMinor::ConnDisconnecting => "disconnecting",
        StatusMinor::ConnDisconnected => "disconnected",
        StatusMinor::ConnFailed => "failed",
        StatusMinor::ConnAuthFailed => "authentication failed",
        StatusMinor::ConnReconnecting => "reconnecting",
        StatusMinor::ConnPausing => "pausing",
        StatusMinor::ConnPaused => "paused",
        StatusMinor::ConnResuming => "resuming",
        StatusMinor::ConnDone => "ended",
        StatusMinor::SessNew => "new",
        StatusMinor::SessBackendCompleted => "its process is there",
        StatusMinor::SessRemoved => "removed",
        StatusMinor::SessAuthUserpass => "user name and password",
        StatusMinor::SessAuthChallenge => "challenge",
        StatusMinor::SessAuthUrl => "page to open",
        StatusMinor::Pkcs11Sign => "a token signs",
        StatusMinor::Pkcs11Encrypt => "a token encrypts",
        StatusMinor::Pkcs11Decrypt => "a token decrypts",
        StatusMinor::Pkcs11Verify => "a token verifies",
        StatusMinor::ProcStarted => "process started",
        StatusMinor::ProcStopped => "process stopped",
        StatusMinor::ProcKilled => "process killed",
    };
    // What belongs to the profile's path is for programs, and nothing is said twice.
    let is_new = |text: &&str| {
        !text.is_empty() && !text.starts_with("config_path=") && !text.eq_ignore_ascii_case(what)
    };
    let message = Some(status.message.as_str()).filter(is_new);
    message.map_or_else(|| what.to_owned(), |message| format!("{what}: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_told_with_their_reasons() {
        let told = |minor, message: &str| words(&Status::connection(minor, message));
        assert_eq!(told(StatusMinor::ConnConnected, ""), "connected");
        assert_eq!(told(StatusMinor::ConnFailed, "why"), "failed: why");
        assert_eq!(told(StatusMinor::CfgOk, "config_path=/x"), "ready");
        assert_eq!(
            told(StatusMinor::ConnAuthFailed, "Authentication failed"),
            "authentication failed"
        );
        let url = words(&Status::session(StatusMinor::SessAuthUrl, "https://x/"));
        assert_eq!(url, "waiting for a page to be used: https://x/");
        assert_eq!(words(&Status::unset()), "no status yet");
    }
}
