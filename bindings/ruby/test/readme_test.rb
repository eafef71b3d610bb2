# frozen_string_literal: true

require_relative "support"
require_relative "gems"
require "ostruct"
require "tmpdir"

# The programs of README.md run as they are printed there, and have the results that their comments say.
class ReadmeTest < ClusterTest
  TEXT = File.read(File.expand_path("../README.md", __dir__))
  BLOCKS = TEXT.scan(/^```ruby\n(.*?)^```$/m).flatten.freeze
  SEED = "redis://#{ENV.fetch("RDC_SEEDS")[/[^,]*/]}"

  # Other tests use these keys too.
  def teardown
    @rc.del("a", "name", "stock", "counter", "{user:1}a", "{user:1}b", "account", "jobs", "done")
    super
  end

  # The block that begins with this text, for the cluster of the tests.
  def block(start)
    found = BLOCKS.select { |text| text.start_with?(start) }
    assert_equal 1, found.length, start
    found.first.gsub("redis://127.0.0.1:7000", SEED)
  end

  # Yields the URL of a cluster with TLS and the path of its authority.
  def with_tls
    Dir.mktmpdir do |folder|
      assert system("sh", File.expand_path("../../examples/certificates.sh", __dir__), folder)
      cert, key, ca = %w[node.pem node.key ca.pem].map { |name| File.join(folder, name) }
      # The cluster ends with the shell, which waits for the end of its input.
      command = [ENV.fetch("RDC_CLUSTER"), "run", "--tls", cert, key, ca, "--", "sh", "-c", "echo $RDC_URL; cat"]
      IO.popen(command, "r+") { |cluster| yield cluster.gets(chomp: true), ca }
    end
  end

  # Makes ACL users of the cluster until the end of the block.
  def with_users(client, users)
    users.each do |name, password|
      client.call_to("all", "ACL", "SETUSER", name, "on", ">#{password}", "~app:*", "+@all")
    end
    yield
  ensure
    client.call_to("all", "ACL", "DELUSER", *users.keys)
  end

  # Runs lines in a context, and compares each value with its comment, if that is a value.
  def run_lines(text, context)
    checked = text.lines.map do |line|
      code, expected = line.chomp.match(/\A\s*(\S.*?)\s+# => (.+)\z/)&.captures
      next line if code.nil? || expected.include?("...")

      "check(#{code.inspect}, #{expected.sub(/(, (from|or) |; ).*/, "")}) { #{code} }\n"
    end
    context.eval(checked.join)
  end

  # A read-only client may read from a replica, which is behind.
  def check(code, expected)
    return eventually { yield == expected } if code.start_with?("readonly.")

    assert_equal expected, yield, code
  end

  def context
    rc = @rc
    rc.then { binding }
  end

  # Of the program that the README's subscription belongs to.
  def catch_up(_channel)
    flunk
  end

  def test_all_blocks_are_ruby
    assert_operator BLOCKS.length, :>, 9
    starts = File.read(__FILE__).scan(/\bblock\((".*?")\)/).map { |(start)| start.undump }
    BLOCKS.each do |text|
      RubyVM::InstructionSequence.compile(text)
      assert starts.any? { |start| text.start_with?(start) }, "no test runs\n#{text}"
    end
  end

  def test_clients_connect
    text = block("RedisCluster.new(").gsub(/node[12]:7000/, SEED.delete_prefix("redis://"))
    text = text.gsub("redis://localhost", ENV.fetch("RDC_SINGLE_URL"))
    text = text.gsub("/run/redis.sock", ENV.fetch("RDC_SINGLE_SOCKET"))
    with_users(@rc, "user" => "password", "app" => "secret") do
      text.each_line do |line|
        client = context.eval(line)
        assert_equal "PONG", client.ping, line
        client.close
      end
    end
  end

  def test_tls_and_users
    with_tls do |url, ca|
      admin = RedisCluster.new(url, tls_ca_file: ca)
      assert_equal("TLS", assert_raises(RedisCluster::ConnectionError) { RedisCluster.new(url) }.code)
      text = block("secure = ").sub("rediss://app:secret@127.0.0.1:7000", url.sub("//", "//app:secret@"))
      with_users(admin, "app" => "secret") { run_lines(text.sub("/etc/redis/ca.pem", ca), context) }
    ensure
      admin&.close
    end
  end

  def test_sent_tells_whether_to_send_again
    later = []
    rc = RedisCluster.new(URL)
    text = block("begin\n  rc.decrby")
    rc.set("account", 5)
    binding.eval(text)
    assert_equal "3", rc.get("account")
    rc.set("account", "a text")
    assert_raises(RedisCluster::CommandError) { binding.eval(text) }
    assert_empty later
    rc.close
    binding.eval(text)
    assert_equal [["account", 2]], later
  end

  def test_forked_workers_stop
    text = block("rc = RedisCluster")
    @rc.rpush("jobs", [1, 2, 3])
    IO.popen([RbConfig.ruby, "-w", "-I", File.expand_path("../lib", __dir__), "-rrediscluster", "-e", text],
             err: %i[child out]) do |program|
      eventually { @rc.llen("done") == 3 }
      Process.kill("TERM", program.pid)
      assert_equal "", program.read
    end
    assert_predicate $?, :success?
  end

  def test_sessions_have_their_results
    @rc.del("counter")
    *session, refused = block("require \"rediscluster\"\n\nrc").lines
    here = context
    run_lines(session.join, here)
    assert_raises(RedisCluster::ReadonlyError) { here.eval(refused) }
    run_lines(block("rc.call(\"OBJECT\""), here)
    @rc.set("stock", 2)
    @rc.set("name", "n")
    @rc.del("a")
    assert_equal ["OK"], run_lines(block("rc.pipelined"), here)
    assert_equal ["1", "n"], [@rc.get("stock"), here.eval("name.value")]
    RedisCluster.new(nodes: [SEED], lazy: true).close
  end

  def test_messages_arrive
    run_lines(block("pubsub = rc.pubsub"), context)
    publisher = Thread.new { Thread.pass until @rc.publish("news", "stop").positive? }
    context.eval(block("rc.subscribe"))
    publisher.join
  end

  def test_fibers_run
    skip "the gem async is not there" unless Gems.load("async")
    started = now
    # It would print the exception of the task, which the test expects.
    Console.logger.off!
    assert_raises(Async::TimeoutError) { context.eval(block("Async do").sub(/^end$/, "end.wait")) }
    assert_operator now - started, :<, 10
  end

  def test_log_and_adapters
    context.eval(block("RedisCluster.logger"))
    assert_equal Logger::WARN, RedisCluster.logger.level
    skip Gems::MISSING unless Gems::HAS_REDIS && Gems.load("sidekiq")
    here = context
    here.eval(block("require \"rediscluster/redis_client\""))
    assert_equal "bar", here.eval("config").new_client.call("GET", "foo16706")
    config = OpenStruct.new
    binding.eval(block("require \"rediscluster/redis\""))
    assert_equal "bar", config.cache_store.last[:redis].get("foo16706")
  ensure
    RedisCluster.logger = nil
  end
end
