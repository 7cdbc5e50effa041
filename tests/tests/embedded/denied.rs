//! What the client may not do: an error that says who refused what; everything else goes on.

use kavka::{ErrorKind, NewTopic, OffsetReset, Record};
use kavka_tests::data::{next, produce_numbers};
use kavka_tests::{Outcome, Target, soon};
use kavka_wire::ApiKey;

fn play(body: impl Future<Output = Outcome>) {
    super::paused(async { body.await.unwrap() });
}

#[test]
fn no_permission_to_create_topics() {
    play(async {
        let target = Target::memory().await?;
        let client = target.client().await?;
        target.cluster().unwrap().deny(ApiKey::CREATE_TOPICS);
        let error =
            client.admin().create_topics([NewTopic::new("forbidden", 1)]).await.remove(0).unwrap_err();
        assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some("forbidden")), "{error}");
        assert!(error.to_string().contains("AUTHORIZATION_FAILED"), "{error}");
        Ok(())
    });
}

#[test]
fn no_permission_to_write_one_topic_does_not_stop_another() {
    play(async {
        let target = Target::memory().await?;
        let client = target.client().await?;
        let (good, bad) = (target.topic(&client, "good", 1).await?, target.topic(&client, "bad", 1).await?);
        let producer = client.producer().start().await?;
        // Known already, so that the Produce request is what is refused.
        soon("the first", producer.send(Record::to(&bad).value("0")).await?).await??;
        target.cluster().unwrap().deny_topic(&bad);
        let refused = producer.send(Record::to(&bad).value("1")).await?;
        let written = producer.send(Record::to(&good).value("1")).await?;
        let error = soon("an error", refused).await?.unwrap_err();
        assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some(bad.as_str())), "{error}");
        assert_eq!(soon("the other topic", written).await??.offset, Some(0));
        target.cluster().unwrap().allow_all();
        let again = soon("the topic again", producer.send(Record::to(&bad).value("2")).await?).await??;
        assert_eq!(again.offset, Some(1));
        Ok(())
    });
}

#[test]
fn no_permission_to_read_one_topic_does_not_stop_another() {
    play(async {
        let target = Target::memory().await?;
        let client = target.client().await?;
        let (good, bad) = (target.topic(&client, "good", 1).await?, target.topic(&client, "bad", 1).await?);
        produce_numbers(&client, &good, 1, 0, 10).await?;
        produce_numbers(&client, &bad, 1, 0, 10).await?;
        let builder = client.consumer().group("g").subscribe([good.as_str(), &bad]);
        let mut consumer = builder.auto_offset_reset(OffsetReset::Earliest).start().await?;
        let mut seen =
            [next(&mut consumer).await?, next(&mut consumer).await?].map(|batch| batch.topic().to_owned());
        seen.sort();
        let mut both = [good.clone(), bad.clone()];
        both.sort();
        assert_eq!(seen, both);
        target.cluster().unwrap().deny_topic(&bad);
        produce_numbers(&client, &good, 1, 10, 20).await?;
        let (mut error, mut read) = (None, 0);
        while error.is_none() || read < 10 {
            match soon("ten records and an error", consumer.next()).await? {
                Ok(batch) => {
                    let batch = batch.ok_or("closed")?;
                    assert_eq!(batch.topic(), good);
                    read += batch.len();
                }
                Err(found) => error = Some(found),
            }
        }
        let error = error.ok_or("no error")?;
        assert_eq!((error.kind(), error.topic()), (ErrorKind::Authorization, Some(bad.as_str())), "{error}");
        target.cluster().unwrap().allow_all();
        produce_numbers(&client, &bad, 1, 10, 11).await?;
        let back = async {
            loop {
                match consumer.next().await {
                    Ok(Some(batch)) if batch.topic() == bad => return Ok(batch.first_offset()),
                    Ok(None) => return Err("closed"),
                    _ => {}
                }
            }
        };
        assert_eq!(soon("the topic again", back).await??, 10);
        Ok(())
    });
}

#[test]
fn no_permission_to_use_a_group() {
    play(async {
        let target = Target::memory().await?;
        let client = target.client().await?;
        let topic = target.topic(&client, "t", 1).await?;
        target.cluster().unwrap().deny_group("forbidden");
        let builder = client.consumer().group("forbidden").subscribe([topic.as_str()]);
        let mut consumer = builder.start().await?;
        let error = soon("an error", consumer.next()).await?.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authorization, "{error}");
        let text = error.to_string();
        assert!(text.contains("forbidden") && text.contains("grant"), "{text}");
        Ok(())
    });
}
