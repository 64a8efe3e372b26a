//! What is run against the servers, and what is shown of it.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use indicatif::ProgressBar;
use serde_json::Value;

use super::targets::Targets;
use super::{Bench, output, process};
use crate::bench::client::Target;
use crate::bench::difference::{Difference, Run};
use crate::bench::generator::{self, Config};
use crate::bench::hdr_log;
use crate::bench::intrinsic;
use crate::bench::measurement::{Errors, Measurement};
use crate::bench::objective::Outcome;
use crate::bench::page;
use crate::bench::ramp::{Knee, Step};
use crate::bench::report::{self, Comparison, Medians};
use crate::commands::CommandError;

/// Bytes of a result to compare at most: those of the most intervals that a run may have, several times over.
const RESULT_LENGTH_MAX: u64 = 64 << 20;

/// Exit code where an objective is missed.
const MISSED_EXIT_CODE: u8 = 99;

impl Bench {
    /// Measures one server, once.
    pub fn run_once(&self, targets: &Targets) -> Result<ExitCode, CommandError> {
        let config = self.config(self.duration, self.echo);
        let bar = output::progress_bar();
        let measurement = run(&config, &targets.scheduler, &bar, |share| share)?;
        bar.finish_and_clear();
        let name = name(&targets.scheduler, self.echo);
        let outcomes: Vec<Outcome> =
            self.slo.iter().map(|objective| objective.outcome(&measurement.latency_ns)).collect();
        let lines = outcomes.iter().map(|outcome| outcome.line() + "\n").collect::<String>();
        output::show(&(report::table(&config, &name, &measurement) + &lines), self.json.as_deref(), || {
            let mut value = report::json(&config, &name, &measurement);
            value["objectives"] = outcomes.iter().map(Outcome::json).collect();
            value
        })?;
        if let Some(path) = &self.hdr_log {
            write_file(path, |file| hdr_log::write(file, &report::header(&config, &name), &measurement))?;
        }
        if let Some(path) = &self.report {
            let page = page::html(&config, &name, &measurement, &outcomes);
            write_file(path, |file| file.write_all(page.as_bytes()))?;
        }
        Ok(match measurement.errors.total() {
            0 if !outcomes.iter().all(Outcome::is_met) => ExitCode::from(MISSED_EXIT_CODE),
            errors => exit_code(errors),
        })
    }

    /// Measures one server at each of several rates.
    pub fn run_ramp(&self, targets: &Targets, rates: &[f64]) -> Result<ExitCode, CommandError> {
        let duration = self.duration / u32::try_from(rates.len()).unwrap_or(u32::MAX);
        let config = |rate| Config { rate: Some(rate), ..self.config(duration, self.echo) };
        let bar = output::progress_bar();
        let mut steps: Vec<Step> = Vec::new();
        for &offered in rates {
            let done = steps.len() as f64;
            let share = |share| (done + share) / rates.len() as f64;
            steps.push(Step { offered, measurement: run(&config(offered), &targets.scheduler, &bar, share)? });
        }
        bar.finish_and_clear();

        let mut errors = Errors::default();
        steps.iter().for_each(|step| errors.add(&step.measurement.errors));
        let knee = Knee::of(&steps);
        let name = name(&targets.scheduler, self.echo);
        let (header, table) = (report::header(&config(rates[0]), &name), report::ramp_table(&steps));
        let text = format!("{header}, and on\n{table}{}\n{} errors\n", knee.words(), errors.total());
        output::show(&text, self.json.as_deref(), || {
            let steps = steps.iter().map(|step| report::json(&config(step.offered), &name, &step.measurement));
            serde_json::json!({
                "steps": steps.collect::<Vec<_>>(),
                "knee": knee.json(),
                "errors": errors.total(),
                "first_error": errors.first,
            })
        })?;
        Ok(exit_code(errors.total()))
    }

    /// Compares two results.
    pub fn compare_files(&self, first: &Path, second: &Path) -> Result<ExitCode, CommandError> {
        let difference = Difference::of(read_result(first)?, read_result(second)?);
        output::show(&difference.table(), self.json.as_deref(), || difference.json())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Looks for what the machine stalls, on the core where the generator would run.
    pub fn run_intrinsic(&self) -> Result<ExitCode, CommandError> {
        if let [_, core, ..] = process::available_cores()[..] {
            process::pin_to_cores(&[core]).map_err(|error| CommandError::failure("cannot pin to a core", error))?;
        }
        let bar = output::progress_bar();
        let mut progress = |part: f64| bar.set_position((part * output::PROGRESS_STEPS as f64) as u64);
        let gaps = intrinsic::run(self.duration, &mut progress);
        bar.finish_and_clear();
        output::show(&gaps.table(), self.json.as_deref(), || gaps.json())?;
        Ok(ExitCode::SUCCESS)
    }

    /// Measures the scheduler and the echo in turns.
    pub fn run_against_echo(&self, targets: &Targets) -> Result<ExitCode, CommandError> {
        let echo_target = targets.echo.as_ref().unwrap_or(&targets.scheduler);
        let duration = self.duration / u32::try_from(self.rounds).unwrap_or(u32::MAX);
        let bar = output::progress_bar();
        let mut scheduler: Vec<Measurement> = Vec::new();
        let mut echo: Vec<Measurement> = Vec::new();
        let runs = 2.0 * self.rounds as f64;
        for _ in 0..self.rounds {
            let done = (scheduler.len() + echo.len()) as f64;
            let config = self.config(duration, false);
            scheduler.push(run(&config, &targets.scheduler, &bar, |share| (done + share) / runs)?);
            let config = self.config(duration, true);
            echo.push(run(&config, echo_target, &bar, |share| (done + 1.0 + share) / runs)?);
        }
        bar.finish_and_clear();

        let comparison = Comparison { scheduler: Medians::of(&scheduler), echo: Medians::of(&echo) };
        let errors: u64 = scheduler.iter().chain(&echo).map(|measurement| measurement.errors.total()).sum();
        let name = name(&targets.scheduler, false);
        let config = self.config(duration, false);
        let text = format!("{}\n{}", report::header(&config, &name), comparison.table(self.rounds));
        output::show(&format!("{text}{errors} errors\n"), self.json.as_deref(), || {
            let rounds = |measurements: &[Measurement]| -> Vec<Value> {
                measurements.iter().map(|measurement| report::json(&config, &name, measurement)).collect()
            };
            let mut value = comparison.json();
            value["errors"] = errors.into();
            value["rounds"] = serde_json::json!({ "scheduler": rounds(&scheduler), "echo": rounds(&echo) });
            value
        })?;
        Ok(exit_code(errors))
    }
}

fn name(target: &Target, echo: bool) -> String {
    format!("{} at {target}", if echo { "echo" } else { "scheduler" })
}

fn run(
    config: &Config,
    target: &Target,
    bar: &ProgressBar,
    share: impl Fn(f64) -> f64,
) -> Result<Measurement, CommandError> {
    let mut progress = |part: f64| bar.set_position((share(part) * output::PROGRESS_STEPS as f64) as u64);
    generator::run(config, target, &mut progress).map_err(|error| CommandError::failure(format!("{target}"), error))
}

fn read_result(path: &Path) -> Result<Run, CommandError> {
    let failure = |error: String| CommandError::failure(format!("cannot compare {}", path.display()), error);
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(RESULT_LENGTH_MAX).read_to_string(&mut text));
    read.map_err(|error| failure(error.to_string()))?;
    let value: Value = serde_json::from_str(&text).map_err(|error| failure(error.to_string()))?;
    Run::parse(&value).map_err(failure)
}

fn write_file(path: &str, write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>) -> Result<(), CommandError> {
    let written =
        File::create(path).map(BufWriter::new).and_then(|mut file| write(&mut file).and_then(|()| file.flush()));
    written.map_err(|error| CommandError::failure(format!("cannot write {path}"), error))
}

/// 1 where anything went wrong.
fn exit_code(errors: u64) -> ExitCode {
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
