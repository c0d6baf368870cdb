//! `tunless genkey`: static keys for tls-auth and tls-crypt.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::{Context as _, anyhow};
use serde_json::json;
use tunless_core::wrap::StaticKey;

use super::{args::Genkey, output::Output};
use crate::{cli::exit::Failure, driver::SystemRng};

/// Makes a key and writes it to the file that must not exist, or to standard output.
pub(super) fn run(args: &Genkey, output: Output) -> Result<(), Failure> {
    let key = StaticKey::generate(&mut SystemRng::default());
    let text = key.to_text();
    let Some(path) = &args.file else {
        if output.is_json() {
            output.say("key", "", json!({ "key": text.as_str() }));
        } else {
            output.print(text.trim_end());
        }
        return Ok(());
    };
    write_new(path, &text)?;
    output.say(
        "key",
        &format!("wrote {}", path.display()),
        json!({ "file": path.display().to_string() }),
    );
    Ok(())
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(anyhow!(
                "{} exists already; name another file or remove it first",
                path.display()
            ));
        }
        Err(error) => return Err(error).with_context(|| format!("cannot make {}", path.display())),
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::MetadataExt as _};

    use super::*;

    #[test]
    fn a_key_file_is_private_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ta.key");
        let args = Genkey {
            kind: crate::cli::args::KeyKind::TlsCrypt,
            file: Some(path.clone()),
        };
        run(&args, Output::new(false, true)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        StaticKey::parse(&text).unwrap();
        let refused = run(&args, Output::new(false, true)).unwrap_err();
        assert!(
            refused.error.to_string().contains("exists already"),
            "{:?}",
            refused.error
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}
