//! A service's own settings between two runs: one small JSON file that only its user reads.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{CallError, Standard};

/// Longest file that is read, in bytes; what we write is far shorter.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Why settings could not be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("settings in {}", path.display())]
pub(crate) struct SettingsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Settings as they are, kept in a file if there is one.
#[derive(Debug)]
pub(crate) struct Kept<T> {
    path: Option<PathBuf>,
    current: Mutex<T>,
    /// Held while the file is written, so that the last change is what stays.
    saving: Mutex<()>,
}

impl<T> Kept<T>
where
    T: Clone + Default + DeserializeOwned + Serialize + Send + 'static,
{
    /// Starts with what the file holds; with the usual settings, and a word in the log, where it cannot be read.
    pub(crate) fn open(path: Option<PathBuf>) -> Arc<Self> {
        let read = path.as_deref().map_or_else(|| Ok(T::default()), load);
        let current = read.unwrap_or_else(|error| {
            tracing::warn!(%error, cause = %error.source, "the usual settings are used");
            T::default()
        });
        Arc::new(Self {
            path,
            current: Mutex::new(current),
            saving: Mutex::default(),
        })
    }

    /// The file as text; empty where there is none.
    pub(crate) fn path_text(&self) -> String {
        self.path
            .as_deref()
            .map_or_else(String::new, |path| path.display().to_string())
    }

    /// The settings.
    pub(crate) fn current(&self) -> T {
        lock(&self.current).clone()
    }

    /// Changes settings; what cannot be kept does not change.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub(crate) async fn change(
        self: &Arc<Self>,
        change: impl FnOnce(&mut T) + Send + 'static,
    ) -> Result<(), CallError> {
        let kept = Arc::clone(self);
        let changed = tokio::task::spawn_blocking(move || kept.change_blocking(change));
        match changed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, cause = %error.source, "not kept");
                Err(CallError::standard(
                    Standard::Failed,
                    "the settings cannot be kept",
                ))
            }
            Err(_) => Err(CallError::standard(Standard::Failed, "the service is ending")),
        }
    }

    fn change_blocking(&self, change: impl FnOnce(&mut T)) -> Result<(), SettingsError> {
        let _saving = lock(&self.saving);
        let mut next = self.current();
        change(&mut next);
        if let Some(path) = &self.path {
            save(path, &next)?;
        }
        *lock(&self.current) = next;
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads settings; those of a file that is not there are the usual ones.
///
/// # Errors
/// Where the file cannot be read, or holds something else.
fn load<T: DeserializeOwned + Default>(path: &Path) -> Result<T, SettingsError> {
    let read = || {
        if fs::metadata(path)?.len() > MAX_FILE_BYTES {
            return Err(io::Error::other("the file is too long"));
        }
        serde_json::from_str(&fs::read_to_string(path)?).map_err(io::Error::from)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        other => other.map_err(|source| SettingsError {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Keeps settings, mode 0600. A reader finds the old ones or the new ones, never a part. Blocks.
///
/// # Errors
/// Where the file or its folder cannot be written.
fn save<T: Serialize>(path: &Path, settings: &T) -> Result<(), SettingsError> {
    write(path, settings).map_err(|source| SettingsError {
        path: path.to_owned(),
        source,
    })
}

fn write<T: Serialize>(path: &Path, settings: &T) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(settings)?;
    text.push(b'\n');
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // One that is left from a crash may have another mode.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(&text)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

    use super::*;

    type Settings = BTreeMap<String, u32>;

    #[test]
    fn what_was_kept_is_found_again_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        assert_eq!(load::<Settings>(&path).unwrap(), Settings::new());
        let settings = Settings::from([("log_level".to_owned(), 6)]);
        for _ in 0..2 {
            save(&path, &settings).unwrap();
            assert_eq!(load::<Settings>(&path).unwrap(), settings);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_of_something_else_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        fs::write(&path, "[").unwrap();
        let error = load::<Settings>(&path).unwrap_err();
        assert!(error.to_string().ends_with("log.json"), "{error}");
    }
}
