//! Options of a consumer that contradict each other are named.

use std::sync::Arc;
use std::time::Duration;

use crate::support::*;
use kavka_client::assignor::{Assignor, Range};
use kavka_client::{ConsumerBuilder, ErrorKind, GroupProtocol, Start};

#[tokio::test(start_paused = true)]
async fn what_contradicts_itself_is_named_at_the_start() {
    let rig = rig(1).await;
    let member = |protocol| rig.member("g").group_protocol(protocol);
    let consumer = || member(GroupProtocol::Consumer);
    let by_hand = || rig.consumer().group("g").assign([(TOPIC, 0, Start::End)]);
    let range = || [Arc::new(Range) as Arc<dyn Assignor>];
    let second = Duration::from_secs(1);
    let wrong: Vec<(&str, ConsumerBuilder)> = vec![
        ("session_timeout", consumer().session_timeout(second * 30)),
        ("heartbeat_interval", consumer().heartbeat_interval(second)),
        ("assignors", consumer().assignors(range())),
        ("server_assignor", member(GroupProtocol::Classic).server_assignor("uniform")),
        ("server_assignor", consumer().server_assignor("")),
        ("server_assignor", by_hand().server_assignor("range")),
        ("assign()", by_hand().subscribe_pattern("o.*")),
        ("neither", rig.consumer().group("g")),
        ("group()", rig.consumer().subscribe_pattern("o.*")),
        ("^.*[0", member(GroupProtocol::Auto).subscribe_pattern("^.*[0")),
        ("empty", member(GroupProtocol::Auto).subscribe_pattern("")),
        ("no topic", rig.consumer().group("g").subscribe(Vec::<&str>::new())),
        ("empty name", rig.consumer().group("g").subscribe([""])),
        ("32,767", rig.consumer().group("g").subscribe(["x".repeat(32_768)])),
        ("32,767", rig.consumer().assign([("x".repeat(32_768), 0, Start::End)])),
        ("32,767", consumer().subscribe_pattern("x".repeat(32_768))),
        ("max_processing_time", consumer().max_processing_time(Duration::ZERO)),
        ("offsets_refresh", by_hand().offsets_refresh(Duration::from_nanos(1))),
    ];
    for (name, builder) in wrong {
        let error = builder.start().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let fallback = member(GroupProtocol::Auto).session_timeout(second * 30).heartbeat_interval(second);
    let fine = [
        fallback.assignors(range()).server_assignor("range"),
        consumer().server_assignor("uniform").max_processing_time(None),
        by_hand().group_protocol(GroupProtocol::Consumer).offsets_refresh(None),
        member(GroupProtocol::Auto).subscribe_pattern("x".repeat(32_768)),
    ];
    for builder in fine {
        builder.start().await.unwrap().close().await.unwrap();
    }
}
