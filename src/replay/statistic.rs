//! Means and deviations over seeds, without keeping the figures.

/// The mean and the deviation of some figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Statistic {
    count: u64,
    mean: f64,
    /// Sum of the squared differences from the mean.
    squares: f64,
}

impl Statistic {
    /// Adds a figure.
    ///
    /// Source: Welford, "Note on a method for calculating corrected sums of squares and products", 1962.
    pub fn add(&mut self, figure: f64) {
        self.count += 1;
        let difference = figure - self.mean;
        self.mean += difference / self.count as f64;
        self.squares += difference * (figure - self.mean);
    }

    /// The mean; `None` of no figures.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then_some(self.mean)
    }

    /// The standard deviation of a sample; 0 of one figure, `None` of no figures.
    pub fn deviation(&self) -> Option<f64> {
        match self.count {
            0 => None,
            1 => Some(0.0),
            count => Some((self.squares / (count - 1) as f64).max(0.0).sqrt()),
        }
    }
}

/// Adds a figure to each of as many statistics, which are made if there are none.
pub fn add_each(statistics: &mut Vec<Statistic>, figures: &[f64]) {
    statistics.resize(figures.len().max(statistics.len()), Statistic::default());
    for (statistic, &figure) in statistics.iter_mut().zip(figures) {
        statistic.add(figure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_a_sample() {
        let mut statistic = Statistic::default();
        assert_eq!((statistic.mean(), statistic.deviation()), (None, None));
        statistic.add(2.0);
        assert_eq!((statistic.mean(), statistic.deviation()), (Some(2.0), Some(0.0)));
        statistic.add(4.0);
        statistic.add(9.0);
        assert_eq!((statistic.mean(), statistic.deviation()), (Some(5.0), Some(13.0_f64.sqrt())));
    }
}
