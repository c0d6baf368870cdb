//! Programs that a test starts: their output goes to a file, is waited for with a deadline, and is printed when
//! the test fails. A program ends with the value that stands for it.

use std::fs;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How often a file or a child is looked at while waiting.
const GLANCE: Duration = Duration::from_millis(5);
/// Characters of a log that a failing test prints.
const TAIL: usize = 20_000;

/// A running program.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

/// What a program that ended by itself left.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Process {
    /// Starts `command`; standard output and error go to `NAME.log` in `dir`.
    pub(crate) fn start(dir: &Path, name: &str, command: &mut Command) -> Self {
        let log = free_name(dir, name);
        let file = File::create(&log).expect("a log file");
        let errors = file.try_clone().expect("a second handle of the log");
        let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            name: name.to_owned(),
            child,
            log,
        }
    }

    /// Everything printed so far.
    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).expect("the log")).into_owned()
    }

    /// Waits until a line that contains `text` has been printed and gives that line.
    pub(crate) fn wait_for(&mut self, text: &str, limit: Duration) -> String {
        self.wait_for_times(text, 1, limit)
    }

    /// Waits until `times` lines that contain `text` have been printed and gives the last of them.
    pub(crate) fn wait_for_times(&mut self, text: &str, times: usize, limit: Duration) -> String {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait().expect("the child's state");
            let log = self.log();
            let complete = log.rfind('\n').map_or("", |end| &log[..end]);
            if let Some(line) = complete.lines().filter(|line| line.contains(text)).nth(times - 1) {
                return line.to_owned();
            }
            if let Some(status) = ended {
                panic!("{} ended ({status}) without printing {text:?}", self.name);
            }
            assert!(
                Instant::now() < deadline,
                "{} did not print {text:?} in {limit:?}",
                self.name
            );
            std::thread::sleep(GLANCE);
        }
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("a signal to our own child");
    }

    /// Waits for the end and gives the exit status with the time it took.
    pub(crate) fn wait(&mut self, limit: Duration) -> (ExitStatus, Duration) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("the child's state") {
                return (status, start.elapsed());
            }
            assert!(
                start.elapsed() < limit,
                "{} still runs after {limit:?}",
                self.name
            );
            std::thread::sleep(GLANCE);
        }
    }

    /// Whether the program still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the child's state").is_none()
    }

    /// Descriptors that are open.
    pub(crate) fn open_files(&self) -> usize {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        entries.expect("the process's descriptors").count()
    }

    /// A field of `/proc/PID/status`.
    pub(crate) fn status_field(&self, field: &str) -> String {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the process's status");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {field} in the status of {}", self.name))
            .trim()
            .to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            let log = self.log();
            let tail: String = log
                .chars()
                .skip(log.chars().count().saturating_sub(TAIL))
                .collect();
            eprintln!("──── {} ────\n{tail}", self.name);
        }
    }
}

/// Runs a program to its end, at most for `limit`.
pub(crate) fn finish(dir: &Path, name: &str, command: &mut Command, limit: Duration) -> Finished {
    let (out, err) = (free_name(dir, name), free_name(dir, &format!("{name}-stderr")));
    let start = Instant::now();
    let files = [&out, &err].map(|path| File::create(path).expect("an output file"));
    let [stdout, stderr] = files;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("a child");
    let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).expect("the output")).into_owned();
    loop {
        if let Some(status) = child.try_wait().expect("the child's state") {
            let took = start.elapsed();
            return Finished {
                status: status.code(),
                stdout: read(&out),
                stderr: read(&err),
                took,
            };
        }
        if start.elapsed() > limit {
            drop(child.kill());
            drop(child.wait());
            panic!("{name} still ran after {limit:?}:\n{}{}", read(&out), read(&err));
        }
        std::thread::sleep(GLANCE);
    }
}

/// `NAME.log` or `NAME-N.log`, whichever is not there yet.
fn free_name(dir: &Path, name: &str) -> PathBuf {
    let names = std::iter::once(format!("{name}.log")).chain((2..1000).map(|n| format!("{name}-{n}.log")));
    names
        .map(|name| dir.join(name))
        .find(|path| !path.exists())
        .expect("a free file name")
}
