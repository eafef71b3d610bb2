# frozen_string_literal: true

require_relative "support"
require "timeout"

# The C extension: how it is chosen, and what is different in it. All other tests run with it and without it.
class ExtensionTest < ClusterTest
  EXTENSION = RedisCluster::EXTENSION
  FILE = $LOADED_FEATURES.grep(/\bextension\.so\z/).first

  def needs_extension
    skip "needs the C extension" unless EXTENSION
  end

  # ---- Choice

  WHICH = 'require "rediscluster"; p RedisCluster::EXTENSION'

  def test_choice_no_disables_extension
    assert_equal "nil\n", run_ruby(WHICH, "RDC_RUBY_EXTENSION" => "no").first
  end

  def test_choice_path_loads_that_file
    needs_extension
    assert_equal "RedisCluster::Extension\n", run_ruby(WHICH, "RDC_RUBY_EXTENSION" => FILE).first
  end

  def test_choice_missing_file_raises_load_error
    output, status = run_ruby(WHICH, "RDC_RUBY_EXTENSION" => "/nonexistent.so")
    refute status.success?
    assert_match(%r{/nonexistent\.so.*\(LoadError\)}, output)
    # There is none in the repository.
    output, status = run_ruby(WHICH, "RDC_RUBY_EXTENSION" => "yes")
    refute status.success?
    assert_match(/the C extension of rediscluster was not compiled \(LoadError\)/, output)
    assert_equal "nil\n", run_ruby(WHICH, "RDC_RUBY_EXTENSION" => "").first
  end

  def test_example_measures_with_extension_and_without_it
    output, status = run_ruby("ENV['RDC_URL'] = #{URL.inspect}; $PROGRAM_NAME = 'example'; " \
                              "load #{File.expand_path("../examples/extension.rb", __dir__).inspect}")
    assert status.success?, output
    assert_equal [*("with" if EXTENSION), "without"], output.scan(/^(\w+) the extension: GET [\d.]+ us, /).flatten
  end

  # ---- Arguments and replies

  class Name < String; end

  ARGUMENTS = {
    "text" => "text", "t\u00e4xt" => "t\u00e4xt", Name.new("name") => "name", "b\0\r\n\xff".b => "b\0\r\n\xff".b,
    "" => "", :symbol => "symbol", :"s\u00fc" => "s\u00fc", 0 => "0", -12 => "-12", 2**62 - 1 => (2**62 - 1).to_s,
    -(2**62) => (-(2**62)).to_s, 2**62 => (2**62).to_s, -(10**30) => (-(10**30)).to_s, 1.5 => "1.5", 1e300 => "1.0e+300",
    Float::INFINITY => "Infinity"
  }.freeze

  def test_argument_of_each_type_is_sent_as_text
    k = key
    ARGUMENTS.each do |value, sent|
      assert_equal "OK", @rc.set(k, value)
      assert_equal sent.b, @rc.get(k).b
      assert_equal sent.b, @rc.call("ECHO", value).b
      assert_equal sent.b, @rc.echo([value]).b
      assert_equal ["OK", sent.b, sent.b], @rc.pipelined { |p| p.set(k, value); p.get(k); p.echo([[value]]) }.map(&:b)
    end
    nested = { a: 1, "b" => [2.5, { c: :d }] }
    assert_equal %w[a 1 b 2.5 c d], @rc.rpush(k, [nested]) && @rc.lrange(k, 0, -1) if @rc.del(k)
  end

  # An object whose conversions raise.
  class Hostile
    %i[to_s to_str to_ary to_hash to_i coerce hash ==].each { |name| define_method(name) { |*| raise "called #{name}" } }
  end

  def test_nonsense_argument_raises_type_error
    looped = []
    looped << looped
    [nil, true, false, Object.new, Hostile.new, BasicObject, 1..2, 1r, 1i, Time.now, [nil], { a: nil },
     [[Hostile.new]], { Hostile => 1 }].each do |argument|
      [-> { @rc.get(argument) }, -> { @rc.append("k", argument) }, -> { @rc.call("ECHO", argument) },
       -> { @rc.call(argument) }, -> { @rc.pipelined { |p| p.get(argument) } }].each do |call|
        assert_match(/is of type/, assert_raises(TypeError) { call.call }.message)
      end
    end
    assert_raises(SystemStackError) { @rc.get(looped) }
    assert_raises(TypeError, NoMethodError) { @rc.get(BasicObject.new) }
    [-> { @rc.call }, -> { @rc.call([]) }, -> { @rc.call({}) }, -> { @rc.pipelined(&:call) }].each do |call|
      assert_match(/the command is empty/, assert_raises(ArgumentError) { call.call }.message)
    end
    assert_raises(RedisCluster::Error) { @rc.get }
    assert_raises(RedisCluster::Error) { @rc.get("a", "b") }
    assert_raises(RedisCluster::Error) { @rc.call("") }
    assert_raises(RedisCluster::Error) { @rc.call("NO\0SUCH\r\n") }
    assert_equal "PONG", @rc.ping
  end

  def test_command_of_any_length_is_sent
    [1, 6, 7, 8, 9, 1_000, 100_000].each do |count|
      k = key
      members = Array.new(count) { |i| "m#{i}" }
      assert_equal count, @rc.sadd(k, members)
      assert_equal [0], @rc.pipelined { |p| p.sadd(k, *members) } if count < 10_000
      assert_equal [0], @rc.pipelined { |p| p.sadd(k, members) }
    end
  end

  def test_value_of_any_length_is_sent
    k = key
    [1, 500, 511, 512, 513, 1_023, 1_024, 1_025, 100_000, 10_000_000].each do |length|
      value = "x" * length
      assert_equal "OK", @rc.set(k, value)
      assert_equal value, @rc.get(k)
      assert_equal [value, value], @rc.mget(k, k)
      refute value.frozen?
      value << "y"
      assert_equal length + 1, value.length
    end
  end

  def test_options_are_appended_by_name
    k = key
    assert_equal true, @rc.set(k, "v", ex: 100, nx: true, xx: false, keepttl: nil)
    assert_includes 99..100, @rc.ttl(k)
    assert_equal "v", @rc.getex(k, "px" => 5_000)
    assert_includes 1..5_000, @rc.pttl(k)
    assert_equal [true, "v"], @rc.pipelined { |p| p.set(k, "v", px: 50_000, xx: true); p.getex(k, persist: true) }
    assert_equal(-1, @rc.ttl(k))
    assert_raises(TypeError) { @rc.getex(k, ex: Object.new) }
  end

  REPLIES = {
    "return 1" => 1,
    "return {1, {2, {3, 'x'}}, false}" => [1, [2, [3, "x"]], nil],
    "return {}" => [],
    "return {ok='fine'}" => "fine",
    "redis.setresp(3); return {map={a=1}}" => { "a" => 1 },
    "redis.setresp(3); return {map={}}" => {},
    "redis.setresp(3); return {set={a=true}}" => ["a"],
    "redis.setresp(3); return {double=1.5}" => 1.5,
    "redis.setresp(3); return {{double=1.5}, true, {big_number='9'}}" => [1.5, true, 9],
    "redis.setresp(3); return {big_number='-123456789012345678901234567890'}" => -123456789012345678901234567890,
    "redis.setresp(3); return false" => false,
    "local t = {} for i = 1, 200 do t[i] = i end return t" => (1..200).to_a,
    "local t = {} for i = 1, 64 do t[i] = 'x' .. i end return t" => (1..64).map { |i| "x#{i}" }
  }.freeze

  def test_reply_of_every_kind_becomes_its_value
    REPLIES.each do |script, value|
      assert_equal value, @rc.eval(script, ["k"]), script
      assert_equal [value], @rc.pipelined { |p| p.eval(script, ["k"]) }, script
    end
    found = @rc.eval("return {1, redis.error_reply('BAD thing')}", ["k"])
    assert_equal [1, RedisCluster::CommandError, "BAD", true], [found[0], found[1].class, found[1].code, found[1].sent?]
  end

  def test_strings_of_replies_are_utf8_and_only_keys_are_frozen
    k = key
    @rc.hset(k, "f\u00fc", "v\u00fc")
    field, value = @rc.hgetall(k).first
    assert_equal ["f\u00fc", "v\u00fc", Encoding::UTF_8, Encoding::UTF_8], [field, value, field.encoding, value.encoding]
    assert_equal [true, false], [field.frozen?, value.frozen?]
    refute @rc.hget(k, field).frozen?
    assert @rc.hget(k, field).valid_encoding?
    @rc.hset(k, field, "\xff".b)
    assert_equal Encoding::BINARY, @rc.hget(k, field).encoding
    assert_equal "v\u00fc".length, value.length
    large = (0...5_000).to_h { |i| ["f#{i}", i.to_s] }
    @rc.del(k)
    @rc.hset(k, large)
    assert_equal large, @rc.hgetall(k)
    assert(@rc.hgetall(k).all? { |name, number| name.frozen? && name == "f#{number}" })
  end

  # In a process of its own, because other extensions do not allow that their objects move.
  def test_futures_keep_their_pipeline_while_objects_move
    needs_extension
    output, status = run_ruby(<<~RUBY, "RDC_KEY" => key)
      require "rediscluster"
      rc = RedisCluster.new("#{URL}")
      name = ENV.fetch("RDC_KEY")
      rc.set(name, "v")
      futures = []
      GC.stress = true
      rc.pipelined { |p| 70.times { futures << p.get(name) } }
      GC.stress = false
      GC.compact if GC.respond_to?(:compact)
      Array.new(1_000) { |i| "x" * (i % 50) }
      puts futures.map(&:value).tally
      begin
        RedisCluster::Future.allocate.value
      rescue NoMethodError, TypeError => e
        puts e.class
      end
    RUBY
    assert status.success?, output
    assert_match(/\A\{"v"=>70\}\n(NoMethodError|TypeError)\n\z/, output)
  end

  # ---- Classes

  # A class that includes the commands and runs them itself.
  class Recorder
    include RedisCluster::Commands

    def run(args, options, convert)
      [args, options, convert.nil?]
    end
  end

  def test_commands_are_included_in_other_classes
    assert_equal [%w[GET k], {}, true], Recorder.new.get("k")
    assert_equal [["GETEX", "k"], { ex: 5 }, true], Recorder.new.getex("k", ex: 5)
    assert_equal [["HGETALL", ["k"]], {}, false], Recorder.new.hgetall(["k"])
  end

  class Traced < RedisCluster
    attr_reader :seen

    def get(key)
      (@seen ||= []) << key
      super
    end

    alias read get
  end

  def test_subclass_and_alias_run_the_same_command
    k = key
    client = Traced.new(URL)
    client.set(k, "v")
    assert_equal %w[v v], [client.get(k), client.read(k)]
    assert_equal [k, k], client.seen
    assert_equal "v", client.with(timeout_ms: 900).get(k)
    assert_equal "v", client.method(:get).unbind.bind(client).call(k)
    copy = client.dup
    assert_equal "v", copy.get(k)
    client.close
    assert_raises(RedisCluster::ClosedError) { copy.get(k) }
    assert_raises(RedisCluster::ClosedError) { client.pipelined { |p| p.get(k) } }
    assert_raises(NoMethodError, RedisCluster::Error) { RedisCluster.allocate.call("GET", k) }
  end

  def test_executed_pipeline_refuses_more_commands
    k = key
    kept = nil
    assert_equal ["OK"], @rc.pipelined { |p| kept = p; p.set(k, 1) }
    [-> { kept.get(k) }, -> { kept.call("GET", k) }, -> { kept.hgetall(k) }].each do |append|
      assert_match(/the pipeline was executed/, assert_raises(RedisCluster::InvalidError) { append.call }.message)
    end
    # Not executed, it is collected.
    assert_raises(IOError) { @rc.pipelined { |p| p.get(k); raise IOError } }
    assert_raises(NoMethodError, RedisCluster::InvalidError) { kept.dup.get(k) }
  end

  # One thread at a time may use a pipeline, but misuse must not end the process.
  def test_pipeline_executed_while_other_thread_appends
    needs_extension
    k = key
    2.times do
      started = Thread::Queue.new
      thread = nil
      results = @rc.pipelined do |p|
        thread = Thread.new do
          loop do
            p.get(k)
            started << true
          end
        rescue RedisCluster::InvalidError
          nil
        end
        started.pop
      end
      thread.join
      assert_equal [nil], results.uniq
    end
  end

  # ---- Interrupts

  def test_deferred_exception_ends_call_and_is_raised_later
    k = key
    target = Thread.current
    [false, true].each do |before_call|
      raised = assert_raises(IOError) do
        Thread.handle_interrupt(IOError => :never) do
          sender = Thread.new do
            sleep 0.05 unless before_call
            target.raise(IOError, "later")
          end
          sender.join if before_call
          assert_raises(RedisCluster::InterruptedError) { @rc.blpop(k, timeout: 30) }
          sender.join
        end
      end
      assert_equal "later", raised.message
    end
    assert_equal "PONG", @rc.ping
  end

  # Each reply is freed, and each command runs once.
  def test_interrupts_at_random_moments_lose_no_count
    k = key
    done = 0
    interrupted = 0
    until interrupted >= 100
      begin
        Timeout.timeout(rand * 0.003) do
          loop do
            @rc.incr(k)
            done += 1
            @rc.pipelined { |p| p.incr(k) }
            done += 1
          end
        end
      rescue Timeout::Error
        interrupted += 1
      end
    end
    # A command that was sent when the exception came may have run.
    assert_includes (done..done + interrupted), @rc.get(k).to_i
  end

  # ---- The garbage collector

  SESSION = <<~'RUBY'
    require "rediscluster"
    rc = RedisCluster.new(ENV.fetch("RDC_URL"))
    k = ENV.fetch("KEY")
    session = lambda do |i|
      values = Array.new(70) { |j| "value #{i} #{j}" * (j % 5) }
      rc.del(k)
      raise "rpush" unless rc.rpush(k, values) == 70
      raise "lrange" unless rc.lrange(k, 0, -1) == values
      rc.set("#{k}s", "text #{i}")
      raise "get" unless rc.get("#{k}s") == "text #{i}"
      rc.del("#{k}h")
      hash = values.each_with_index.to_h { |value, j| ["field #{j}", value] }
      rc.hset("#{k}h", hash)
      raise "hgetall" unless rc.hgetall("#{k}h") == hash
      results = rc.pipelined { |p| p.get("#{k}s"); p.hgetall("#{k}h"); p.call("ECHO", 1.5); p.echo(2**70); p.echo(:sym) }
      raise "pipeline" unless results == ["text #{i}", hash, "1.5", (2**70).to_s, "sym"]
      begin
        rc.lpush("#{k}s", 1)
        raise "no error"
      rescue RedisCluster::CommandError => e
        raise "error" unless e.code == "WRONGTYPE"
      end
      big = "b" * 5_000
      raise "big" unless rc.set("#{k}s", big) && rc.get("#{k}s") == big
      begin
        rc.get([[nil]])
      rescue TypeError
        nil
      end
    end
  RUBY

  def test_session_under_gc_stress
    needs_extension
    output, status = run_ruby("#{SESSION}\nsession.call(0)\nGC.stress = true\nsession.call(1)\nputs 'end'", "KEY" => key)
    assert_equal ["end\n", true], [output, status.success?]
  end

  def test_session_while_objects_are_moved
    needs_extension
    skip "Ruby #{RUBY_VERSION} moves no objects" unless GC.respond_to?(:compact)

    output, status = run_ruby(<<~RUBY, "KEY" => key)
      #{SESSION}
      ends = false
      mover = Thread.new { (GC.compact && sleep(0.005)) until ends }
      4.times { |i| session.call(i) }
      ends = true
      mover.join
      GC.auto_compact = true
      GC.stress = true
      session.call(1)
      GC.stress = false
      GC.auto_compact = false
      GC.verify_compaction_references(toward: :empty, double_heap: true)
      session.call(2)
      puts "end"
    RUBY
    assert_equal ["end\n", true], [output, status.success?]
  end

  # Errors and interrupted calls leave no reply behind.
  def test_memory_of_many_calls_stays_flat
    k = key
    @rc.set(k, "0123456789abcdef")
    calls = Integer(ENV.fetch("RDC_RUBY_CALLS", "40000"))
    round = lambda do |_|
      (calls / 8).times { @rc.get(k) }
      (calls / 800).times do |i|
        @rc.pipelined { |p| 10.times { p.get(k) } }
        assert_raises(RedisCluster::CommandError) { @rc.lpush(k, 1) }
        assert_raises(TypeError) { @rc.pipelined { |p| 10.times { p.get(k) }; p.get(nil) } }
        Timeout.timeout(i % 5 * 0.0001) { 5.times { @rc.get(k) } }
      rescue Timeout::Error
        nil
      end
      GC.start
      File.read("/proc/self/status")[/VmRSS:\s+(\d+)/, 1].to_i
    end
    before = Array.new(4, &round).max
    after = Array.new(4, &round).min
    assert_operator after - before, :<, 4_000, "KiB"
  end
end
