//! The file of a Unix socket: made so that nobody else can use it for a moment, replaced when it is stale, removed
//! in the end if it is still ours.

use std::{
    fs, io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, Socket, Type};

/// Longest path: `sun_path` less the zero at its end (`unix(7)`).
const PATH_BYTES: usize = 107;

/// Why there is no Unix socket.
#[derive(Debug, thiserror::Error)]
pub enum UnixSocketError {
    /// No address holds it.
    #[error(
        "the path of a Unix socket has at most {PATH_BYTES} bytes, {path} has {bytes}; choose a shorter one"
    )]
    TooLong {
        /// The path.
        path: String,
        /// Its length.
        bytes: usize,
    },
    /// Something else has that name.
    #[error("{0} is there and no socket; remove it or choose another path")]
    NoSocket(PathBuf),
    /// Somebody listens there.
    #[error("another program listens on {0}; end it or choose another path")]
    Taken(PathBuf),
    /// It cannot be told whether somebody listens there.
    #[error("{0} is another user's socket; remove it or choose another path")]
    Foreign(PathBuf),
    /// The system refuses.
    #[error("cannot listen on {path}; choose a path in a folder that you may write to")]
    Io {
        /// The path.
        path: PathBuf,
        /// What it says.
        #[source]
        source: io::Error,
    },
}

/// A socket's file, which is removed with this value if it is still the same.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|now| identity(&now) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(path = %self.path.display(), %error, "the socket's file stays");
        }
    }
}

/// Listens on `path`, for every user of this host or for the own one. A socket on which nobody listens is replaced.
///
/// The file has its mode from the start: the process's umask is narrowed around `bind`, which leaves no moment in
/// between and takes nothing of other threads but rights of files that they make meanwhile.
///
/// # Errors
/// See [`UnixSocketError`].
pub(super) fn listen(
    path: &Path,
    for_everybody: bool,
) -> Result<(UnixListener, SocketFile), UnixSocketError> {
    let bytes = path.as_os_str().as_bytes().len();
    if bytes > PATH_BYTES {
        return Err(UnixSocketError::TooLong {
            path: path.display().to_string(),
            bytes,
        });
    }
    let failed = |source| UnixSocketError::Io {
        path: path.to_owned(),
        source,
    };
    let listener = match bind(path, for_everybody) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            remove_stale(path)?;
            bind(path, for_everybody)
        }
        other => other,
    };
    let listener = listener.map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let made = fs::symlink_metadata(path).map_err(failed)?;
    let file = SocketFile {
        path: path.to_owned(),
        identity: identity(&made),
    };
    Ok((listener, file))
}

fn bind(path: &Path, for_everybody: bool) -> io::Result<UnixListener> {
    let denied = if for_everybody { 0o111 } else { 0o177 };
    let before = umask(Mode::from_bits_truncate(denied));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

/// Removes a socket that refuses connections.
fn remove_stale(path: &Path) -> Result<(), UnixSocketError> {
    let failed = |source| UnixSocketError::Io {
        path: path.to_owned(),
        source,
    };
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if !found.file_type().is_socket() {
        return Err(UnixSocketError::NoSocket(path.to_owned()));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    // A live one may have its queue full, which is no reason to wait.
    probe.set_nonblocking(true).map_err(failed)?;
    let address = SockAddr::unix(path).map_err(failed)?;
    let is_stale = match probe.connect(&address) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err(UnixSocketError::Foreign(path.to_owned()));
        }
        connected => connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused),
    };
    // Another one may have been quicker to replace it.
    let is_same = fs::symlink_metadata(path).is_ok_and(|now| identity(&now) == identity(&found));
    if !is_stale || !is_same {
        return Err(UnixSocketError::Taken(path.to_owned()));
    }
    fs::remove_file(path).map_err(failed)
}

fn identity(metadata: &fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn the_file_is_for_its_user_and_goes_with_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("own");
        let (_listener, file) = listen(&path, false).unwrap();
        assert_eq!(mode(&path), 0o600);
        UnixStream::connect(&path).unwrap();
        drop(file);
        assert!(!path.exists());
        let shared = folder.path().join("shared");
        let _kept = listen(&shared, true).unwrap();
        assert_eq!(mode(&shared), 0o666);
    }

    #[test]
    fn a_file_that_somebody_else_made_meanwhile_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let (_listener, file) = listen(&path, false).unwrap();
        fs::rename(&path, folder.path().join("moved")).unwrap();
        fs::write(&path, "theirs").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
    }

    #[test]
    fn only_a_stale_socket_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());
        let (_live, _file) = listen(&path, false).unwrap();
        assert!(matches!(listen(&path, false), Err(UnixSocketError::Taken(_))));
        UnixStream::connect(&path).unwrap();

        let other = folder.path().join("file");
        fs::write(&other, "precious").unwrap();
        assert!(matches!(listen(&other, false), Err(UnixSocketError::NoSocket(_))));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(listen(&link, false), Err(UnixSocketError::NoSocket(_))));
        assert_eq!(fs::read_to_string(&other).unwrap(), "precious");
    }

    #[test]
    fn paths_are_as_long_as_the_system_allows() {
        let folder = tempfile::tempdir().unwrap();
        let room = PATH_BYTES - folder.path().as_os_str().len() - 1;
        listen(&folder.path().join("x".repeat(room)), false).unwrap();
        let longer = folder.path().join("x".repeat(room + 1));
        let error = listen(&longer, false).unwrap_err();
        assert!(
            matches!(error, UnixSocketError::TooLong { bytes: 108, .. }),
            "{error}"
        );
        let nowhere = folder.path().join("no/such/folder");
        assert!(matches!(listen(&nowhere, false), Err(UnixSocketError::Io { .. })));
    }
}
