# SPDX-License-Identifier: Apache-2.0

# Version control is not asked about: a checkout may belong to another user.
export GOFLAGS ?= -buildvcs=false

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Packages that make no system calls: their tests need no privilege and run
# under the race detector.
PURE := ./forest/... ./collector/... ./image/... ./restore/plan/... ./restore/model/... \
	./audit ./audit/event ./audit/state ./audit/follow ./audit/finding ./audit/budget ./audit/container ./audit/overview ./audit/metric ./audit/entry ./audit/hidden ./audit/listing ./audit/record

# What `make generate` makes.
GENERATED := bpf/pids_bpfel.go bpf/pids_bpfel.o bpf/locked_bpfel.go bpf/locked_bpfel.o \
	bpf/audit_bpfel.go bpf/audit_bpfel.o bpf/lockedaudit_bpfel.go bpf/lockedaudit_bpfel.o restore/stub/stub_amd64 restore/stub/stub_arm64

help: ## say what there is
	@sed -n 's/^\([a-z-]*\):.* ## /\1\t/p' Makefile | expand -t 18

# What the program says it is; without it, that of the module or the commit.
VERSION ?=
LDFLAGS := $(if $(VERSION),-ldflags '-X main.release=$(VERSION)')

# Without cgo it needs no library, and is up 0.4 ms sooner.
# What serves metrics, sends OTLP and reads CRIU's images takes as long to start as
# all the rest: it is in a second program, which the first becomes or asks.
build: ## build ./pidgraft and ./pidgraft-audit
	CGO_ENABLED=0 go build $(LDFLAGS) -tags lean -o pidgraft ./cmd/pidgraft
	CGO_ENABLED=0 go build $(LDFLAGS) -o pidgraft-audit ./cmd/pidgraft

PREFIX ?= /usr/local
DESTDIR ?=
BIN := $(DESTDIR)$(PREFIX)/bin
SHARE := $(DESTDIR)$(PREFIX)/share
UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/system

# The completions are written by a program for this machine, whatever it is
# installed for.
install: ## install below PREFIX (/usr/local), or below DESTDIR for a package
	install -d $(BIN) $(SHARE)/man/man1 $(SHARE)/doc/pidgraft $(SHARE)/bash-completion/completions \
		$(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w $(if $(VERSION),-X main.release=$(VERSION))' -tags lean -o $(BIN)/pidgraft ./cmd/pidgraft
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w $(if $(VERSION),-X main.release=$(VERSION))' -o $(BIN)/pidgraft-audit ./cmd/pidgraft
	for page in docs/man/*.1; do gzip -9nc $$page >$(SHARE)/man/man1/$${page##*/}.gz; done
	install -m 644 README.md LICENSE LICENSES/* $(SHARE)/doc/pidgraft
	cp -r docs/schema $(SHARE)/doc/pidgraft
	install -d $(UNITS)
	sed 's,/usr/bin/,$(PREFIX)/bin/,' deploy/systemd/pidgraft-audit.service >$(UNITS)/pidgraft-audit.service
	GOARCH= go run ./cmd/pidgraft completion bash >$(SHARE)/bash-completion/completions/pidgraft
	GOARCH= go run ./cmd/pidgraft completion zsh >$(SHARE)/zsh/site-functions/_pidgraft
	GOARCH= go run ./cmd/pidgraft completion fish >$(SHARE)/fish/vendor_completions.d/pidgraft.fish

uninstall: ## take away what install put there
	rm -rf $(BIN)/pidgraft $(BIN)/pidgraft-audit $(SHARE)/doc/pidgraft $(SHARE)/man/man1/pidgraft.1.gz $(SHARE)/man/man1/pidgraft-*.1.gz \
		$(SHARE)/bash-completion/completions/pidgraft $(SHARE)/zsh/site-functions/_pidgraft \
		$(SHARE)/fish/vendor_completions.d/pidgraft.fish $(UNITS)/pidgraft-audit.service

DIST ?= dist

packages: ## .deb, .rpm, archive and module list of VERSION=1.2.3, in DIST (dist)
	@scripts/packages $(DIST) "$(VERSION)" $(ARCH)

# Without the programs for a real container it shows the other half, and says so.
demo: build ## dump, kill and restore a forest and a container, as root
	@scripts/test-deps runc bubblewrap busybox-static || true
	@go run ./internal/demo ./pidgraft

test: test-deps lint test-pure test-native generate-check vulncheck ## everything that must hold, as root

# BENCH are more flags of internal/bench, such as -rounds 9 or -tasks 1000,5000.
bench: ## against every peer and the machine's own limit, as root, to bench.json and bench.svg: RUN="dump audit" for some
	go run ./internal/bench -o json $(BENCH) $(RUN) >bench.json
	@go run ./internal/bench -from bench.json
	@go run ./internal/bench -from bench.json -o svg >bench.svg || rm bench.svg

N ?=

# SEED is of differential, prove and soak; with FOR=30m the first and the last end
# by then, with the counts so far.
differential: ## the kernel model against this kernel, as root: N=5000 histories
	go test ./internal/reenact -count=1 -v -timeout 0 -run '^(TestKernel|TestScripts)$$' -kernel.n $(or $(N),5000) $(if $(SEED),-kernel.seed $(SEED)) $(if $(FOR),-kernel.for $(FOR))

prove: ## plans of N=1000000 random forests, run in the model; all small ones
	go test ./restore/plan -count=1 -v -timeout 0 -run '^(TestProve|TestExhaust)$$' -exhaust.more 1 \
		-prove.n $(or $(N),1000000) $(if $(SEED),-prove.seed $(SEED))

soak: ## N=2000 random forests there and back on this kernel, as root
	go test ./internal/e2e -count=1 -v -timeout 0 -run '^TestSoak$$' -soak.n $(or $(N),2000) $(if $(SEED),-soak.seed $(SEED)) $(if $(FOR),-soak.for $(FOR))

FOR ?=

audit-state: ## the audited state against snapshots under freeze, as root: FOR=10m, N=1000 moments
	go test ./audit/source -count=1 -v -timeout 0 -run '^TestStateIsTheKernels$$' -audit.for $(or $(FOR),10m) -audit.moments $(or $(N),1000)

audit-loss: ## losses of 1/100, 1/10 and a stalled reader, healed, as root: FOR=3m
	go test ./audit/source -count=1 -v -timeout 0 -run '^TestLossIsHealed$$' -audit.for $(or $(FOR),3m)

audit-hidden: ## no false alarm beside 2,000 births a second, as root: FOR=10m, twice
	go test ./audit/source -count=1 -v -timeout 0 -run '^(TestHidden|TestNoFalseAlarms)$$' -audit.for $(or $(FOR),10m)

audit-soak: ## the memory of an audit of a busy namespace, as root: FOR=1h
	go test ./cmd/pidgraft -count=1 -v -timeout 0 -run '^TestAuditSoak$$' -audit.soak $(or $(FOR),1h)

generate: ## rebuild the BPF objects and the stub with Debian 12's clang
	MAKEFLAGS=-B go generate ./bpf ./restore/stub

test-deps: ## install what the tests need, by apt
	scripts/test-deps

lint: ## gofmt, vet, staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "gofmt -w $$unformatted"; exit 1; }
	go vet ./...
	go vet -tags lean ./cmd/pidgraft
	go run $(STATICCHECK) ./...

test-pure: ## unit and property tests, under the race detector
	go test -race $(PURE)

# Not from the cache: what they test is the machine.
test-native: ## privileged tests on this kernel, as root
	@test "$$(id -u)" = 0 || { echo "test-native: run as root: it loads BPF programs and makes pid namespaces"; exit 1; }
	go test -count=1 -timeout 30m $$(go list ./... | grep -v -x -F "$$(go list $(PURE))")

# KERNEL is one of 5.10, 6.1, 6.12, newest, 6.12-lockdown and 6.12-arm64, RUN as
# of go test -run. VMTEST are more flags of internal/vmtest.
vmtest: ## privileged tests on other kernels, in QEMU: KERNEL=6.1 RUN=TestX for some
	@scripts/test-deps qemu-system-x86 qemu-system-arm gcc-aarch64-linux-gnu linux-libc-dev-arm64-cross
	go run ./internal/vmtest -kernel "$(KERNEL)" -run "$(RUN)" $(VMTEST) ./...

generate-check: ## rebuilding gives what is committed, byte for byte
	@before=$$(sha256sum $(GENERATED)) && \
	$(MAKE) --no-print-directory generate >/dev/null && \
	echo "$$before" | sha256sum --check --quiet && \
	echo "generate-check: $(words $(GENERATED)) files are what their sources make"

# Its database may be out of reach; that is said and is no failure.
vulncheck: ## known vulnerabilities in what is used, where their list can be had
	@out=$$(go run $(GOVULNCHECK) ./... 2>&1) && status=0 || status=1; \
	case "$$out" in \
	*"govulncheck: fetching vulnerabilities"*) \
		echo "vulncheck: not done: the list of vulnerabilities cannot be reached from here" ;; \
	*) echo "$$out"; exit $$status ;; \
	esac

clean: ## remove what was built
	rm -rf pidgraft pidgraft-audit dist

.PHONY: help build install uninstall packages demo test bench differential prove soak audit-state audit-loss audit-hidden audit-soak generate test-deps lint test-pure test-native vmtest generate-check vulncheck clean
