//! The intervals of a run as an interval log of HdrHistogram, format 1.3, for its plotter and its other tools.

use std::io::{self, Write};

use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, IntervalLogWriterError};
use hdrhistogram::serialization::{V2DeflateSerializeError, V2DeflateSerializer};

use super::measurement::Measurement;

const LEGEND: &str = "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// Maxima are shown in milliseconds, as the original library does; the histograms hold nanoseconds.
const NANOSECONDS_IN_MILLISECOND: f64 = 1e6;

/// Writes the log. Intervals start at seconds after the start of the measurement, which the log names.
///
/// # Errors
/// What the writer says.
pub fn write(writer: &mut impl Write, header: &str, measurement: &Measurement) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&format!("[Latency of schedule requests in nanoseconds. {header}]"))
        .with_start_time(measurement.started)
        .begin_log_with(writer, &mut serializer)?;
    writer.write_all(LEGEND.as_bytes())?;
    let mut log = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(NANOSECONDS_IN_MILLISECOND)
        .begin_log_with(writer, &mut serializer)?;
    for interval in &measurement.intervals {
        log.write_histogram(&interval.latency_ns(), interval.start, interval.length, None).map_err(io_error)?;
    }
    Ok(())
}

fn io_error(error: IntervalLogWriterError<V2DeflateSerializeError>) -> io::Error {
    match error {
        IntervalLogWriterError::IoError(error) => error,
        IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
    }
}
