//! The command line: one file a subcommand, with its arguments and what it runs.
//!
//! Exit codes: 0 done, 1 failure, 2 usage; 99 where `bench` misses an objective.

mod background;
mod bench;
mod drain;
mod explain;
mod output;
mod process;
mod replay;
mod serve;
mod status;
mod target;
mod token;
mod values;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;

use self::background::BackgroundFlush;

/// External scheduler for Ray: decides in microseconds which node runs a task.
#[derive(FromArgs, Debug)]
struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs, Debug)]
#[argh(subcommand)]
enum Command {
    Serve(serve::Serve),
    Bench(Box<bench::Bench>),
    Replay(Box<replay::Replay>),
    Status(status::Status),
    Explain(explain::Explain),
    Drain(drain::Drain),
    Undrain(drain::Undrain),
}

/// Why a command ended without doing what it should.
#[derive(Debug)]
pub enum CommandError {
    /// It was called wrongly.
    Usage(String),
    /// It failed.
    Failure(String),
}

impl CommandError {
    fn failure(what: impl fmt::Display, cause: impl fmt::Display) -> Self {
        Self::Failure(format!("{what}: {cause}"))
    }
}

const USAGE_EXIT_CODE: u8 = 2;

/// How long the last lines of a server's log may take at exit.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the program. `allocated` says how many bytes it has allocated.
pub fn main(allocated: fn() -> usize) -> ExitCode {
    let arguments: Vec<String> = match std::env::args_os().skip(1).map(|argument| argument.into_string()).collect() {
        Ok(arguments) => arguments,
        Err(argument) => return usage(&format!("not valid UTF-8: {}", argument.display())),
    };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if matches!(arguments[..], ["--version" | "-V"]) {
        print(concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION")));
        return ExitCode::SUCCESS;
    }
    let arguments = match Arguments::from_args(&[env!("CARGO_PKG_NAME")], &arguments) {
        Ok(arguments) => arguments,
        Err(exit) if exit.status.is_ok() => {
            print(exit.output.trim_end());
            return ExitCode::SUCCESS;
        }
        Err(exit) => return usage(exit.output.trim_end()),
    };
    let mut logger = env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"));
    logger.format_timestamp_millis();
    let is_server = matches!(arguments.command, Command::Serve(_));
    let log_flush = if is_server { log_in_background(&mut logger) } else { None };
    logger.init();
    let result = match arguments.command {
        Command::Serve(serve) => serve.run(allocated),
        Command::Bench(bench) => bench.run(),
        Command::Replay(replay) => replay.run(),
        Command::Status(status) => status.run(),
        Command::Explain(explain) => explain.run(),
        Command::Drain(drain) => drain.run(),
        Command::Undrain(undrain) => undrain.run(),
    };
    if let Some(log_flush) = log_flush {
        log_flush.flush(LOG_FLUSH_TIMEOUT);
    }
    match result {
        Ok(exit_code) => exit_code,
        Err(CommandError::Usage(message)) => usage(&message),
        Err(CommandError::Failure(message)) => {
            print_error(&message);
            ExitCode::FAILURE
        }
    }
}

/// Lets the log go its own way, so that who does not take it does not hold a server up.
fn log_in_background(logger: &mut env_logger::Builder) -> Option<BackgroundFlush> {
    // Without a thread for it, the log is written as usual.
    let (writer, flush) = background::start(io::stderr()).ok()?;
    logger.target(env_logger::Target::Pipe(Box::new(writer)));
    if io::stderr().is_terminal() && std::env::var_os("RUST_LOG_STYLE").is_none() {
        logger.write_style(env_logger::WriteStyle::Always);
    }
    Some(flush)
}

fn usage(message: &str) -> ExitCode {
    print_error(message);
    ExitCode::from(USAGE_EXIT_CODE)
}

/// Prints a line; where nobody reads standard output any more, that is no failure.
fn print(line: &str) {
    _ = try_print(line);
}

/// Prints a line, for who wants to end where nobody reads it any more.
fn try_print(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn print_error(message: &str) {
    _ = writeln!(io::stderr(), "{}: {message}", env!("CARGO_PKG_NAME"));
}
