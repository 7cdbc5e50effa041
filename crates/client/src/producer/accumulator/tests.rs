use std::cell::Cell;

use proptest::prelude::*;

use super::*;

/// The time on the appending side, which has nothing to do with when the sender last looked at its own.
struct Hand(Cell<Instant>);

impl Clock for &Hand {
    fn now(&self) -> Instant {
        self.0.get()
    }

    fn wall_millis(&self) -> i64 {
        0
    }
}

struct Rig {
    buffer: Accumulator,
    clock: Hand,
    /// When the sender wants to come back by itself.
    back_at: Option<Instant>,
    told: bool,
    appended: usize,
    taken: usize,
}

impl Rig {
    fn new(linger: Duration, partitions: usize) -> Rig {
        let limits = Limits {
            batch_size: 500,
            buffer_memory: 1 << 20,
            linger,
            delivery_timeout: Duration::from_secs(120),
        };
        let mut buffer = Accumulator::new(limits, 1);
        let available: Arc<[i32]> = (0..partitions as i32).collect();
        buffer.set_topic(&"t".into(), partitions, available);
        let clock = Hand(Cell::new(kavka_net::clock::now()));
        Rig { buffer, clock, back_at: None, told: false, appended: 0, taken: 0 }
    }

    fn append(&mut self, partition: i32) {
        let record = Record::to("t").value(&b"0123456789"[..]);
        let target = Target::Partition(partition);
        match self.buffer.append(&record, target, 100, false, &&self.clock) {
            Appended::Done(_, tell) => self.told |= tell,
            _ => panic!("not appended"),
        }
        self.appended += 1;
    }

    /// The sender reads the clock, and between that and its look into the buffer others append: it works with the time from before.
    fn look(&mut self, now: Instant) {
        self.told = false;
        let mut slots = Vec::new();
        self.back_at = self.buffer.due(now, 0, &mut slots);
        for slot in slots {
            while let Some(batch) = self.buffer.take(slot, now) {
                self.taken += batch.count as usize;
            }
        }
    }

    /// Runs the sender as it runs when nobody appends any more: when it is told, or wants to.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let now = self.clock.0.get();
            match self.back_at.filter(|_| !self.told) {
                _ if self.told => self.look(now),
                Some(at) => {
                    self.clock.0.set(now.max(at));
                    self.look(now.max(at));
                }
                None => return,
            }
        }
        panic!("it does not come to rest");
    }
}

#[derive(Debug, Clone)]
enum Do {
    Append(i32),
    Wait(u64),
    /// The sender looks, by a clock that it read so many milliseconds ago.
    Look(u64),
}

proptest! {
    #[test]
    fn what_was_signalled_is_sent_or_signalled_again(
        linger in prop_oneof![Just(0_u64), Just(5), Just(50)],
        actions in proptest::collection::vec(
            prop_oneof![
                (0..3_i32).prop_map(Do::Append),
                (0..20_u64).prop_map(Do::Wait),
                (0..30_u64).prop_map(Do::Look),
            ],
            1..80,
        ),
    ) {
        let mut rig = Rig::new(Duration::from_millis(linger), 3);
        let start = rig.clock.0.get();
        for action in actions {
            match action {
                Do::Append(partition) => rig.append(partition),
                Do::Wait(millis) => rig.clock.0.set(rig.clock.0.get() + Duration::from_millis(millis)),
                Do::Look(ago) => {
                    let now = rig.clock.0.get();
                    rig.look(now.checked_sub(Duration::from_millis(ago)).map_or(now, |then| then.max(start)));
                }
            }
        }
        rig.settle();
        prop_assert_eq!(rig.taken, rig.appended, "records lie in batches that nobody looks at");
    }
}

#[test]
fn a_record_appended_after_the_sender_read_its_clock_does_not_lie_in_its_batch() {
    let mut rig = Rig::new(Duration::ZERO, 1);
    let read = rig.clock.0.get();
    rig.clock.0.set(read + Duration::from_micros(1));
    rig.append(0);
    rig.look(read);
    assert_eq!(rig.taken, 1);
}
