import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.KRaftVersionRecord;
import org.apache.kafka.common.message.LeaderChangeMessage;
import org.apache.kafka.common.message.SnapshotFooterRecord;
import org.apache.kafka.common.message.SnapshotHeaderRecord;
import org.apache.kafka.common.message.VotersRecord;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.ControlRecordType;
import org.apache.kafka.common.record.internal.DefaultRecordBatch;
import org.apache.kafka.common.record.internal.EndTransactionMarker;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.utils.internals.ByteBufferOutputStream;

/**
 * Writes record batches with Kafka's own classes, and beside them what Kafka reads from them, for
 * protocol-specs/vectors/records.bin (the README there has the format).
 * Arguments: the file; with --check before it, the file is compared, not written.
 */
public final class RecordVectors {
    private static final long TIME = 1_700_000_000_000L;
    private static final byte V0 = 0, V1 = 1, V2 = 2;

    private final DataOutputStream out;
    private int vectors;

    private RecordVectors(DataOutputStream out) {
        this.out = out;
    }

    public static void main(String[] args) throws IOException {
        boolean check = args[0].equals("--check");
        Path file = Path.of(args[check ? 1 : 0]);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        RecordVectors vectors = new RecordVectors(new DataOutputStream(bytes));
        for (CompressionType codec : CompressionType.values()) {
            vectors.batches(codec, codec.name);
        }
        for (CompressionType codec : CompressionType.values()) {
            // Message sets are older than zstd.
            if (codec != CompressionType.ZSTD) vectors.messageSets(codec, codec.name);
        }
        vectors.several();
        vectors.edges();
        vectors.control();
        if (!check) {
            Files.write(file, bytes.toByteArray());
        } else if (!Arrays.equals(Files.readAllBytes(file), bytes.toByteArray())) {
            System.err.println(file + " is not what Kafka's classes write now");
            System.exit(1);
        }
        System.out.println(file.getFileName() + ": " + vectors.vectors + " vectors, " + bytes.size() + " bytes");
    }

    private void batches(CompressionType codec, String name) throws IOException {
        Build plain = new Build(V2, codec);
        plain.base = 1000;
        write("v2-" + name, plain.build(RecordVectors::fewRecords));

        Build append = new Build(V2, codec);
        append.timestamps = TimestampType.LOG_APPEND_TIME;
        write("v2-" + name + "-log-append-time", append.build(RecordVectors::fewRecords));

        Build transactional = new Build(V2, codec);
        transactional.producerId = 1L << 40;
        transactional.producerEpoch = 7;
        transactional.sequence = 123456;
        transactional.transactional = true;
        transactional.leaderEpoch = 9;
        write("v2-" + name + "-transactional", transactional.build(RecordVectors::fewRecords));

        write("v2-" + name + "-large", new Build(V2, codec).build(builder -> {
            for (int i = 0; i < 300; i++) {
                builder.append(TIME + i, text("key-" + i % 7), text("value " + i * i + " of " + i));
            }
            // More than one block of lz4 and of snappy.
            builder.append(TIME, text("large"), pattern(80_000));
        }));
    }

    private void messageSets(CompressionType codec, String name) throws IOException {
        for (byte magic : new byte[] {V0, V1}) {
            Build set = new Build(magic, codec);
            set.base = 70;
            if (magic == V0) set.timestamps = TimestampType.NO_TIMESTAMP_TYPE;
            write("v" + magic + "-" + name, set.build(RecordVectors::fewMessages));
        }
        Build append = new Build(V1, codec);
        append.timestamps = TimestampType.LOG_APPEND_TIME;
        write("v1-" + name + "-log-append-time", append.build(RecordVectors::fewMessages));
    }

    private void several() throws IOException {
        ByteArrayOutputStream all = new ByteArrayOutputStream();
        long base = 0;
        for (CompressionType codec : CompressionType.values()) {
            Build build = new Build(V2, codec);
            build.base = base;
            MemoryRecords records = build.build(RecordVectors::fewRecords);
            base = records.batches().iterator().next().nextOffset();
            all.write(bytes(records));
        }
        write("v2-several", MemoryRecords.readableRecords(ByteBuffer.wrap(all.toByteArray())));
    }

    private void edges() throws IOException {
        Build gaps = new Build(V2, CompressionType.NONE);
        gaps.base = 10;
        gaps.deleteHorizon = TIME + 5;
        write("v2-compacted", gaps.build(builder -> {
            builder.appendWithOffset(12, TIME + 1, text("a"), text("1"), new Header[0]);
            builder.appendWithOffset(17, TIME + 2, text("b"), null, new Header[0]);
            builder.overrideLastOffset(25);
        }));

        ByteBuffer empty = ByteBuffer.allocate(DefaultRecordBatch.RECORD_BATCH_OVERHEAD);
        DefaultRecordBatch.writeEmptyHeader(
            empty, V2, 5L, (short) 2, 40, 100, 140, 3, TimestampType.CREATE_TIME, TIME, false, false);
        empty.flip();
        write("v2-empty", MemoryRecords.readableRecords(empty));

        Build wrap = new Build(V2, CompressionType.NONE);
        wrap.producerId = 1;
        wrap.producerEpoch = Short.MAX_VALUE;
        wrap.sequence = Integer.MAX_VALUE - 1;
        wrap.base = Long.MAX_VALUE - 100;
        write("v2-sequence-wraps", wrap.build(RecordVectors::fewRecords));

        write("v2-timestamps", new Build(V2, CompressionType.NONE).build(builder -> {
            builder.append(TIME, text("k"), text("first"));
            builder.append(0, text("k"), text("the beginning of time"));
            builder.append(TIME + (1L << 40), text("k"), text("the far future"));
        }));

        write("v2-headers", new Build(V2, CompressionType.NONE).build(builder -> {
            Header[] many = new Header[300];
            for (int i = 0; i < many.length; i++) {
                many[i] = new RecordHeader(i % 3 == 0 ? "same" : "h\u00e9" + i, i % 5 == 0 ? null : text("v" + i));
            }
            builder.append(TIME, (byte[]) null, null, many);
            builder.append(TIME, new byte[0], new byte[0], new Header[] {new RecordHeader("", new byte[0])});
        }));
    }

    private void control() throws IOException {
        for (ControlRecordType type : List.of(ControlRecordType.ABORT, ControlRecordType.COMMIT)) {
            write("control-" + type.name().toLowerCase(), MemoryRecords.withEndTransactionMarker(
                50, TIME, 4, 77, (short) 3, new EndTransactionMarker(type, 21)));
        }
        ByteBuffer buffer = ByteBuffer.allocate(4096);
        LeaderChangeMessage leader = new LeaderChangeMessage().setLeaderId(2)
            .setVoters(List.of(new LeaderChangeMessage.Voter().setVoterId(1), new LeaderChangeMessage.Voter().setVoterId(2)));
        write("control-leader-change", MemoryRecords.withLeaderChangeMessage(1, TIME, 2, buffer, leader));
        buffer = ByteBuffer.allocate(4096);
        write("control-snapshot-header", MemoryRecords.withSnapshotHeaderRecord(
            1, TIME, 2, buffer, new SnapshotHeaderRecord().setLastContainedLogTimestamp(TIME)));
        buffer = ByteBuffer.allocate(4096);
        write("control-snapshot-footer", MemoryRecords.withSnapshotFooterRecord(
            1, TIME, 2, buffer, new SnapshotFooterRecord()));
        buffer = ByteBuffer.allocate(4096);
        write("control-kraft-version", MemoryRecords.withKRaftVersionRecord(
            1, TIME, 2, buffer, new KRaftVersionRecord().setKRaftVersion((short) 1)));
        buffer = ByteBuffer.allocate(4096);
        VotersRecord voters = new VotersRecord().setVoters(List.of(
            new VotersRecord.Voter().setVoterId(1).setVoterDirectoryId(new Uuid(3, 4))));
        write("control-voters", MemoryRecords.withVotersRecord(1, TIME, 2, buffer, voters));
    }

    private static void fewRecords(MemoryRecordsBuilder builder) {
        builder.append(TIME + 5, text("key"), text("value"));
        builder.append(TIME, null, text("no key"), new Header[] {
            new RecordHeader("h", text("header")), new RecordHeader("null", null), new RecordHeader("h", new byte[0])});
        builder.append(TIME + 100_000, text("tombstone"), null);
        builder.append(TIME + 7, new byte[0], pattern(300));
        builder.append(TIME + 8, (byte[]) null, null);
    }

    private static void fewMessages(MemoryRecordsBuilder builder) {
        boolean timeless = builder.magic() == V0;
        builder.append(timeless ? RecordBatch.NO_TIMESTAMP : TIME + 5, text("key"), text("value"));
        builder.append(timeless ? RecordBatch.NO_TIMESTAMP : TIME, null, pattern(300));
        builder.append(timeless ? RecordBatch.NO_TIMESTAMP : TIME + 9, text("tombstone"), null);
    }

    private static byte[] text(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** Neither all the same nor incompressible. */
    private static byte[] pattern(int length) {
        byte[] bytes = new byte[length];
        for (int i = 0; i < length; i++) bytes[i] = (byte) (i / 64 * 37 ^ i % 13);
        return bytes;
    }

    private interface Appends {
        void to(MemoryRecordsBuilder builder) throws IOException;
    }

    /** The many arguments of a builder, by name. */
    private static final class Build {
        final byte magic;
        final CompressionType codec;
        TimestampType timestamps = TimestampType.CREATE_TIME;
        long base = 0;
        long producerId = RecordBatch.NO_PRODUCER_ID;
        short producerEpoch = RecordBatch.NO_PRODUCER_EPOCH;
        int sequence = RecordBatch.NO_SEQUENCE;
        boolean transactional = false;
        int leaderEpoch = RecordBatch.NO_PARTITION_LEADER_EPOCH;
        long deleteHorizon = RecordBatch.NO_TIMESTAMP;

        Build(byte magic, CompressionType codec) {
            this.magic = magic;
            this.codec = codec;
        }

        MemoryRecords build(Appends appends) throws IOException {
            long appendTime = timestamps == TimestampType.LOG_APPEND_TIME ? TIME + 50 : RecordBatch.NO_TIMESTAMP;
            MemoryRecordsBuilder builder = new MemoryRecordsBuilder(
                new ByteBufferOutputStream(1 << 20), magic, Compression.of(codec).build(), timestamps, base, appendTime,
                producerId, producerEpoch, sequence, transactional, false, leaderEpoch, 1 << 20, deleteHorizon);
            appends.to(builder);
            return builder.build();
        }
    }

    private static byte[] bytes(MemoryRecords records) {
        ByteBuffer buffer = records.buffer().duplicate();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }

    private void write(String name, MemoryRecords records) throws IOException {
        vectors++;
        byte[] text = text(name);
        out.writeByte(text.length);
        out.write(text);
        byte[] bytes = bytes(records);
        out.writeInt(bytes.length);
        out.write(bytes);
        int batches = 0;
        for (MutableRecordBatch ignored : records.batches()) batches++;
        out.writeInt(batches);
        for (MutableRecordBatch batch : records.batches()) {
            batch.ensureValid();
            out.writeByte(batch.magic());
            out.writeByte(batch.compressionType().id);
            out.writeByte(batch.timestampType().id);
            out.writeBoolean(batch.isTransactional());
            out.writeBoolean(batch.isControlBatch());
            out.writeLong(batch.deleteHorizonMs().orElse(-1));
            // A compressed message set is read to find its first offset.
            out.writeLong(batch.baseOffset());
            out.writeLong(batch.lastOffset());
            out.writeLong(batch.maxTimestamp());
            out.writeInt(batch.partitionLeaderEpoch());
            out.writeLong(batch.producerId());
            out.writeShort(batch.producerEpoch());
            out.writeInt(batch.baseSequence());
            out.writeInt(batch.lastSequence());
            int count = 0;
            for (Record ignored : batch) count++;
            out.writeInt(count);
            for (Record record : batch) write(record);
        }
    }

    private void write(Record record) throws IOException {
        out.writeLong(record.offset());
        out.writeLong(record.timestamp());
        digest(record.key());
        digest(record.value());
        out.writeShort(record.headers().length);
        for (Header header : record.headers()) {
            digest(ByteBuffer.wrap(text(header.key())));
            digest(header.value() == null ? null : ByteBuffer.wrap(header.value()));
        }
    }

    /** A length, -1 for null, and FNV-1a with 64 bits: large values are not in the file twice. */
    private void digest(ByteBuffer bytes) throws IOException {
        out.writeInt(bytes == null ? -1 : bytes.remaining());
        if (bytes == null) return;
        long h = 0xcbf29ce484222325L;
        for (ByteBuffer rest = bytes.duplicate(); rest.hasRemaining(); ) {
            h = (h ^ (rest.get() & 0xff)) * 0x100000001b3L;
        }
        out.writeLong(h);
    }
}
