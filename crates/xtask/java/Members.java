import java.io.BufferedOutputStream;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.SubscriptionPattern;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Many members of groups in one JVM, told by lines on standard input what to do, telling by lines what they do. */
public final class Members {
    private static final String USAGE = String.join("\n",
        "usage: Members HOST:PORT,... [CONSUMER-PROPERTY=VALUE ...]",
        "lines on standard input:",
        "  join NAME [topics=T,T | pattern=REGEX] [CONSUMER-PROPERTY=VALUE ...]",
        "  leave NAME        closes the consumer: a dynamic member leaves, a static one is away",
        "  go NAME           leaves the group for good, a static member too",
        "  kill NAME         is silent at once: no more polls, heartbeats or commits, and no goodbye",
        "  at the end of input all members leave",
        "lines on standard output: MICROSECONDS-SINCE-1970 NAME and",
        "  assigned|revoked|lost GENERATION [TOPIC/PARTITION ...]",
        "  generation GENERATION     (or member epoch) it has changed",
        "  handled TOPIC/PARTITION FIRST NEXT    records whose values are the numbers of their offsets",
        "  wrong TOPIC/PARTITION OFFSET VALUE    a record with another value",
        "  committed TOPIC/PARTITION NEXT",
        "  notcommitted TEXT         somebody else will handle it again",
        "  closed | killed | failed TEXT         the last line of a member");
    private static final PrintStream OUT =
        new PrintStream(new BufferedOutputStream(System.out, 1 << 16), false, StandardCharsets.UTF_8);

    public static void main(String[] args) throws Exception {
        if (args.length == 0) {
            System.err.println(USAGE);
            System.exit(2);
        }
        Map<String, String> common = new HashMap<>();
        common.put("bootstrap.servers", args[0]);
        common.put("enable.auto.commit", "false");
        common.put("auto.offset.reset", "earliest");
        pairs(Arrays.asList(args).subList(1, args.length), common);
        Map<String, Member> members = new HashMap<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            List<String> words = Arrays.asList(line.trim().split(" +"));
            if (words.size() < 2) throw new IllegalArgumentException(line);
            String name = words.get(1);
            switch (words.get(0)) {
                case "join": {
                    Map<String, String> options = new HashMap<>(common);
                    pairs(words.subList(2, words.size()), options);
                    Member member = new Member(name, options);
                    members.put(name, member);
                    member.start();
                    break;
                }
                case "leave": members.get(name).end(CloseOptions.GroupMembershipOperation.DEFAULT); break;
                case "go": members.get(name).end(CloseOptions.GroupMembershipOperation.LEAVE_GROUP); break;
                case "kill": members.get(name).kill(); break;
                default: throw new IllegalArgumentException(line);
            }
        }
        for (Member member : members.values()) member.end(CloseOptions.GroupMembershipOperation.DEFAULT);
        for (Member member : members.values()) member.join();
    }

    private static void pairs(List<String> words, Map<String, String> into) {
        for (String word : words) {
            int equals = word.indexOf('=');
            if (equals <= 0) throw new IllegalArgumentException(word);
            into.put(word.substring(0, equals), word.substring(equals + 1));
        }
    }

    private static final class Member extends Thread implements ConsumerRebalanceListener {
        private final String topics;
        private final String pattern;
        private final Properties properties = new Properties();
        private KafkaConsumer<byte[], byte[]> consumer;
        private int generation = -1;
        private volatile CloseOptions.GroupMembershipOperation end;
        /** Guarded by OUT, so that nothing is heard of a member that was killed. */
        private boolean silent;

        Member(String name, Map<String, String> options) {
            super(name);
            topics = options.remove("topics");
            pattern = options.remove("pattern");
            properties.putAll(options);
        }

        void end(CloseOptions.GroupMembershipOperation operation) {
            if (end == null) end = operation;
        }

        void kill() {
            synchronized (OUT) {
                say("killed");
                silent = true;
            }
            // Java has no way to drop a consumer: this one closes its sockets and tells the coordinator nothing.
            end(CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP);
        }

        @Override public void run() {
            String last = "closed";
            try {
                consumer = new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
                subscribe();
                while (end == null) {
                    ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(50));
                    generation();
                    if (!records.isEmpty() && handle(records)) commit(records);
                }
            } catch (Throwable failed) {
                last = "failed " + failed;
            }
            try {
                if (consumer != null) close();
            } catch (Throwable failed) {
                if (last.equals("closed")) last = "failed " + failed;
            }
            say(last);
        }

        private void subscribe() {
            if (pattern == null) {
                consumer.subscribe(Arrays.asList(topics.split(",")), this);
            } else if ("consumer".equals(properties.get("group.protocol"))) {
                // The coordinator matches it.
                consumer.subscribe(new SubscriptionPattern(pattern), this);
            } else {
                consumer.subscribe(Pattern.compile(pattern), this);
            }
        }

        private void close() {
            CloseOptions options = CloseOptions.groupMembershipOperation(
                end == null ? CloseOptions.GroupMembershipOperation.DEFAULT : end);
            boolean killed = end == CloseOptions.GroupMembershipOperation.REMAIN_IN_GROUP;
            consumer.close(killed ? options.withTimeout(Duration.ZERO) : options);
        }

        private boolean handle(ConsumerRecords<byte[], byte[]> records) {
            List<String> lines = new ArrayList<>();
            for (TopicPartition partition : records.partitions()) {
                long first = -1;
                long next = -1;
                for (ConsumerRecord<byte[], byte[]> record : records.records(partition)) {
                    String value = record.value() == null ? "" : new String(record.value(), StandardCharsets.UTF_8);
                    if (!value.equals(Long.toString(record.offset()))) {
                        lines.add("wrong " + place(partition) + " " + record.offset() + " " + value);
                    }
                    if (record.offset() != next) {
                        if (next >= 0) lines.add("handled " + place(partition) + " " + first + " " + next);
                        first = record.offset();
                    }
                    next = record.offset() + 1;
                }
                lines.add("handled " + place(partition) + " " + first + " " + next);
            }
            return say(lines);
        }

        private void commit(ConsumerRecords<byte[], byte[]> records) {
            Map<TopicPartition, OffsetAndMetadata> offsets = records.nextOffsets();
            try {
                consumer.commitSync(offsets);
            } catch (RebalanceInProgressException | CommitFailedException | RetriableException failed) {
                // A commit that failed for a rebalance that keeps the partitions is made up for by the next one.
                say("notcommitted " + failed);
                return;
            }
            List<String> lines = new ArrayList<>();
            offsets.forEach((partition, next) -> lines.add("committed " + place(partition) + " " + next.offset()));
            say(lines);
        }

        private void generation() {
            int now = consumer.groupMetadata().generationId();
            if (now != generation) {
                generation = now;
                say("generation " + now);
            }
        }

        @Override public void onPartitionsAssigned(Collection<TopicPartition> partitions) {
            event("assigned", partitions);
        }

        @Override public void onPartitionsRevoked(Collection<TopicPartition> partitions) {
            event("revoked", partitions);
        }

        @Override public void onPartitionsLost(Collection<TopicPartition> partitions) {
            event("lost", partitions);
        }

        private void event(String name, Collection<TopicPartition> partitions) {
            StringBuilder line = new StringBuilder(name).append(' ').append(consumer.groupMetadata().generationId());
            for (TopicPartition partition : partitions) line.append(' ').append(place(partition));
            say(line.toString());
        }

        private static String place(TopicPartition partition) {
            return partition.topic() + "/" + partition.partition();
        }

        private boolean say(String line) {
            return say(List.of(line));
        }

        /** False: this member was killed and nobody heard it. */
        private boolean say(List<String> lines) {
            synchronized (OUT) {
                if (silent) return false;
                long now = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
                for (String line : lines) {
                    OUT.print(now + " " + getName() + " " + line.replace('\n', ' ') + "\n");
                }
                OUT.flush();
                return true;
            }
        }
    }
}
