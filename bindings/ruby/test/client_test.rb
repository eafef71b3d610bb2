# frozen_string_literal: true

require_relative "support"
require "timeout"

# Connecting, derived clients, errors.
class ClientTest < ClusterTest
  def test_readme_session_reads_written_key
    @rc.set("foo16706", "bar")
    readonly = RedisCluster.new(URL, readonly: true)
    assert_equal "bar", eventually { readonly.get("foo16706") }
  ensure
    readonly&.close
  end

  def test_nodes_are_accepted_instead_of_url
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

  def test_wrong_option_raises_invalid_error
    error = assert_raises(RedisCluster::InvalidError) { RedisCluster.new(URL, timeout_msec: 5) }
    assert_match(/timeout_ms/, error.message)
    assert_equal "INVALID", error.code
    refute error.sent?
    assert_raises(RedisCluster::InvalidError) { @rc.with(timeout_ms: "soon") }
  end

  def test_unreachable_cluster_raises_cannot_connect_error
    error = assert_raises(RedisCluster::CannotConnectError) do
      RedisCluster.new("redis://:secret@127.0.0.1:1", connect_timeout_ms: 200, timeout_ms: 400)
    end
    assert_kind_of RedisCluster::ConnectionError, error
    assert_equal "CONNECT", error.code
    refute_match(/secret/, error.message)
  end

  def test_creation_error_has_its_class_and_lazy_client_raises_in_its_first_call
    nowhere = "redis://127.0.0.1:1"
    error = assert_raises(RedisCluster::CannotConnectError) { RedisCluster.new(nowhere, timeout_ms: 300) }
    refute error.sent?
    lazy = RedisCluster.new(nowhere, timeout_ms: 300, lazy: true)
    assert_equal 0, lazy.stats["connected"]
    assert_raises(RedisCluster::CannotConnectError) { lazy.get("k") }
    lazy.close
    lazy = RedisCluster.new(URL, lazy: true)
    assert_equal [], lazy.topology
    lazy.set(key, "v")
    assert_equal 1, lazy.stats["connected"]
    lazy.close
  end

  def test_readonly_reads_and_refuses_writes
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

  def test_readonly_reads_reach_primary_and_replicas
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

  def test_with_changes_options_of_derived_client
    assert_equal "PONG", @rc.with(timeout_ms: 1_000, &:ping)
    derived = @rc.with(timeout_ms: 1_000, readonly: true)
    assert_raises(RedisCluster::ReadonlyError) { derived.set("k", "v") }
    closed = nil
    @rc.with(timeout_ms: 1_000) { |quick| closed = quick }
    assert_raises(RedisCluster::ClosedError) { closed.ping }
    assert_same @rc, @rc.with { |rc| rc }
    assert_equal "PONG", @rc.ping
  end

  def test_server_error_has_code_and_node
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

  def test_keys_of_different_slots_raise_cross_slot_error
    error = assert_raises(RedisCluster::CrossSlotError) { @rc.mset("a", 1, "b", 2) }
    refute error.sent?
    assert_raises(RedisCluster::CrossSlotError) { @rc.multi { |t| t.set("a", 1); t.set("b", 2) } }
  end

  def test_hung_node_call_ends_at_timeout
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

  def test_killed_primary_fails_over
    k = key
    port = ctl("primary-of", "key:#{k}").first
    @rc.set(k, "before")
    ctl("wait-sync")
    ctl("kill", port)
    client = @rc.with(timeout_ms: 20_000)
    assert_equal "OK", eventually { client.set(k, "after") rescue (raise unless $!.is_a?(RedisCluster::ConnectionError)) }
    assert_equal "after", client.get(k)
    refute_equal port, ctl("primary-of", "key:#{k}").first
  ensure
    ctl("restart", port) if port
    ctl("wait-healthy")
  end

  def test_closed_client_raises_and_closes_twice
    derived = @rc.readonly
    derived.close
    derived.close
    error = assert_raises(RedisCluster::ClosedError) { derived.get("k") }
    assert_equal "CLOSED", error.code
    assert_raises(RedisCluster::ClosedError) { derived.pipelined { |p| p.get("k") } }
    assert_equal "#<RedisCluster closed>", derived.inspect
    assert_equal "PONG", @rc.ping
  end

  def test_inspect_shows_nodes_and_no_password
    rc = RedisCluster.new(URL, client_name: "s3cret")
    assert_match(/\A#<RedisCluster 127\.0\.0\.1:\d+( 127\.0\.0\.1:\d+)*>\z/, rc.inspect)
    assert_equal rc.inspect, rc.to_s
    refute_match(/s3cret/, rc.inspect)
    # The default inspect would show other instance variables, such as a password.
    assert_equal %i[@address @handle @pinned @queues], rc.instance_variables.sort
  ensure
    rc&.close
  end

  def test_open_connections_use_new_credentials
    @rc.call("ACL", "SETUSER", "rb-user", "reset", "on", ">secret", "~*", "&*", "+@all")
    @rc.set(key, "v")
    @rc.set_credentials("rb-user", "secret")
    assert_equal "v", @rc.get(@name)
    @rc.set_credentials("rb-user", "wrong")
    assert_equal "v", @rc.get(@name)
    assert_raises(RedisCluster::InvalidError) { @rc.set_credentials("rb-user", nil) }
    assert_raises(RedisCluster::InvalidError) { @rc.set_credentials("a\nb", "p") }
    @rc.set_credentials(nil, nil)
  end

  def test_introspection_returns_topology_stats_and_route
    assert_equal 12_182, RedisCluster.slot("foo")
    assert_equal RedisCluster.slot("{foo}bar"), RedisCluster.slot("foo")
    assert_equal 16_384, @rc.topology.sum { |shard| shard["slots"].sum { |first, last| last - first + 1 } }
    assert(@rc.stats.values.any?(Integer))
    assert_equal "OK", @rc.refresh
    assert_equal ["foo"], @rc.explain("GET", "foo")["keys"]
    assert_match(/\A\d+\.\d+\.\d+\z/, RedisCluster.library_version)
  end
end
