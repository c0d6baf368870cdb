//! What a server asks beyond name and password, and how the answers travel (reference sections 7.5 and 7.7).
//!
//! Nothing here asks a person: a challenge goes out as data, and its answer comes back as a [`SecretString`].

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::Credentials;
use crate::{
    config::{ChallengeFormat, StaticChallenge},
    secret::SecretString,
};

/// Longest answer to a challenge on the control channel, so that it fits one message (reference section 7.5).
const MAX_RESPONSE_BYTES: usize = 700;

/// A challenge that came with a refusal (`AUTH_FAILED,CRV1:…`); its answer goes into the next attempt's password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DynamicChallenge {
    /// What a person is asked.
    pub text: String,
    /// Whether the answer may be seen while it is typed.
    pub echo: bool,
    /// Whether an answer is wanted at all; otherwise the text is only shown.
    pub response_required: bool,
    /// The user's name that goes with it.
    pub username: String,
    state_id: String,
}

impl DynamicChallenge {
    /// Reads the reason of an `AUTH_FAILED`; `None` where it is no challenge: `CRV1:flags:state:user:text`.
    pub fn parse(reason: &str) -> Option<Self> {
        let mut parts = reason.strip_prefix("CRV1:")?.splitn(4, ':');
        let (flags, state_id) = (parts.next()?, parts.next()?);
        let username = STANDARD.decode(parts.next()?).ok()?;
        Some(Self {
            text: parts.next()?.to_owned(),
            echo: has_flag(flags, "E"),
            response_required: has_flag(flags, "R"),
            username: String::from_utf8(username).ok()?,
            state_id: state_id.to_owned(),
        })
    }

    /// What the next attempt logs in with.
    pub fn answered(&self, response: &SecretString) -> Credentials {
        Credentials {
            username: self.username.clone(),
            password: SecretString::new(format!("CRV1::{}::{}", self.state_id, response.expose())),
            is_token: false,
        }
    }
}

impl StaticChallenge {
    /// The password with the answer in it, as the profile's `static-challenge` says.
    pub fn password(&self, password: &SecretString, response: &SecretString) -> SecretString {
        let (password, response) = (password.expose(), response.expose());
        SecretString::new(match self.format {
            ChallengeFormat::Concat => format!("{password}{response}"),
            ChallengeFormat::Scrv1 => {
                let encode = |text: &str| Zeroizing::new(STANDARD.encode(text));
                format!("SCRV1:{}:{}", *encode(password), *encode(response))
            }
        })
    }
}

/// What a server wants while it decides (`AUTH_PENDING`, then `INFO_PRE,…`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PendingRequest {
    /// Show a text and, where an answer is wanted, send it with [`super::Client::respond`] (`CR_TEXT`).
    Text {
        /// What a person is asked.
        text: String,
        /// Whether the answer may be seen while it is typed.
        echo: bool,
        /// Whether an answer is wanted at all.
        response_required: bool,
    },
    /// Open a page in a browser; the server hears of the result by itself (`WEB_AUTH`, `OPEN_URL`).
    OpenUrl {
        /// The page.
        url: String,
        /// What the server says about how to show it (`hidden`, `external`, `proxy=…`); empty for `OPEN_URL`.
        flags: Vec<String>,
    },
}

impl PendingRequest {
    /// Reads the text of an `INFO_PRE`; `None` where it is only information. A URL that is not https or http is
    /// no page to open.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix("CR_TEXT:") {
            let (flags, text) = rest.split_once(':')?;
            return Some(Self::Text {
                text: text.to_owned(),
                echo: has_flag(flags, "E"),
                response_required: has_flag(flags, "R"),
            });
        }
        let (flags, url) = match (text.strip_prefix("WEB_AUTH:"), text.strip_prefix("OPEN_URL:")) {
            (Some(rest), _) => rest.split_once(':')?,
            (None, Some(url)) => ("", url),
            (None, None) => return None,
        };
        let is_page = (url.starts_with("https://") || url.starts_with("http://"))
            && !url.chars().any(|c| c.is_control() || c.is_whitespace());
        is_page.then(|| Self::OpenUrl {
            url: url.to_owned(),
            flags: flags
                .split(',')
                .filter(|flag| !flag.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// The message that answers a `CR_TEXT`; `None` if the answer is too long for one.
pub(super) fn response_message(response: &SecretString) -> Option<Zeroizing<String>> {
    let text = response.expose();
    (text.len() <= MAX_RESPONSE_BYTES)
        .then(|| Zeroizing::new(format!("CR_RESPONSE,{}", STANDARD.encode(text))))
}

fn has_flag(flags: &str, wanted: &str) -> bool {
    flags.split(',').any(|flag| flag == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_challenge_is_read_and_answered() {
        let challenge =
            DynamicChallenge::parse("CRV1:R,E:Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l:Y3Ix:Please enter: token")
                .unwrap();
        assert_eq!(
            (challenge.username.as_str(), challenge.text.as_str()),
            ("cr1", "Please enter: token")
        );
        assert!(challenge.echo && challenge.response_required);
        let next = challenge.answered(&"1234".into());
        assert_eq!(next.username, "cr1");
        assert_eq!(
            next.password.expose(),
            "CRV1::Om01u7Fh4LrGBS7uh0SWmzwabUiGiW6l::1234"
        );
        for other in ["", "CRV1:", "CRV1:R:x", "CRV1:R:x:!:t", "no", "CRV1:R:x:/w==:t"] {
            assert_eq!(DynamicChallenge::parse(other), None, "{other}");
        }
        let silent = DynamicChallenge::parse("CRV1::s:dQ==:").unwrap();
        assert!(!silent.echo && !silent.response_required && silent.text.is_empty());
    }

    #[test]
    fn a_static_answer_goes_into_the_password() {
        let with = |format| StaticChallenge {
            text: "PIN".into(),
            echo: false,
            format,
        };
        let (password, response) = (SecretString::new("pass:word"), SecretString::new("42"));
        let both = with(ChallengeFormat::Scrv1).password(&password, &response);
        assert_eq!(both.expose(), "SCRV1:cGFzczp3b3Jk:NDI=");
        let both = with(ChallengeFormat::Concat).password(&password, &response);
        assert_eq!(both.expose(), "pass:word42");
    }

    #[test]
    fn what_a_server_wants_meanwhile_is_told_apart() {
        assert_eq!(
            PendingRequest::parse("CR_TEXT:R,E:Your code: now"),
            Some(PendingRequest::Text {
                text: "Your code: now".into(),
                echo: true,
                response_required: true
            })
        );
        assert_eq!(
            PendingRequest::parse("WEB_AUTH:external,hidden:https://idp.example/x?y=z:1"),
            Some(PendingRequest::OpenUrl {
                url: "https://idp.example/x?y=z:1".into(),
                flags: vec!["external".into(), "hidden".into()]
            })
        );
        assert!(matches!(
            PendingRequest::parse("OPEN_URL:https://idp.example/"),
            Some(PendingRequest::OpenUrl { .. })
        ));
        for other in [
            "hello",
            "CR_TEXT:R",
            "OPEN_URL:file:///etc/passwd",
            "WEB_AUTH::https://a b",
            "OPEN_URL:https://\u{1b}[2J",
        ] {
            assert_eq!(PendingRequest::parse(other), None, "{other}");
        }
        assert_eq!(
            response_message(&"yes".into()).unwrap().as_str(),
            "CR_RESPONSE,eWVz"
        );
        assert!(response_message(&SecretString::new("x".repeat(701))).is_none());
    }
}
