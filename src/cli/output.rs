//! Result lines on standard output: a sentence for people, an object for programs.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::screen;

/// Prints result lines in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
    /// Standard output is somebody else's.
    aside: bool,
}

impl Output {
    /// Prints JSON, or text, or text only where it is the result itself.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            aside: false,
        }
    }

    /// Prints to standard error whatever is printed, where standard output carries something else.
    #[must_use]
    pub fn aside(self, aside: bool) -> Self {
        Self { aside, ..self }
    }

    /// Prints `text`, or an object whose `event` is `event` with the fields of `value`.
    pub fn say(&self, event: &str, text: &str, value: Value) {
        if self.json {
            self.print(&object(event, value).to_string());
        } else if !self.quiet {
            self.print(text);
        }
    }

    /// Prints what a person should know but no program needs as a result: to standard error.
    pub fn notice(&self, event: &str, text: &str, value: Value) {
        if self.json {
            self.print(&object(event, value).to_string());
        } else if !self.quiet {
            // A closed standard error leaves nobody to tell.
            let _closed = screen::around(|| writeln!(io::stderr().lock(), "{text}"));
        }
    }

    /// Prints what a signal asked for, even when little is to be said: to standard error, or as an object.
    pub fn asked(&self, event: &str, text: &str, value: Value) {
        if self.json {
            self.print(&object(event, value).to_string());
        } else {
            // A closed standard error leaves nobody to tell.
            let _closed = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Prints an error to standard error, or as an object to standard output.
    pub fn error(&self, text: &str, status: u8) {
        if self.json {
            self.print(&object("error", json!({ "message": text, "status": status })).to_string());
        } else {
            // A closed standard error leaves nobody to tell.
            let _closed = screen::around(|| writeln!(io::stderr().lock(), "tunless: {text}"));
        }
    }

    /// Prints one line that is the result itself; `false` when nobody takes it.
    pub fn print(&self, line: &str) -> bool {
        if self.aside {
            return screen::around(|| writeln!(io::stderr().lock(), "{line}")).is_ok();
        }
        // A closed pipe (`tunless … | head -1`) ends the printing, not the tunnel.
        let printed = screen::around(|| {
            let mut out = io::stdout().lock();
            writeln!(out, "{line}").and_then(|()| out.flush())
        });
        printed.is_ok()
    }

    /// Prints an object as it is, for programs only.
    pub fn object(&self, value: &Value) -> bool {
        self.print(&value.to_string())
    }

    /// Tells whether errors alone are printed.
    pub fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Tells whether lines are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }
}

fn object(event: &str, value: Value) -> Value {
    let mut fields = Map::new();
    fields.insert("event".into(), event.into());
    match value {
        Value::Object(more) => fields.extend(more),
        Value::Null => {}
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            fields.insert("value".into(), other);
        }
    }
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_name_their_event() {
        let line = object("listening", json!({ "address": "127.0.0.1:1080" }));
        assert_eq!(line, json!({ "event": "listening", "address": "127.0.0.1:1080" }));
        assert_eq!(object("done", Value::Null), json!({ "event": "done" }));
    }
}
