//go:build !static

package rediscluster

// #cgo pkg-config: rediscluster
import "C"
