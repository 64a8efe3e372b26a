//! `external-scheduler explain`: why a task is placed where it is, or not at all.

use std::process::ExitCode;

use serde_json::Value;

use super::target::arguments_with_target;
use super::{CommandError, print, values};

arguments_with_target! {
    /// Explain where a task would be placed in a shared view, or why it is not: explain CPU=4 GPU=1 memory=8GiB.
    /// Nothing is placed.
    #[argh(subcommand, name = "explain")]
    pub struct Explain {
        /// what the task asks for: CPU=4, GPU=0.5, memory=8GiB
        #[argh(positional, arg_name = "resource=amount", from_str_fn(values::demand))]
        demand: Vec<(String, f64)>,

        /// name of the shared view (default: the only one)
        #[argh(option, arg_name = "name")]
        view: Option<String>,

        /// print all that the server knows of it, as JSON
        #[argh(switch)]
        json: bool,
    }
}

impl Explain {
    pub fn run(self) -> Result<ExitCode, CommandError> {
        let target = self.target()?;
        let mut view = target.connect_to_view(self.view.as_deref())?;
        let demand: Vec<(&str, f64)> = self.demand.iter().map(|(name, amount)| (name.as_str(), *amount)).collect();
        let text = view.client.explain(&demand).map_err(|error| target.failure(&error))?;
        let explanation = target.json(&text)?;
        match &explanation["summary"] {
            Value::String(summary) if !self.json => print(summary),
            _ => print(&format!("{explanation:#}")),
        }
        Ok(ExitCode::SUCCESS)
    }
}
