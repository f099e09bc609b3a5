# make build   bin/highlander: static, version stamped
# make test    everything that must pass: unit, system and peer tests (installs Debian packages as root)
# make check   format, vet, lint, race, a short run of every fuzz target
# make bench   hot paths, and the whole binary beside vmagent
# make demo    three nodes, two Prometheus servers, VictoriaMetrics; CHAOS=1 kills some of them
# make soak    the nemesis, and the system tests in random order, again and again for SOAK_MINUTES
# make clean

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  := -s -w -X main.version=$(VERSION)
GOLANGCI := v2.15.0
FUZZTIME ?= 10s
SOAK_MINUTES ?= 60

# Packages that run clusters of real processes.
ON_BINARY := /test/(system|faults|handover)$$

.PHONY: build test check fmt vet lint race fuzz bench demo soak deps clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/highlander ./cmd/highlander

deps:
	scripts/deps

# The system tests run real processes with real election timeouts, so packages are tested one after another where
# they would starve each other: first all but the system tests, then those, then the peers.
test: deps build vet
	go test $$(go list ./... | grep -Ev '$(ON_BINARY)')
	HIGHLANDER_BINARY=$(CURDIR)/bin/highlander go test -p 1 -timeout 25m $$(go list ./test/... | grep -E '$(ON_BINARY)')
	cd test/prompeer && HIGHLANDER_BINARY=$(CURDIR)/bin/highlander go test -timeout 5m ./...

vet:
	go vet ./...
	go vet -tags seams ./...
	cd test/prompeer && go vet ./...

check: fmt vet lint race fuzz

fmt:
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "not formatted:"; echo "$$bad"; exit 1; fi

bin/golangci-lint-$(GOLANGCI):
	GOBIN=$(CURDIR)/bin go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv bin/golangci-lint $@

lint: bin/golangci-lint-$(GOLANGCI)
	$< run ./...

race:
	go test -race -short $$(go list ./... | grep -Ev '$(ON_BINARY)')

# Every Fuzz function of every package, one after another: go test fuzzes one target at a time. Left to itself it would
# spend a short run on minimizing the first inputs it finds.
fuzz:
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "fuzz $$pkg $$target"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg; \
	  done; \
	done

bench: deps build
	go test -run '^$$' -bench . -benchmem $$(go list ./... | grep -v /test/)
	go run ./test/bench -highlander $(CURDIR)/bin/highlander

demo: deps build
	CHAOS=$(CHAOS) scripts/demo

soak: deps build
	scripts/soak $(SOAK_MINUTES)

clean:
	rm -rf bin
