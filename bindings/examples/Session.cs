// A session in C# with P/Invoke.  Run as: mcs Session.cs && mono Session.exe redis://127.0.0.1:7000  (or RDC_URL)
using System;
using System.Runtime.InteropServices;
using System.Text;

static class Session
{
    // Declarations of rediscluster.h. Pointers are IntPtr, size_t is UIntPtr, and there are no structs.
    const string Library = "rediscluster";
    [DllImport(Library)] static extern IntPtr rdc_create(byte[] url);
    [DllImport(Library)] static extern IntPtr rdc_client_error(IntPtr client);
    [DllImport(Library)] static extern IntPtr rdc_readonly(IntPtr client);
    [DllImport(Library)] static extern void rdc_close(IntPtr client);
    [DllImport(Library)] static extern IntPtr rdc_command_resp(IntPtr client, byte[] resp, UIntPtr len);
    [DllImport(Library)] static extern IntPtr rdc_pipeline_new(IntPtr client);
    [DllImport(Library)] static extern void rdc_pipeline_resp(IntPtr pipeline, byte[] resp, UIntPtr len);
    [DllImport(Library)] static extern IntPtr rdc_pipeline_execute(IntPtr pipeline);
    [DllImport(Library)] static extern void rdc_pipeline_free(IntPtr pipeline);
    [DllImport(Library)] static extern IntPtr rdc_reply_str(IntPtr reply);
    [DllImport(Library)] static extern UIntPtr rdc_reply_len(IntPtr reply);
    [DllImport(Library)] static extern long rdc_reply_int(IntPtr reply);
    [DllImport(Library)] static extern IntPtr rdc_reply_at(IntPtr reply, UIntPtr i);
    [DllImport(Library)] static extern int rdc_reply_error(IntPtr reply);
    [DllImport(Library)] static extern int rdc_reply_sent(IntPtr reply);
    [DllImport(Library)] static extern int rdc_reply_free(IntPtr reply);
    [DllImport(Library)] static extern IntPtr rdc_error_name(int error);

    // The text of a reply or of an element, or null if it has no text.
    static string Text(IntPtr reply)
    {
        IntPtr text = rdc_reply_str(reply);
        if (text == IntPtr.Zero) return null;
        var bytes = new byte[(int)rdc_reply_len(reply)];
        Marshal.Copy(text, bytes, 0, bytes.Length);
        return Encoding.UTF8.GetString(bytes);
    }

    static byte[] Encode(params string[] args)
    {
        var resp = new StringBuilder("*" + args.Length + "\r\n");
        foreach (var arg in args) resp.Append("$" + Encoding.UTF8.GetByteCount(arg) + "\r\n" + arg + "\r\n");
        return Encoding.UTF8.GetBytes(resp.ToString());
    }

    // Runs a command, applies read to its reply, and frees the reply.
    static T Command<T>(IntPtr client, Func<IntPtr, T> read, params string[] args)
    {
        byte[] resp = Encode(args);
        IntPtr reply = rdc_command_resp(client, resp, (UIntPtr)resp.Length);
        try { return read(reply); } finally { rdc_reply_free(reply); }
    }

    static int Main(string[] args)
    {
        string url = args.Length > 0 ? args[0] : Environment.GetEnvironmentVariable("RDC_URL");
        IntPtr rc = rdc_create(Encoding.UTF8.GetBytes(url + "\0"));
        if (rdc_client_error(rc) != IntPtr.Zero)
        {
            Console.Error.WriteLine(Marshal.PtrToStringAnsi(rdc_client_error(rc)));
            return 1;
        }
        Console.WriteLine("set: " + Command(rc, Text, "SET", "foo16706", "bar"));
        Command(rc, Text, "SET", "foo81", "foo");
        Command(rc, Text, "DEL", "counter");

        // Reads go to primaries and replicas. A replica may lag behind its primary: repeat until it has the key.
        IntPtr readOnly = rdc_readonly(rc);
        string value;
        do value = Command(readOnly, Text, "GET", "foo16706"); while (value == null);
        Console.WriteLine("readonly get: " + value);

        IntPtr pipeline = rdc_pipeline_new(rc);
        foreach (var command in new[] { Encode("GET", "foo81"), Encode("GET", "foo16706"), Encode("INCRBY", "counter", "2") })
            rdc_pipeline_resp(pipeline, command, (UIntPtr)command.Length);
        IntPtr all = rdc_pipeline_execute(pipeline);
        Func<uint, IntPtr> at = i => rdc_reply_at(all, (UIntPtr)i);
        Console.WriteLine("pipeline: " + Text(at(0)) + " " + Text(at(1)) + " " + rdc_reply_int(at(2)));
        rdc_reply_free(all);
        rdc_pipeline_free(pipeline);

        Console.WriteLine("refused: " + Command(readOnly, reply =>
            Marshal.PtrToStringAnsi(rdc_error_name(rdc_reply_error(reply)))
            + (rdc_reply_sent(reply) != 0 ? ", sent" : ", not sent"), "SET", "foo", "bar"));
        Console.WriteLine("error: " + Command(rc, Text, "LPUSH", "foo81", "x").Split(' ')[0]);
        rdc_close(readOnly);
        rdc_close(rc);
        return 0;
    }
}
