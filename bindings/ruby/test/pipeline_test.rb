# frozen_string_literal: true

require_relative "support"

class PipelineTest < ClusterTest
  def test_1000_commands_to_all_nodes_keep_order
    count = 1_000
    results = @rc.pipelined { |p| count.times { |i| p.set("#{@name}:#{i}", i) } }
    assert_equal ["OK"] * count, results
    results = @rc.pipelined { |p| count.times { |i| p.get("#{@name}:#{i}") } }
    assert_equal Array.new(count, &:to_s), results
    assert_equal [1] * count, @rc.pipelined { |p| count.times { |i| p.del("#{@name}:#{i}") } }
  end

  def test_pipeline_results_equal_single_command_results
    k = key
    results = @rc.pipelined do |p|
      p.hset(k, "f", 1)
      p.hgetall(k)
      p.hexists(k, "f")
      p.call("HGET", k, "f")
      p.zadd(key("z"), 1, "m")
      p.zscore("#{@name}z", "m")
      p.get(key("none"))
      assert_equal 7, p.length
    end
    assert_equal [1, { "f" => "1" }, true, "1", true, 1.0, nil], results
  end

  def test_empty_pipeline_returns_empty_array
    assert_equal [], @rc.pipelined { |_| nil }
    assert_equal [], @rc.multi { |_| nil }
  end

  def test_pipeline_error_is_returned_at_its_index
    k = key
    append = ->(p) { [p.set(k, "text"), p.lpush(k, 1), p.get(k)] }
    first, error, last = @rc.pipelined(exception: false, &append)
    assert_equal %w[OK text], [first, last]
    assert_equal "WRONGTYPE", error.code
    assert_equal 1, @rc.del(k)
    assert_raises(RedisCluster::CommandError) { @rc.pipelined(&append) }
    assert_equal "text", @rc.get(k), "the others ran"
  end

  def test_failed_conversion_keeps_other_results
    k = key
    append = ->(p) { [p.set(k, "text"), p.send(:run, ["GET", k], {}, RedisCluster::Commands::FLOAT), p.strlen(k)] }
    first, error, last = @rc.pipelined(exception: false, &append)
    assert_equal ["OK", ArgumentError, 4], [first, error.class, last]
    assert_raises(ArgumentError) { @rc.pipelined(&append) }
  end

  # As in redis-rb, such a call is no command of the pipeline.
  def test_calls_without_keys_send_nothing
    k = key
    append = ->(p) { [p.del, p.set(k, 1), p.del([]), p.get(k)] }
    assert_equal %w[OK 1], @rc.pipelined(&append)
    assert_equal %w[OK 1], @rc.multi(&append)
    assert_equal [], @rc.pipelined { |p| assert_equal [0, 0, 0], [p.del([]), p.zadd(k, []), p.zrem(k, [])] }
    assert_equal [0, 0, 1], [@rc.del, @rc.del([]), @rc.del([k])]
  end

  def test_future_has_result_after_pipeline
    k = key
    futures = nil
    results = @rc.pipelined do |p|
      futures = [p.hset(k, "f", 1), p.hexists(k, "f"), p.call("HGET", k, "f") { |text| text.to_i + 1 }]
      error = assert_raises(RedisCluster::FutureNotReady) { futures.first.value }
      assert_match(/after the block/, error.message)
    end
    assert_equal [1, true, 2], results
    results.clear
    assert_equal [1, true, 2], futures.map(&:value)
    assert_match(/Future of command 2/, futures[1].inspect)
    failed = nil
    @rc.pipelined(exception: false) { |p| failed = p.incr(k) }
    assert_kind_of RedisCluster::WrongTypeError, failed.value
    assert_raises(RedisCluster::WrongTypeError) { @rc.multi { |t| failed = t.incr(k) } }
    assert_raises(RedisCluster::FutureNotReady) { failed.value }
  end

  def test_pipeline_refuses_transaction_and_is_its_own_pipeline
    k = key
    assert_equal ["OK"], @rc.pipelined { |p| p.pipelined { |q| q.set(k, 1) } }
    error = assert_raises(RedisCluster::InvalidError) { @rc.multi { |t| t.multi { |u| u.set(k, 2) } } }
    assert_match(/call it on the client/, error.message)
    assert_equal "1", @rc.get(k)
  end

  def test_raising_block_sends_nothing
    k = key
    assert_raises(RuntimeError) { @rc.pipelined { |p| p.set(k, 1) && raise("no"); raise "no" } }
    assert_nil @rc.get(k)
  end

  def test_multi_is_atomic
    k = key
    assert_equal ["OK", 2, true], @rc.multi { |t| t.set(k, 1); t.incr(k); t.expire(k, 10) }
    assert_raises(RedisCluster::InvalidError) { @rc.multi { |t| t.set(k, "never"); t.call("GET") } }
    assert_equal "2", @rc.get(k)
    results = @rc.multi(exception: false) { |t| t.set(k, "text"); t.incr(k) }
    assert_equal "OK", results.first
    assert_kind_of RedisCluster::CommandError, results.last
  end

  def test_pinned_connection_watches_key
    k = key
    @rc.pin(k) do |pinned|
      pinned.call("WATCH", k)
      @rc.set(k, "another's")
      pinned.call("MULTI")
      assert_equal "QUEUED", pinned.call("SET", k, "mine")
      assert_nil pinned.call("EXEC")
    end
    assert_equal "another's", @rc.get(k)
  end

  def test_watch_runs_nothing_after_change_of_another
    k = key
    @rc.set(k, 1)
    assert_equal(["OK", "2"], @rc.watch(k) { |w| w.multi { |t| [t.set(k, w.get(k).to_i + 1), t.get(k)] } })
    result = @rc.watch(k) do
      @rc.with { |other| other.set(k, "another's") }
      @rc.multi { |t| t.set(k, "mine") }
    end
    assert_nil result
    assert_equal "another's", @rc.get(k)
    assert_equal(["OK"], @rc.multi(watch: [k]) { |t| t.set(k, "mine") })
    assert_raises(ArgumentError) { @rc.watch(k) }
  end

  def test_watch_ends_with_unwatch_error_or_block
    k = key
    @rc.set(k, 1)
    result = @rc.watch(k) do
      @rc.unwatch
      @rc.set(k, 2)
      @rc.multi { |t| t.incr(k) }
    end
    assert_equal [3], result
    assert_raises(RuntimeError) { @rc.watch(k) { raise "no" } }
    @rc.set(k, 5)
    assert_equal [6], @rc.multi { |t| t.incr(k) }
    error = assert_raises(RedisCluster::InvalidError) { @rc.unwatch }
    assert_match(/pin\(key\)/, error.message)
    add = proc { |w| w.get(k).to_i.then { |n| w.multi { |t| t.set(k, n + 1) } } }
    Array.new(4) { Thread.new { 25.times { nil until @rc.watch(k, &add) } } }.each(&:join)
    assert_equal "106", @rc.get(k)
  end
end
