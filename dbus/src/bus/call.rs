//! One call as a service sees it, and what it answers with.

use serde::de::DeserializeOwned;
use zbus::{Message, Structure, Type, Variant, message::Header};

use super::interface::{Interface, Method, Property};
use crate::error::CallError;

/// Whose a call is, as the bus says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Unique bus name.
    pub name: String,
    /// User.
    pub uid: u32,
    /// Process; 0 where the bus does not know.
    pub pid: u32,
}

/// A method call whose object, method and signature are known to be right.
#[derive(Debug)]
pub struct Call {
    /// Whose it is.
    pub caller: Caller,
    /// Object.
    pub path: String,
    /// Interface.
    pub interface: &'static Interface,
    /// Method.
    pub method: &'static Method,
    pub(super) message: Message,
}

impl Call {
    /// The arguments: one value, or a tuple of several.
    ///
    /// # Errors
    /// Where the bytes are not what the signature says.
    pub fn args<T: DeserializeOwned + Type>(&self) -> Result<T, CallError> {
        read_body(&self.message)
    }
}

/// An access to a property that exists.
#[derive(Debug)]
pub struct Access {
    /// Whose it is.
    pub caller: Caller,
    /// Object.
    pub path: String,
    /// Interface.
    pub interface: &'static Interface,
    /// Property.
    pub property: &'static Property,
}

/// A signal that was sent to this connection or matches a rule of its.
#[derive(Debug)]
pub struct Received {
    /// Unique name of the sender.
    pub sender: String,
    /// Object.
    pub path: String,
    /// Interface.
    pub interface: String,
    /// Name of the signal.
    pub member: String,
    message: Message,
}

impl Received {
    pub(crate) fn new(message: Message) -> Option<Self> {
        let (sender, path, interface, member) = {
            let header = message.header();
            let text = |part: &dyn ToString| part.to_string();
            (
                text(header.sender()?),
                text(header.path()?),
                text(header.interface()?),
                text(header.member()?),
            )
        };
        Some(Self {
            sender,
            path,
            interface,
            member,
            message,
        })
    }

    /// What it carries; `None` where that is something else.
    pub fn args<T: DeserializeOwned + Type>(&self) -> Option<T> {
        read_body(&self.message).ok()
    }
}

/// Reads a body whose types must be those of `T`.
///
/// # Errors
/// For other types, and for bytes that are not of these types.
pub fn read_body<T: DeserializeOwned + Type>(message: &Message) -> Result<T, CallError> {
    let body = message.body();
    let (found, wanted) = (
        body.signature().to_string_no_parens(),
        T::SIGNATURE.to_string_no_parens(),
    );
    if found != wanted {
        return Err(CallError::invalid_args(format!(
            "Type of message, “({found})”, does not match expected type “({wanted})”"
        )));
    }
    body.deserialize_ignore_signature()
        .map_err(|error| CallError::invalid_args(format!("the arguments cannot be read: {error}")))
}

/// What a message carries: nothing, or values one behind the other.
#[derive(Debug)]
pub struct Body(Option<Structure<'static>>);

impl Body {
    /// Nothing.
    pub const fn none() -> Self {
        Self(None)
    }

    /// The values of a tuple.
    pub fn of(values: impl Into<Structure<'static>>) -> Self {
        Self(Some(values.into()))
    }

    pub(super) fn into_values(self) -> Option<Structure<'static>> {
        self.0
    }

    fn build(&self, builder: zbus::message::Builder<'_>) -> zbus::Result<Message> {
        match &self.0 {
            Some(values) => builder.build(values),
            None => builder.build(&()),
        }
    }

    pub(super) fn answer(&self, call: &Header<'_>) -> zbus::Result<Message> {
        self.build(Message::method_return(call))
    }
}

/// A property's value.
pub type Value = Variant<'static>;
