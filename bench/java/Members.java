import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Members of a group with Kafka's Java client, a thread each. See src/group/mod.rs for what is read and written. */
public final class Members {
    private static final long START = System.nanoTime();
    private static final StringBuilder LINES = new StringBuilder();
    /** Standard output is for the journal only: log4j would write to it, too. */
    private static final PrintStream OUT = System.out;

    private static void write(String line) {
        synchronized (LINES) {
            LINES.append(line).append('\n');
        }
    }

    private static long nanos() {
        return System.nanoTime() - START;
    }

    private static void flush() {
        String lines;
        synchronized (LINES) {
            lines = LINES.toString();
            LINES.setLength(0);
        }
        if (!lines.isEmpty()) {
            OUT.print(lines);
            OUT.flush();
        }
    }

    private static KafkaConsumer<byte[], byte[]> client(String[] args) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", args[0]);
        properties.put("client.id", "bench");
        properties.put("group.id", args[2]);
        properties.put("auto.offset.reset", "latest");
        properties.put("fetch.max.wait.ms", "500");
        properties.put("enable.auto.commit", "true");
        properties.put("auto.commit.interval.ms", "5000");
        if (args[3].equals("consumer")) {
            properties.put("group.protocol", "consumer");
        } else {
            String assignor = args[3].equals("range") ? "RangeAssignor" : "CooperativeStickyAssignor";
            properties.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer." + assignor);
            properties.put("session.timeout.ms", "45000");
            properties.put("heartbeat.interval.ms", "3000");
        }
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private static void member(String[] args, int member) {
        write("S " + member + " " + nanos());
        int seen = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = client(args)) {
            consumer.subscribe(List.of(args[1]));
            while (true) {
                ConsumerRecords<byte[], byte[]> records = consumer.poll(Duration.ofMillis(500));
                for (TopicPartition partition : records.partitions()) {
                    var part = records.records(partition);
                    long first = part.get(0).offset();
                    long next = part.get(part.size() - 1).offset() + 1;
                    write("R " + member + " " + partition.partition() + " " + first + " " + next + " " + nanos());
                }
                int assigned = consumer.assignment().size();
                if (assigned != seen) {
                    write("A " + member + " " + assigned + " " + nanos());
                    seen = assigned;
                }
            }
        } catch (Exception error) {
            write("X " + member + " " + error.toString().replace('\n', ' '));
        }
    }

    /** As the jar says. */
    private static String version() throws IOException {
        Properties properties = new Properties();
        try (InputStream file = KafkaConsumer.class.getResourceAsStream("/kafka/kafka-version.properties")) {
            if (file != null) {
                properties.load(file);
            }
        }
        return properties.getProperty("version", "of unknown version");
    }

    public static void main(String[] args) throws Exception {
        System.setOut(System.err);
        write("N java " + version());
        Thread writer = new Thread(() -> {
            while (true) {
                flush();
                try {
                    Thread.sleep(20);
                } catch (InterruptedException end) {
                    return;
                }
            }
        });
        writer.setDaemon(true);
        writer.start();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        String line;
        for (int member = 0; (line = input.readLine()) != null && line.equals("start"); member++) {
            int number = member;
            Thread thread = new Thread(() -> member(args, number));
            thread.setDaemon(true);
            thread.start();
        }
        flush();
        Runtime.getRuntime().halt(0);
    }
}
