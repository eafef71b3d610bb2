# frozen_string_literal: true

require_relative "support"
require_relative "cost_workload"

# Limits on the instructions of operations with the C extension: see cost_workload.rb.
class CostTest < ClusterTest
  # With Ruby 3.1. Other versions may need more themselves. Of the long replies, the garbage collector takes a part that
  # varies.
  LIMITS = { get: 4_000, get_beside_thread: 4_700, pipeline: 2_500, lrange: 8_000_000, hgetall: 28_000_000 }.freeze
  SLACK = RUBY_VERSION.start_with?("3.1.") ? 1.0 : 1.3
  # A receive that had to wait only adds to the cost: the minimum of a few tries counts.
  TRIES = 3

  def test_instructions_of_operations_stay_within_limits
    skip "the limits are those of the C extension" unless RedisCluster::EXTENSION

    limits = LIMITS.transform_values { |limit| SLACK * limit }
    least = limits.transform_values { Float::INFINITY }
    TRIES.times do
      least = least.merge(CostWorkload.measure) { |_, one, other| [one, other].min }
      break if least.all? { |name, count| count <= limits[name] }
    end
    least.each { |name, count| puts format("gate: Ruby %s, instructions: %d, limit %d", name, count, limits[name]) }
    assert_equal({}, least.select { |name, count| count > limits[name] })
  end
end
