//! Shares over time, in a fixed number of steps that grow as the time does.

/// Steps of a series at most. Even, so that two make one.
const STEPS: usize = 128;

/// Shares of some resources over time. Memory does not grow with the time or with the number of changes.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Length of a step in seconds.
    step: f64,
    /// By step, by resource, the share times the seconds for which it was.
    sums: Vec<Vec<f64>>,
    runs: u64,
}

impl Series {
    /// A series of so many resources that has its first steps for a time of about `span` seconds. Series made with the
    /// same span can be added.
    pub fn new(resources: usize, span: f64) -> Self {
        let step = if span > 0.0 { span / STEPS as f64 } else { 1.0 };
        Self { step: step.max(f64::MIN_POSITIVE), sums: vec![vec![0.0; resources]; STEPS], runs: 1 }
    }

    /// From a time on until another, the resources have these shares.
    pub fn pass(&mut self, from: f64, until: f64, share: impl Fn(usize) -> f64) {
        while until > self.step * STEPS as f64 {
            self.coarsen();
        }
        let mut step = ((from / self.step) as usize).min(STEPS - 1);
        let mut from = from;
        while from < until {
            let is_last = step + 1 == STEPS;
            let end = if is_last { until } else { until.min((step + 1) as f64 * self.step) };
            if end > from {
                for (resource, sum) in self.sums[step].iter_mut().enumerate() {
                    *sum += share(resource) * (end - from);
                }
                from = end;
            }
            step = (step + 1).min(STEPS - 1);
        }
    }

    /// Adds another run to the mean.
    pub fn add(&mut self, mut other: Self) {
        while self.step < other.step {
            self.coarsen();
        }
        while other.step < self.step {
            other.coarsen();
        }
        for (sums, others) in self.sums.iter_mut().zip(other.sums) {
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum += other;
            }
        }
        self.runs += other.runs;
    }

    /// Length of a step in seconds.
    pub fn step(&self) -> f64 {
        self.step
    }

    /// The mean share of a resource in each step, up to the last in which there was any of any resource.
    pub fn shares(&self, resource: usize) -> Vec<f64> {
        let used = self.sums.iter().rposition(|sums| sums.iter().any(|&sum| sum > 0.0)).map_or(0, |last| last + 1);
        self.sums[..used].iter().map(|sums| sums[resource] / (self.step * self.runs as f64)).collect()
    }

    /// The mean share of each resource over some seconds from the start; 0 over none.
    pub fn means(&self, seconds: f64) -> Vec<f64> {
        let count = self.sums.first().map_or(0, Vec::len);
        let total = |resource: usize| self.sums.iter().map(|sums| sums[resource]).sum::<f64>() / self.runs as f64;
        (0..count).map(|resource| if seconds > 0.0 { total(resource) / seconds } else { 0.0 }).collect()
    }

    /// Makes one step of every two.
    fn coarsen(&mut self) {
        for step in 0..STEPS / 2 {
            for resource in 0..self.sums[step].len() {
                self.sums[step][resource] = self.sums[2 * step][resource] + self.sums[2 * step + 1][resource];
            }
        }
        for sums in &mut self.sums[STEPS / 2..] {
            sums.fill(0.0);
        }
        self.step *= 2.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_means_over_their_step() {
        let mut series = Series::new(2, 128.0);
        series.pass(0.0, 1.5, |resource| [10.0, 20.0][resource]);
        series.pass(1.5, 2.0, |resource| [50.0, 0.0][resource]);
        assert_eq!(series.step(), 1.0);
        assert_eq!(series.shares(0), [10.0, 30.0]);
        assert_eq!(series.shares(1), [20.0, 10.0]);
        assert_eq!(series.means(4.0), [10.0, 7.5]);
        assert_eq!(series.means(0.0), [0.0, 0.0]);
    }

    #[test]
    fn steps_grow_with_the_time_and_lose_nothing() {
        let mut series = Series::new(1, 128.0);
        series.pass(0.0, 128.0, |_| 40.0);
        series.pass(128.0, 1000.0, |_| 20.0);
        assert_eq!(series.step(), 8.0);
        let expected: Vec<f64> = (0..125).map(|step| if step < 16 { 40.0 } else { 20.0 }).collect();
        assert_eq!(series.shares(0), expected);
        assert_eq!(series.means(1000.0), [(128.0 * 40.0 + 872.0 * 20.0) / 1000.0]);
    }

    #[test]
    fn runs_of_other_lengths_are_added_at_the_longer_step() {
        let mut one = Series::new(1, 128.0);
        one.pass(0.0, 2.0, |_| 80.0);
        let mut other = Series::new(1, 128.0);
        other.pass(0.0, 256.0, |_| 20.0);
        one.add(other);
        assert_eq!(one.step(), 2.0);
        assert_eq!(one.shares(0)[..2], [50.0, 10.0]);
    }

    #[test]
    fn no_time_and_all_time_are_no_trouble() {
        let mut series = Series::new(1, 0.0);
        series.pass(0.0, 0.0, |_| 1.0);
        assert!(series.shares(0).is_empty());
        let mut series = Series::new(1, f64::MIN_POSITIVE);
        series.pass(0.0, 1e20, |_| 1.0);
        assert!((series.means(1e20)[0] - 1.0).abs() < 1e-6);
    }
}
