//! The queue test: tasks come and run as long as the file says, and wait, first come first served, until they fit.

use std::collections::VecDeque;

use super::cluster::Cluster;
use super::departures::Departures;
use super::series::Series;
use super::statistic::{Statistic, add_each};
use super::trace::{Times, Trace};

/// Percentiles of waits that are reported, with their names; the longest wait comes after them.
pub const PERCENTILES: [(f64, &str); 4] = [(50.0, "p50"), (90.0, "p90"), (99.0, "p99"), (100.0, "max")];

/// Steps between two reports of progress.
const PROGRESS_EVERY: usize = 256;

/// The tasks of a trace in the order in which they come.
#[derive(Clone, Debug)]
pub struct Queue {
    tasks: Vec<(usize, Times)>,
    /// When the first task comes.
    start: f64,
    /// No task can end before.
    end_min: f64,
}

/// What one run has shown. Times are in seconds, shares in percent.
#[derive(Clone, Debug)]
pub struct QueueRun {
    /// From the first arrival to the last end.
    pub makespan: f64,
    /// By percentile, how long the tasks waited that ran.
    pub waits: [f64; PERCENTILES.len()],
    /// By resource, the mean allocated share over the makespan.
    pub utilisation: Vec<f64>,
    /// By resource, the allocated share over time.
    pub series: Series,
    pub placed: u64,
    /// Tasks that no node is large enough for.
    pub infeasible: u64,
}

/// What the runs of several seeds have shown. Times are in seconds, shares in percent.
#[derive(Clone, Debug, Default)]
pub struct QueueSummary {
    pub makespan: Statistic,
    pub waits: Vec<Statistic>,
    pub utilisation: Vec<Statistic>,
    pub series: Option<Series>,
    pub placed: Statistic,
    pub infeasible: Statistic,
}

impl QueueSummary {
    /// Adds a run.
    pub fn add(&mut self, run: QueueRun) {
        self.makespan.add(run.makespan);
        add_each(&mut self.waits, &run.waits);
        add_each(&mut self.utilisation, &run.utilisation);
        self.placed.add(run.placed as f64);
        self.infeasible.add(run.infeasible as f64);
        match &mut self.series {
            Some(series) => series.add(run.series),
            None => self.series = Some(run.series),
        }
    }
}

impl Queue {
    /// The test of a trace; `None` where the file does not say when tasks came.
    pub fn new(trace: &Trace) -> Option<Self> {
        let timed = |task: &super::trace::Task| Some((task.demand, task.times?));
        let mut tasks = trace.tasks.iter().map(timed).collect::<Option<Vec<_>>>()?;
        tasks.sort_by(|one, other| one.1.arrival.total_cmp(&other.1.arrival));
        let start = tasks.first()?.1.arrival;
        let end_min = tasks.iter().map(|(_, times)| times.arrival + times.duration).fold(start, f64::max);
        Some(Self { tasks, start, end_min })
    }

    /// Runs once on an empty cluster. `progress` is told the part that is done.
    pub fn run(&self, trace: &Trace, cluster: &mut Cluster<'_>, progress: &mut dyn FnMut(f64)) -> QueueRun {
        let mut arrivals = self.tasks.iter().peekable();
        let mut waiting: VecDeque<(usize, Times)> = VecDeque::new();
        let mut departures = Departures::default();
        let mut feasible = vec![None; trace.demands.len()];
        let mut series = Series::new(trace.resources.len(), self.end_min - self.start);
        let mut waits = Vec::with_capacity(self.tasks.len());
        let (mut now, mut infeasible) = (self.start, 0);
        loop {
            let arrival = arrivals.peek().map_or(f64::INFINITY, |(_, times)| times.arrival);
            let next = arrival.min(departures.next_time().unwrap_or(f64::INFINITY));
            if next == f64::INFINITY {
                break;
            }
            series.pass(now - self.start, next - self.start, |resource| cluster.allocated(resource));
            now = next;
            while departures.end_next(cluster, now) {}
            while let Some(&task) = arrivals.next_if(|(_, times)| times.arrival <= now) {
                waiting.push_back(task);
            }
            while let Some(&(demand, times)) = waiting.front() {
                match cluster.place(demand) {
                    Some(node) => {
                        departures.push(now + times.duration, node, demand);
                        waits.push(now - times.arrival);
                        if waits.len() % PROGRESS_EVERY == 0 {
                            progress(waits.len() as f64 / self.tasks.len() as f64);
                        }
                    }
                    None if *feasible[demand].get_or_insert_with(|| is_feasible(trace, demand)) => break,
                    None => infeasible += 1,
                }
                waiting.pop_front();
            }
        }
        debug_assert!(waiting.is_empty(), "what is feasible fits an empty cluster");
        let makespan = now - self.start;
        QueueRun {
            makespan,
            placed: waits.len() as u64,
            waits: percentiles(waits),
            utilisation: series.means(makespan),
            series,
            infeasible,
        }
    }
}

/// Whether some node has as much in total.
fn is_feasible(trace: &Trace, demand: usize) -> bool {
    let amounts = &trace.demands[demand].amounts;
    trace.nodes.iter().any(|node| {
        amounts.iter().all(|(resource, amount)| node.iter().any(|(other, total)| other == resource && total >= amount))
    })
}

/// The waits at the percentiles: the smallest that so many do not exceed; 0 where there are none.
fn percentiles(mut waits: Vec<f64>) -> [f64; PERCENTILES.len()] {
    waits.sort_by(f64::total_cmp);
    PERCENTILES.map(|(percentile, _)| {
        let rank = (percentile / 100.0 * waits.len() as f64).ceil() as usize;
        waits.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_waits_that_occurred() {
        assert_eq!(percentiles(Vec::new()), [0.0; 4]);
        assert_eq!(percentiles(vec![7.0]), [7.0; 4]);
        assert_eq!(percentiles((1..=200).rev().map(f64::from).collect()), [100.0, 180.0, 198.0, 200.0]);
    }
}
