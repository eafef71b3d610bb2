//go:build static

package rediscluster

// The archive comes first and defines all symbols, so --as-needed drops the shared library, which
// rediscluster.pc names after it.

// #cgo pkg-config: rediscluster
// #cgo LDFLAGS: -l:librediscluster.a -lgcc_s -lutil -lrt -lpthread -lm -ldl -Wl,--as-needed
import "C"
