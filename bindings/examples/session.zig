// A session in Zig 0.15, which reads the C header.  Run as:
//     zig build-exe session.zig -lc -lrediscluster && ./session redis://127.0.0.1:7000  (or the URL in RDC_URL)
const std = @import("std");
const rdc = @cImport(@cInclude("rediscluster.h"));

/// The text of a reply or of an element, valid as long as the reply, or null if it has no text.
fn text(reply: ?*const rdc.rdc_reply) ?[]const u8 {
    const string = rdc.rdc_reply_str(reply) orelse return null;
    return string[0..rdc.rdc_reply_len(reply)];
}

/// rdc_reply_free returns the reply's error code.
fn free(reply: ?*rdc.rdc_reply) void {
    _ = rdc.rdc_reply_free(reply);
}

/// The caller frees the reply.
fn command(client: *rdc.rdc_client, arguments: []const []const u8) *rdc.rdc_reply {
    var strings: [8][*c]const u8 = undefined;
    var lengths: [8]usize = undefined;
    for (arguments, 0..) |argument, i| {
        strings[i] = argument.ptr;
        lengths[i] = argument.len;
    }
    return rdc.rdc_command(client, @intCast(arguments.len), &strings, &lengths).?;
}

/// rdc_create and rdc_readonly return a handle in every case; a failed one has an error.
fn checked(client: ?*rdc.rdc_client) *rdc.rdc_client {
    const message = rdc.rdc_client_error(client) orelse return client.?;
    std.debug.print("{s}\n", .{message});
    std.process.exit(1);
}

pub fn main() !void {
    var arguments = std.process.args();
    _ = arguments.skip();
    const url = arguments.next() orelse std.posix.getenv("RDC_URL") orelse return error.NoUrl;
    var buffer: [256]u8 = undefined;
    var stdout = std.fs.File.stdout().writer(&buffer);
    const out = &stdout.interface;
    defer out.flush() catch {};

    const rc = checked(rdc.rdc_create(url));
    defer rdc.rdc_close(rc);
    const set = rdc.rdc_set(rc, "foo16706", 8, "bar", 3);
    defer free(set);
    try out.print("set: {s}\n", .{text(set).?});
    free(command(rc, &.{ "SET", "foo81", "foo" }));
    free(command(rc, &.{ "DEL", "counter" }));

    // Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
    const readonly = checked(rdc.rdc_readonly(rc));
    defer rdc.rdc_close(readonly);
    while (true) {
        const reply = rdc.rdc_get(readonly, "foo16706", 8);
        defer free(reply);
        const value = text(reply) orelse continue;
        try out.print("readonly get: {s}\n", .{value});
        break;
    }

    const pipeline = rdc.rdc_pipeline_new(rc);
    defer rdc.rdc_pipeline_free(pipeline);
    rdc.rdc_pipeline_get(pipeline, "foo81", 5);
    rdc.rdc_pipeline_get(pipeline, "foo16706", 8);
    const incr = "*3\r\n$6\r\nINCRBY\r\n$7\r\ncounter\r\n$1\r\n2\r\n";
    rdc.rdc_pipeline_resp(pipeline, incr, incr.len);
    const all = rdc.rdc_pipeline_execute(pipeline);
    defer free(all);
    const values = .{ text(rdc.rdc_reply_at(all, 0)).?, text(rdc.rdc_reply_at(all, 1)).? };
    try out.print("pipeline: {s} {s} {d}\n", values ++ .{rdc.rdc_reply_int(rdc.rdc_reply_at(all, 2))});

    const refused = rdc.rdc_set(readonly, "foo", 3, "bar", 3);
    defer free(refused);
    const sent = if (rdc.rdc_reply_sent(refused) == 1) "sent" else "not sent";
    try out.print("refused: {s}, {s}\n", .{ rdc.rdc_error_name(rdc.rdc_reply_error(refused)), sent });
    const failed = command(rc, &.{ "LPUSH", "foo81", "x" });
    defer free(failed);
    var words = std.mem.tokenizeScalar(u8, text(failed).?, ' ');
    try out.print("error: {s}\n", .{words.next().?});
}
