# frozen_string_literal: true

class RedisCluster
  # How clients and pipelines run commands, where there is no C extension. A class that includes this module defines
  # `run_encoded(args, options, convert)`.
  module RubyDispatch
    # Runs any command: call("SET", "key", "value", ex: 5). Arrays and hashes among the arguments are flattened. The
    # result is the server's reply as String, Integer, Float, true, false, nil, Array or Hash; with a block, the block's
    # result for this reply. In a pipeline, appends the command and returns its Future.
    def call(*args, **options, &block)
      run(args, options, block)
    end

    private

    # The same for an Array and a Hash. `convert` converts the reply, unless it is nil.
    def run(args, options, convert)
      run_encoded(args, options, convert)
    end

    # Defines a method that runs a command with its arguments.
    def self.define_command(commands, method, name, convert)
      commands.define_method(method) do |*args, **options, &block|
        run([name, *args], options, convert || block)
      end
    end
  end

  if EXTENSION
    addresses = EXTENSION::LIBRARY_FUNCTIONS.to_h do |name|
      [name, Native.ffi_libraries.first.find_function(name.to_s).address]
    end
    EXTENSION.setup(addresses, Error, WaitCallback, Future)
  end
  Dispatch = EXTENSION ? EXTENSION::Dispatch : RubyDispatch
end
