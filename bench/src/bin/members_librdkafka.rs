//! Members of a group with librdkafka, a thread each.

use std::ffi::{CStr, CString};
use std::time::{Duration, Instant};

use kavka_bench::group::{Arguments, CLIENT_ID, Journal, starts};
use rdkafka_sys as rd;

/// How often a member looks at how many partitions it has: that asks another thread.
const LOOK: Duration = Duration::from_millis(500);

unsafe fn client(args: &Arguments) -> *mut rd::rd_kafka_t {
    let mut settings = vec![
        ("bootstrap.servers", args.bootstrap.as_str()),
        ("client.id", CLIENT_ID),
        ("group.id", &args.group),
        ("auto.offset.reset", "latest"),
        ("fetch.wait.max.ms", "500"),
        ("enable.auto.commit", "true"),
        ("auto.commit.interval.ms", "5000"),
    ];
    match args.protocol.as_str() {
        "consumer" => settings.push(("group.protocol", "consumer")),
        assignor => settings.extend([
            ("partition.assignment.strategy", assignor),
            ("session.timeout.ms", "45000"),
            ("heartbeat.interval.ms", "3000"),
        ]),
    }
    let mut error = [0; 512];
    unsafe {
        let conf = rd::rd_kafka_conf_new();
        for (key, value) in settings {
            let (name, value) = (CString::new(key).expect("no NUL"), CString::new(value).expect("no NUL"));
            let set =
                rd::rd_kafka_conf_set(conf, name.as_ptr(), value.as_ptr(), error.as_mut_ptr(), error.len());
            let known = set == rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK;
            assert!(known, "{:?}", CStr::from_ptr(error.as_ptr()));
        }
        let kind = rd::rd_kafka_type_t::RD_KAFKA_CONSUMER;
        let client = rd::rd_kafka_new(kind, conf, error.as_mut_ptr(), error.len());
        assert!(!client.is_null(), "{:?}", CStr::from_ptr(error.as_ptr()));
        client
    }
}

unsafe fn assigned(client: *mut rd::rd_kafka_t) -> usize {
    let mut list = std::ptr::null_mut();
    unsafe {
        if rd::rd_kafka_assignment(client, &mut list) != rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return 0;
        }
        let count = (*list).cnt as usize;
        rd::rd_kafka_topic_partition_list_destroy(list);
        count
    }
}

fn member(args: &Arguments, member: usize, journal: &Journal) {
    journal.started(member);
    // SAFETY: every pointer comes from librdkafka itself or from a CString that outlives the call; a message is read before it is
    // destroyed, once. The client lives as long as the process.
    unsafe {
        let client = client(args);
        rd::rd_kafka_poll_set_consumer(client);
        let topics = rd::rd_kafka_topic_partition_list_new(1);
        let name = CString::new(args.topic.as_str()).expect("no NUL");
        rd::rd_kafka_topic_partition_list_add(topics, name.as_ptr(), -1);
        rd::rd_kafka_subscribe(client, topics);
        rd::rd_kafka_topic_partition_list_destroy(topics);
        let (mut seen, mut looked) = (0, Instant::now());
        loop {
            let message = rd::rd_kafka_consumer_poll(client, 500);
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let now = assigned(client);
                if now != seen {
                    journal.assigned(member, now);
                    seen = now;
                }
            }
            if message.is_null() {
                continue;
            }
            if (*message).err == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                journal.records(member, (*message).partition, (*message).offset, (*message).offset + 1);
            } else {
                journal
                    .failed(member, &CStr::from_ptr(rd::rd_kafka_message_errstr(message)).to_string_lossy());
            }
            rd::rd_kafka_message_destroy(message);
        }
    }
}

fn main() {
    let args = Arguments::read();
    // SAFETY: librdkafka's own constant string.
    let version = unsafe { CStr::from_ptr(rd::rd_kafka_version_str()) };
    let journal = Journal::open(&format!("librdkafka {}", version.to_string_lossy()));
    for number in starts() {
        let (args, journal) = (args.clone(), journal.clone());
        std::thread::spawn(move || member(&args, number, &journal));
    }
    journal.flush();
    std::process::exit(0);
}
