// Package cgorequired cannot be compiled without cgo. The compiler's error names what is missing.
package cgorequired
