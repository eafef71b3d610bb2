// A session in Java 22 or later, by java.lang.foreign.  Run as:
//     java --enable-native-access=ALL-UNNAMED Session.java redis://127.0.0.1:7000  (or the URL in RDC_URL)

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.nio.charset.StandardCharsets;
import java.util.function.Function;

final class Session {
    // Declarations of rediscluster.h. There are no structs; size_t is a long on all 64-bit platforms.
    private static final MemoryLayout POINTER = ValueLayout.ADDRESS;
    private static final MemoryLayout INT = ValueLayout.JAVA_INT;
    private static final MemoryLayout LONG = ValueLayout.JAVA_LONG;
    private static final SymbolLookup LIBRARY = SymbolLookup.libraryLookup(
            System.getenv().getOrDefault("RDC_LIBRARY", System.mapLibraryName("rediscluster")), Arena.global());
    private static final MethodHandle CREATE = function("rdc_create", POINTER, POINTER);
    private static final MethodHandle CLIENT_ERROR = function("rdc_client_error", POINTER, POINTER);
    private static final MethodHandle READONLY = function("rdc_readonly", POINTER, POINTER);
    private static final MethodHandle CLOSE = procedure("rdc_close", POINTER);
    private static final MethodHandle COMMAND = function("rdc_command_resp", POINTER, POINTER, POINTER, LONG);
    private static final MethodHandle PIPELINE_NEW = function("rdc_pipeline_new", POINTER, POINTER);
    private static final MethodHandle PIPELINE_RESP = procedure("rdc_pipeline_resp", POINTER, POINTER, LONG);
    private static final MethodHandle PIPELINE_EXECUTE = function("rdc_pipeline_execute", POINTER, POINTER);
    private static final MethodHandle PIPELINE_FREE = procedure("rdc_pipeline_free", POINTER);
    private static final MethodHandle REPLY_STR = function("rdc_reply_str", POINTER, POINTER);
    private static final MethodHandle REPLY_LEN = function("rdc_reply_len", LONG, POINTER);
    private static final MethodHandle REPLY_INT = function("rdc_reply_int", LONG, POINTER);
    private static final MethodHandle REPLY_AT = function("rdc_reply_at", POINTER, POINTER, LONG);
    private static final MethodHandle REPLY_ERROR = function("rdc_reply_error", INT, POINTER);
    private static final MethodHandle REPLY_SENT = function("rdc_reply_sent", INT, POINTER);
    private static final MethodHandle REPLY_FREE = function("rdc_reply_free", INT, POINTER);
    private static final MethodHandle ERROR_NAME = function("rdc_error_name", POINTER, INT);

    private static MethodHandle function(String name, MemoryLayout result, MemoryLayout... arguments) {
        return handle(name, FunctionDescriptor.of(result, arguments));
    }

    private static MethodHandle procedure(String name, MemoryLayout... arguments) {
        return handle(name, FunctionDescriptor.ofVoid(arguments));
    }

    private static MethodHandle handle(String name, FunctionDescriptor descriptor) {
        return Linker.nativeLinker().downcallHandle(LIBRARY.find(name).orElseThrow(), descriptor);
    }

    private static Object call(MethodHandle function, Object... arguments) {
        try {
            return function.invokeWithArguments(arguments);
        } catch (Throwable e) {
            throw new IllegalStateException(e); // the arguments do not fit the declaration
        }
    }

    private static MemorySegment pointer(MethodHandle function, Object... arguments) {
        return (MemorySegment) call(function, arguments);
    }

    /** A text that ends in a zero byte and belongs to the library, or null. */
    private static String constant(MemorySegment text) {
        return text.equals(MemorySegment.NULL) ? null : text.reinterpret(Long.MAX_VALUE).getString(0);
    }

    /** The text of a reply or of an element, copied, or null if it has no text. */
    private static String text(MemorySegment reply) {
        MemorySegment text = pointer(REPLY_STR, reply);
        if (text.equals(MemorySegment.NULL)) return null;
        byte[] bytes = text.reinterpret((long) call(REPLY_LEN, reply)).toArray(ValueLayout.JAVA_BYTE);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static MemorySegment encode(Arena arena, String... arguments) {
        StringBuilder resp = new StringBuilder("*" + arguments.length + "\r\n");
        for (String argument : arguments) {
            int length = argument.getBytes(StandardCharsets.UTF_8).length;
            resp.append("$" + length + "\r\n" + argument + "\r\n");
        }
        return arena.allocateFrom(ValueLayout.JAVA_BYTE, resp.toString().getBytes(StandardCharsets.UTF_8));
    }

    /** Runs a command, applies read to its reply, and frees the reply. */
    private static <T> T command(MemorySegment client, Function<MemorySegment, T> read, String... arguments) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment resp = encode(arena, arguments);
            MemorySegment reply = pointer(COMMAND, client, resp, resp.byteSize());
            try {
                return read.apply(reply);
            } finally {
                call(REPLY_FREE, reply);
            }
        }
    }

    private static String refusal(MemorySegment reply) {
        String name = constant(pointer(ERROR_NAME, call(REPLY_ERROR, reply)));
        return name + ((int) call(REPLY_SENT, reply) != 0 ? ", sent" : ", not sent");
    }

    private static MemorySegment checked(MemorySegment client) {
        String error = constant(pointer(CLIENT_ERROR, client));
        if (error == null) return client;
        System.err.println(error);
        System.exit(1);
        return null;
    }

    public static void main(String[] arguments) {
        String url = arguments.length > 0 ? arguments[0] : System.getenv("RDC_URL");
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment rc = checked(pointer(CREATE, arena.allocateFrom(url)));
            System.out.println("set: " + command(rc, Session::text, "SET", "foo16706", "bar"));
            command(rc, Session::text, "SET", "foo81", "foo");
            command(rc, Session::text, "DEL", "counter");

            // Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
            MemorySegment readonly = checked(pointer(READONLY, rc));
            String value;
            do value = command(readonly, Session::text, "GET", "foo16706"); while (value == null);
            System.out.println("readonly get: " + value);

            MemorySegment pipeline = pointer(PIPELINE_NEW, rc);
            String[][] commands = {{"GET", "foo81"}, {"GET", "foo16706"}, {"INCRBY", "counter", "2"}};
            for (String[] command : commands) {
                MemorySegment resp = encode(arena, command);
                call(PIPELINE_RESP, pipeline, resp, resp.byteSize());
            }
            MemorySegment all = pointer(PIPELINE_EXECUTE, pipeline);
            Function<Long, MemorySegment> at = i -> pointer(REPLY_AT, all, i);
            System.out.println("pipeline: " + text(at.apply(0L)) + " " + text(at.apply(1L)) + " "
                    + call(REPLY_INT, at.apply(2L)));
            call(REPLY_FREE, all);
            call(PIPELINE_FREE, pipeline);

            System.out.println("refused: " + command(readonly, Session::refusal, "SET", "foo", "bar"));
            System.out.println("error: " + command(rc, Session::text, "LPUSH", "foo81", "x").split(" ")[0]);
            call(CLOSE, readonly);
            call(CLOSE, rc);
        }
    }
}
