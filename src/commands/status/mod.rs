//! `external-scheduler status`: how a server and its shared views are.

mod table;

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::target::arguments_with_target;
use super::{CommandError, try_print, values};

/// How often a watched status is shown if nothing else is said.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// Moves to the top of a terminal and clears it.
const CLEAR: &str = "\x1b[H\x1b[2J";

arguments_with_target! {
    /// Show how a server is: its totals and shared views, or one view's nodes and owners.
    #[argh(subcommand, name = "status")]
    pub struct Status {
        /// with --watch, the time from one to the next: 5, 500ms (default 2s)
        #[argh(positional, from_str_fn(values::duration))]
        seconds: Option<Duration>,

        /// show it again and again, until interrupted
        #[argh(switch)]
        watch: bool,

        /// name of a shared view to show
        #[argh(option, arg_name = "name")]
        view: Option<String>,

        /// print JSON; with --watch, one line each time
        #[argh(switch)]
        json: bool,
    }
}

impl Status {
    pub fn run(self) -> Result<ExitCode, CommandError> {
        let interval = self.interval()?;
        let target = self.target()?;
        let mut client = match &self.view {
            Some(name) => target.connect_to_view(Some(name))?.client,
            None => target.connect_to_none()?,
        };
        let mut before = None;
        loop {
            let mut stats = target.stats(&mut client)?;
            if let (None, Value::Object(stats)) = (&self.view, &mut stats) {
                // It is that of this connection alone.
                stats.remove("view");
            }
            if self.show(&stats, before.as_ref()).is_err() {
                // Nobody reads it any more.
                return Ok(ExitCode::SUCCESS);
            }
            let Some(interval) = interval else { return Ok(ExitCode::SUCCESS) };
            before = Some(stats);
            thread::sleep(interval);
        }
    }

    /// The time from one to the next; `None` where it is shown once.
    fn interval(&self) -> Result<Option<Duration>, CommandError> {
        match self.seconds {
            Some(_) if !self.watch => Err(CommandError::Usage("a time is for --watch".to_owned())),
            Some(Duration::ZERO) => Err(CommandError::Usage("the time of --watch must be above 0".to_owned())),
            seconds => Ok(self.watch.then_some(seconds.unwrap_or(WATCH_INTERVAL))),
        }
    }

    fn show(&self, stats: &Value, before: Option<&Value>) -> io::Result<()> {
        match (self.json, self.watch) {
            (true, true) => try_print(&stats.to_string()),
            (true, false) => try_print(&format!("{stats:#}")),
            (false, true) if io::stdout().is_terminal() => {
                try_print(&format!("{CLEAR}{}", table::text(stats, before).trim_end()))
            }
            (false, true) => try_print(&table::text(stats, before)),
            (false, false) => try_print(table::text(stats, before).trim_end()),
        }
    }
}
