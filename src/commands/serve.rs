//! `external-scheduler serve`: the server.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use argh::FromArgs;

use super::{CommandError, print, process, token, values};
use crate::bench::echo::EchoService;
use crate::execute::token::Token;
use crate::execute::{LEASE, SchedulerService, ServiceOptions};
use crate::memory::MemoryLimit;
use crate::scheduler::node_table::{NAMES_MAX, TableLimits};
use crate::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use crate::scheduler::units::{UNIT_RESOURCES, UnitResources};
use crate::scheduler::view::{NODES_MAX, ViewOptions};
use crate::server::allow::AllowList;
use crate::server::busy_poll::BusyPoll;
use crate::server::listener::Listener;
use crate::server::manager::ServiceManager;
use crate::server::service::Service;
use crate::server::waits::{FRAME_TIMEOUT, Timeouts, WRITE_TIMEOUT};
use crate::server::{Limits, SHUTDOWN_TIMEOUT, Server};

/// Descriptors that are no connections: standard streams, listeners, the poll, the signals.
const DESCRIPTORS_SPARE: u64 = 16;

/// Serve Ray: listen, and answer which node runs a task.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "serve")]
pub struct Serve {
    /// address to listen on (default 127.0.0.1)
    #[argh(option, short = 'a', default = "IpAddr::from([127, 0, 0, 1])")]
    address: IpAddr,

    /// port to listen on; 0 takes a free one (default 44444)
    #[argh(option, short = 'p', default = "44444")]
    port: u16,

    /// unix socket to listen on as well
    #[argh(option, arg_name = "path")]
    unix: Option<PathBuf>,

    /// who may connect to the unix socket, as a file mode (default 600: the same user)
    #[argh(option, arg_name = "mode", default = "0o600", from_str_fn(values::mode))]
    unix_mode: u32,

    /// which of the nodes that fit is taken; 'help' lists the policies (default binpack)
    #[argh(option, arg_name = "name", default = "DEFINITIONS[0].name.to_owned()")]
    policy: String,

    /// hybrid: utilisation below this counts as none (default 0.5)
    #[argh(option, default = "Parameters::default().spread_threshold", from_str_fn(values::share))]
    spread_threshold: f32,

    /// hybrid: the share of all nodes among whose best one is chosen at random; 0 for the best alone (default 0.2)
    #[argh(option, default = "Parameters::default().hybrid_top", from_str_fn(values::share))]
    hybrid_top: f32,

    /// seed of the policies that choose at random (default 1)
    #[argh(option, default = "Parameters::default().seed")]
    seed: u64,

    /// place tasks on free nodes only; else they may queue on nodes that are large enough
    #[argh(switch)]
    strict: bool,

    /// connections at most; more are closed at once (default 10000)
    #[argh(option, default = "10_000", from_str_fn(values::positive))]
    max_connections: usize,

    /// longest message; a peer that announces a longer one is disconnected (default 1MiB)
    #[argh(option, arg_name = "size", default = "1 << 20", from_str_fn(values::bytes))]
    max_frame: usize,

    /// nodes at most in a view; more are acknowledged and ignored (default 100000)
    #[argh(option, default = "NODES_MAX", from_str_fn(values::positive))]
    max_nodes: usize,

    /// different names of resources at most in a view; more are acknowledged and ignored (default 250000)
    #[argh(option, default = "NAMES_MAX", from_str_fn(values::positive))]
    max_names: usize,

    /// memory to take at most; near it there are no new connections, nodes and resources (default three quarters of what the
    /// machine or the process's control group has)
    #[argh(option, arg_name = "size", default = "default_memory_max()", from_str_fn(values::memory))]
    max_memory: usize,

    /// resources that come in units, like devices: a task gets whole ones, or a part of one; names with commas between
    /// (default GPU)
    #[argh(
        option,
        arg_name = "names",
        default = "UnitResources::named(UNIT_RESOURCES)",
        from_str_fn(values::unit_resources)
    )]
    unit_resources: UnitResources,

    /// how long nodes and placements of a shared view outlive the connection that they came from (default 10s)
    #[argh(option, arg_name = "time", default = "LEASE", from_str_fn(values::duration))]
    lease: Duration,

    /// a peer that has begun a message and not finished it is disconnected after this time (default 10s)
    #[argh(option, arg_name = "time", default = "FRAME_TIMEOUT", from_str_fn(values::timeout))]
    frame_timeout: Duration,

    /// a peer that does not read its replies is disconnected after this time (default 10s)
    #[argh(option, arg_name = "time", default = "WRITE_TIMEOUT", from_str_fn(values::timeout))]
    write_timeout: Duration,

    /// how long peers may take at exit to be sent the replies to what they have asked (default 2s)
    #[argh(option, arg_name = "time", default = "SHUTDOWN_TIMEOUT", from_str_fn(values::duration))]
    shutdown_timeout: Duration,

    /// accept connections from these addresses only: ranges with commas between, like 10.0.0.0/8,192.168.1.7
    #[argh(option, arg_name = "ranges", from_str_fn(values::allow_list))]
    allow: Option<AllowList>,

    /// listen on an address that others can reach, with neither --allow nor --token-file
    #[argh(switch)]
    insecure: bool,

    /// file with the token that every connection has to begin with; what surrounds it as white space does not count
    #[argh(option, arg_name = "file")]
    token_file: Option<PathBuf>,

    /// run on this processor core only
    #[argh(option, arg_name = "core")]
    pin_cpu: Option<usize>,

    /// keep polling for so long after the last event before sleeping, or 'always': 50us. Shortens round trips by the time that
    /// waking up takes, and takes the core meanwhile (default 0)
    #[argh(option, arg_name = "time", default = "BusyPoll::Never", from_str_fn(values::busy_poll))]
    busy_poll: BusyPoll,

    /// keep all memory of the server in RAM, so that none has to be read from disk; needs a limit on locked memory that
    /// leaves room (ulimit -l unlimited)
    #[argh(switch)]
    lock_memory: bool,

    /// answer without scheduling: the do-nothing peer that latencies are compared with
    #[argh(switch)]
    echo: bool,
}

impl Serve {
    pub fn run(self, allocated: fn() -> usize) -> Result<ExitCode, CommandError> {
        if self.policy == "help" {
            return Ok(print_policies());
        }
        let policy = self.policy()?;
        if let Some(core) = self.pin_cpu {
            process::pin_to_cores(&[core])
                .map_err(|error| CommandError::failure(format!("--pin-cpu {core}"), error))?;
        }
        if self.lock_memory {
            process::lock_memory().map_err(|error| CommandError::failure("--lock-memory", error))?;
        }
        let memory = MemoryLimit::new(allocated, self.max_memory);
        if self.echo {
            return self.serve(EchoService::default(), memory);
        }
        let options = ViewOptions {
            strict: self.strict,
            nodes_max: self.max_nodes,
            policy,
            unit_resources: self.unit_resources.clone(),
            limits: TableLimits { names_max: self.max_names, memory },
        };
        let options = ServiceOptions { view: options, lease: self.lease, token: self.token()? };
        self.serve(SchedulerService::new(options), memory)
    }

    fn serve<V: Service>(&self, service: V, memory: MemoryLimit) -> Result<ExitCode, CommandError> {
        let listeners = self.listen()?;
        let descriptors = process::raise_descriptor_limit();
        if descriptors < self.max_connections as u64 + DESCRIPTORS_SPARE {
            log::warn!(
                "--max-connections is {}, but this process may open only {descriptors} files",
                self.max_connections
            );
        }
        let limits = Limits {
            connections_max: self.max_connections,
            frame_length_max: self.max_frame,
            timeouts: Timeouts { frame: self.frame_timeout, write: self.write_timeout },
            shutdown_timeout: self.shutdown_timeout,
            allow: self.allow.clone().unwrap_or_default(),
            memory,
        };
        let addresses: Vec<String> = listeners.iter().map(Listener::to_string).collect();
        let manager =
            ServiceManager::from_environment().map_err(|error| CommandError::failure("NOTIFY_SOCKET", error))?;
        let server = Server::new(listeners, service, limits, self.busy_poll)
            .map_err(|error| CommandError::failure("cannot start", error))?
            .with_manager(manager);
        log::info!(
            "external-scheduler {}, policy {}, limits: {} connections, {} nodes a view, frames of {} bytes{}",
            env!("CARGO_PKG_VERSION"),
            self.policy,
            self.max_connections,
            self.max_nodes,
            self.max_frame,
            if self.strict { "; strict" } else { "" }
        );
        // Serving does not wait for somebody to take these lines.
        let announce = move || addresses.iter().for_each(|address| print(&format!("listening on {address}")));
        _ = thread::Builder::new().name("announce".to_owned()).spawn(announce);
        server.run().map_err(|error| CommandError::failure("the poll loop failed", error))?;
        Ok(ExitCode::SUCCESS)
    }

    fn policy(&self) -> Result<Policy, CommandError> {
        let parameters =
            Parameters { spread_threshold: self.spread_threshold, hybrid_top: self.hybrid_top, seed: self.seed };
        Policy::named(&self.policy, parameters).ok_or_else(|| {
            CommandError::Usage(format!("there is no policy '{}': 'serve --policy help' lists them", self.policy))
        })
    }

    fn token(&self) -> Result<Option<Token>, CommandError> {
        let token = self.token_file.as_deref().map(token::read).transpose()?;
        Ok(token.map(|token| Token::new(&token)))
    }

    /// Whether it was said who may connect, where not only this machine's users can.
    fn check_access(&self, address: IpAddr) -> Result<(), CommandError> {
        let is_guarded = self.allow.is_some() || self.token_file.is_some() || self.insecure;
        if is_guarded || address.to_canonical().is_loopback() {
            return Ok(());
        }
        Err(CommandError::Usage(format!(
            "{address} can be reached from other machines, and whoever connects can take up the server's time and memory: say \
             from where (--allow 10.0.0.0/8), ask for a token (--token-file), or, where a firewall decides, give --insecure"
        )))
    }

    /// Sockets that a service manager has passed, or else those that were asked for.
    fn listen(&self) -> Result<Vec<Listener>, CommandError> {
        let passed =
            Listener::passed().map_err(|error| CommandError::failure("a socket passed to this process", error))?;
        if !passed.is_empty() {
            passed.iter().filter_map(Listener::tcp_address).try_for_each(|address| self.check_access(address.ip()))?;
            return Ok(passed);
        }
        self.check_access(self.address)?;
        let address = SocketAddr::new(self.address, self.port);
        let failure =
            |at: &dyn std::fmt::Display, error| CommandError::failure(format!("cannot listen on {at}"), error);
        let mut listeners = vec![Listener::tcp(address).map_err(|error| failure(&address, error))?];
        if let Some(path) = &self.unix {
            listeners.push(Listener::unix(path, self.unix_mode).map_err(|error| failure(&path.display(), error))?);
        }
        Ok(listeners)
    }
}

/// The share of the memory there is that a server takes at most, where nothing else is said: the rest is for the kernel's
/// buffers, for what the allocator cannot use, and for others.
const MEMORY_SHARE: f64 = 0.75;

fn default_memory_max() -> usize {
    process::memory_bytes().map_or(usize::MAX, |bytes| (bytes as f64 * MEMORY_SHARE) as usize)
}

fn print_policies() -> ExitCode {
    for definition in &DEFINITIONS {
        print(&format!("{:<16}{}", definition.name, definition.summary));
    }
    ExitCode::SUCCESS
}
