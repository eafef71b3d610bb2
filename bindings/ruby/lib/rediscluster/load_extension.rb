# frozen_string_literal: true

class RedisCluster
  # Loads the C extension, if it is there: it makes the frequent calls cheap. Without it, the gem does the same with
  # ffi.
  #
  # RDC_RUBY_EXTENSION chooses: "no" for the gem without it, "yes" for the one of the gem, or the path of another one.
  # By default, the one of the gem is used if it can be loaded.
  module LoadExtension
    module_function

    # The module Extension, or nil.
    def load(chosen = ENV.fetch("RDC_RUBY_EXTENSION", ""))
      case chosen
      when "no" then return nil
      when "yes" then require found || raise(LoadError, "the C extension of rediscluster was not compiled")
      when "" then return nil unless found && loads?(found)
      else require File.expand_path(chosen)
      end
      Extension
    end

    # The extension that the installation of the gem has compiled.
    def found
      kind, file = $LOAD_PATH.resolve_feature_path("rediscluster/extension")
      file if kind == :so
    rescue LoadError
      # Some versions of Ruby raise it if there is no such file.
      nil
    end

    def loads?(file)
      require file
      true
    rescue LoadError
      false
    end
  end

  EXTENSION = LoadExtension.load
  private_constant :LoadExtension
end
