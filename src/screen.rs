//! Who writes to the terminal: one status line at its bottom, and everything else above it.
//!
//! Whatever is written to standard error or output goes through [`around`], which takes the line off first and puts
//! it back after; while a person types, nothing is drawn at all.

use std::{
    io::{self, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

static SCREEN: Mutex<Screen> = Mutex::new(Screen {
    line: String::new(),
    drawn: false,
    held: 0,
});

/// What is at the bottom of the terminal.
struct Screen {
    /// The status line; empty when there is none.
    line: String,
    /// Whether it stands there now.
    drawn: bool,
    /// Prompts that are open.
    held: usize,
}

/// Writes something else with the status line out of the way.
pub fn around<T>(write: impl FnOnce() -> T) -> T {
    let mut screen = lock();
    if screen.line.is_empty() {
        // A write that waits for a pipe holds nobody else up.
        drop(screen);
        return write();
    }
    screen.take_off();
    let result = write();
    screen.put_back();
    result
}

/// Replaces the status line; an empty one is none. `columns` is the terminal's width now.
pub fn show(line: &str, columns: usize) {
    let mut screen = lock();
    let rows = rows(&screen.line, columns);
    if screen.drawn {
        screen.drawn = false;
        write(&erase(rows));
    }
    line.clone_into(&mut screen.line);
    screen.put_back();
}

/// Keeps the status line off until the returned value is dropped.
#[must_use]
pub fn hold() -> Hold {
    let mut screen = lock();
    screen.take_off();
    screen.held += 1;
    Hold(())
}

/// Keeps the status line off.
#[derive(Debug)]
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        let mut screen = lock();
        screen.held = screen.held.saturating_sub(1);
        screen.put_back();
    }
}

impl Screen {
    fn take_off(&mut self) {
        if std::mem::take(&mut self.drawn) {
            write(&erase(1));
        }
    }

    fn put_back(&mut self) {
        if self.held == 0 && !self.drawn && !self.line.is_empty() {
            write(&self.line);
            self.drawn = true;
        }
    }
}

/// Rows that a line takes on a terminal that may have become narrower since it was written.
fn rows(line: &str, columns: usize) -> usize {
    line.chars().count().div_ceil(columns.max(1)).max(1)
}

/// Takes off the last `rows` rows (ECMA-48: CUU, ED).
fn erase(rows: usize) -> String {
    match rows {
        0 | 1 => "\r\x1b[J".into(),
        rows => format!("\x1b[{}A\r\x1b[J", rows - 1),
    }
}

fn write(text: &str) {
    let mut terminal = io::stderr().lock();
    // A closed terminal has nothing to show.
    let _closed = terminal
        .write_all(text.as_bytes())
        .and_then(|()| terminal.flush());
}

fn lock() -> MutexGuard<'static, Screen> {
    SCREEN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_no_longer_fits_is_taken_off_whole() {
        assert_eq!(rows("", 80), 1);
        assert_eq!(rows(&"x".repeat(79), 80), 1);
        assert_eq!(rows(&"↓".repeat(79), 40), 2);
        assert_eq!(rows("abc", 0), 3);
        assert_eq!(erase(1), "\r\x1b[J");
        assert_eq!(erase(3), "\x1b[2A\r\x1b[J");
    }
}
