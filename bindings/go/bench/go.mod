module github.com/librediscluster/librediscluster/bindings/go/bench

go 1.24

require (
	github.com/librediscluster/librediscluster/bindings/go v0.0.0
	github.com/redis/go-redis/v9 v9.17.2
	github.com/redis/rueidis v1.0.68
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/dgryski/go-rendezvous v0.0.0-20200823014737-9f7001d12a5f // indirect
	golang.org/x/sys v0.31.0 // indirect
)

replace github.com/librediscluster/librediscluster/bindings/go => ../
