//! Times and durations, as people write them.

/// A duration of ISO 8601, as `P1DT2H`, or a number with a unit, as `90m`; in ms.
pub fn duration_ms(text: &str) -> Result<i64, String> {
    let ms = match text.strip_prefix(['P', 'p']) {
        Some(rest) => iso_duration(rest),
        None => short_duration(text),
    };
    ms.ok_or_else(|| format!("`{text}` is not a duration, as PT1H30M, P7D or 90m"))
}

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

fn short_duration(text: &str) -> Option<i64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[digits..] {
        "ms" => 1,
        "" | "s" => SECOND,
        "m" => MINUTE,
        "h" => HOUR,
        "d" => DAY,
        _ => return None,
    };
    text[..digits].parse::<i64>().ok()?.checked_mul(unit)
}

/// What follows the P. Years and months have no fixed length and are not taken, as in Java.
fn iso_duration(text: &str) -> Option<i64> {
    let text = text.to_ascii_uppercase();
    let (days, time) = match text.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None if text.is_empty() => return None,
        None => (&*text, ""),
    };
    let days = terms(days, &[('D', DAY)])?;
    days.checked_add(terms(time, &[('H', HOUR), ('M', MINUTE), ('S', SECOND)])?)
}

/// The sum of terms as `2H30M`, each unit once at most and in this order. Only the last may have a fraction.
fn terms(mut text: &str, units: &[(char, i64)]) -> Option<i64> {
    let mut sum: i64 = 0;
    for (name, unit) in units {
        let Some((number, rest)) = text.split_once(*name) else { continue };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let whole = digits(whole)?.checked_mul(*unit)?;
        if number.contains('.') && *name != 'S' {
            return None;
        }
        sum = sum.checked_add(whole)?.checked_add(millis(fraction)?)?;
        text = rest;
    }
    text.is_empty().then_some(sum)
}

/// A time of ISO 8601, as `2026-01-31T12:00:00.000+01:00`, in ms since 1970 UTC. Without a zone it is UTC; what is left out from
/// the end of the time is zero.
pub fn instant(text: &str) -> Result<i64, String> {
    parse_instant(text).ok_or_else(|| {
        format!("`{text}` is not a time, as 2026-01-31T12:00:00Z or 2026-01-31T12:00:00.000+01:00")
    })
}

fn parse_instant(text: &str) -> Option<i64> {
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00Z"));
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let zone_at = time.find(['Z', 'z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let ms = days_since_1970(year, month, day) * DAY + clock_ms(clock)? - zone_ms(zone)?;
    Some(ms)
}

/// `12:00[:00[.000]]`.
fn clock_ms(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let (second, fraction) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            (number(whole, 2)?, millis(fraction)?)
        }
    };
    let valid = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    valid.then_some(hour * HOUR + minute * MINUTE + second * SECOND + fraction)
}

/// `Z`, `+01:00`, `+0100`, `+01`, or nothing for UTC.
fn zone_ms(text: &str) -> Option<i64> {
    let (sign, rest) = match text.as_bytes().first() {
        None => return Some(0),
        Some(b'Z' | b'z') => return (text.len() == 1).then_some(0),
        Some(b'-') => (-1, &text[1..]),
        Some(_) => (1, &text[1..]),
    };
    let (hours, minutes) = match rest.split_once(':') {
        Some(parts) => parts,
        None => rest.split_at_checked(2)?,
    };
    let minutes = if minutes.is_empty() { "00" } else { minutes };
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours <= 18 && minutes < 60).then_some(sign * (hours * HOUR + minutes * MINUTE))
}

fn digits(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

fn number(text: &str, width: usize) -> Option<i64> {
    digits(text).filter(|_| text.len() == width)
}

/// A decimal fraction of a second; what is less than a millisecond is dropped.
fn millis(fraction: &str) -> Option<i64> {
    digits(fraction)?;
    digits(&format!("{:0<3}", fraction).chars().take(3).collect::<String>())
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_month = (153 * month + 2) / 5;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + days_before_month + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_iso_or_short() {
        for (text, ms) in [
            ("PT1H30M", 90 * MINUTE),
            ("P7D", 7 * DAY),
            ("P1DT0.5S", DAY + 500),
            ("pt2h", 2 * HOUR),
            ("90m", 90 * MINUTE),
            ("7d", 7 * DAY),
            ("250ms", 250),
            ("5", 5 * SECOND),
        ] {
            assert_eq!(duration_ms(text), Ok(ms), "{text}");
        }
        for wrong in [
            "",
            "P",
            "PT",
            "P1DT",
            "P1Y",
            "PT1M1H",
            "PT1.5H",
            "PT-1H",
            "PTH",
            "1w",
            "-1h",
            "PT99999999999999999H",
        ] {
            assert!(duration_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_iso_and_utc_unless_they_say_otherwise() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2000-02-29T12:00:00.000", 951_825_600_000),
            ("2026-01-31T12:00:00+01:00", 1_769_857_200_000),
            ("2026-01-31 12:00-0130", 1_769_866_200_000),
            ("2026-01-31T12:00:00.123456Z", 1_769_860_800_123),
        ] {
            assert_eq!(instant(text), Ok(ms), "{text}");
        }
        for wrong in [
            "",
            "now",
            "2026-02-29",
            "2026-13-01",
            "2026-1-1",
            "2026-01-31T24:00",
            "2026-01-31T12",
            "2026-01-31T12:00:60",
            "2026-01-31T12:00:00X",
            "2026-01-31T12:00:00Z0",
            "2026-01-31T12:00:00+",
            "2026-01-31T12:00:00+99:00",
            "20é6-01-31",
            "2026-01-31T12:00+é1",
        ] {
            assert!(instant(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_are_counted_over_four_centuries() {
        let mut day = days_since_1970(1800, 1, 1);
        for year in 1800..2200 {
            for month in 1..=12 {
                for of_month in 1..=days_of(year, month) {
                    assert_eq!(days_since_1970(year, month, of_month), day, "{year}-{month}-{of_month}");
                    day += 1;
                }
            }
        }
    }
}
