import com.sun.management.ThreadMXBean;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.consumer.ConsumerGroupMetadata;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Assignment;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.GroupSubscription;
import org.apache.kafka.clients.consumer.ConsumerPartitionAssignor.Subscription;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.clients.consumer.internals.ConsumerProtocol;
import org.apache.kafka.common.Cluster;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.PartitionInfo;
import org.apache.kafka.common.TopicPartition;

/**
 * Runs Kafka's own assignors on the cases that come in on standard input, one a line, and answers each with a line
 * (protocol-specs/vectors/README.md has the format).
 * With arguments "bench ROUNDS MEMBERS TOPICS PARTITIONS" it measures them instead.
 */
public final class Assignors {
    public static void main(String[] args) {
        PrintStream err = System.err;
        // The assignors log each disputed partition.
        System.setErr(new PrintStream(OutputStream.nullOutputStream()));
        try {
            run(args);
        } catch (Throwable e) {
            e.printStackTrace(err);
            System.exit(1);
        }
    }

    private static void run(String[] args) throws IOException {
        if (args.length > 0 && args[0].equals("bench")) {
            bench(Integer.parseInt(args[1]), Integer.parseInt(args[2]), Integer.parseInt(args[3]), Integer.parseInt(args[4]));
            return;
        }
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8), 1 << 16);
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8), 1 << 16);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            out.write(answer(line));
            out.write('\n');
            if (!in.ready()) out.flush();
        }
        out.flush();
    }

    private static String answer(String line) {
        String[] parts = line.split("\t", -1);
        try {
            // Ties go by the order in which members come; where it matters, that is the order of their ids.
            Map<String, Subscription> members = new HashMap<>();
            members(parts[0], parts[2]).forEach(members::put);
            Cluster cluster = cluster(parts[1]);
            // A new one for each case: what an instance remembers of earlier generations is the member's, not the group's.
            Map<String, Assignment> result =
                assignor(parts[0]).assign(cluster, new GroupSubscription(members)).groupAssignment();
            List<String> lines = new ArrayList<>();
            for (Map.Entry<String, Assignment> entry : new TreeMap<>(result).entrySet())
                lines.add(entry.getKey() + "=" + text(entry.getValue().partitions()));
            return String.join(" ", lines);
        } catch (RuntimeException e) {
            return "! " + e.getClass().getSimpleName();
        }
    }

    private static ConsumerPartitionAssignor assignor(String name) {
        switch (name) {
            case "range": return new RangeAssignor();
            case "roundrobin": return new RoundRobinAssignor();
            case "sticky": return new StickyAssignor();
            case "cooperative-sticky": return new CooperativeStickyAssignor();
            default: throw new IllegalArgumentException("no assignor " + name);
        }
    }

    private static Cluster cluster(String text) {
        Map<String, Node> racks = new HashMap<>();
        List<PartitionInfo> infos = new ArrayList<>();
        for (String topic : split(text, " ")) {
            String[] parts = topic.split("=", -1);
            String[] known = parts[1].split("@", -1);
            int partitions = Integer.parseInt(known[0]);
            String[] placed = known.length > 1 ? known[1].split(",", -1) : new String[0];
            for (int id = 0; id < partitions; id++) {
                List<Node> nodes = new ArrayList<>();
                for (String rack : split(id < placed.length ? placed[id] : "", "\\+"))
                    nodes.add(racks.computeIfAbsent(rack, r -> new Node(racks.size(), "h", 1, r)));
                // One more without a rack: what is not said about replicas must not matter.
                nodes.add(Node.noNode());
                Node[] replicas = nodes.toArray(new Node[0]);
                infos.add(new PartitionInfo(parts[0], id, replicas[0], replicas, replicas));
            }
        }
        return new Cluster("c", new ArrayList<>(racks.values()), infos, new HashSet<>(), new HashSet<>());
    }

    private static Map<String, Subscription> members(String assignor, String text) {
        Map<String, Subscription> members = new TreeMap<>();
        for (String member : split(text, " ")) {
            String[] parts = member.split("/", -1);
            List<TopicPartition> owned = partitions(parts[5]);
            int generation = parts[6].isEmpty() ? -1 : Integer.parseInt(parts[6]);
            Subscription told = new Subscription(
                split(parts[4], ","), userData(assignor, parts[7], owned, generation), owned, generation,
                parts[2].isEmpty() ? Optional.empty() : Optional.of(parts[2]));
            // Through bytes of the version that the member speaks, which may lose some of it.
            ByteBuffer bytes = ConsumerProtocol.serializeSubscription(told, Short.parseShort(parts[3]));
            Subscription read = ConsumerProtocol.deserializeSubscription(bytes);
            read.setGroupInstanceId(parts[1].isEmpty() ? Optional.empty() : Optional.of(parts[1]));
            members.put(parts[0], read);
        }
        return members;
    }

    /** "1" and "0" stand for what a member of that version of the assignor tells. */
    private static ByteBuffer userData(String assignor, String text, List<TopicPartition> owned, int generation) {
        if (text.isEmpty()) return null;
        if (text.startsWith("x")) {
            byte[] bytes = new byte[(text.length() - 1) / 2];
            for (int i = 0; i < bytes.length; i++)
                bytes[i] = (byte) Integer.parseInt(text.substring(1 + 2 * i, 3 + 2 * i), 16);
            return ByteBuffer.wrap(bytes);
        }
        ConsumerPartitionAssignor instance = assignor(assignor);
        instance.onAssignment(new Assignment(owned), new ConsumerGroupMetadata("g", generation, "m", Optional.empty()));
        ByteBuffer data = instance.subscriptionUserData(Set.of());
        if (data != null && text.equals("0") && instance instanceof StickyAssignor) data.limit(data.limit() - 4);
        return data == null ? null : data.slice();
    }

    private static List<String> split(String text, String by) {
        return text.isEmpty() ? List.of() : Arrays.asList(text.split(by, -1));
    }

    private static List<TopicPartition> partitions(String text) {
        List<TopicPartition> partitions = new ArrayList<>();
        for (String topic : split(text, ";")) {
            String[] parts = topic.split(":", -1);
            for (String range : split(parts[1], ",")) {
                int to = range.indexOf('-', 1);
                int first = Integer.parseInt(to < 0 ? range : range.substring(0, to));
                int last = to < 0 ? first : Integer.parseInt(range.substring(to + 1));
                for (int id = first; id <= last; id++) partitions.add(new TopicPartition(parts[0], id));
            }
        }
        return partitions;
    }

    private static String text(List<TopicPartition> partitions) {
        Map<String, List<Integer>> topics = new TreeMap<>();
        // A list, not a set: what was given twice is to be seen.
        partitions.forEach(p -> topics.computeIfAbsent(p.topic(), t -> new ArrayList<>()).add(p.partition()));
        List<String> texts = new ArrayList<>();
        topics.forEach((topic, ids) -> {
            ids.sort(null);
            List<String> ranges = new ArrayList<>();
            for (int i = 0; i < ids.size(); ) {
                int j = i;
                while (j + 1 < ids.size() && ids.get(j + 1) == ids.get(j) + 1) j++;
                ranges.add(j == i ? "" + ids.get(i) : ids.get(i) + "-" + ids.get(j));
                i = j + 1;
            }
            texts.add(topic + ":" + String.join(",", ranges));
        });
        return String.join(";", texts);
    }

    /** Prints "NAME PHASE SECONDS BYTES": the best CPU time of some rounds, and what was allocated in the last. */
    private static void bench(int rounds, int members, int topics, int partitions) {
        List<String> names = new ArrayList<>();
        List<PartitionInfo> infos = new ArrayList<>();
        Node node = new Node(0, "h", 1);
        Node[] replicas = {node};
        for (int topic = 0; topic < topics; topic++) {
            names.add(String.format("topic-%04d", topic));
            for (int id = 0; id < partitions; id++)
                infos.add(new PartitionInfo(names.get(topic), id, node, replicas, replicas));
        }
        Cluster cluster = new Cluster("c", List.of(node), infos, Set.of(), Set.of());
        for (String name : List.of("sticky", "cooperative-sticky")) {
            double[] first = {Double.MAX_VALUE, 0}, again = {Double.MAX_VALUE, 0};
            for (int round = 0; round < rounds; round++) {
                Map<String, Subscription> group = new HashMap<>();
                for (int member = 0; member < members; member++) {
                    // As read from the members' subscriptions: each has strings of its own.
                    List<String> own = names.stream().map(String::new).toList();
                    group.put(id(member), new Subscription(own, null, List.of(), -1, Optional.empty()));
                }
                Map<String, Assignment> result = timed(name, cluster, group, first);
                group.replaceAll((id, member) -> {
                    List<TopicPartition> owned = result.get(id).partitions();
                    return new Subscription(member.topics(), userData(name, "1", owned, 1), copy(owned), 1, Optional.empty());
                });
                group.remove(id(members / 2));
                timed(name, cluster, group, again);
            }
            System.out.println(name + " first " + first[0] + " " + first[1]);
            System.out.println(name + " again " + again[0] + " " + again[1]);
        }
    }

    private static String id(int member) {
        return String.format("consumer-%05d", member);
    }

    private static List<TopicPartition> copy(List<TopicPartition> owned) {
        Map<String, String> names = new HashMap<>();
        return owned.stream()
            .map(p -> new TopicPartition(names.computeIfAbsent(p.topic(), String::new), p.partition()))
            .toList();
    }

    private static Map<String, Assignment> timed(
        String name, Cluster cluster, Map<String, Subscription> group, double[] best) {
        ThreadMXBean thread = (ThreadMXBean) ManagementFactory.getThreadMXBean();
        ConsumerPartitionAssignor assignor = assignor(name);
        System.gc();
        long bytes = thread.getCurrentThreadAllocatedBytes(), start = thread.getCurrentThreadCpuTime();
        Map<String, Assignment> result = assignor.assign(cluster, new GroupSubscription(group)).groupAssignment();
        best[0] = Math.min(best[0], (thread.getCurrentThreadCpuTime() - start) / 1e9);
        best[1] = thread.getCurrentThreadAllocatedBytes() - bytes;
        return result;
    }
}
