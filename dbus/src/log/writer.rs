//! Where lines are written: a thread of its own, so that a full disk or a slow terminal holds nobody up.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use nix::fcntl::OFlag;
use tokio::sync::oneshot;

/// Lines that wait to be written.
const CAPACITY: usize = 2048;
/// A file longer than this becomes `FILE.1`, and a new one begins: two of them are all there ever is.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Longest wait for what is queued at the end.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The way to the thread that writes.
#[derive(Debug)]
pub(super) struct Writer {
    queue: SyncSender<String>,
    dropped: Arc<AtomicU64>,
    is_file: bool,
}

/// The thread that writes; it ends when the [`Writer`] is gone.
#[derive(Debug)]
pub(super) struct Writing(oneshot::Receiver<()>);

impl Writer {
    /// Writes to `file`, or to the standard error where there is none or it cannot be opened.
    pub(super) fn start(file: Option<&Path>) -> (Self, Writing) {
        let sink = file.map_or(Sink::Stderr, Sink::open);
        let is_file = matches!(sink, Sink::File { .. });
        let (queue, lines) = sync_channel(CAPACITY);
        let (done, is_done) = oneshot::channel();
        let dropped = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&dropped);
        let spawned = thread::Builder::new()
            .name("tunless-log".to_owned())
            .spawn(move || {
                write_all(sink, &lines, &counted);
                // Nobody may wait any more.
                let _unheard = done.send(());
            });
        if let Err(error) = spawned {
            tracing::error!(%error, "nothing is logged");
        }
        let writer = Self {
            queue,
            dropped,
            is_file,
        };
        (writer, Writing(is_done))
    }

    /// Value of `log_method`.
    pub(super) fn method(&self) -> &'static str {
        if self.is_file { "logfile" } else { "stdout:" }
    }

    /// Tells whether lines go to a file.
    pub(super) fn is_file(&self) -> bool {
        self.is_file
    }

    /// Queues a line without its end; drops and counts it where too many wait.
    pub(super) fn write(&self, line: String) {
        if self.queue.try_send(line).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Writing {
    /// Waits until all is written, but not for a disk or terminal that takes nothing.
    pub(super) async fn finish(self) {
        if tokio::time::timeout(FLUSH_TIMEOUT, self.0).await.is_err() {
            tracing::debug!("the last lines are not written");
        }
    }
}

#[derive(Debug)]
enum Sink {
    Stderr,
    File {
        path: PathBuf,
        file: File,
        len: u64,
        max_len: u64,
    },
}

impl Sink {
    fn open(path: &Path) -> Self {
        match open(path) {
            Ok((file, len)) => Self::File {
                path: path.to_owned(),
                file,
                len,
                max_len: MAX_FILE_BYTES,
            },
            Err(error) => {
                tracing::error!(%error, file = %path.display(), "cannot log there; the standard error is used");
                Self::Stderr
            }
        }
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        match self {
            Self::Stderr => io::stderr().lock().write_all(line.as_bytes()),
            Self::File {
                path,
                file,
                len,
                max_len,
            } => {
                if *len > 0 && *len + line.len() as u64 > *max_len {
                    let mut old = path.as_os_str().to_owned();
                    old.push(".1");
                    fs::rename(&*path, &old)?;
                    (*file, *len) = open(path)?;
                }
                *len += line.len() as u64;
                file.write_all(line.as_bytes())
            }
        }
    }
}

/// Opens a file to append to, and says how long it is. Not through a link: others may be able to write in the folder.
fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).bits())
        .open(path)?;
    let len = file.metadata()?.len();
    Ok((file, len))
}

fn write_all(mut sink: Sink, lines: &Receiver<String>, dropped: &AtomicU64) {
    let mut is_failing = false;
    for mut line in lines {
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            line.insert_str(
                0,
                &format!("Logger WARNING: {count} lines came too fast to be written\n"),
            );
        }
        line.push('\n');
        match sink.write(&line) {
            Ok(()) => is_failing = false,
            Err(error) => {
                dropped.fetch_add(count + 1, Ordering::Relaxed);
                if !is_failing {
                    tracing::error!(%error, "lines cannot be written");
                }
                is_failing = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[tokio::test]
    async fn a_file_gets_every_line_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for line in ["one", "two"] {
            let (writer, writing) = Writer::start(Some(&path));
            assert_eq!(writer.method(), "logfile");
            writer.write(line.to_owned());
            drop(writer);
            writing.finish().await;
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_long_file_makes_room_for_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut sink = Sink::open(&path);
        if let Sink::File { max_len, .. } = &mut sink {
            *max_len = 8;
        }
        for line in ["first\n", "second\n", "third\n"] {
            sink.write(line).unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "third\n");
        assert_eq!(
            fs::read_to_string(folder.path().join("log.1")).unwrap(),
            "second\n"
        );
    }

    #[test]
    fn a_link_is_not_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("log"), folder.path().join("other"));
        symlink(&other, &path).unwrap();
        assert!(matches!(Sink::open(&path), Sink::Stderr));
        assert!(!other.exists());
    }
}
