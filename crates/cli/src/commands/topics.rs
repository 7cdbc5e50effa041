//! `kavka topics`.

use kavka::{Admin, NewTopic};
use serde_json::{Value, json};

use crate::args::{Connection, Topics, TopicsCommand};
use crate::output::{Failure, Printer};

/// Lists, describes, creates or deletes topics.
pub async fn run(args: Topics, printer: &Printer) -> Result<(), Failure> {
    match args.command {
        TopicsCommand::List { connection, internal } => {
            let client = super::connect(&connection).await?;
            list(&super::admin(&client, &connection), internal, printer).await
        }
        TopicsCommand::Describe { topics, connection } => {
            let client = super::connect(&connection).await?;
            describe(&super::admin(&client, &connection), topics, printer).await
        }
        TopicsCommand::Create { topic, connection, partitions, replication, configs } => {
            let mut new = NewTopic::new(topic.as_str(), partitions.unwrap_or(-1));
            if let Some(replication) = replication {
                new = new.replication(replication);
            }
            for (name, value) in configs {
                new = new.config(name, value);
            }
            create(&connection, &topic, new, printer).await
        }
        TopicsCommand::Delete { topics, connection } => delete(&connection, topics, printer).await,
    }
}

async fn list(admin: &Admin, internal: bool, printer: &Printer) -> Result<(), Failure> {
    for topic in admin.list_topics().await? {
        if topic.internal && !internal {
            continue;
        }
        printer.result(format_args!("{}\t{} partitions", topic.name, topic.partitions.len()), || {
            json!({ "topic": &*topic.name, "partitions": topic.partitions.len(), "internal": topic.internal })
        })?;
    }
    Ok(())
}

async fn describe(admin: &Admin, topics: Vec<String>, printer: &Printer) -> Result<(), Failure> {
    for topic in admin.describe_topics(topics).await {
        let topic = topic?;
        if printer.is_json() {
            let partitions: Vec<Value> = topic.partitions.iter().map(partition_json).collect();
            printer.result(
                "",
                || json!({ "topic": &*topic.name, "id": topic.id.to_string(), "partitions": partitions }),
            )?;
            continue;
        }
        printer.result(format_args!("{} (id {})", topic.name, topic.id), Value::default)?;
        for partition in &topic.partitions {
            let leader = partition.leader.map_or("none".to_owned(), |leader| leader.to_string());
            printer.result(
                format_args!(
                    "  partition {}: leader {leader}, replicas {:?}, in sync {:?}",
                    partition.partition, partition.replicas, partition.in_sync
                ),
                Value::default,
            )?;
        }
    }
    Ok(())
}

fn partition_json(partition: &kavka::PartitionDescription) -> Value {
    json!({
        "partition": partition.partition, "leader": partition.leader, "replicas": partition.replicas,
        "in_sync": partition.in_sync,
    })
}

async fn create(
    connection: &Connection,
    topic: &str,
    new: NewTopic,
    printer: &Printer,
) -> Result<(), Failure> {
    let client = super::connect(connection).await?;
    for result in super::admin(&client, connection).create_topics([new]).await {
        result?;
    }
    printer.result(format_args!("created {topic}"), || json!({ "created": topic }))?;
    Ok(())
}

async fn delete(connection: &Connection, topics: Vec<String>, printer: &Printer) -> Result<(), Failure> {
    let client = super::connect(connection).await?;
    let results = super::admin(&client, connection).delete_topics(topics.clone()).await;
    // Every topic is tried; the first failure is the command's.
    let mut failure = None;
    for (topic, result) in topics.iter().zip(results) {
        match result {
            Ok(_) => printer.result(format_args!("deleted {topic}"), || json!({ "deleted": topic }))?,
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    failure.map_or(Ok(()), |error| Err(error.into()))
}
