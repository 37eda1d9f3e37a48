# `make test` is all it takes: see scripts/servers for what it starts, and stops again.

# By name and not by --all-features, which would compile libpq from source.
FEATURES := sqlite,postgres,mysql
CLIPPY := cargo clippy --workspace --all-targets --no-default-features

.PHONY: test check files ci fmt fmt-check clippy docs examples servers servers-down tools

test: tools
	scripts/with-servers cargo test --no-fail-fast --workspace --features $(FEATURES)

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

## Each database alone, as users choose them, and all together; tests always have the loopback broker.
clippy: tools
	$(CLIPPY) --features sqlite -- -D warnings
	$(CLIPPY) --features postgres -- -D warnings
	$(CLIPPY) --features mysql -- -D warnings
	$(CLIPPY) --features $(FEATURES) -- -D warnings
	cargo clippy --lib --bins --no-default-features --features $(FEATURES) -- -D warnings
	cargo clippy --lib --no-default-features --features sqlite,testing -- -D warnings

docs: tools
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features $(FEATURES)

## Each example runs to its end.
examples: tools
	for example in quickstart orders custom_logic direct_send subscribe_registry self_managed exec_callback \
		axum_service; do cargo run --quiet --example $$example || exit 1; done

## Servers that stay up until `make servers-down`; `eval "$(scripts/servers env)"` for the tests.
servers:
	scripts/servers up

servers-down:
	scripts/servers down

tools:
	@scripts/tools
