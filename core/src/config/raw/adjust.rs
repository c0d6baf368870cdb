//! Changing options that were read: what somebody sets beside a profile takes the place of what it says.
//!
//! The table decides about these options as it does about written ones. They have no line: their place is the file.

use super::{Directive, Directives, Reader};
use crate::{
    config::{
        error::ConfigErrors,
        lex::{Block, Statement},
        options::Transport,
    },
    secret::SecretString,
};

impl Directives {
    /// Puts an option in place of all of that name, those in `<connection>` blocks included.
    ///
    /// # Errors
    /// What the table says against it; nothing is changed then.
    pub fn set(&mut self, name: &str, args: &[&str]) -> Result<(), ConfigErrors> {
        let parameters = std::iter::once(&name).chain(args).map(|text| (*text).to_owned());
        self.put(Statement {
            line: 0,
            parameters: parameters.collect(),
            block: None,
        })
    }

    /// Puts an option with a block in place of all of that name.
    ///
    /// # Errors
    /// As [`Directives::set`].
    pub fn set_block(&mut self, name: &str, content: SecretString) -> Result<(), ConfigErrors> {
        self.put(Statement {
            line: 0,
            parameters: vec![name.to_owned()],
            block: Some(Block {
                line: 0,
                text: content,
            }),
        })
    }

    /// Removes all options of that name, those in `<connection>` blocks included.
    pub fn remove(&mut self, name: &str) {
        self.global.retain(|directive| directive.spec.name != name);
        for block in &mut self.connections {
            block.directives.retain(|directive| directive.spec.name != name);
        }
    }

    /// Gives all remotes another host, port or transport. The host is checked when the configuration is resolved.
    ///
    /// # Errors
    /// As [`Directives::set`].
    pub fn set_remotes(
        &mut self,
        host: Option<&str>,
        port: Option<u16>,
        transport: Option<Transport>,
    ) -> Result<(), ConfigErrors> {
        let port = port.map(|port| port.to_string());
        let proto = transport.map(|transport| match transport {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
        });
        if let Some(proto) = proto {
            // What is not said by a remote itself; `proto-force` would leave out what was just changed.
            self.set("proto", &[proto])?;
            self.remove("proto-force");
        }
        let inside = self
            .connections
            .iter_mut()
            .flat_map(|block| &mut block.directives);
        for remote in self.global.iter_mut().chain(inside) {
            if remote.spec.name == "remote" {
                readdress(remote, [host, port.as_deref(), proto]);
            }
        }
        Ok(())
    }

    fn put(&mut self, statement: Statement) -> Result<(), ConfigErrors> {
        let mut reader = Reader::new(&self.file);
        reader.role = self.role;
        let directive = reader.directive(statement, false);
        let (read, errors) = reader.finish();
        if !errors.is_empty() {
            return Err(errors);
        }
        if let Some(directive) = directive {
            self.remove(directive.spec.name);
            // Before all others, since blocks inherit what stands before them.
            self.global.insert(0, directive);
            self.notes.extend(read.notes);
        }
        Ok(())
    }
}

/// Replaces parameters of a `remote`; a port is added where there is none, a transport is not.
fn readdress(remote: &mut Directive, parameters: [Option<&str>; 3]) {
    let names_host_alone = remote.args.len() == 1;
    for (index, new) in parameters.into_iter().enumerate() {
        let Some(new) = new else { continue };
        match remote.args.get_mut(index) {
            Some(old) => new.clone_into(old),
            None if index == 1 && names_host_alone => remote.args.push(new.to_owned()),
            None => {}
        }
    }
}
