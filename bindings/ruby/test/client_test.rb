# frozen_string_literal: true

require_relative "support"
require "timeout"

# Connecting, twins, errors.
class ClientTest < ClusterTest
  def test_the_session_of_the_readme
    @rc.set("foo16706", "bar")
    readonly = RedisCluster.new(URL, readonly: true)
    assert_equal "bar", eventually { readonly.get("foo16706") }
  ensure
    readonly&.close
  end

  def test_nodes_instead_of_a_url
    nodes = ENV.fetch("RDC_SEEDS").split(",")
    host, port = nodes.last.split(":")
    [nodes, nodes.map { |node| "redis://#{node}/" }, [{ host: host, port: port.to_i }],
     { "host" => host, "port" => port }].each do |form|
      rc = RedisCluster.new(nodes: form)
      assert_equal "PONG", rc.ping
      rc.close
    end
    assert_equal "redis://[::1]:7000,h", RedisCluster::Convert.url([{ host: "::1", port: 7000 }, { host: "h" }])
  end

  def test_what_is_wrong_with_an_option_is_said
    error = assert_raises(RedisCluster::InvalidError) { RedisCluster.new(URL, timeout_msec: 5) }
    assert_match(/timeout_ms/, error.message)
    assert_equal "INVALID", error.code
    refute error.sent?
    assert_raises(RedisCluster::InvalidError) { @rc.with(timeout_ms: "soon") }
  end

  def test_a_cluster_that_nobody_answers_for
    error = assert_raises(RedisCluster::CannotConnectError) do
      RedisCluster.new("redis://:secret@127.0.0.1:1", connect_timeout_ms: 200, timeout_ms: 400)
    end
    assert_kind_of RedisCluster::ConnectionError, error
    assert_equal "CONNECT", error.code
    refute_match(/secret/, error.message)
  end

  def test_readonly_spreads_reads_and_refuses_writes
    k = key
    readonly = @rc.readonly
    @rc.set(k, "v")
    assert_equal "v", eventually { readonly.get(k) }
    error = assert_raises(RedisCluster::ReadonlyError) { readonly.set(k, "w") }
    assert_equal "READONLY", error.code
    refute error.sent?
    assert_raises(RedisCluster::ReadonlyError) { readonly.pipelined { |p| p.get(k); p.del(k) } }
    assert_raises(RedisCluster::ReadonlyError) { readonly.call("NO.SUCH", k) }
    assert_equal "v", @rc.get(k)
  end

  def test_readonly_reads_from_replicas
    k = key
    @rc.set(k, "v")
    ctl("wait-sync")
    ctl("reset-stats")
    readonly = @rc.readonly
    100.times { assert_equal "v", readonly.get(k) }
    primary, *replicas = ctl("primary-of", "key:#{k}") + ctl("replicas-of", "key:#{k}")
    calls = [primary, *replicas].to_h { |port| [port, ctl("calls", port, "get").first.to_i] }
    assert_equal 100, calls.values.sum
    assert calls.values.all?(&:positive?), calls.inspect
  end

  def test_with_changes_options_of_a_twin
    assert_equal "PONG", @rc.with(timeout_ms: 1_000, &:ping)
    twin = @rc.with(timeout_ms: 1_000, readonly: true)
    assert_raises(RedisCluster::ReadonlyError) { twin.set("k", "v") }
    closed = nil
    @rc.with(timeout_ms: 1_000) { |quick| closed = quick }
    assert_raises(RedisCluster::ClosedError) { closed.ping }
    assert_same @rc, @rc.with { |rc| rc }
    assert_equal "PONG", @rc.ping
  end

  def test_the_server_says_no
    k = key
    @rc.set(k, "text")
    error = assert_raises(RedisCluster::CommandError) { @rc.lpush(k, 1) }
    assert_equal "WRONGTYPE", error.code
    assert_match(/\AWRONGTYPE /, error.message)
    assert_includes ENV.fetch("RDC_SEEDS").split(","), error.node
    assert_kind_of RedisCluster::Error, error
    error = assert_raises(RedisCluster::CommandError) { @rc.pipelined { |p| p.lpush(k, 1) } }
    assert_equal "WRONGTYPE", error.code
    assert_match(/\ACommand # 1 \(LPUSH .*\) of pipeline: WRONGTYPE/, error.message)
  end

  def test_keys_of_different_slots
    error = assert_raises(RedisCluster::CrossSlotError) { @rc.mset("a", 1, "b", 2) }
    refute error.sent?
    assert_raises(RedisCluster::CrossSlotError) { @rc.multi { |t| t.set("a", 1); t.set("b", 2) } }
  end

  def test_a_node_that_hangs_costs_no_more_than_the_timeout
    k = key
    port = ctl("primary-of", "key:#{k}").first
    ctl("stop", port)
    started = now
    error = assert_raises(RedisCluster::TimeoutError) { @rc.with(timeout_ms: 300) { |quick| quick.incr(k) } }
    assert_operator now - started, :<, 2
    assert_equal "TIMEOUT", error.code
    assert_equal "127.0.0.1:#{port}", error.node
  ensure
    ctl("cont", port) if port
    ctl("wait-healthy")
  end

  def test_a_primary_dies
    k = key
    port = ctl("primary-of", "key:#{k}").first
    @rc.set(k, "before")
    ctl("wait-sync")
    ctl("kill", port)
    patient = @rc.with(timeout_ms: 20_000)
    assert_equal "OK", eventually { patient.set(k, "after") rescue (raise unless $!.is_a?(RedisCluster::ConnectionError)) }
    assert_equal "after", patient.get(k)
    refute_equal port, ctl("primary-of", "key:#{k}").first
  ensure
    ctl("restart", port) if port
    ctl("wait-healthy")
  end

  def test_closed_is_closed_and_twice_is_once
    twin = @rc.readonly
    twin.close
    twin.close
    error = assert_raises(RedisCluster::ClosedError) { twin.get("k") }
    assert_equal "CLOSED", error.code
    assert_raises(RedisCluster::ClosedError) { twin.pipelined { |p| p.get("k") } }
    assert_equal "#<RedisCluster closed>", twin.inspect
    assert_equal "PONG", @rc.ping
  end

  def test_inspect_names_the_nodes_and_no_password
    rc = RedisCluster.new(URL, client_name: "s3cret")
    assert_match(/\A#<RedisCluster 127\.0\.0\.1:\d+( 127\.0\.0\.1:\d+)*>\z/, rc.inspect)
    assert_equal rc.inspect, rc.to_s
    refute_match(/s3cret/, rc.inspect)
    # The default, which lists the variables, would show what these hold.
    assert_equal %i[@handle], rc.instance_variables
  ensure
    rc&.close
  end

  def test_looking_inside
    assert_equal 12_182, RedisCluster.slot("foo")
    assert_equal RedisCluster.slot("{foo}bar"), RedisCluster.slot("foo")
    assert_equal 16_384, @rc.topology.sum { |shard| shard["slots"].sum { |first, last| last - first + 1 } }
    assert(@rc.stats.values.any?(Integer))
    assert_equal "OK", @rc.refresh
    assert_equal ["foo"], @rc.explain("GET", "foo")["keys"]
    assert_match(/\A\d+\.\d+\.\d+\z/, RedisCluster.library_version)
  end
end
