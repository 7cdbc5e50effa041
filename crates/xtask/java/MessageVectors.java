import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.reflect.ParameterizedType;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.RawTaggedField;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.common.record.internal.BaseRecords;
import org.apache.kafka.common.record.internal.MemoryRecords;

/**
 * Writes messages with Kafka's own classes, for protocol-specs/vectors/messages.bin (the README there has the format).
 * Arguments: the file, then API keys and names of data messages; with --check the file is compared, not written.
 */
public final class MessageVectors {
    /** What a vector's message holds; the ordinal is in the file. */
    enum Variant { DEFAULT, FULL, EMPTY, SPARSE, TAGGED }

    private static final String PACKAGE = "org.apache.kafka.common.message.";
    private static final int TAG = 9_000;

    private final Variant variant;
    private int leaves;

    private MessageVectors(Variant variant) {
        this.variant = variant;
    }

    public static void main(String[] args) throws Exception {
        boolean check = args[0].equals("--check");
        Path file = Path.of(args[check ? 1 : 0]);
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream out = new DataOutputStream(bytes);
        int vectors = 0;
        for (String name : Arrays.asList(args).subList(check ? 2 : 1, args.length)) {
            if (Character.isDigit(name.charAt(0))) {
                ApiMessageType type = ApiMessageType.fromApiKey(Short.parseShort(name));
                vectors += write(out, type.newRequest().getClass());
                vectors += write(out, type.newResponse().getClass());
            } else {
                vectors += write(out, Class.forName(PACKAGE + name + (name.endsWith("Header") ? "Data" : "")));
            }
        }
        finish(file, bytes.toByteArray(), check);
        System.out.println(file.getFileName() + ": " + vectors + " vectors, " + Files.size(file) + " bytes");
    }

    private static void finish(Path file, byte[] bytes, boolean check) throws IOException {
        if (!check) {
            Files.write(file, bytes);
        } else if (!Arrays.equals(Files.readAllBytes(file), bytes)) {
            System.err.println(file + " is not what Kafka's classes write now");
            System.exit(1);
        }
    }

    private static int write(DataOutputStream out, Class<?> type) throws Exception {
        String name = type.getSimpleName().replaceAll("Data$", "");
        Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
        Message model = (Message) type.getConstructor().newInstance();
        int vectors = 0;
        for (Variant variant : Variant.values()) {
            for (short v = model.lowestSupportedVersion(); v <= model.highestSupportedVersion(); v++) {
                if (variant == Variant.TAGGED && !flexible(schemas[v])) continue;
                MessageVectors maker = new MessageVectors(variant);
                Message message = (Message) type.getConstructor().newInstance();
                if (variant != Variant.DEFAULT) maker.fill(message, schemas[v], "");
                byte[] bytes = serialize(message, v);
                byte[] text = name.getBytes(StandardCharsets.UTF_8);
                out.writeByte(text.length);
                out.write(text);
                out.writeShort(v);
                out.writeByte(variant.ordinal());
                out.writeShort(maker.leaves);
                out.writeInt(bytes.length);
                out.write(bytes);
                vectors++;
            }
        }
        return vectors;
    }

    private static byte[] serialize(Message message, short version) throws Exception {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) throw new IllegalStateException("size is not the size of " + message);
        buffer.flip();
        Message again = message.getClass().getConstructor().newInstance();
        again.read(new ByteBufferAccessor(buffer), version);
        if (!again.equals(message)) throw new IllegalStateException("Kafka reads something else: " + message);
        return buffer.array();
    }

    private static boolean flexible(Schema schema) {
        BoundField[] fields = schema.fields();
        return fields.length > 0 && fields[fields.length - 1].def.type instanceof TaggedFields;
    }

    private void fill(Object message, Schema schema, String path) throws Exception {
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields) {
                for (Field tagged : ((TaggedFields) field.def.type).fields().values()) {
                    set(message, tagged, path);
                }
            } else {
                set(message, field.def, path);
            }
        }
        if (variant == Variant.TAGGED && flexible(schema)) {
            ((Message) message).unknownTaggedFields().add(new RawTaggedField(TAG, bytes(path + "#tag")));
        }
    }

    private void set(Object message, Field field, String path) throws Exception {
        java.lang.reflect.Field target = target(message.getClass(), field.name);
        target.setAccessible(true);
        String name = path.isEmpty() ? field.name : path + "." + field.name;
        target.set(message, value(target.getGenericType(), field.type, name));
    }

    /** The schema calls fields in snake case, Java in camel case. */
    private static java.lang.reflect.Field target(Class<?> type, String name) {
        String plain = name.replace("_", "");
        return Arrays.stream(type.getDeclaredFields())
            .filter(field -> field.getName().equalsIgnoreCase(plain))
            .findFirst()
            .orElseThrow(() -> new IllegalStateException(type + " has no " + name));
    }

    private Object value(java.lang.reflect.Type java, Type type, String path) throws Exception {
        if (type.isArray()) return array(java, type, path);
        boolean absent = variant == Variant.EMPTY || variant == Variant.SPARSE;
        if (absent && type.isNullable()) return null;
        Class<?> target = (Class<?>) java;
        if (type instanceof Schema) {
            Object struct = target.getConstructor().newInstance();
            fill(struct, (Schema) type, path);
            return struct;
        }
        if (absent && target == String.class) return "";
        if (absent && target == byte[].class) return new byte[0];
        if (absent && target == ByteBuffer.class) return ByteBuffer.allocate(0);
        return scalar(target, type, path);
    }

    @SuppressWarnings({"unchecked", "rawtypes"})
    private Object array(java.lang.reflect.Type java, Type type, String path) throws Exception {
        Type element = type.arrayElementType().orElseThrow();
        boolean structs = element instanceof Schema;
        boolean absent = variant == Variant.EMPTY || variant == Variant.SPARSE && !structs;
        if (absent && type.isNullable()) return null;
        Collection list;
        java.lang.reflect.Type elementJava;
        if (java instanceof ParameterizedType) {
            list = new ArrayList<>();
            elementJava = ((ParameterizedType) java).getActualTypeArguments()[0];
        } else {
            Class<?> collection = (Class<?>) java;
            list = (Collection) collection.getConstructor().newInstance();
            elementJava = ((ParameterizedType) collection.getGenericSuperclass()).getActualTypeArguments()[0];
        }
        int count = absent ? 0 : variant == Variant.SPARSE ? 1 : 2;
        for (int i = 0; i < count; i++) {
            list.add(value(elementJava, element, path + "." + i));
        }
        return list;
    }

    /** Each value is a hash of where it stands, and never a default. */
    private Object scalar(Class<?> target, Type type, String path) {
        long h = hash(path);
        if (target == boolean.class || target == Boolean.class) return (h & 1) == 1;
        leaves++;
        if (type == Type.INT8) return (byte) (0x40 | h & 0x3f);
        if (type == Type.INT16) return (short) (h | 0x4000);
        if (type == Type.UINT16) return (int) ((h | 0x4000) & 0xffff);
        if (type == Type.INT32) return (int) (h | 0x4000_0000);
        if (type == Type.UNSIGNED_INT32) return (h | 0x4000_0000) & 0xffff_ffffL;
        if (type == Type.INT64) return h | 1L << 62;
        if (type == Type.FLOAT64) return (double) (int) (h | 0x4000_0000);
        if (type == Type.UUID) return new Uuid(h, hash(path + "#"));
        // One character of two bytes, so that a length in characters shows.
        if (target == String.class) return String.format("\u00e9%08x", (int) h);
        if (target == byte[].class) return bytes(path);
        if (target == ByteBuffer.class) return ByteBuffer.wrap(bytes(path));
        if (target == BaseRecords.class) return MemoryRecords.readableRecords(ByteBuffer.wrap(bytes(path)));
        throw new IllegalStateException(path + ": " + target + " " + type);
    }

    private static byte[] bytes(String path) {
        return Arrays.copyOfRange(ByteBuffer.allocate(8).putLong(hash(path)).array(), 3, 8);
    }

    /** FNV-1a, 64 bits; without underscores, because the schemas do not place them by one rule. */
    private static long hash(String path) {
        long h = 0xcbf29ce484222325L;
        for (byte b : path.replace("_", "").getBytes(StandardCharsets.UTF_8)) {
            h = (h ^ (b & 0xff)) * 0x100000001b3L;
        }
        return h;
    }
}
