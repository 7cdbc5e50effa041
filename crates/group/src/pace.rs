use std::time::{Duration, Instant};

/// The first wait of a hurry. Each one after it is twice as long, up to a tenth of the interval.
const FIRST: Duration = Duration::from_millis(50);

/// How often a member says that it is alive: once in an interval, and more often for a while when others are about to give something
/// up for it, as only the answer to a heartbeat tells that they have.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    hurry: Option<Hurry>,
}

#[derive(Debug)]
struct Hurry {
    until: Instant,
    wait: Duration,
}

impl Pace {
    /// Hurries until then.
    pub(crate) fn hurry(&mut self, until: Instant) {
        self.hurry = Some(Hurry { until, wait: FIRST });
    }

    /// Once in an interval again.
    pub(crate) fn calm(&mut self) {
        self.hurry = None;
    }

    /// How long after a heartbeat that was sent `at` the next one is due.
    pub(crate) fn wait(&self, at: Instant, interval: Duration) -> Duration {
        match &self.hurry {
            Some(hurry) if hurry.until > at => hurry.wait.min(interval),
            _ => interval,
        }
    }

    /// A heartbeat is sent.
    pub(crate) fn beat(&mut self, interval: Duration) {
        if let Some(hurry) = &mut self.hurry {
            hurry.wait = (hurry.wait * 2).min(interval / 10).max(FIRST);
        }
    }
}

#[cfg(test)]
// Times are only compared with each other.
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    #[test]
    fn hurries_for_a_while_and_calms_down() {
        let mut now = Instant::now();
        let interval = Duration::from_secs(5);
        let mut pace = Pace::default();
        assert_eq!(pace.wait(now, interval), interval);
        pace.hurry(now + Duration::from_secs(2));
        let mut waits = Vec::new();
        while waits.last() != Some(&interval) {
            waits.push(pace.wait(now, interval));
            now += *waits.last().unwrap();
            pace.beat(interval);
        }
        let millis: Vec<_> = waits.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [50, 100, 200, 400, 500, 500, 500, 5000]);
    }

    #[test]
    fn never_waits_longer_than_the_interval() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.hurry(now + Duration::from_secs(2));
        assert_eq!(pace.wait(now, Duration::from_millis(20)), Duration::from_millis(20));
    }
}
