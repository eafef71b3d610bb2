module github.com/librediscluster/librediscluster/bindings/go

go 1.19
