//! The fill test: tasks arrive and none departs, until a multiple of what there is has been asked for.
//!
//! Source: the protocol of Weng et al., "Beware of Fragmentation", USENIX ATC'23. The tasks come once each, then at
//! random with replacement; one that fits nowhere is dropped.

use fastrand::Rng;

use super::cluster::{Cluster, percent};
use super::statistic::{Statistic, add_each};
use super::trace::{ResourceIndex, Trace};

/// How much must have been asked for when the allocated shares are noted, in percent of what there is of the scarcest
/// resource.
const LEVELS: [f64; 5] = [90.0, 95.0, 100.0, 115.0, 130.0];

/// Points of the curve of a plot.
pub const CURVE_POINTS: usize = 260;

/// Arrivals of a run at most. Tiny tasks on a huge cluster would otherwise never end.
const ARRIVALS_MAX: f64 = 1e8;

/// Arrivals between two reports of progress.
const PROGRESS_EVERY: u64 = 256;

/// In which order tasks arrive first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By the times of the file, or as they stand there.
    Arrival,
    /// At random.
    Shuffle,
}

impl Order {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Shuffle => "shuffle",
        }
    }
}

/// What a fill test needs to know.
#[derive(Clone, Debug)]
pub struct Fill {
    /// The resource that is counted.
    pub scarcest: ResourceIndex,
    pub order: Order,
    /// Where the allocated shares are noted, in percent asked for; the last is where the test ends.
    pub levels: Vec<f64>,
}

/// What one run has shown. Shares are in percent.
#[derive(Clone, Debug, Default)]
pub struct FillRun {
    /// By level, by resource.
    pub allocated: Vec<Vec<f64>>,
    /// The allocated share of the scarcest resource at [`CURVE_POINTS`] equal steps of what is asked for.
    pub curve: Vec<f64>,
    /// What was asked for with the first task that was dropped.
    pub first_rejection: Option<f64>,
    pub placed: u64,
    pub rejected: u64,
}

/// What the runs of several seeds have shown. Shares are in percent.
#[derive(Clone, Debug, Default)]
pub struct FillSummary {
    /// By level, by resource.
    pub allocated: Vec<Vec<Statistic>>,
    pub curve: Vec<Statistic>,
    /// Of the runs that had one.
    pub first_rejection: Statistic,
    pub placed: Statistic,
    pub rejected: Statistic,
}

impl FillSummary {
    /// Adds a run.
    pub fn add(&mut self, run: &FillRun) {
        self.allocated.resize(run.allocated.len(), Vec::new());
        for (statistics, shares) in self.allocated.iter_mut().zip(&run.allocated) {
            add_each(statistics, shares);
        }
        add_each(&mut self.curve, &run.curve);
        if let Some(arrived) = run.first_rejection {
            self.first_rejection.add(arrived);
        }
        self.placed.add(run.placed as f64);
        self.rejected.add(run.rejected as f64);
    }
}

impl Fill {
    /// A test that ends when `arrivals` times what there is of the scarcest resource has been asked for.
    ///
    /// # Errors
    /// When the tasks are so small that this takes too many of them.
    pub fn new(trace: &Trace, scarcest: ResourceIndex, order: Order, arrivals: f64) -> Result<Self, String> {
        // Without what the last digits of a product of floats make of it.
        let end = (arrivals * 1e4).round() / 1e2;
        let mut levels: Vec<f64> = LEVELS.into_iter().filter(|&level| level < end).collect();
        levels.push(end);
        let mean = trace.asked[scarcest] as f64 / trace.tasks.len() as f64;
        let needed = arrivals * trace.capacity[scarcest] as f64 / mean;
        if needed > ARRIVALS_MAX {
            let name = &trace.resources[scarcest];
            return Err(format!(
                "the tasks ask for so little {name} that {arrivals} times what there is takes {needed:.0} of them; \
                 at most {ARRIVALS_MAX:.0} are drawn"
            ));
        }
        Ok(Self { scarcest, order, levels })
    }

    /// Fills a cluster once. `progress` is told the part that is done.
    pub fn run(
        &self,
        trace: &Trace,
        cluster: &mut Cluster<'_>,
        random: &mut Rng,
        progress: &mut dyn FnMut(f64),
    ) -> FillRun {
        let end = self.levels.last().copied().unwrap_or(100.0);
        let capacity = trace.capacity[self.scarcest];
        let mut first = self.first_tasks(trace, random).into_iter();
        let mut run = FillRun { curve: vec![0.0], ..FillRun::default() };
        let mut asked = 0;
        let mut arrivals = 0;
        loop {
            let task = match first.next() {
                Some(task) => task,
                None => random.usize(0..trace.tasks.len()),
            };
            let demand = trace.tasks[task].demand;
            asked += i128::from(trace.demands[demand].amount(self.scarcest).units());
            let asked_percent = percent(asked, capacity);
            if cluster.place(demand).is_some() {
                run.placed += 1;
            } else {
                run.rejected += 1;
                run.first_rejection.get_or_insert(asked_percent);
            }
            self.note(trace, cluster, asked_percent, &mut run);
            arrivals += 1;
            if arrivals % PROGRESS_EVERY == 0 {
                progress(asked_percent / end);
            }
            if run.allocated.len() == self.levels.len() {
                return run;
            }
        }
    }

    /// Notes the allocated shares for every level and every point of the curve that has been reached.
    fn note(&self, trace: &Trace, cluster: &Cluster<'_>, asked: f64, run: &mut FillRun) {
        while let Some(&level) = self.levels.get(run.allocated.len())
            && asked >= level
        {
            run.allocated.push((0..trace.resources.len()).map(|resource| cluster.allocated(resource)).collect());
        }
        while run.curve.len() <= CURVE_POINTS && asked >= self.curve_level(run.curve.len()) {
            run.curve.push(cluster.allocated(self.scarcest));
        }
    }

    /// What is asked for at a point of the curve, in percent.
    pub fn curve_level(&self, point: usize) -> f64 {
        self.levels.last().copied().unwrap_or(100.0) * (point as f64 / CURVE_POINTS as f64)
    }

    /// The tasks that arrive before any arrives again.
    fn first_tasks(&self, trace: &Trace, random: &mut Rng) -> Vec<usize> {
        let mut tasks: Vec<usize> = (0..trace.tasks.len()).collect();
        match self.order {
            Order::Shuffle => random.shuffle(&mut tasks),
            Order::Arrival => {
                let arrival = |task: usize| trace.tasks[task].times.map_or(0.0, |times| times.arrival);
                tasks.sort_by(|&one, &other| arrival(one).total_cmp(&arrival(other)));
            }
        }
        tasks
    }
}
