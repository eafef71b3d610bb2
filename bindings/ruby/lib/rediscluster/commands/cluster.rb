# frozen_string_literal: true

class RedisCluster
  module Commands
    # The command CLUSTER. The client knows the topology without it: see RedisCluster#topology.
    module Cluster
      NODE = lambda do |line|
        id, address, flags, primary, ping, pong, epoch, link, slots = line.split
        {
          "node_id" => id, "ip_port" => address, "flags" => flags.split(","), "master_node_id" => primary,
          "ping_sent" => ping, "pong_recv" => pong, "config_epoch" => epoch, "link_state" => link,
          "slots" => slots && Range.new(*slots.split("-"))
        }
      end
      ADDRESS = ->(node) { %w[ip port node_id].zip(node).to_h }
      SLOTS = lambda do |reply|
        reply.map do |first, last, primary, *replicas|
          { "start_slot" => first, "end_slot" => last, "master" => ADDRESS.call(primary),
            "replicas" => replicas.map(&ADDRESS) }
        end
      end
      CONVERSIONS = {
        "slots" => SLOTS,
        "nodes" => ->(reply) { reply.each_line(chomp: true).map(&NODE) },
        "slaves" => ->(reply) { reply.map(&NODE) },
        "replicas" => ->(reply) { reply.map(&NODE) },
        "info" => LINES
      }.freeze

      # cluster("nodes"), cluster("slots") and cluster("info") return hashes.
      def cluster(subcommand, *args)
        run(["CLUSTER", subcommand, *args], {}, CONVERSIONS[subcommand.to_s.downcase])
      end
    end
  end
end
