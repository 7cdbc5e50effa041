//! librdkafka's batch API (`rd_kafka_consume_batch_queue`) in a group: its cheapest way to consume.

use std::ffi::{CStr, CString};

use kavka_bench::{Window, arguments};
use rdkafka_sys as rd;

fn main() {
    let (bootstrap, topic, count) = arguments();
    let group = format!("bench-librdkafka-{}", std::process::id());
    let window = Window::open();
    // SAFETY: every pointer comes from librdkafka itself or from a CString that outlives the call; each object is destroyed
    // once, in the order that librdkafka's documentation gives.
    let records = unsafe { consume(&bootstrap, &topic, &group, count) };
    window.close("librdkafka batch", records).print();
}

unsafe fn consume(bootstrap: &str, topic: &str, group: &str, count: u64) -> u64 {
    let mut error = [0; 512];
    unsafe {
        let conf = rd::rd_kafka_conf_new();
        let settings = [
            ("bootstrap.servers", bootstrap),
            ("group.id", group),
            ("auto.offset.reset", "earliest"),
            ("enable.auto.commit", "false"),
            ("check.crcs", "true"),
        ];
        for (key, value) in settings {
            let (key, value) = (CString::new(key).expect("no NUL"), CString::new(value).expect("no NUL"));
            rd::rd_kafka_conf_set(conf, key.as_ptr(), value.as_ptr(), error.as_mut_ptr(), error.len());
        }
        let kind = rd::rd_kafka_type_t::RD_KAFKA_CONSUMER;
        let client = rd::rd_kafka_new(kind, conf, error.as_mut_ptr(), error.len());
        assert!(!client.is_null(), "{:?}", CStr::from_ptr(error.as_ptr()));
        rd::rd_kafka_poll_set_consumer(client);
        let topics = rd::rd_kafka_topic_partition_list_new(1);
        let name = CString::new(topic).expect("no NUL");
        rd::rd_kafka_topic_partition_list_add(topics, name.as_ptr(), -1);
        rd::rd_kafka_subscribe(client, topics);
        rd::rd_kafka_topic_partition_list_destroy(topics);
        let queue = rd::rd_kafka_queue_get_consumer(client);
        let mut messages = vec![std::ptr::null_mut(); 10_000];
        let mut records = 0;
        while records < count {
            let got = rd::rd_kafka_consume_batch_queue(queue, 1000, messages.as_mut_ptr(), messages.len());
            for &message in &messages[..got.max(0) as usize] {
                if (*message).err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    std::hint::black_box(((*message).payload, (*message).len));
                    records += 1;
                }
                rd::rd_kafka_message_destroy(message);
            }
        }
        rd::rd_kafka_queue_destroy(queue);
        records
    }
}
