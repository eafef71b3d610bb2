// Compiled by package.test.js with `tsc --noEmit --strict`: a program with the package's types, and mistakes.
import { AbortError, Cluster, RedisError, type ClusterOptions, type Gap, type PipelineResult } from "rediscluster";

async function session(): Promise<void> {
  const options: ClusterOptions = { scaleReads: "slave", redisOptions: { password: "secret" }, timeout_ms: 500 };
  const cluster = new Cluster([{ host: "127.0.0.1", port: 7000 }, "127.0.0.1:7001", 7002], options);
  const same: Cluster = new Cluster("redis://127.0.0.1:7000");
  same.disconnect();

  const set: "OK" = await cluster.set("key", "value");
  const conditional: string | null = await cluster.set("key", "value", "EX", 60, "NX");
  const text: string | null = await cluster.get("key");
  const bytes: Buffer | null = await cluster.getBuffer(Buffer.from("key"));
  const fields: Record<string, string> = await cluster.hgetall("hash");
  const raw: Record<string, Buffer> = await cluster.hgetallBuffer("hash");
  const added: number = await cluster.hset("hash", { field: "value", count: 1 });
  const values: (string | null)[] = await cluster.mget("a", ["b", "c"]);
  const other: unknown = await cluster.call("OBJECT", "ENCODING", "key");
  const sizes: unknown = await cluster.callTo("primaries", "DBSIZE", { signal: AbortSignal.timeout(100) });
  const counts: number[] = await Promise.all(cluster.nodes("master").map((node) => node.dbsize()));
  const ports: (number | undefined)[] = cluster.nodes().map((node) => node.options.port);
  for await (const keys of cluster.nodes("slave")[0].scanStream({ count: 100 })) keys.map((key) => key.length);
  const limited: string | null = await cluster.get("key", { signal: AbortSignal.timeout(100) });
  cluster.get("key", (error, result) => console.log(error?.code, result?.toUpperCase()));

  const results: PipelineResult[] | null = await cluster.pipeline().set("a", 1).getBuffer("a").incr("b").exec();
  const [[error, first]] = results ?? [];
  await cluster
    .multi([["set", "{a}b", 1]])
    .incr("{a}b")
    .exec({ signal: AbortSignal.timeout(100) });
  for await (const keys of cluster.scanStream({ match: "user:*", count: 100 })) keys.map((key) => key.length);

  const quick: Cluster = cluster.with({ timeout_ms: 100 });
  cluster.on("error", (failure: RedisError) => console.log(failure.code, failure.sent, failure.node));
  const subscriber: Cluster = cluster.duplicate();
  subscriber.on("message", (channel, message) => console.log(channel.length, message.toUpperCase()));
  subscriber.on("pmessageBuffer", (pattern: string, channel: Buffer, message: Buffer) => console.log(pattern, channel, message));
  subscriber.on("gap", (gap: Gap) => console.log(gap.channel ?? gap.pattern, gap.reason));
  const count: number = await subscriber.subscribe("news", ["sport", Buffer.from("art")]);
  await subscriber.psubscribe("n*", (failure, total) => console.log(failure?.code, total, count));
  await subscriber.ssubscribe("shard");
  await subscriber.unsubscribe();
  try {
    await quick.readonly().get("key");
  } catch (failure) {
    if (failure instanceof AbortError) console.log(failure.cause);
  }
  console.log(
    set,
    conditional,
    text,
    bytes,
    fields,
    raw,
    added,
    values,
    other,
    sizes,
    counts,
    ports,
    limited,
    error,
    first,
    Cluster.keySlot("key"),
  );
  await cluster.quit();
}

async function refused(cluster: Cluster): Promise<void> {
  // @ts-expect-error: not a role
  cluster.nodes("primary");
  // @ts-expect-error: a node has no pipelines
  cluster.nodes()[0].pipeline();
  // @ts-expect-error: a key is missing
  await cluster.get();
  // @ts-expect-error: GET returns a string
  const bytes: Buffer | null = await cluster.get("key");
  // @ts-expect-error: not an option of any client
  new Cluster("redis://127.0.0.1", { timeout: 5 });
  // @ts-expect-error: ioredis's keyPrefix is not supported
  new Cluster("redis://127.0.0.1", { keyPrefix: "x" });
  // @ts-expect-error: not an event
  cluster.on("messages", () => undefined);
  // @ts-expect-error: a message is a text
  cluster.on("message", (channel: string, message: Buffer) => console.log(channel, message));
  // @ts-expect-error: undefined is no argument
  await cluster.set("key", undefined);
  console.log(bytes);
}

void session;
void refused;
