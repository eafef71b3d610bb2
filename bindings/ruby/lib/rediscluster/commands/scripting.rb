# frozen_string_literal: true

class RedisCluster
  module Commands
    # Scripts and functions.
    module Scripting
      # eval(script, keys, argv), or eval(script, keys: keys, argv: argv). All keys are in one slot.
      { eval: "EVAL", evalsha: "EVALSHA", eval_ro: "EVAL_RO", evalsha_ro: "EVALSHA_RO", fcall: "FCALL",
        fcall_ro: "FCALL_RO" }.each do |name, command|
        define_method(name) do |script, *args|
          options = args.last.is_a?(Hash) ? args.pop : {}
          keys, argv = [args[0] || options[:keys], args[1] || options[:argv]].map { |list| Array(list) }
          run([command, script, keys.length, keys, argv], {}, nil)
        end
      end

      # script("LOAD", text), script("EXISTS", sha) is true or false, of an array of these an array.
      def script(subcommand, *args)
        is_question = subcommand.to_s.casecmp?("exists")
        convert = args.first.is_a?(Array) ? BOOLEANS : ->(reply) { BOOLEANS.call(reply).first } if is_question
        run(["SCRIPT", subcommand, *args], {}, convert)
      end

      # function("LOAD", code, replace: true), function("LIST") and so on.
      def function(subcommand, *args, **options)
        run(["FUNCTION", subcommand, *args], options, nil)
      end
    end
  end
end
