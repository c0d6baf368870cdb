//! The asking end of the control socket. It blocks: who asks has nothing else to do.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use zeroize::Zeroizing;

use super::{LINE_BYTES, Request, VERSION};
use crate::driver::{hold, runtime_folders};

/// Longest time for an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of one answer.
const MAX_LINES: usize = 100_000;

/// A control socket somebody listens on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The device's name.
    pub device: String,
    /// Where its socket is.
    pub path: PathBuf,
}

/// Why a tunnel cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The socket fails.
    #[error("cannot ask the tunnel at {}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What answers is something else, or a version that cannot be understood.
    #[error("what listens on {} is no tunless that this one understands", path.display())]
    Stranger {
        /// Where.
        path: PathBuf,
    },
    /// The tunnel says no.
    #[error("{message}")]
    Refused {
        /// What kind of no.
        kind: String,
        /// Why.
        message: String,
    },
}

/// Every running tunnel of this user, by name. Sockets that a killed process left behind are removed.
pub fn find() -> Vec<Found> {
    let mut all: Vec<_> = runtime_folders()
        .iter()
        .flat_map(|folder| find_in(folder))
        .collect();
    all.sort();
    all
}

fn find_in(folder: &Path) -> Vec<Found> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(device) = name.and_then(|name| name.strip_suffix(".sock")) else {
            continue;
        };
        match UnixStream::connect(&path) {
            Ok(_) => found.push(Found {
                device: device.to_owned(),
                path: path.clone(),
            }),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                remove_stale(folder, device, &path);
            }
            Err(error) => tracing::debug!(%error, device, "a control socket cannot be reached"),
        }
    }
    found
}

/// Removes a socket whose device nobody has; with the lock in hand, nobody can take it meanwhile.
fn remove_stale(folder: &Path, device: &str, path: &Path) {
    let Some(_held) = hold(folder, device) else { return };
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, device, "a left-over control socket stays");
    }
}

/// A connection to a running tunnel.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects and reads the greeting.
    ///
    /// # Errors
    /// Nobody answers, or somebody who speaks otherwise.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let open = || {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(stream)
        };
        let stream = open().map_err(|source| ClientError::Socket {
            path: path.to_owned(),
            source,
        })?;
        let mut client = Self {
            path: path.to_owned(),
            reader: BufReader::new(stream),
        };
        let hello = client.line()?.ok_or_else(|| client.stranger())?;
        let hello = refused(hello)?;
        if hello.get("tunless").and_then(Value::as_u64) == Some(VERSION) {
            Ok(client)
        } else {
            Err(client.stranger())
        }
    }

    /// Asks, and gives every line of the answer but the last, which only says that it is the last.
    ///
    /// # Errors
    /// The tunnel refuses, or goes away.
    pub fn ask(&mut self, request: &Request) -> Result<Vec<Value>, ClientError> {
        self.send(request)?;
        let mut lines = Vec::new();
        while lines.len() < MAX_LINES {
            let line = self
                .line()?
                .ok_or_else(|| self.failed(io::ErrorKind::UnexpectedEof.into()))?;
            let line = refused(line)?;
            if line.get("event").is_some_and(|event| event == "done") {
                return Ok(lines);
            }
            lines.push(line);
        }
        Err(self.stranger())
    }

    /// Gives every event to `show` until the tunnel ends or `show` gives `false`.
    ///
    /// # Errors
    /// The tunnel refuses, or the socket fails.
    pub fn events(mut self, mut show: impl FnMut(&Value) -> bool) -> Result<(), ClientError> {
        self.send(&Request::Events)?;
        let patient = self.reader.get_ref().set_read_timeout(None);
        patient.map_err(|source| self.failed(source))?;
        while let Some(line) = self.line()? {
            if !show(&refused(line)?) {
                break;
            }
        }
        Ok(())
    }

    fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let encoded = serde_json::to_vec(request).map_err(|error| self.failed(error.into()))?;
        let mut line = Zeroizing::new(encoded);
        line.push(b'\n');
        let written = self.reader.get_mut().write_all(&line);
        written.map_err(|source| self.failed(source))
    }

    fn line(&mut self) -> Result<Option<Value>, ClientError> {
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(LINE_BYTES as u64)
            .read_until(b'\n', &mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) => serde_json::from_slice(&line)
                .map(Some)
                .map_err(|_| self.stranger()),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> ClientError {
        ClientError::Socket {
            path: self.path.clone(),
            source,
        }
    }

    fn stranger(&self) -> ClientError {
        ClientError::Stranger {
            path: self.path.clone(),
        }
    }
}

/// An error line as an error.
fn refused(line: Value) -> Result<Value, ClientError> {
    let text = |field: &str| {
        line.get(field)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if line.get("event").is_some_and(|event| event == "error") {
        return Err(ClientError::Refused {
            kind: text("error"),
            message: text("message"),
        });
    }
    Ok(line)
}
