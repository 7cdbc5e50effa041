import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's own Java client as a peer: JSON lines in, JSON lines out. */
public final class Interop {
    private static final String USAGE = String.join("\n",
        "usage: Interop produce|consume|group --bootstrap HOST:PORT,... [CLIENT-PROPERTY=VALUE ...]",
        "  produce                    sends the records on standard input, answers each with its offset;",
        "                             with transactional.id the lines {\"txn\":\"begin|commit|abort\"} end a transaction",
        "  consume --topic T[,T]      prints every record from the beginning to the end offsets of the start",
        "  group --topic T[,T] --group G",
        "                             joins, prints events and records, commits after each poll;",
        "                             leaves the group when standard input closes",
        "record: {\"topic\",\"partition\",\"offset\",\"timestamp\",\"key\",\"value\",\"headers\":[[name,value],...]}",
        "        key, value and header values are base64 or null; produce ignores offset and may omit all but topic",
        "event:  {\"event\":\"assigned|revoked|lost|committed|closed\",\"partitions\":[[topic,partition],...],",
        "         \"offsets\":[[topic,partition,offset],...]}");
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final PrintStream OUT =
        new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        Map<String, String> options = new HashMap<>();
        Properties properties = new Properties();
        for (int i = 1; i < args.length; i++) {
            int equals = args[i].indexOf('=');
            if (args[i].startsWith("--") && i + 1 < args.length) {
                options.put(args[i].substring(2), args[++i]);
            } else if (equals > 0) {
                properties.put(args[i].substring(0, equals), args[i].substring(equals + 1));
            } else {
                usage();
            }
        }
        String command = args.length == 0 ? "" : args[0];
        properties.put("bootstrap.servers", required(options, "bootstrap"));
        switch (command) {
            case "produce": produce(properties); break;
            case "consume": consume(properties, topics(options)); break;
            case "group": group(properties, required(options, "group"), topics(options)); break;
            default: usage();
        }
        OUT.flush();
    }

    private static void usage() {
        System.err.println(USAGE);
        System.exit(2);
    }

    private static String required(Map<String, String> options, String name) {
        if (!options.containsKey(name)) usage();
        return options.get(name);
    }

    private static List<String> topics(Map<String, String> options) {
        return Arrays.asList(required(options, "topic").split(","));
    }

    private static void produce(Properties properties) throws Exception {
        properties.putIfAbsent("acks", "all");
        boolean transactional = properties.containsKey("transactional.id");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        ArrayDeque<Future<RecordMetadata>> sent = new ArrayDeque<>();
        try (KafkaProducer<byte[], byte[]> producer =
                 new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer())) {
            if (transactional) producer.initTransactions();
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                JsonNode json = JSON.readTree(line);
                if (json.has("txn")) {
                    transaction(producer, json.get("txn").asText(), sent);
                    continue;
                }
                sent.add(producer.send(record(json)));
                // A peer that talks line by line waits for this answer before it sends more.
                if (!in.ready()) {
                    if (!transactional) producer.flush();
                    answer(sent, !transactional);
                }
            }
            producer.flush();
            answer(sent, true);
        }
    }

    private static void transaction(
        KafkaProducer<byte[], byte[]> producer, String verb, ArrayDeque<Future<RecordMetadata>> sent
    ) throws Exception {
        switch (verb) {
            case "begin": producer.beginTransaction(); break;
            // An abort fails the records that have not been sent yet, so all are sent first.
            case "abort": producer.flush(); producer.abortTransaction(); break;
            case "commit": producer.commitTransaction(); break;
            default: throw new IllegalArgumentException("txn: " + verb);
        }
        answer(sent, true);
        print(JSON.createObjectNode().put("txn", verb));
        OUT.flush();
    }

    private static void answer(ArrayDeque<Future<RecordMetadata>> sent, boolean wait) throws Exception {
        while (!sent.isEmpty() && (wait || sent.peek().isDone())) {
            RecordMetadata metadata = sent.remove().get();
            print(JSON.createObjectNode()
                .put("topic", metadata.topic())
                .put("partition", metadata.partition())
                .put("offset", metadata.offset())
                .put("timestamp", metadata.timestamp()));
        }
        OUT.flush();
    }

    private static ProducerRecord<byte[], byte[]> record(JsonNode json) throws Exception {
        List<Header> headers = new ArrayList<>();
        for (JsonNode header : json.path("headers")) {
            headers.add(new RecordHeader(header.get(0).asText(), bytes(header.get(1))));
        }
        return new ProducerRecord<>(
            json.get("topic").asText(),
            json.hasNonNull("partition") ? (Integer) json.get("partition").asInt() : null,
            json.hasNonNull("timestamp") ? (Long) json.get("timestamp").asLong() : null,
            bytes(json.get("key")),
            bytes(json.get("value")),
            headers);
    }

    private static byte[] bytes(JsonNode base64) {
        return base64 == null || base64.isNull() ? null : Base64.getDecoder().decode(base64.asText());
    }

    private static void consume(Properties properties, List<String> topics) {
        properties.putIfAbsent("enable.auto.commit", "false");
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(properties)) {
            List<TopicPartition> partitions = new ArrayList<>();
            for (String topic : topics) {
                for (PartitionInfo info : consumer.partitionsFor(topic)) {
                    partitions.add(new TopicPartition(topic, info.partition()));
                }
            }
            Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            // Positions are compared, not records counted: transactions and compaction leave gaps.
            while (partitions.stream().anyMatch(partition -> consumer.position(partition) < ends.get(partition))) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(200))) {
                    if (record.offset() < ends.get(new TopicPartition(record.topic(), record.partition()))) {
                        print(json(record));
                    }
                }
                OUT.flush();
            }
        }
    }

    private static void group(Properties properties, String group, List<String> topics) {
        properties.put("group.id", group);
        properties.putIfAbsent("enable.auto.commit", "false");
        properties.putIfAbsent("auto.offset.reset", "earliest");
        KafkaConsumer<byte[], byte[]> consumer = consumer(properties);
        Thread stdin = new Thread(() -> {
            try {
                while (System.in.read() >= 0) { }
            } catch (java.io.IOException closed) {
                // A broken pipe is a closed one.
            }
            consumer.wakeup();
        });
        stdin.setDaemon(true);
        stdin.start();
        boolean commits = "false".equals(properties.get("enable.auto.commit"));
        try {
            consumer.subscribe(topics, new Listener());
            while (true) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(100));
                records.forEach(record -> print(json(record)));
                if (commits && !records.isEmpty()) commit(consumer, records);
                OUT.flush();
            }
        } catch (WakeupException stop) {
            // Standard input was closed.
        } finally {
            consumer.close();
            event("closed", List.of());
        }
    }

    private static void commit(KafkaConsumer<byte[], byte[]> consumer, ConsumerRecords<byte[], byte[]> records) {
        Map<TopicPartition, OffsetAndMetadata> offsets = new HashMap<>();
        for (TopicPartition partition : records.partitions()) {
            List<ConsumerRecord<byte[], byte[]>> list = records.records(partition);
            offsets.put(partition, new OffsetAndMetadata(list.get(list.size() - 1).offset() + 1));
        }
        try {
            consumer.commitSync(offsets);
        } catch (RebalanceInProgressException retryLater) {
            // The next poll completes the rebalance; the records are read and committed again if they moved.
            return;
        }
        ArrayNode list = JSON.createArrayNode();
        offsets.forEach((partition, offset) ->
            list.addArray().add(partition.topic()).add(partition.partition()).add(offset.offset()));
        ObjectNode committed = JSON.createObjectNode().put("event", "committed");
        committed.set("offsets", list);
        print(committed);
    }

    private static final class Listener implements ConsumerRebalanceListener {
        @Override public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            event("assigned", partitions);
        }

        @Override public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            event("revoked", partitions);
        }

        @Override public void onPartitionsLost(Collection<TopicPartition> partitions) {
            event("lost", partitions);
        }
    }

    private static void event(String name, Collection<TopicPartition> partitions) {
        ObjectNode event = JSON.createObjectNode().put("event", name);
        ArrayNode list = event.putArray("partitions");
        for (TopicPartition partition : partitions) {
            list.addArray().add(partition.topic()).add(partition.partition());
        }
        print(event);
        OUT.flush();
    }

    private static KafkaConsumer<byte[], byte[]> consumer(Properties properties) {
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static ObjectNode json(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode json = JSON.createObjectNode()
            .put("topic", record.topic())
            .put("partition", record.partition())
            .put("offset", record.offset())
            .put("timestamp", record.timestamp())
            .put("key", base64(record.key()))
            .put("value", base64(record.value()));
        ArrayNode headers = json.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(base64(header.value()));
        }
        return json;
    }

    private static String base64(byte[] bytes) {
        return bytes == null ? null : Base64.getEncoder().encodeToString(bytes);
    }

    private static void print(ObjectNode line) {
        OUT.print(line);
        OUT.print('\n');
    }
}
