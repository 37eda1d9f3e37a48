# `make test` is all it takes: see scripts/servers for what it starts, and stops again.

# By name and not by --all-features, which would compile libpq from source.
FEATURES := sqlite,postgres,mysql

# Ports at which nothing else listens: the long run restarts its servers.
OWN_SERVERS := OUTBOX_TEST_POSTGRES_PORT=15432 OUTBOX_TEST_MYSQL_PORT=13306 \
	OUTBOX_TEST_STOMP_PORT=16613 OUTBOX_TEST_AMQP_PORT=6672 OUTBOX_TEST_ACTIVEMQ_PORT=16623 \
	OUTBOX_TEST_STOMP_TLS_PORT=16612 OUTBOX_TEST_ACTIVEMQ_TLS_PORT=16622
FLOW_CURRENT := on_postgres::loopback,on_mysql::rabbitmq,foreign::rabbitmq,foreign::letters::rabbitmq,foreign::queues::rabbitmq,foreign::default_limits
FAULTS ?= 200
ROWS ?= 100000
TARGET ?= decoder
SECONDS ?= 1200

.PHONY: test fuzz soak bench-relay bench-inbox bench-stomp bench-calls bench-queues check files ci fmt fmt-check clippy docs examples servers servers-down \
	servers-current servers-current-down test-matrix test-current test-mysql-bundled tools

## Every test. `make test SERVERS=trixie` (or `sid`, or `current`, which is the newest) runs them on newer servers than the
## machine's own; ActiveMQ is always the machine's.
test: tools
	SERVERS=$(SERVERS) scripts/with-servers cargo test --no-fail-fast --workspace --features $(FEATURES)

## The suites that depend on a server's version, on newer servers than the machine's own: docs/servers.md.
## `make test-matrix RELEASES=sid TESTS="storage flow"` runs a part. The servers are installed below target/current
## and stay there; `scripts/current-servers remove` deletes them.
test-matrix: tools
	FEATURES=$(FEATURES) scripts/test-matrix $(RELEASES)

## The part of it that belongs to `make ci`: each newer database and RabbitMQ 4.3, without ActiveMQ.
test-current: tools
	FEATURES=$(FEATURES) ALONE=1 TESTS_trixie="storage:mysql outbox:mysql flow:on_mysql::loopback" \
		TESTS_sid="storage outbox stomp_broker:rabbitmq flow:$(FLOW_CURRENT)" scripts/test-matrix

## The cases for MySQL with MySQL's own client library, which is compiled in, on MySQL 9.7 and MariaDB 11.8: its first
## build takes minutes, and needs CMake and OpenSSL's headers, which it installs.
test-mysql-bundled: tools
	scripts/tools mysql-bundled
	FEATURES=sqlite,postgres,mysql-bundled CARGO_TARGET_DIR=target/mysql-bundled ALONE=1 \
		TESTS="storage:mysql,logins outbox:mysql flow:on_mysql::rabbitmq,with_mysql" scripts/test-matrix $(RELEASES)

## Looks for bytes that the STOMP client stumbles over: `make fuzz TARGET=client SECONDS=60`, without
## them the decoder, for 20 minutes. It installs cargo-fuzz where that is missing. `make test` runs the
## inputs that were found and kept.
fuzz: tools
	scripts/fuzz $(TARGET) $(SECONDS)

## Faults by the hundred for messages and for calls, with restarts of PostgreSQL and RabbitMQ, memory alarms and full queues, on
## servers of its own: about ten minutes. `make soak FAULTS=50 ROWS=20000` is shorter.
soak: tools
	env -u OUTBOX_TEST_POSTGRES -u OUTBOX_TEST_MYSQL -u OUTBOX_TEST_RABBITMQ -u OUTBOX_TEST_ACTIVEMQ \
		-u OUTBOX_TEST_RABBITMQ_TLS -u OUTBOX_TEST_ACTIVEMQ_TLS -u OUTBOX_TEST_CERTIFICATES \
		$(OWN_SERVERS) scripts/with-servers env OUTBOX_TEST_FAULTS=$(FAULTS) OUTBOX_TEST_ROWS=$(ROWS) \
		cargo test --features $(FEATURES) --test faults postgres -- --nocapture --test-threads=1

## What the relay and `save` cost beside what is possible; docs/benchmarks.md has the figures.
bench-relay: tools
	scripts/with-servers cargo bench --features $(FEATURES) --bench relay

## The same for the inbox.
bench-inbox: tools
	scripts/with-servers cargo bench --features $(FEATURES) --bench inbox

## The STOMP layer beside tokio-stomp-2, and on RabbitMQ.
bench-stomp: tools
	scripts/with-servers cargo bench --features $(FEATURES) --bench stomp

## The same for function calls, without a broker.
bench-calls: tools
	scripts/with-servers cargo bench --features $(FEATURES) --bench calls

## The relay and the inbox on classic and quorum queues, of two versions of RabbitMQ.
bench-queues: tools
	FEATURES=$(FEATURES) scripts/bench-queues

## Everything that a change has to pass.
check: fmt-check files test clippy docs examples

ci:
	.ci/run

fmt:
	cargo fmt --all

fmt-check: tools
	cargo fmt --all -- --check

## The shell scripts and the Compose file.
files:
	scripts/check-files

## All of it, and each part alone, as users choose them. Tests and examples always have SQLite and the programs.
clippy: tools
	cargo clippy --workspace --all-targets --features $(FEATURES) -- -D warnings
	for part in sqlite postgres mysql postgres,stomp postgres,relay sqlite,calls sqlite,subscriber mysql,relay,tls sqlite,web sqlite,cli postgres,cli mysql,cli; do \
		cargo clippy --lib --features $$part -- -D warnings || exit 1; done
	cargo clippy --lib --bins --features $(FEATURES),cli,web -- -D warnings

docs: tools
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features $(FEATURES),cli,web,testing,msgpack

## The README's first command, and all examples with the features that they get by themselves. `make test` runs each
## to its end: tests/examples.rs.
examples: tools
	cargo run --quiet --example quickstart
	cargo build --quiet --examples

## Servers that stay up until `make servers-down`; `eval "$(scripts/servers env)"` for the tests.
servers:
	scripts/servers up

servers-down:
	scripts/servers down

## The newer servers, until `make servers-current-down`; `eval "$(scripts/current-servers env sid)"`.
servers-current:
	scripts/current-servers up $(RELEASES)

servers-current-down:
	scripts/current-servers down $(RELEASES)

tools:
	@scripts/tools
