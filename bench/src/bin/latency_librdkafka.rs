//! End-to-end latency with librdkafka: one partition, 1,000 records a second, linger 0. COUNT is the number of records.

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use kavka_bench::{Window, arguments, percentiles};
use rdkafka_sys as rd;

unsafe fn client(kind: rd::rd_kafka_type_t, settings: &[(&str, &str)]) -> *mut rd::rd_kafka_t {
    let mut error = [0; 512];
    unsafe {
        let conf = rd::rd_kafka_conf_new();
        for (key, value) in settings {
            let (key, value) = (CString::new(*key).expect("no NUL"), CString::new(*value).expect("no NUL"));
            rd::rd_kafka_conf_set(conf, key.as_ptr(), value.as_ptr(), error.as_mut_ptr(), error.len());
        }
        let client = rd::rd_kafka_new(kind, conf, error.as_mut_ptr(), error.len());
        assert!(!client.is_null(), "{:?}", CStr::from_ptr(error.as_ptr()));
        client
    }
}

/// Sends one record a millisecond, each with the time since `start` as its value.
fn produce(bootstrap: String, topic: CString, count: u64, start: Instant) {
    // SAFETY: the topic handle belongs to this client; the payload is copied by librdkafka (RD_KAFKA_MSG_F_COPY).
    unsafe {
        let settings = [("bootstrap.servers", bootstrap.as_str()), ("linger.ms", "0"), ("acks", "all")];
        let producer = client(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER, &settings);
        let handle = rd::rd_kafka_topic_new(producer, topic.as_ptr(), std::ptr::null_mut());
        let begin = Instant::now();
        for index in 0..count {
            std::thread::sleep(
                (begin + Duration::from_millis(index)).saturating_duration_since(Instant::now()),
            );
            let mut payload = [0u8; 100];
            payload[..8].copy_from_slice(&(start.elapsed().as_nanos() as u64).to_be_bytes());
            let (data, copy) = (payload.as_mut_ptr().cast(), 2);
            rd::rd_kafka_produce(
                handle,
                0,
                copy,
                data,
                payload.len(),
                std::ptr::null(),
                0,
                std::ptr::null_mut(),
            );
            rd::rd_kafka_poll(producer, 0);
        }
        rd::rd_kafka_flush(producer, 10_000);
    }
}

fn main() {
    let (bootstrap, topic, count) = arguments();
    let topic = CString::new(topic).expect("no NUL");
    let start = Instant::now();
    let mut latencies = Vec::with_capacity(count as usize);
    // SAFETY: as in `produce`; each message is destroyed once after its payload was read.
    let report = unsafe {
        let settings = [
            ("bootstrap.servers", bootstrap.as_str()),
            ("group.id", "latency"),
            ("enable.auto.commit", "false"),
        ];
        let consumer = client(rd::rd_kafka_type_t::RD_KAFKA_CONSUMER, &settings);
        rd::rd_kafka_poll_set_consumer(consumer);
        let list = rd::rd_kafka_topic_partition_list_new(1);
        rd::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), 0);
        (*(*list).elems).offset = -1;
        rd::rd_kafka_assign(consumer, list);
        rd::rd_kafka_topic_partition_list_destroy(list);
        let warm = Instant::now();
        while warm.elapsed() < Duration::from_secs(2) {
            let message = rd::rd_kafka_consumer_poll(consumer, 100);
            if !message.is_null() {
                rd::rd_kafka_message_destroy(message);
            }
        }
        let window = Window::open();
        let producer = std::thread::spawn({
            let topic = topic.clone();
            move || produce(bootstrap, topic, count, start)
        });
        while latencies.len() < count as usize {
            let message = rd::rd_kafka_consumer_poll(consumer, 1000);
            if message.is_null() {
                continue;
            }
            if (*message).err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let sent = std::slice::from_raw_parts((*message).payload.cast::<u8>(), 8);
                let sent = u64::from_be_bytes(sent.try_into().expect("eight bytes"));
                latencies.push(start.elapsed().as_nanos() as u64 - sent);
            }
            rd::rd_kafka_message_destroy(message);
        }
        producer.join().expect("the producer ends");
        window.close("librdkafka", count)
    };
    let latency = percentiles(latencies);
    kavka_bench::Report { latency_ms: Some(latency), ..report }.print();
}
