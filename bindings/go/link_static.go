//go:build static

package rediscluster

// The archive comes first and leaves nothing to find in the shared library, which rediscluster.pc
// names behind it and --as-needed then forgets.

// #cgo pkg-config: rediscluster
// #cgo LDFLAGS: -l:librediscluster.a -lgcc_s -lutil -lrt -lpthread -lm -ldl -Wl,--as-needed
import "C"
