//! The server that a command asks, and the shared view there.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{CommandError, token};
use crate::client::{Address, Client, ClientError, ErrorCode, Timeouts};

/// Where a server listens if nothing else is said.
const HOST: &str = "127.0.0.1";
const PORT: u16 = 44444;

/// Defines the arguments of a command that asks a server: its own, then those that say which server. `argh` cannot
/// take arguments from another struct.
macro_rules! arguments_with_target {
    ($(#[$attribute:meta])* pub struct $name:ident { $($field:tt)* }) => {
        #[derive(argh::FromArgs, Debug)]
        $(#[$attribute])*
        pub struct $name {
            $($field)*

            /// address or host name of the server (default 127.0.0.1)
            #[argh(option, short = 'a')]
            address: Option<String>,

            /// port of the server (default 44444)
            #[argh(option, short = 'p')]
            port: Option<u16>,

            /// unix socket of the server
            #[argh(option, arg_name = "path")]
            unix: Option<std::path::PathBuf>,

            /// file with the token that the server asks for
            #[argh(option, arg_name = "file")]
            token_file: Option<std::path::PathBuf>,
        }

        impl $name {
            /// The server that the arguments name.
            fn target(&self) -> Result<super::target::Target, super::CommandError> {
                let Self { address, port, unix, token_file, .. } = self;
                super::target::Target::new(address.as_deref(), *port, unix.as_deref(), token_file.clone())
            }
        }
    };
}
pub(super) use arguments_with_target;

/// A server, and what it takes to be let in.
#[derive(Debug)]
pub struct Target {
    address: Address,
    token_file: Option<PathBuf>,
    token: Vec<u8>,
}

/// A connection that has joined a shared view.
#[derive(Debug)]
pub struct SharedView {
    pub name: String,
    pub client: Client,
}

impl Target {
    /// The server at an address and port, or at a Unix socket.
    pub fn new(
        address: Option<&str>,
        port: Option<u16>,
        unix: Option<&Path>,
        token_file: Option<PathBuf>,
    ) -> Result<Self, CommandError> {
        let address = match unix {
            Some(_) if address.is_some() || port.is_some() => {
                return Err(CommandError::Usage("give --unix or --address and --port, not both".to_owned()));
            }
            Some(path) => Address::Unix(path.to_owned()),
            None => tcp_address(address.unwrap_or(HOST), port.unwrap_or(PORT))?,
        };
        let token = token_file.as_deref().map(token::read).transpose()?.unwrap_or_default();
        Ok(Self { address, token_file, token })
    }

    /// Connects, and joins the shared view of this name, which is made if there is none; no name joins none.
    fn connect(&self, view: &str) -> Result<Client, CommandError> {
        let mut client = Client::connect(&self.address, Timeouts::default())
            .map_err(|error| CommandError::failure(format!("no server answers at {}", self.address), error))?;
        client.hello(view, "", &self.token).map_err(|error| self.failure(&error))?;
        Ok(client)
    }

    /// Connects, and joins no shared view.
    pub fn connect_to_none(&self) -> Result<Client, CommandError> {
        self.connect("")
    }

    /// Connects, and joins the shared view of this name, or the only one there is.
    ///
    /// To join a view that is not there would make it, so the server is asked first. One that goes just then is made
    /// again, empty, and goes with the connection.
    pub fn connect_to_view(&self, name: Option<&str>) -> Result<SharedView, CommandError> {
        let stats = self.stats(&mut self.connect_to_none()?)?;
        let views = stats.pointer("/server/views").and_then(Value::as_array);
        let names: Vec<&str> = views.into_iter().flatten().filter_map(|view| view["name"].as_str()).collect();
        let name = match (name, &names[..]) {
            (Some(name), names) if names.contains(&name) => name,
            (Some(name), _) => return Err(self.no_view(&format!("no shared view '{name}' ('status' lists them)"))),
            (None, [only]) => only,
            (None, []) => return Err(self.no_view("no shared view")),
            (None, names) => return Err(self.no_view(&format!("{} shared views: choose by --view", names.len()))),
        };
        Ok(SharedView { name: name.to_owned(), client: self.connect(name)? })
    }

    /// Asks how the server and the view are.
    pub fn stats(&self, client: &mut Client) -> Result<Value, CommandError> {
        let text = client.stats().map_err(|error| self.failure(&error))?;
        self.json(&text)
    }

    /// The JSON of a reply.
    pub fn json(&self, text: &str) -> Result<Value, CommandError> {
        serde_json::from_str(text).map_err(|error| CommandError::failure(format!("{}: no JSON", self.address), error))
    }

    /// What the failure of a request means to the person who gave the command.
    pub fn failure(&self, error: &ClientError) -> CommandError {
        let address = &self.address;
        match (error, error.error_code(), &self.token_file) {
            (_, Some(ErrorCode::BadToken), None) => {
                CommandError::Failure(format!("{address}: the server asks for a token: give --token-file"))
            }
            (_, Some(ErrorCode::BadToken), Some(file)) => {
                CommandError::Failure(format!("{address}: the token in {} is not the server's", file.display()))
            }
            (ClientError::Refused { text, .. }, ..) => CommandError::failure(address, text),
            _ => CommandError::failure(address, error),
        }
    }

    fn no_view(&self, what: &str) -> CommandError {
        CommandError::Failure(format!("the server at {} has {what}", self.address))
    }
}

fn tcp_address(host: &str, port: u16) -> Result<Address, CommandError> {
    let address = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]:{port}"),
        _ => format!("{host}:{port}"),
    };
    // A port belongs to --port; the colons of an IPv6 address are in brackets by now.
    if !address.starts_with('[') && host.contains(':') {
        return Err(CommandError::Usage(format!("'{host}' is not an address: the port is given by --port")));
    }
    address.parse().map_err(|error| CommandError::Usage(format!("{error}")))
}
