//! The device's name: `netstackN` with the lowest N that no running tunnel of this user has.
//!
//! A lock file in the runtime directory holds the number; where no folder can be written to (a container with a
//! read-only root), an abstract Unix socket does. The kernel frees either however the process ends.

use std::{
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use tunless_netstack::device::DeviceName;

/// Numbers that are tried; a user with more tunnels than that has another problem.
const NUMBERS: u32 = 1024;

/// A name that is ours until this is dropped.
#[derive(Debug)]
pub struct NameLock {
    name: DeviceName,
    _held: Held,
}

/// What keeps the name ours.
#[derive(Debug)]
#[expect(dead_code, reason = "held for its drop")]
enum Held {
    File(Flock<File>),
    Socket(UnixListener),
}

/// Why no name could be had.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// The folder cannot be made or is somebody else's.
    #[error("cannot use the runtime folder {}; set XDG_RUNTIME_DIR to a folder of your own", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A lock file cannot be opened.
    #[error("cannot open the lock file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Neither a folder nor a socket can hold the name.
    #[error("no folder can be written to, and no socket can hold the device's name")]
    Socket {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// All numbers are taken.
    #[error("{NUMBERS} tunnels run already")]
    Exhausted,
}

impl NameLock {
    /// Takes the lowest free number.
    ///
    /// # Errors
    /// See [`NameError`].
    pub fn acquire() -> Result<Self, NameError> {
        match runtime_folder().and_then(|folder| Self::acquire_in(&folder)) {
            Err(NameError::Folder { source, .. } | NameError::File { source, .. }) => {
                tracing::debug!(%source, "no folder for a lock file, a socket holds the device's name");
                Self::acquire_socket()
            }
            other => other,
        }
    }

    /// Takes the lowest number whose abstract socket nobody in this network namespace has.
    fn acquire_socket() -> Result<Self, NameError> {
        let uid = nix::unistd::getuid().as_raw();
        for number in 0..NUMBERS {
            let name = DeviceName::netstack(number);
            let held = SocketAddr::from_abstract_name(format!("tunless-{uid}-{name}"))
                .and_then(|address| UnixListener::bind_addr(&address));
            match held {
                Ok(socket) => {
                    return Ok(Self {
                        name,
                        _held: Held::Socket(socket),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(source) => return Err(NameError::Socket { source }),
            }
        }
        Err(NameError::Exhausted)
    }

    fn acquire_in(folder: &Path) -> Result<Self, NameError> {
        for number in 0..NUMBERS {
            let name = DeviceName::netstack(number);
            let path = folder.join(format!("{name}.lock"));
            let open = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            let file = open.map_err(|source| NameError::File { path, source })?;
            if let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                return Ok(Self {
                    name,
                    _held: Held::File(lock),
                });
            }
        }
        Err(NameError::Exhausted)
    }

    /// The name.
    pub fn name(&self) -> &DeviceName {
        &self.name
    }
}

/// The folder of lock files and control sockets, made if it is not there: the first of
/// [`runtime_candidates`] that can be one.
pub(crate) fn runtime_folder() -> Result<PathBuf, NameError> {
    let uid = nix::unistd::getuid().as_raw();
    // A runtime directory that cannot be written to is common in containers.
    let mut last = None;
    for folder in runtime_candidates(uid) {
        match private_folder(&folder, uid) {
            Ok(()) => return Ok(folder),
            Err(source) => last = Some(NameError::Folder { path: folder, source }),
        }
    }
    Err(last.unwrap_or(NameError::Exhausted))
}

/// Every folder that tunnels of this user may have chosen and that is safe to look into.
pub(crate) fn runtime_folders() -> Vec<PathBuf> {
    let uid = nix::unistd::getuid().as_raw();
    let mut folders = runtime_candidates(uid);
    folders.retain(|folder| is_private(folder, uid).is_ok());
    folders
}

/// Holds the name `device` in `folder` until the value is dropped; `None` while somebody else does.
pub(crate) fn hold(folder: &Path, device: &str) -> Option<Flock<File>> {
    let file = OpenOptions::new()
        .write(true)
        .open(folder.join(format!("{device}.lock")));
    Flock::lock(file.ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// `$XDG_RUNTIME_DIR/tunless`, the same where systemd would have put it, a folder under the temporary one.
fn runtime_candidates(uid: u32) -> Vec<PathBuf> {
    let given = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let given = given.filter(|base| base.is_absolute());
    let usual = match uid {
        0 => PathBuf::from("/run"),
        uid => PathBuf::from(format!("/run/user/{uid}")),
    };
    let mut folders: Vec<_> = given
        .into_iter()
        .chain([usual])
        .map(|base| base.join("tunless"))
        .collect();
    folders.push(env::temp_dir().join(format!("tunless-{uid}")));
    folders.dedup();
    folders
}

/// Makes a folder with mode 0700, or checks that it is one, ours and no symbolic link.
fn private_folder(path: &Path, uid: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    is_private(path, uid)
}

/// Checks that a folder is ours, closed to others and no symbolic link.
fn is_private(path: &Path, uid: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() && found.uid() == uid && found.mode() & 0o777 == 0o700 {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is not a folder that only this user can enter",
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn sockets_hold_names_where_no_file_can() {
        let first = NameLock::acquire_socket().unwrap();
        let second = NameLock::acquire_socket().unwrap();
        assert_ne!(first.name(), second.name());
        let freed = first.name().clone();
        drop(first);
        assert_eq!(NameLock::acquire_socket().unwrap().name(), &freed);
    }

    #[test]
    fn the_lowest_free_number_is_taken_and_freed() {
        let folder = tempfile::tempdir().unwrap();
        let take = || NameLock::acquire_in(folder.path()).unwrap();
        let (first, second, third) = (take(), take(), take());
        let names = [&first, &second, &third].map(|lock| lock.name().to_string());
        assert_eq!(names, ["netstack0", "netstack1", "netstack2"]);
        drop(second);
        assert_eq!(take().name().as_str(), "netstack1");
        drop(first);
    }

    #[test]
    fn a_folder_that_others_can_enter_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let uid = nix::unistd::getuid().as_raw();
        let open = folder.path().join("open");
        private_folder(&open, uid).unwrap();
        private_folder(&open, uid).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(private_folder(&open, uid).is_err());
        fs::set_permissions(&open, fs::Permissions::from_mode(0o700)).unwrap();
        let link = folder.path().join("link");
        symlink(&open, &link).unwrap();
        assert!(private_folder(&link, uid).is_err());
        assert!(private_folder(&open, uid.wrapping_add(1)).is_err());
    }
}
