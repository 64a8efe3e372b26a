//! Values of arguments: sizes, durations, amounts, file modes.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::bench::objective::Objective;
use crate::scheduler::units::UnitResources;
use crate::server::allow::AllowList;
use crate::server::busy_poll::BusyPoll;

/// A number of bytes: `4096`, `64KiB`, `1MiB`, `2GiB`.
pub fn bytes(value: &str) -> Result<usize, String> {
    let (digits, unit) = split_unit(value);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(format!("'{value}' is not a size: give bytes, or KiB, MiB, GiB (1MiB)")),
    };
    let number: usize = digits.parse().map_err(|_| format!("'{value}' is not a size: give bytes, or 64KiB, 1MiB"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("'{value}' is too large"))
}

/// Memory that is enough for a server: several times what an idle one takes.
const MEMORY_MIN: usize = 16 << 20;

/// A number of [`bytes`] that is enough for a server.
pub fn memory(value: &str) -> Result<usize, String> {
    bytes(value).and_then(|bytes| match bytes >= MEMORY_MIN {
        true => Ok(bytes),
        false => Err(format!("'{value}' is too little memory for a server: give at least 16MiB")),
    })
}

/// An amount of a resource: `CPU=4`, `GPU=0.5`, `memory=1.5GiB`.
pub fn demand(value: &str) -> Result<(String, f64), String> {
    let error = || format!("'{value}' is not an amount of a resource: give CPU=4, GPU=0.5 or memory=8GiB");
    // The amount has no '=', unlike the names that resources may have.
    let (name, amount) = value.rsplit_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(error)?;
    let (digits, unit) = split_unit(amount);
    let scale = match unit {
        "" => 1u32,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(error()),
    };
    let amount = digits.parse::<f64>().map_err(|_| error())? * f64::from(scale);
    if amount.is_finite() { Ok((name.to_owned(), amount)) } else { Err(error()) }
}

/// A duration: `10` (seconds), `1.5s`, `200ms`, `50us`, `3m`.
pub fn duration(value: &str) -> Result<Duration, String> {
    let (digits, unit) = split_unit(value);
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        "m" => 60.0,
        _ => return Err(format!("'{value}' is not a duration: give seconds, or us, ms, s, m (200ms)")),
    };
    digits
        .parse()
        .ok()
        .and_then(|number: f64| Duration::try_from_secs_f64(number * scale).ok())
        .filter(|duration| *duration <= Duration::from_secs(24 * 3600))
        .ok_or_else(|| format!("'{value}' is not a duration: give seconds up to a day, or 200ms, 3m"))
}

/// How long to poll before sleeping: a duration, or `always`.
pub fn busy_poll(value: &str) -> Result<BusyPoll, String> {
    match value {
        "always" => Ok(BusyPoll::Always),
        _ => match duration(value) {
            Ok(Duration::ZERO) => Ok(BusyPoll::Never),
            Ok(time) => Ok(BusyPoll::For(time)),
            Err(_) => Err(format!("'{value}' is no time to poll for: give one like 50us or 1ms, or 'always'")),
        },
    }
}

/// How long something may take: a [`duration`] of at least a millisecond, which is what the poll loop can tell.
pub fn timeout(value: &str) -> Result<Duration, String> {
    let timeout = duration(value)?;
    let is_told = timeout >= Duration::from_millis(1);
    if is_told { Ok(timeout) } else { Err(format!("'{value}' is not a timeout: give at least 1ms")) }
}

/// Ranges of addresses with commas between: `10.0.0.0/8,192.168.1.7`. A range of one address is written like the address.
pub fn allow_list(value: &str) -> Result<AllowList, String> {
    let range = |text: &str| text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    value.split(',').map(|text| range(text.trim())).collect::<Result<_, _>>().map(AllowList::ranges).map_err(|_| {
        format!("'{value}' is not a list of addresses: give ranges with commas between, like 10.0.0.0/8,192.168.1.7")
    })
}

/// What a percentile may be at most: `p99=50us`, `p99.9=1ms`.
pub fn objective(value: &str) -> Result<Objective, String> {
    let (percentile, limit) = value
        .strip_prefix('p')
        .and_then(|rest| rest.split_once('='))
        .ok_or_else(|| format!("'{value}' is not an objective: give a percentile and its limit, like p99.9=200us"))?;
    let percentile = percentile
        .parse()
        .ok()
        .filter(|percentile| *percentile > 0.0 && *percentile <= 100.0)
        .ok_or_else(|| format!("'p{percentile}' is not a percentile: give one above p0 up to p100, like p99.9"))?;
    Ok(Objective { percentile, limit: duration(limit)? })
}

/// The rates of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rates {
    One(f64),
    /// From the first to the second, which is not below it.
    Ramp(f64, f64),
}

/// A rate, or a ramp of rates: `10k..200k`.
pub fn rates(value: &str) -> Result<Rates, String> {
    match value.split_once("..") {
        None => rate(value).map(Rates::One),
        Some((from, to)) => match (rate(from)?, rate(to)?) {
            (from, to) if from < to => Ok(Rates::Ramp(from, to)),
            _ => Err(format!("'{value}' is not a ramp: give the lower rate first")),
        },
    }
}

/// A number of requests a second: `5000`, `200k`, `1.5M`.
pub fn rate(value: &str) -> Result<f64, String> {
    let (digits, unit) = split_unit(value);
    let scale = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        _ => return Err(format!("'{value}' is not a rate: give requests a second, 5000 or 200k")),
    };
    digits
        .parse()
        .map(|number: f64| number * scale)
        .ok()
        .filter(|rate| *rate > 0.0 && *rate <= 1e9)
        .ok_or_else(|| format!("'{value}' is not a rate: give requests a second above 0, 5000 or 200k"))
}

/// Names with commas between: `GPU`, `GPU,TPU`, or nothing for none.
pub fn unit_resources(value: &str) -> Result<UnitResources, String> {
    let names = || value.split(',').map(str::trim);
    if !value.is_empty() && names().any(str::is_empty) {
        return Err(format!("'{value}' has an empty name: give names with commas between, like GPU,TPU"));
    }
    Ok(UnitResources::named(names().filter(|name| !name.is_empty())))
}

/// The mode of a file in octal: `600`, `0660`.
pub fn mode(value: &str) -> Result<u32, String> {
    u32::from_str_radix(value, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("'{value}' is not a file mode: give three octal digits, like 660"))
}

/// A share of a whole, from 0 to 1.
pub fn share(value: &str) -> Result<f32, String> {
    value
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| format!("'{value}' is not a share: give a number from 0 to 1"))
}

/// A number that is at least 1.
pub fn positive(value: &str) -> Result<usize, String> {
    value.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("'{value}' is not a number above 0"))
}

fn split_unit(value: &str) -> (&str, &str) {
    let end = value.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(value.len());
    value.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_units() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("1MiB"), Ok(1 << 20));
        assert_eq!(memory("16MiB"), Ok(16 << 20));
        assert_eq!(demand("CPU=0.5"), Ok(("CPU".to_owned(), 0.5)));
        assert_eq!(demand("memory=1.5GiB"), Ok(("memory".to_owned(), 1_610_612_736.0)));
        assert_eq!(demand("a=b=2KiB"), Ok(("a=b".to_owned(), 2048.0)));
        assert_eq!(duration("1.5"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("200ms"), Ok(Duration::from_millis(200)));
        assert_eq!(duration("3m"), Ok(Duration::from_secs(180)));
        assert_eq!(timeout("1ms"), Ok(Duration::from_millis(1)));
        assert!(allow_list("10.0.0.0/8, 192.168.1.7,::1").is_ok());
        assert_eq!(objective("p99.9=200us"), Ok(Objective { percentile: 99.9, limit: Duration::from_micros(200) }));
        assert_eq!(objective("p100=1"), Ok(Objective { percentile: 100.0, limit: Duration::from_secs(1) }));
        assert_eq!(rate("200k"), Ok(200_000.0));
        assert_eq!(rates("5000"), Ok(Rates::One(5_000.0)));
        assert_eq!(rates("10k..1.5M"), Ok(Rates::Ramp(10_000.0, 1_500_000.0)));
        assert_eq!(mode("0660"), Ok(0o660));
        assert_eq!(positive("7"), Ok(7));
    }

    #[test]
    fn other_values_are_refused_by_name() {
        let refusals: [Result<(), String>; 42] = [
            share("1.1").map(drop),
            share("nan").map(drop),
            demand("CPU").map(drop),
            demand("=1").map(drop),
            demand("CPU=").map(drop),
            demand("CPU=-1").map(drop),
            demand("CPU=1e3").map(drop),
            demand("CPU=nan").map(drop),
            demand("memory=1GB").map(drop),
            demand("memory=1.2.3").map(drop),
            bytes("").map(drop),
            bytes("-1").map(drop),
            bytes("1.5MiB").map(drop),
            bytes("99999999999GiB").map(drop),
            duration("soon").map(drop),
            duration("-1s").map(drop),
            duration("1e300").map(drop),
            duration("90000").map(drop),
            memory("4").map(drop),
            memory("15MiB").map(drop),
            timeout("0").map(drop),
            timeout("999us").map(drop),
            allow_list("").map(drop),
            allow_list("10.0.0.0/33").map(drop),
            allow_list("10.0.0.0/8,localhost").map(drop),
            objective("").map(drop),
            objective("p99").map(drop),
            objective("99=1ms").map(drop),
            objective("p0=1ms").map(drop),
            objective("p101=1ms").map(drop),
            objective("pnan=1ms").map(drop),
            objective("p99=fast").map(drop),
            rate("0").map(drop),
            rate("fast").map(drop),
            rate("9999999M").map(drop),
            rates("0..5").map(drop),
            rates("5..").map(drop),
            rates("..5").map(drop),
            rates("5..5").map(drop),
            mode("888").map(drop),
            mode("7777").map(drop),
            positive("0").map(drop),
        ];
        for refusal in refusals {
            assert!(refusal.as_ref().is_err_and(|message| message.starts_with('\'')), "{refusal:?}");
        }
    }
}
