//! Records of running sessions, so that a session manager that is started anew finds what still runs.
//!
//! One file a session, mode 0600 in a folder of mode 0700: the token in it is a secret.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::session::Record;

/// Records that are read at a start; more than can run.
const MAX_RECORDS: usize = 4096;
/// Longest record that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// The folder of records.
#[derive(Debug)]
pub(super) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Makes the folder where it is missing.
    pub(super) fn open(state_dir: &Path) -> io::Result<Self> {
        let folder = state_dir.join("sessions");
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// Every record that can be read; what cannot is removed.
    pub(super) fn load(&self) -> Vec<Record> {
        let Ok(files) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut records = Vec::new();
        for file in files.flatten().take(MAX_RECORDS) {
            let path = file.path();
            match read(&path) {
                Ok(record) if self.file_of(&record.path) == Some(path.clone()) => records.push(record),
                Ok(_) => remove(&path),
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "a session's record cannot be read");
                    remove(&path);
                }
            }
        }
        records
    }

    /// Writes a record.
    pub(super) fn save(&self, record: &Record) {
        let Some(path) = self.file_of(&record.path) else {
            return;
        };
        if let Err(error) = write(&path, record) {
            tracing::warn!(%error, path = %path.display(), "a session's record cannot be written: it would not be found again");
        }
    }

    /// Removes a record.
    pub(super) fn forget(&self, session_path: &str) {
        if let Some(path) = self.file_of(session_path) {
            remove(&path);
        }
    }

    fn file_of(&self, session_path: &str) -> Option<PathBuf> {
        let id = session_path.rsplit('/').next()?;
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        is_id.then(|| self.folder.join(format!("{id}.json")))
    }
}

fn read(path: &Path) -> io::Result<Record> {
    let file = File::open(path)?;
    if file.metadata()?.len() > MAX_BYTES {
        return Err(io::Error::other("it is too large for a record"));
    }
    serde_json::from_reader(file).map_err(io::Error::other)
}

fn write(path: &Path, record: &Record) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    let text = serde_json::to_vec(record).map_err(io::Error::other)?;
    file.write_all(&text)?;
    fs::rename(&new, path)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a session's record cannot be removed");
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::{super::session::example, *};

    #[test]
    fn records_are_found_again_and_closed_to_others() {
        let state = tempfile::tempdir().unwrap();
        let store = Store::open(state.path()).unwrap();
        let record = example().record;
        store.save(&record);
        let file = state.path().join("sessions/1.json");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(store.load(), std::slice::from_ref(&record));
        // What cannot be read is no session.
        fs::write(state.path().join("sessions/2.json"), "{").unwrap();
        fs::write(state.path().join("sessions/3.json"), fs::read(&file).unwrap()).unwrap();
        assert_eq!(store.load(), std::slice::from_ref(&record));
        assert_eq!(fs::read_dir(state.path().join("sessions")).unwrap().count(), 1);
        store.forget(&record.path);
        assert!(store.load().is_empty());
        store.forget("/net/openvpn/v3/sessions/../../etc");
    }
}
