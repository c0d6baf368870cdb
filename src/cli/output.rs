//! Result lines on standard output: a sentence for people, an object for programs.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

/// Prints result lines in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// Prints JSON, or text, or text only where it is the result itself.
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
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
            let _closed = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Prints an error to standard error, or as an object to standard output.
    pub fn error(&self, text: &str, status: u8) {
        if self.json {
            self.print(&object("error", json!({ "message": text, "status": status })).to_string());
        } else {
            // A closed standard error leaves nobody to tell.
            let _closed = writeln!(io::stderr().lock(), "tunless: {text}");
        }
    }

    /// Prints one line that is the result itself.
    pub fn print(&self, line: &str) {
        // A closed pipe (`tunless … | head -1`) ends the printing, not the tunnel.
        let mut out = io::stdout().lock();
        let _closed = writeln!(out, "{line}").and_then(|()| out.flush());
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
