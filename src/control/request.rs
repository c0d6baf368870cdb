//! What can be asked over the control socket.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use serde_json::Value;
use tunless_core::secret::SecretString;
use zeroize::Zeroizing;

/// A request; the field `request` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// One line with what the tunnel is and how far it has come.
    Status,
    /// One line with all counters.
    Statistics,
    /// A line for each connection through the proxy.
    Connections,
    /// Cuts one connection off.
    Close {
        /// Its number in the list.
        id: u64,
    },
    /// Leaves the server until `resume`.
    Pause,
    /// Connects again.
    Resume,
    /// Leaves the server and connects anew.
    Reconnect,
    /// Leaves the server and ends the program.
    Disconnect,
    /// Logs more or less.
    LogLevel {
        /// How much.
        level: Verb,
    },
    /// Every event from now on, until the client closes.
    Events,
    /// Answers an open question.
    Answer {
        /// The question's number.
        id: u64,
        /// The user's name, where that is asked for and the question does not name it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        username: Option<String>,
        /// The password, the passphrase, or the answer to a challenge.
        #[serde(serialize_with = "expose", deserialize_with = "secret")]
        secret: SecretString,
    },
}

impl Request {
    /// Every value of the field `request`.
    pub const NAMES: [&str; 11] = [
        "status",
        "statistics",
        "connections",
        "close",
        "pause",
        "resume",
        "reconnect",
        "disconnect",
        "log-level",
        "events",
        "answer",
    ];

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Statistics => "statistics",
            Self::Connections => "connections",
            Self::Close { .. } => "close",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Reconnect => "reconnect",
            Self::Disconnect => "disconnect",
            Self::LogLevel { .. } => "log-level",
            Self::Events => "events",
            Self::Answer { .. } => "answer",
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// No JSON, a request that is not known, or one whose fields are wrong.
    pub(super) fn parse(line: &[u8]) -> Result<Self, InvalidRequest> {
        let error = match serde_json::from_slice(line) {
            Ok(request) => return Ok(request),
            Err(error) => error,
        };
        let Ok(Value::Object(object)) = serde_json::from_slice(line) else {
            return Err(InvalidRequest::Malformed);
        };
        match object.get("request").and_then(Value::as_str) {
            None => Err(InvalidRequest::Malformed),
            Some(name) if Self::NAMES.contains(&name) => Err(InvalidRequest::Fields {
                request: name.to_owned(),
                problem: error.to_string(),
            }),
            Some(name) => Err(InvalidRequest::Unknown {
                name: name.to_owned(),
            }),
        }
    }
}

/// Why a line is no request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidRequest {
    /// No JSON object with a name.
    #[error("a request is one JSON object a line with a field `request`")]
    Malformed,
    /// A name of nothing.
    #[error("there is no request {name:?}; there are {}", Request::NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// Its fields are wrong.
    #[error("{request}: {problem}")]
    Fields {
        /// The request.
        request: String,
        /// What is wrong.
        problem: String,
    },
}

impl InvalidRequest {
    /// The kind in an error line.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unknown { .. } => "unknown-request",
            Self::Fields { .. } => "invalid-request",
        }
    }
}

/// How much is logged, on OpenVPN's scale of `verb`: 0 to 11.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value")]
pub struct Verb(u8);

impl Verb {
    /// The number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// Text that is no level.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no log level; write 0 to 11, or error, warn, info, debug or trace")]
pub struct InvalidVerb(String);

impl FromStr for Verb {
    type Err = InvalidVerb;

    fn from_str(text: &str) -> Result<Self, InvalidVerb> {
        match text {
            "error" => Ok(Self(0)),
            "warn" => Ok(Self(1)),
            "info" => Ok(Self(3)),
            "debug" => Ok(Self(4)),
            "trace" => Ok(Self(7)),
            number => match number.parse() {
                Ok(verb @ 0..=11) => Ok(Self(verb)),
                _ => Err(InvalidVerb(text.to_owned())),
            },
        }
    }
}

impl TryFrom<Value> for Verb {
    type Error = InvalidVerb;

    fn try_from(value: Value) -> Result<Self, InvalidVerb> {
        value
            .as_str()
            .map_or_else(|| value.to_string().parse(), str::parse)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    let text =
        Zeroizing::new(String::deserialize(deserializer).map_err(|_| D::Error::custom("wants a text"))?);
    Ok(SecretString::new(text.as_str()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(value: &Value) -> Result<Request, InvalidRequest> {
        Request::parse(value.to_string().as_bytes())
    }

    #[test]
    fn every_request_is_known_by_its_name() {
        for name in Request::NAMES {
            let more = json!({ "request": name, "id": 7, "level": 3, "secret": "x" });
            let fields: &[&str] = match name {
                "close" => &["id"],
                "log-level" => &["level"],
                "answer" => &["id", "secret"],
                _ => &[],
            };
            let mut value = more.clone();
            value
                .as_object_mut()
                .unwrap()
                .retain(|field, _| field == "request" || fields.contains(&field.as_str()));
            let request = parse(&value).unwrap();
            assert_eq!(request.name(), name);
            let line = serde_json::to_vec(&request).unwrap();
            assert_eq!(Request::parse(&line).unwrap(), request);
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_told_by_kind() {
        for (line, kind) in [
            ("", "malformed"),
            ("pause", "malformed"),
            ("[]", "malformed"),
            ("{}", "malformed"),
            (r#"{"request":7}"#, "malformed"),
            (r#"{"request":"dance"}"#, "unknown-request"),
            (r#"{"request":"close"}"#, "invalid-request"),
            (r#"{"request":"close","id":-1}"#, "invalid-request"),
            (r#"{"request":"close","id":1,"force":true}"#, "invalid-request"),
            (r#"{"request":"log-level","level":12}"#, "invalid-request"),
        ] {
            assert_eq!(
                Request::parse(line.as_bytes()).unwrap_err().kind(),
                kind,
                "{line}"
            );
        }
    }

    #[test]
    fn log_levels_are_numbers_and_words() {
        for (level, verb) in [
            (json!(0), 0),
            (json!("11"), 11),
            (json!("info"), 3),
            (json!("trace"), 7),
        ] {
            let request = parse(&json!({ "request": "log-level", "level": level })).unwrap();
            assert_eq!(request, Request::LogLevel { level: Verb(verb) });
        }
        assert!("12".parse::<Verb>().is_err() && "loud".parse::<Verb>().is_err());
    }

    #[test]
    fn a_password_is_neither_printed_nor_told_back() {
        let line = br#"{"request":"answer","id":1,"username":"ann","secret":"hunter2"}"#;
        let request = Request::parse(line).unwrap();
        assert!(!format!("{request:?}").contains("hunter2"));
        let wrong = Request::parse(br#"{"request":"answer","id":1,"secret":48151623}"#).unwrap_err();
        assert!(!wrong.to_string().contains("48151623"), "{wrong}");
    }
}
