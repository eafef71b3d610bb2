module github.com/librediscluster/librediscluster/bench/workers/rueidis

go 1.24

require github.com/redis/rueidis v1.0.68

require golang.org/x/sys v0.31.0 // indirect
