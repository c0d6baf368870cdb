//! The tunnel's end of the control socket.
//!
//! Sixteen clients at once; one that says nothing for a minute, or does not read for five seconds, is dropped.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener as StdListener, UnixStream as StdStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, broadcast::error::RecvError},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tunless_core::secret::SecretString;
use tunless_proxy::{Connections, Stats};

use super::{
    Journal, Request,
    line::{Line, Lines},
    report,
};
use crate::{
    driver::{Answer, Command, Event, Handle, NameError, QuestionKind, runtime_folder},
    notify::Notifier,
};

/// Clients at once.
const CLIENTS: usize = 16;
/// Longest silence of a client that does not listen to events.
const IDLE: Duration = Duration::from_mins(1);
/// Longest time for a client to take a line.
const WRITE: Duration = Duration::from_secs(5);
/// Pause after a failed `accept`.
const BACK_OFF: Duration = Duration::from_millis(100);

/// What is shown and commanded over the socket.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The tunnel.
    pub handle: Handle,
    /// What it has told.
    pub journal: Arc<Journal>,
    /// The device's name, which is the socket's.
    pub device: String,
    /// Where the proxy listens.
    pub proxies: Vec<String>,
    /// Who is connected to what.
    pub connections: Arc<Connections>,
    /// Counts of the proxy.
    pub stats: Arc<Stats>,
    /// The service manager, which wants to know of an ordered reconnection.
    pub notifier: Option<Arc<Notifier>>,
}

/// The socket, until it is stopped.
#[derive(Debug)]
pub struct Server {
    path: PathBuf,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No folder for it.
    #[error("no folder for it")]
    Folder(#[from] NameError),
    /// The socket cannot be made.
    #[error("{}", path.display())]
    Socket {
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Server {
    /// Listens in the runtime folder. Needs a tokio runtime.
    ///
    /// # Errors
    /// No folder can be written to, or somebody else listens there.
    pub fn start(subject: Subject) -> Result<Self, ControlError> {
        Self::start_in(&runtime_folder()?, subject)
    }

    pub(super) fn start_in(folder: &Path, subject: Subject) -> Result<Self, ControlError> {
        let path = folder.join(format!("{}.sock", subject.device));
        match listen(&path) {
            Ok(listener) => {
                let shutdown = CancellationToken::new();
                let task = tokio::spawn(accept(listener, Arc::new(subject), shutdown.clone()));
                Ok(Self { path, shutdown, task })
            }
            Err(source) => Err(ControlError::Socket { path, source }),
        }
    }

    /// Tells clients what is left to tell, and removes the socket.
    pub async fn stop(self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "the control socket is gone already");
        }
        self.shutdown.cancel();
        if let Err(error) = self.task.await {
            tracing::debug!(%error, "the control socket failed");
        }
    }
}

/// Listens at `path`. The device's name is ours, so that a socket nobody listens on is a left-over.
pub(super) fn listen(path: &Path) -> io::Result<UnixListener> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket
        && StdStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    let listener = StdListener::bind(path)?;
    // The folder lets nobody else in meanwhile.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

async fn accept(listener: UnixListener, subject: Arc<Subject>, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        while clients.try_join_next().is_some() {}
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "the control socket cannot accept");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        if !is_trusted(&stream) {
            refuse(&stream, "refused", "this tunnel belongs to another user");
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            refuse(&stream, "busy", "too many clients; close one");
            continue;
        };
        let (subject, shutdown) = (Arc::clone(&subject), shutdown.clone());
        clients.spawn(async move {
            let (reader, writer) = stream.into_split();
            let client = Conversation {
                lines: Lines::new(reader),
                writer,
                subject,
                shutdown,
            };
            if let Err(error) = client.run().await {
                tracing::debug!(%error, "a client of the control socket is dropped");
            }
            drop(place);
        });
    }
    while clients.join_next().await.is_some() {}
}

/// The same user, or root.
fn is_trusted(stream: &UnixStream) -> bool {
    let own = nix::unistd::getuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == own || peer.uid() == 0)
}

/// Says why not, as far as that goes without waiting.
fn refuse(stream: &UnixStream, kind: &str, message: &str) {
    let line = format!("{}\n", report::error(kind, message));
    if let Err(error) = stream.try_write(line.as_bytes()) {
        tracing::debug!(%error, "a client of the control socket is not told why it is refused");
    }
}

/// One client.
struct Conversation {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    subject: Arc<Subject>,
    shutdown: CancellationToken,
}

impl Conversation {
    async fn run(mut self) -> io::Result<()> {
        self.write(&report::hello(&self.subject)).await?;
        loop {
            let line = tokio::select! {
                () = self.shutdown.cancelled() => return Ok(()),
                line = timeout(IDLE, self.lines.next()) => line,
            };
            let Ok(line) = line else { return Ok(()) };
            let text = match line? {
                Line::Text(text) => text,
                Line::TooLong => {
                    return self
                        .write(&report::error("too-long", "the line is too long"))
                        .await;
                }
                Line::End => return Ok(()),
            };
            match Request::parse(&text) {
                Ok(Request::Events) => return self.stream_events().await,
                Ok(request) => {
                    for line in answer(&self.subject, request) {
                        self.write(&line).await?;
                    }
                }
                Err(error) => {
                    let line = report::error(error.kind(), &error.to_string());
                    self.write(&line).await?;
                }
            }
        }
    }

    /// Tells where the tunnel stands, then all that happens, until the client or the tunnel ends.
    async fn stream_events(&mut self) -> io::Result<()> {
        let mut events = self.subject.handle.events();
        let told = self.subject.journal.told();
        let (state, detail) = (told.state, told.detail);
        self.write(&report::event(&Event::State { state, detail }))
            .await?;
        for question in &told.questions {
            self.write(&report::open_question(question)).await?;
        }
        loop {
            let line = tokio::select! {
                // What has happened is told before the end.
                biased;
                event = events.recv() => match event {
                    Ok(event) => report::event(&event),
                    Err(RecvError::Lagged(count)) => report::missed(count),
                    Err(RecvError::Closed) => return Ok(()),
                },
                line = self.lines.next() => match line? {
                    Line::Text(_) => report::error("streaming", "events are being told; connect once more to ask"),
                    Line::TooLong | Line::End => return Ok(()),
                },
                () = self.shutdown.cancelled() => return Ok(()),
            };
            self.write(&line).await?;
        }
    }

    async fn write(&mut self, value: &Value) -> io::Result<()> {
        let line = format!("{value}\n");
        timeout(WRITE, self.writer.write_all(line.as_bytes()))
            .await
            .map_err(|_elapsed| io::Error::new(io::ErrorKind::TimedOut, "it does not read"))?
    }
}

/// All lines of an answer.
fn answer(subject: &Subject, request: Request) -> Vec<Value> {
    let name = request.name();
    let mut lines = match request {
        Request::Status => vec![report::status(subject)],
        Request::Statistics => vec![report::statistics(subject)],
        Request::Connections => subject
            .connections
            .list()
            .iter()
            .map(report::connection)
            .collect(),
        // Told elsewhere.
        Request::Events => Vec::new(),
        order @ (Request::Close { .. }
        | Request::Pause
        | Request::Resume
        | Request::Reconnect
        | Request::Disconnect
        | Request::LogLevel { .. }
        | Request::Answer { .. }) => match perform(subject, order) {
            Ok(()) => Vec::new(),
            Err(error) => return vec![error],
        },
    };
    lines.push(report::done(name));
    lines
}

/// Does what was asked for, or gives the line that says why not.
fn perform(subject: &Subject, request: Request) -> Result<(), Value> {
    let command = match request {
        Request::Close { id } if subject.connections.close(id) => return Ok(()),
        Request::Close { id } => {
            let message = format!("there is no connection {id}");
            return Err(report::error("no-such-connection", &message));
        }
        Request::Pause => Command::Pause,
        Request::Resume => Command::Resume,
        Request::Reconnect => {
            let sent = send(subject, Command::Restart);
            // A paused tunnel stays so, and nothing would tell the end of the reload.
            if let (Ok(()), Some(notifier), false) =
                (&sent, &subject.notifier, subject.journal.told().is_paused())
            {
                notifier.reloading();
            }
            return sent;
        }
        Request::Disconnect => Command::Disconnect,
        Request::LogLevel { level } => Command::SetVerbosity(level.get()),
        Request::Answer { id, username, secret } => {
            let told = subject.journal.told();
            let Some(question) = told.questions.iter().find(|question| question.id == id) else {
                let message = format!("there is no open question {id}");
                return Err(report::error("no-such-question", &message));
            };
            Command::Answer {
                question: id,
                answer: Some(answer_to(&question.kind, username, secret)?),
            }
        }
        Request::Status | Request::Statistics | Request::Connections | Request::Events => return Ok(()),
    };
    send(subject, command)
}

fn send(subject: &Subject, command: Command) -> Result<(), Value> {
    if subject.handle.send(command) {
        Ok(())
    } else {
        Err(report::error(
            "busy",
            "the tunnel has too many commands waiting; ask again",
        ))
    }
}

/// The answer that fits the question, or the line that says why there is none.
fn answer_to(kind: &QuestionKind, username: Option<String>, secret: SecretString) -> Result<Answer, Value> {
    let wrong = |message: &str| report::error("invalid-request", message);
    match kind {
        QuestionKind::Credentials { username: known, .. } => {
            let username = username.or_else(|| known.clone());
            let username = username.ok_or_else(|| wrong("answer: the user name is asked for, too"))?;
            Ok(Answer::Credentials {
                username,
                password: secret,
            })
        }
        QuestionKind::ProxyCredentials { .. } => Ok(Answer::Credentials {
            username: username.ok_or_else(|| wrong("answer: the user name is asked for, too"))?,
            password: secret,
        }),
        QuestionKind::Passphrase { .. } => Ok(Answer::Passphrase(secret)),
        QuestionKind::Challenge { .. } => Ok(Answer::Response(secret)),
        QuestionKind::OpenUrl { .. } => Err(wrong("answer: the page has to be opened in a browser")),
    }
}
