//! Lines `topic,partition,offset`, as Kafka's own tool writes and reads them.

use std::collections::BTreeMap;

use kavka::TopicPartition;

/// A plan as lines.
pub(super) fn line(partition: &TopicPartition, offset: i64) -> String {
    // No topic has a comma or a quote in its name.
    format!("{},{},{offset}", partition.topic, partition.partition)
}

/// Reads a plan. Empty lines are passed over; fields may stand in quotes.
pub(super) fn read(text: &str) -> Result<BTreeMap<TopicPartition, i64>, String> {
    let mut plan = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || format!("line {}: `{}` is not topic,partition,offset", number + 1, shortened(line));
        let fields: Vec<&str> = line.split(',').map(|field| field.trim().trim_matches('"')).collect();
        let [topic, partition, offset] = fields[..] else { return Err(wrong()) };
        let (Ok(partition @ 0..), Ok(offset @ 0..)) = (partition.parse(), offset.parse()) else {
            return Err(wrong());
        };
        if topic.is_empty() {
            return Err(wrong());
        }
        if plan.insert(TopicPartition::new(topic, partition), offset).is_some() {
            return Err(format!("line {}: partition {partition} of {topic} is named twice", number + 1));
        }
    }
    if plan.is_empty() { Err("it names no partition".to_owned()) } else { Ok(plan) }
}

fn shortened(line: &str) -> String {
    line.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let plan = BTreeMap::from([(TopicPartition::new("a.b-c", 0), 7), (TopicPartition::new("z", 12), 0)]);
        let lines: Vec<String> = plan.iter().map(|(partition, offset)| line(partition, *offset)).collect();
        assert_eq!(lines, ["a.b-c,0,7", "z,12,0"]);
        assert_eq!(read(&lines.join("\n")), Ok(plan.clone()));
        assert_eq!(read("\"a.b-c\",0,7\r\n\n z , 12 , 0 \r\n"), Ok(plan));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, says) in [
            ("", "no partition"),
            ("a,0,1\na,0,2", "line 2"),
            ("a,0", "line 1"),
            ("a,0,1\n\na,x,1", "line 3"),
            ("a,0,-1", "line 1"),
            ("a,-1,0", "line 1"),
            (",0,0", "line 1"),
            ("g,a,0,0", "line 1"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
