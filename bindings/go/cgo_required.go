//go:build !cgo

package rediscluster

// Ends the build with a sentence, before this package fails for the types that its cgo files define.
import _ "github.com/librediscluster/librediscluster/bindings/go/internal/cgorequired"
