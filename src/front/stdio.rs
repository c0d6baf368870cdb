//! The program's own standard input and output as the local end of one connection (`ssh -W`).
//!
//! Each direction has a thread, since the two may be files, pipes or terminals, which cannot all be waited for. A
//! thread that waits for input when everything else is over is left behind; it ends with the process.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::Shutdown,
    os::{fd::AsFd, unix::net::UnixStream},
    thread,
};

use tokio::sync::oneshot;
use tunless_proxy as proxy;

use super::route::Router;
use crate::driver::StackConnector;

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Why the connection failed.
#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    /// It cannot be opened.
    #[error("cannot connect to {target}")]
    Connect {
        /// Where to.
        target: proxy::Target,
        /// Why.
        #[source]
        source: proxy::ConnectError,
    },
    /// It was cut off.
    #[error("the connection to {target} was cut off: {reason}")]
    Cut {
        /// Where to.
        target: proxy::Target,
        /// Why.
        reason: proxy::RelayReason,
    },
    /// Standard input or output, or what joins them to the connection.
    #[error("cannot use standard input and output")]
    Io(#[from] io::Error),
}

/// Carries standard input to `target` and its answer to standard output, until both have ended. The far end sees the
/// end of the input as the end of that direction.
///
/// # Errors
/// See [`StdioError`].
pub async fn carry(
    connector: &Router<StackConnector>,
    target: proxy::Target,
    settings: &proxy::Settings,
) -> Result<(), StdioError> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    let written = start(ours)?;
    let carried = proxy::forward::single(theirs, "stdio", target.clone(), connector, settings).await;
    let end = match carried {
        Ok(end) => end,
        Err(source) => return Err(StdioError::Connect { target, source }),
    };
    // What arrived before the end is still on its way to standard output.
    let written = written
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()));
    written?;
    match end.reason {
        proxy::RelayReason::Finished => Ok(()),
        reason @ (proxy::RelayReason::LocalReset
        | proxy::RelayReason::RemoteReset
        | proxy::RelayReason::Idle
        | proxy::RelayReason::TunnelDown) => Err(StdioError::Cut { target, reason }),
    }
}

/// Starts both threads; tells when standard output has everything.
fn start(stream: UnixStream) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (input, output) = (duplicate(io::stdin())?, duplicate(io::stdout())?);
    let up = stream.try_clone()?;
    let (done, written) = oneshot::channel();
    thread::Builder::new()
        .name("tunless-stdin".into())
        .spawn(move || {
            // An unreadable input is an input that has ended; a closed stream says so by itself.
            if let Err(error) = copy(&input, &up) {
                tracing::debug!(%error, "standard input ended");
            }
            // Fails when the connection has ended already.
            up.shutdown(Shutdown::Write).unwrap_or_default();
        })?;
    thread::Builder::new()
        .name("tunless-stdout".into())
        .spawn(move || {
            let result = copy(&stream, &output);
            // With nobody to take the answer, the whole connection is pointless.
            if result.is_err() {
                stream.shutdown(Shutdown::Both).unwrap_or_default();
            }
            // Nobody waits when the connection could not be opened.
            let _unheard = done.send(result);
        })?;
    Ok(written)
}

/// The descriptor under another number, so that it is used without the standard library's buffer and lock.
fn duplicate(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

fn copy<'a, R, W>(from: &'a R, to: &'a W) -> io::Result<()>
where
    &'a R: io::Read,
    &'a W: io::Write,
{
    let (mut from, mut to) = (from, to);
    let mut buf = vec![0; CHUNK_BYTES];
    loop {
        let len = match from.read(&mut buf) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buf.get(..len).unwrap_or_default())?;
    }
}
