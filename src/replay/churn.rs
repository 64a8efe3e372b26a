//! The churn test: tasks come at random and leave again, so that a given load is offered in the long run.
//!
//! Times between arrivals and lifetimes are exponential; a task that fits nowhere is lost. The mean lifetime is the
//! unit of time. By Little's law the arrivals in it ask for the offered load.

use fastrand::Rng;

use super::cluster::{Cluster, percent};
use super::departures::Departures;
use super::statistic::{Statistic, add_each};
use super::trace::{ResourceIndex, Trace};
use crate::scheduler::amount::Amount;
use crate::wire::NodeId;

/// Arrivals between two reports of progress.
const PROGRESS_EVERY: u64 = 256;

/// Where tasks are that are on no node.
const NOWHERE: NodeId = NodeId(0);

/// What a churn test needs to know.
#[derive(Clone, Debug)]
pub struct Churn {
    /// The resource that the load is a share of.
    pub scarcest: ResourceIndex,
    /// What the tasks ask for on average over what there is.
    pub load: f64,
    /// Arrivals before any counts.
    pub warmup: u64,
    /// Arrivals that count.
    pub measured: u64,
}

/// What one run has shown, in percent.
#[derive(Clone, Debug, Default)]
pub struct ChurnRun {
    /// By resource, what tasks that were lost asked for, of what all asked for.
    pub blocked: Vec<f64>,
    /// The lost ones of the tasks that ask for the most of the scarcest resource; `None` where none came.
    pub blocked_largest: Option<f64>,
    /// By resource, the mean allocated share over time.
    pub utilisation: Vec<f64>,
    /// What would have been allocated of the scarcest resource if no task had been lost, over the same time. The same for
    /// every policy.
    pub offered: f64,
}

/// What the runs of several seeds have shown, in percent.
#[derive(Clone, Debug, Default)]
pub struct ChurnSummary {
    pub blocked: Vec<Statistic>,
    pub blocked_largest: Statistic,
    pub utilisation: Vec<Statistic>,
    pub offered: Statistic,
}

impl ChurnSummary {
    /// Adds a run.
    pub fn add(&mut self, run: &ChurnRun) {
        add_each(&mut self.blocked, &run.blocked);
        add_each(&mut self.utilisation, &run.utilisation);
        self.offered.add(run.offered);
        if let Some(blocked) = run.blocked_largest {
            self.blocked_largest.add(blocked);
        }
    }
}

/// What has been asked for so far, by resource, and by the largest tasks.
#[derive(Debug)]
struct Books {
    asked: Vec<i128>,
    blocked: Vec<i128>,
    largest: i128,
    largest_blocked: i128,
    /// By resource, the allocated share times the time for which it was.
    utilisation: Vec<f64>,
}

impl Churn {
    /// Arrivals in a mean lifetime.
    pub fn arrival_rate(&self, trace: &Trace) -> f64 {
        let mean = trace.asked[self.scarcest] as f64 / trace.tasks.len() as f64;
        self.load * trace.capacity[self.scarcest] as f64 / mean
    }

    /// The most that any task asks for of the scarcest resource.
    pub fn largest(&self, trace: &Trace) -> Amount {
        trace.demands.iter().map(|demand| demand.amount(self.scarcest)).max().unwrap_or(Amount::ZERO)
    }

    /// Runs once on an empty cluster. `progress` is told the part that is done.
    pub fn run(
        &self,
        trace: &Trace,
        cluster: &mut Cluster<'_>,
        random: &mut Rng,
        progress: &mut dyn FnMut(f64),
    ) -> ChurnRun {
        let count = trace.resources.len();
        let (rate, largest) = (self.arrival_rate(trace), self.largest(trace));
        let scarcest_amount = |demand: usize| trace.demands[demand].amount(self.scarcest);
        let mut books = Books {
            asked: vec![0; count],
            blocked: vec![0; count],
            largest: 0,
            largest_blocked: 0,
            utilisation: vec![0.0; count],
        };
        let mut departures = Departures::default();
        let mut offered = Offered::default();
        let (mut now, mut start) = (0.0, 0.0);
        let arrivals = self.warmup.saturating_add(self.measured);
        for arrival in 0..arrivals {
            let is_measured = arrival >= self.warmup;
            let next = now + exponential(random) / rate;
            while let Some(time) = departures.next_time().filter(|&time| time <= next) {
                if is_measured {
                    books.pass(cluster, time - now);
                }
                now = time;
                departures.end_next(cluster, time);
            }
            if is_measured {
                books.pass(cluster, next - now);
            }
            offered.pass(next, is_measured, scarcest_amount);
            now = next;
            if arrival + 1 == self.warmup {
                start = now;
            }

            let demand = trace.tasks[random.usize(0..trace.tasks.len())].demand;
            // Drawn for lost tasks, too, so that every policy meets the same tasks.
            let end = now + exponential(random);
            offered.push(end, demand, scarcest_amount(demand));
            let node = cluster.place(demand);
            if let Some(node) = node {
                departures.push(end, node, demand);
            }
            if is_measured {
                books.count(trace, demand, node.is_none(), scarcest_amount(demand) == largest);
            }
            if arrival % PROGRESS_EVERY == 0 {
                progress(arrival as f64 / arrivals as f64);
            }
        }
        let capacity = trace.capacity[self.scarcest] as f64;
        ChurnRun { offered: 100.0 * over(offered.sum, now - start) / capacity, ..books.close(now - start) }
    }
}

/// The tasks that would be there if none were lost: how hard a run is, whatever the policy.
#[derive(Debug, Default)]
struct Offered {
    departures: Departures,
    now: f64,
    /// What they have of the scarcest resource, in units of the amount.
    amount: i128,
    /// The amount times the time for which it was, as far as it is measured.
    sum: f64,
}

impl Offered {
    /// A task comes that ends at a time.
    fn push(&mut self, end: f64, demand: usize, amount: Amount) {
        self.departures.push(end, NOWHERE, demand);
        self.amount += i128::from(amount.units());
    }

    /// Time passes until the next arrival.
    fn pass(&mut self, until: f64, is_measured: bool, amount: impl Fn(usize) -> Amount) {
        while self.now < until {
            let next = self.departures.pop_due(until);
            let time = next.map_or(until, |departure| departure.time);
            if is_measured {
                self.sum += self.amount as f64 * (time - self.now);
            }
            self.now = time;
            if let Some(departure) = next {
                self.amount -= i128::from(amount(departure.demand).units());
            }
        }
    }
}

impl Books {
    /// Some time passes in which nothing changes.
    fn pass(&mut self, cluster: &Cluster<'_>, time: f64) {
        for (resource, utilisation) in self.utilisation.iter_mut().enumerate() {
            *utilisation += cluster.allocated(resource) * time;
        }
    }

    fn count(&mut self, trace: &Trace, demand: usize, is_blocked: bool, is_largest: bool) {
        for &(resource, amount) in &trace.demands[demand].amounts {
            self.asked[resource] += i128::from(amount.units());
            if is_blocked {
                self.blocked[resource] += i128::from(amount.units());
            }
        }
        if is_largest {
            self.largest += 1;
            self.largest_blocked += i128::from(is_blocked);
        }
    }

    fn close(self, time: f64) -> ChurnRun {
        ChurnRun {
            blocked: self.blocked.iter().zip(&self.asked).map(|(&blocked, &asked)| percent(blocked, asked)).collect(),
            blocked_largest: (self.largest > 0).then(|| percent(self.largest_blocked, self.largest)),
            utilisation: self.utilisation.into_iter().map(|sum| over(sum, time)).collect(),
            ..ChurnRun::default()
        }
    }
}

/// The mean over a time of what was summed up over it; 0 over none.
fn over(sum: f64, time: f64) -> f64 {
    if time > 0.0 { sum / time } else { 0.0 }
}

/// A time that is 1 on average.
fn exponential(random: &mut Rng) -> f64 {
    -(1.0 - random.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_exponential() {
        let mut random = Rng::with_seed(1);
        let times: Vec<f64> = (0..100_000).map(|_| exponential(&mut random)).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let longer_than_one = times.iter().filter(|&&time| time > 1.0).count() as f64 / times.len() as f64;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((longer_than_one - (-1.0_f64).exp()).abs() < 0.01, "{longer_than_one}");
        assert!(times.iter().all(|time| time.is_finite() && *time >= 0.0));
    }
}
