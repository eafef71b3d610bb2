//go:build !cgo

package cgorequired

// The compiler prints the name.
var _ = rediscluster_needs_cgo_so_install_a_C_compiler_and_set_CGO_ENABLED_to_1
