# frozen_string_literal: true

class RedisCluster
  # The subscribing methods of redis-rb. A class that includes this module defines `pubsub`.
  #
  #     client.subscribe("news") do |on|
  #       on.message { |channel, message| client.unsubscribe if message == "stop" }
  #       on.gap { |channel, reason, node| catch_up(channel) }
  #     end
  #
  # The calling thread waits for messages until the last subscription has ended. Inside the block, the same methods
  # without a block change the subscriptions. Other threads use the client meanwhile.
  module Subscriptions
    # The functions that get the events of a subscription.
    class Callbacks
      EVENTS = %w[
        message pmessage smessage subscribe psubscribe ssubscribe unsubscribe punsubscribe sunsubscribe gap
      ].freeze

      def initialize
        @callbacks = {}
        yield self
      end

      EVENTS.each do |event|
        define_method(event) { |&block| @callbacks[event] = block }
      end

      # Passes an event on. A gap gives the channel or the pattern, the reason, the node and the kind of messages.
      def call(event, *values)
        values.rotate! if event == "gap"
        @callbacks[event]&.call(*values)
      end
    end

    # The confirmation that ends a subscription, by its command.
    ENDS = { "SUBSCRIBE" => "unsubscribe", "PSUBSCRIBE" => "punsubscribe", "SSUBSCRIBE" => "sunsubscribe" }.freeze

    # Subscribes to channels until unsubscribe is called in the block.
    def subscribe(*channels, &block)
      subscription("SUBSCRIBE", channels, nil, block)
    end

    # The same, and ends when nothing was received for this time in seconds.
    def subscribe_with_timeout(timeout, *channels, &block)
      subscription("SUBSCRIBE", channels, timeout, block)
    end

    # Subscribes to patterns until punsubscribe is called in the block.
    def psubscribe(*patterns, &block)
      subscription("PSUBSCRIBE", patterns, nil, block)
    end

    def psubscribe_with_timeout(timeout, *patterns, &block)
      subscription("PSUBSCRIBE", patterns, timeout, block)
    end

    # Subscribes to sharded channels, of any slots, until sunsubscribe is called in the block.
    def ssubscribe(*channels, &block)
      subscription("SSUBSCRIBE", channels, nil, block)
    end

    def ssubscribe_with_timeout(timeout, *channels, &block)
      subscription("SSUBSCRIBE", channels, timeout, block)
    end

    # Ends the subscriptions to these channels, or to all.
    def unsubscribe(*channels)
      change("UNSUBSCRIBE", channels)
    end

    def punsubscribe(*patterns)
      change("PUNSUBSCRIBE", patterns)
    end

    def sunsubscribe(*channels)
      change("SUNSUBSCRIBE", channels)
    end

    # Whether this fiber is in the block of a subscription.
    def subscribed?
      !current_subscription.nil?
    end

    private

    # The subscriptions of this fiber, by client: each thread has its own.
    def all_subscriptions
      Thread.current[:rediscluster_subscriptions] ||= {}.compare_by_identity
    end

    def current_subscription
      Thread.current[:rediscluster_subscriptions]&.[](self)
    end

    def change(command, names)
      current = current_subscription
      raise SubscriptionError, "this client is not subscribed: call #{command.downcase} in a block" unless current

      current.call(command, *names)
    end

    def subscription(command, names, timeout, block)
      return change(command, names) unless block
      raise SubscriptionError, "this client is already subscribed" if current_subscription

      callbacks = Callbacks.new(&block)
      events = all_subscriptions[self] = pubsub
      begin
        events.call(command, *names)
        deliver(events, callbacks, ENDS.fetch(command), timeout)
      ensure
        all_subscriptions.delete(self)
        events.close
      end
    end

    # Until the last subscription has ended.
    def deliver(events, callbacks, last, timeout)
      while (event = events.next_event(timeout))
        callbacks.call(*event)
        break if event.first == last && event.last.zero?
      end
    end
  end
end
