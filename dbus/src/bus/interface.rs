//! What an interface consists of, as one table: dispatch checks calls against it, and introspection prints it.

/// An interface.
#[derive(Debug)]
pub struct Interface {
    /// Its name.
    pub name: &'static str,
    /// Its methods.
    pub methods: &'static [Method],
    /// Its signals.
    pub signals: &'static [Signal],
    /// Its properties.
    pub properties: &'static [Property],
}

/// Name and signature of an argument.
pub type Arg = (&'static str, &'static str);

/// A method.
#[derive(Debug)]
pub struct Method {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub inputs: &'static [Arg],
    /// What it gives.
    pub outputs: &'static [Arg],
}

/// A signal.
#[derive(Debug)]
pub struct Signal {
    /// Its name.
    pub name: &'static str,
    /// What it carries.
    pub args: &'static [Arg],
}

/// A property.
#[derive(Debug)]
pub struct Property {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub signature: &'static str,
    /// Whether it can be set.
    pub writable: bool,
}

/// A method, shortly.
pub const fn method(name: &'static str, inputs: &'static [Arg], outputs: &'static [Arg]) -> Method {
    Method {
        name,
        inputs,
        outputs,
    }
}

/// A signal, shortly.
pub const fn signal(name: &'static str, args: &'static [Arg]) -> Signal {
    Signal { name, args }
}

/// A property that can be read, shortly.
pub const fn read(name: &'static str, signature: &'static str) -> Property {
    Property {
        name,
        signature,
        writable: false,
    }
}

/// A property that can be read and set, shortly.
pub const fn read_write(name: &'static str, signature: &'static str) -> Property {
    Property {
        name,
        signature,
        writable: true,
    }
}

impl Interface {
    /// The method of that name.
    pub fn method(&self, name: &str) -> Option<&'static Method> {
        self.methods.iter().find(|method| method.name == name)
    }

    /// The property of that name.
    pub fn property(&self, name: &str) -> Option<&'static Property> {
        self.properties.iter().find(|property| property.name == name)
    }
}

impl Method {
    /// The types that it takes, one behind the other.
    pub fn input_signature(&self) -> String {
        self.inputs.iter().map(|(_, signature)| *signature).collect()
    }
}

/// `org.freedesktop.DBus.Properties`, on every object.
pub static PROPERTIES: Interface = Interface {
    name: crate::names::interface::PROPERTIES,
    methods: &[
        method(
            "Get",
            &[("interface_name", "s"), ("property_name", "s")],
            &[("value", "v")],
        ),
        method("GetAll", &[("interface_name", "s")], &[("properties", "a{sv}")]),
        method(
            "Set",
            &[("interface_name", "s"), ("property_name", "s"), ("value", "v")],
            &[],
        ),
    ],
    signals: &[signal(
        "PropertiesChanged",
        &[
            ("interface_name", "s"),
            ("changed_properties", "a{sv}"),
            ("invalidated_properties", "as"),
        ],
    )],
    properties: &[],
};

/// `org.freedesktop.DBus.Introspectable`, on every path.
pub static INTROSPECTABLE: Interface = Interface {
    name: crate::names::interface::INTROSPECTABLE,
    methods: &[method("Introspect", &[], &[("xml_data", "s")])],
    signals: &[],
    properties: &[],
};

/// `org.freedesktop.DBus.Peer`, on every path.
pub static PEER: Interface = Interface {
    name: crate::names::interface::PEER,
    methods: &[
        method("Ping", &[], &[]),
        method("GetMachineId", &[], &[("machine_uuid", "s")]),
    ],
    signals: &[],
    properties: &[],
};
