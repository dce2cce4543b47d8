# make            builds bin/runsc
# make run        builds it and runs a command of this machine's root in a sandbox
# make test       everything this machine can run, with a summary; test-PHASE runs one phase
# make bench      measures native, runc and ours, as tables; BENCH= takes options, see test/bench
# make soak       half an hour of stress-ng in one sandbox; SOAK= seconds for each stressor
# make fuzz       every fuzz target for FUZZTIME each
#
# RUNTIME=/usr/sbin/runc make test-e2e   checks the tests themselves against another runtime
# PLATFORM=systrap,ptrace                platforms to run the suites on (else: the default one, and
#                                        ptrace in the suites that do not take long)

GO       ?= go
RUNTIME  ?= $(CURDIR)/bin/runsc
PLATFORM ?=
FUZZTIME ?= 10s
GOTESTFLAGS ?=
export RUNTIME PLATFORM

# A fresh machine may lack $HOME in its CI environment; go needs a cache.
export HOME ?= /root
export CGO_ENABLED ?= 0

PHASES = vet unit race arch syscalls attack interop busybox e2e network software
GOSUM  = bin/gosum
# All tests beside the code, not the suites of test/.
UNIT   = ./cmd/... ./pkg/... ./runsc/... ./test/bench

.DEFAULT_GOAL := all
.PHONY: all run test test-deps $(PHASES:%=test-%) soak bench fuzz clean bin/runsc $(GOSUM)

all: bin/runsc

# Go knows best what is out of date.
bin/runsc:
	CGO_ENABLED=0 $(GO) build -o $@ ./cmd/runsc

$(GOSUM):
	CGO_ENABLED=0 $(GO) build -o $@ ./test/gosum

run: bin/runsc
	test/run.sh

test: test-deps
	@test/phases.sh $(PHASES)

test-deps:
	@test/install-deps.sh

test-vet:
	$(GO) vet ./...
	@out=$$(gofmt -l cmd pkg runsc test); [ -z "$$out" ] || { echo "not gofmt-ed:"; echo "$$out"; exit 1; }

test-unit: $(GOSUM)
	$(GO) test -json -timeout 5m $(GOTESTFLAGS) $(UNIT) 2>&1 | $(GOSUM)

# The race detector is the one thing here that needs cgo. Only packages that have tests,
# and short ones: it is ten times slower. With cgo comes glibc, which would register rseq, and
# stub processes would inherit that: the host would write to an area that they do not have.
test-race: $(GOSUM)
	CGO_ENABLED=1 GLIBC_TUNABLES=glibc.pthread.rseq=0 $(GO) test -race -short -json -timeout 8m $(GOTESTFLAGS) \
	  $$($(GO) list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./pkg/... ./runsc/...) 2>&1 | $(GOSUM)

test-arch: $(GOSUM)
	$(GO) test -json -count=1 $(GOTESTFLAGS) ./test/arch 2>&1 | $(GOSUM)

# The suites below run a runtime: bin/runsc, or RUNTIME. Building is part of the phase, so
# that a tree that does not build fails here with the compiler's words.
ours  = $(filter $(CURDIR)/bin/runsc,$(RUNTIME))
suite = $(if $(ours),bin/runsc) $(GOSUM)
# An empty name is the default platform.
comma = ,
both  = PLATFORM=$(or $(PLATFORM),$(if $(ours),$(comma)ptrace))

test-syscalls: $(suite)
	$(both) $(GO) test -json -count=1 -timeout 20m $(GOTESTFLAGS) ./test/syscalls 2>&1 | $(GOSUM)

test-attack: $(suite)
	$(both) $(GO) test -json -count=1 -timeout 10m $(GOTESTFLAGS) ./test/attack 2>&1 | $(GOSUM)

# Our network stack and the host's: no runtime is run.
test-interop: $(GOSUM)
	$(GO) test -json -count=1 -timeout 8m $(GOTESTFLAGS) ./test/interop 2>&1 | $(GOSUM)

test-busybox: $(suite)
	$(both) $(GO) test -json -count=1 -timeout 10m $(GOTESTFLAGS) ./test/busybox 2>&1 | $(GOSUM)

test-e2e: $(suite)
	$(both) $(GO) test -json -count=1 -timeout 15m $(GOTESTFLAGS) ./test/e2e 2>&1 | $(GOSUM)

test-network: $(suite)
	$(GO) test -json -count=1 -timeout 20m $(GOTESTFLAGS) ./test/network 2>&1 | $(GOSUM)

test-software: $(suite)
	$(GO) test -json -count=1 -timeout 20m $(GOTESTFLAGS) ./test/software 2>&1 | $(GOSUM)

# Half an hour of stress-ng in one sandbox, its stressors in turns.
soak: test-deps
	SOAK=$(or $(SOAK),95) $(MAKE) test-software GOTESTFLAGS="-timeout 100m -run TestSoftware//stress $(GOTESTFLAGS)"

bench: test-deps bin/runsc
	$(GO) build -o bin/bench/bench ./test/bench
	bin/bench/bench $(BENCH)

fuzz:
	GO=$(GO) test/fuzz.sh $(FUZZTIME)

clean:
	rm -rf bin .cache
