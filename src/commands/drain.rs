//! `external-scheduler drain` and `undrain`: nodes that take no new tasks.

use std::process::ExitCode;

use super::target::{Target, arguments_with_target};
use super::{CommandError, print};
use crate::wire::NodeId;

arguments_with_target! {
    /// Let a node of a shared view take no new tasks. What runs there goes on.
    #[argh(subcommand, name = "drain")]
    pub struct Drain {
        /// ID of the node; a negative one comes after --
        #[argh(positional)]
        node: i64,

        /// name of the shared view (default: the only one)
        #[argh(option, arg_name = "name")]
        view: Option<String>,
    }
}

arguments_with_target! {
    /// Let a node that was drained take tasks again.
    #[argh(subcommand, name = "undrain")]
    pub struct Undrain {
        /// ID of the node; a negative one comes after --
        #[argh(positional)]
        node: i64,

        /// name of the shared view (default: the only one)
        #[argh(option, arg_name = "name")]
        view: Option<String>,
    }
}

impl Drain {
    pub fn run(self) -> Result<ExitCode, CommandError> {
        set_draining(&self.target()?, self.view.as_deref(), NodeId(self.node), true)
    }
}

impl Undrain {
    pub fn run(self) -> Result<ExitCode, CommandError> {
        set_draining(&self.target()?, self.view.as_deref(), NodeId(self.node), false)
    }
}

fn set_draining(target: &Target, view: Option<&str>, node: NodeId, on: bool) -> Result<ExitCode, CommandError> {
    let mut view = target.connect_to_view(view)?;
    view.client.drain(node, on).map_err(|error| target.failure(&error))?;
    let state = if on { "takes no new tasks" } else { "takes tasks" };
    print(&format!("node {node} of view '{}' {state}", view.name));
    Ok(ExitCode::SUCCESS)
}
