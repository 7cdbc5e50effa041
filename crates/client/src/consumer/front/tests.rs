use kavka_wire::compress::Compressor;
use kavka_wire::records::{BatchBuilder, Finish};
use tokio::sync::watch;

use super::super::chunk::Chunk;
use super::super::command::Commands;
use super::super::command::Request;
use super::super::core::fetch::{Charge, Fetched, Gauge, IsolationLevel};
use super::super::core::{Snapshot, Tenure, closed};
use super::*;

/// A consumer whose driver is the test.
struct Rig {
    pulse: Arc<Pulse>,
    consumer: Consumer,
    control: mpsc::UnboundedSender<Control>,
    items: mpsc::UnboundedSender<Item>,
    commands: mpsc::UnboundedReceiver<Request>,
    _assignment: watch::Sender<Arc<Snapshot>>,
    placement: Arc<Placement>,
}

fn rig() -> Rig {
    let (commands, commands_end) = mpsc::unbounded_channel();
    let (control, control_end) = mpsc::unbounded_channel();
    let (items, items_end) = mpsc::unbounded_channel();
    let (assignment, assignment_end) = watch::channel(Arc::default());
    let handle = ConsumerHandle::new(Commands(commands), assignment_end, IsolationLevel::default());
    let pulse = Arc::<Pulse>::default();
    let ends = FrontEnds { control: control_end, items: items_end, pulse: pulse.clone() };
    let driver = tokio::spawn(std::future::pending());
    let placement = Placement::new(
        TopicPartition::new("orders", 0),
        0,
        1,
        Arc::default(),
        Arc::new(Tenure::new(None)),
        false,
    );
    Rig {
        consumer: Consumer::new(handle, ends, 500, false, Some(driver)),
        control,
        items,
        commands: commands_end,
        pulse,
        _assignment: assignment,
        placement: Arc::new(placement),
    }
}

impl Rig {
    fn tell(&self, control: Control) {
        self.pulse.control_sent();
        self.control.send(control).unwrap();
    }

    fn send(&self, item: Item) {
        self.pulse.item_sent();
        self.items.send(item).unwrap();
    }

    /// Hands over one record with this offset.
    fn record(&self, offset: i64) {
        let mut builder = BatchBuilder::new();
        builder.append(0, None, Some(b"x"), std::iter::empty());
        let mut records = builder.finish(&Finish::default(), &mut Compressor::new()).unwrap().to_vec();
        records[..8].copy_from_slice(&offset.to_be_bytes());
        let fetched = Fetched {
            slot: 0,
            epoch: 1,
            fetch_offset: offset,
            next_offset: offset + 1,
            high_watermark: 100,
            aborted: Vec::new(),
            answer_bytes: records.len(),
            charge: Charge::new(&Arc::<Gauge>::default(), &self.placement.gauges, records.len()),
            records: records.into(),
        };
        let chunk = Chunk::new(fetched, self.placement.clone(), Arc::default());
        self.send(Item::Records(chunk));
    }

    async fn next_offset(&mut self) -> i64 {
        self.consumer.next().await.unwrap().unwrap().first_offset()
    }

    /// Lets the consumer take in all that is there although it can hand out none of it.
    async fn take_in(&mut self) {
        tokio::select! {
            biased;
            batch = self.consumer.next() => panic!("{batch:?}"),
            () = std::future::ready(()) => {}
        }
    }
}

#[tokio::test]
async fn what_was_set_aside_comes_first_also_before_the_driver_says_that_it_may() {
    let mut rig = rig();
    rig.placement.set_paused(true);
    rig.record(0);
    rig.record(1);
    rig.take_in().await;
    assert_eq!(rig.pulse.waiting(), (0, 0), "both are set aside");
    rig.placement.set_paused(false);
    rig.record(2);
    for offset in 0..3 {
        assert_eq!(rig.next_offset().await, offset);
    }
}

#[tokio::test]
async fn what_is_left_to_take_is_counted_to_the_last_item() {
    let mut rig = rig();
    for offset in 0..3 {
        rig.record(offset);
    }
    rig.tell(Control::Told(Told::Assigned(vec![rig.placement.clone()])));
    assert_eq!(rig.pulse.waiting(), (1, 3));
    assert_eq!(rig.next_offset().await, 0);
    assert_eq!(rig.pulse.waiting(), (0, 3), "until the next call the first one is not done with");
    rig.placement.set_paused(true);
    rig.take_in().await;
    assert_eq!(rig.pulse.waiting(), (0, 0), "what is set aside cannot be taken");
    rig.placement.set_paused(false);
    rig.tell(Control::Told(Told::Resumed(vec![rig.placement.clone()])));
    assert_eq!((rig.next_offset().await, rig.next_offset().await), (1, 2));
    rig.take_in().await;
    assert_eq!(rig.pulse.waiting(), (0, 0));
}

#[tokio::test]
async fn records_keep_their_order_over_a_pause() {
    let mut rig = rig();
    rig.record(0);
    rig.record(1);
    assert_eq!(rig.next_offset().await, 0);
    rig.placement.set_paused(true);
    rig.record(2);
    rig.take_in().await;
    rig.placement.set_paused(false);
    rig.tell(Control::Told(Told::Resumed(vec![rig.placement.clone()])));
    assert_eq!((rig.next_offset().await, rig.next_offset().await), (1, 2));
}

#[tokio::test]
async fn an_assignment_is_told_before_its_first_record() {
    let mut rig = rig();
    // Both come after control was looked at and before items are.
    assert!(rig.consumer.look_at_control().unwrap().is_none());
    rig.tell(Control::Told(Told::Assigned(vec![rig.placement.clone()])));
    rig.record(0);
    assert!(matches!(rig.consumer.next_item().unwrap(), Next::Again));
    assert!(matches!(rig.consumer.event().await.unwrap(), Event::Assigned(_)));
    assert_eq!(rig.next_offset().await, 0);
}

#[tokio::test]
async fn what_is_over_is_neither_handed_out_nor_told() {
    let mut rig = rig();
    rig.record(0);
    let failed = Item::Failed { placements: vec![rig.placement.clone()], error: closed() };
    rig.send(failed);
    rig.send(Item::Position { placement: rig.placement.clone(), offset: 50 });
    rig.placement.end();
    rig.take_in().await;
    assert_eq!(rig.placement.position(), None);
    rig.tell(Control::Ended(None));
    assert!(rig.consumer.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_position_takes_effect_behind_the_records_before_it() {
    let mut rig = rig();
    rig.record(0);
    rig.send(Item::Position { placement: rig.placement.clone(), offset: 50 });
    assert_eq!(rig.next_offset().await, 0);
    assert_eq!(rig.placement.position(), Some(1));
    rig.take_in().await;
    assert_eq!(rig.placement.position(), Some(50));
}

#[tokio::test]
async fn a_driver_that_vanishes_is_an_error_once() {
    let Rig { mut consumer, control, items, commands, .. } = rig();
    drop((control, items, commands));
    assert_eq!(consumer.next().await.unwrap_err().kind(), ErrorKind::Bug);
    assert!(consumer.next().await.unwrap().is_none());
}
