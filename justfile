# `just verify` reads only and is what CI runs; `just fix` writes.

default:
    @just --list

# Everything CI checks, in the same order.
verify:
    .ci/run

# One step of CI: packages, fmt, clippy, test, clients, http_clients, contract, budget, fuzz, examples, docs, deny.
step name:
    .ci/run {{name}}

# Formats and applies what Clippy can apply.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# The style test alone: quick.
tidy:
    cargo test -p windlass-tests --test tidy

# One decoder under libFuzzer with the address sanitizer, or all of them one after the other (needs nightly and cargo-fuzz).
fuzz target="" seconds="60":
    #!/usr/bin/env bash
    set -euo pipefail
    for name in {{ if target == "" { "$(ls tests/fuzz/seeds)" } else { target } }}; do
        mkdir -p "tests/fuzz/corpus/$name"
        cargo +nightly fuzz run --fuzz-dir tests/fuzz --features node "$name" "tests/fuzz/corpus/$name" "tests/fuzz/seeds/$name" -- \
            -max_total_time={{seconds}} -timeout=20 -max_len=8192 -malloc_limit_mb=64
    done

# A server, a worker and the dashboard on http://127.0.0.1:7420
dev *args:
    cargo run --release -- dev {{args}}

# Rates and latencies of this machine.
bench *args:
    cargo run --release -- bench {{args}}

# An hour of mixed load with faults, and a verdict in target/soak; `just soak 5` takes five minutes. Full disks are tried as root only.
soak minutes="60" *args:
    cargo build --release -p windlass-scheduler --bin windlass
    cargo build -p windlass-tests --bin soak
    WINDLASS_BINARY=target/release/windlass target/debug/soak --minutes {{minutes}} {{args}}

# A rolling upgrade from the last version to this one and back, with real programs of both under load; builds the older one first. Takes minutes.
upgrade *args:
    tests/upgrade/run {{args}}

# Windlass beside other queues, about 25 minutes; results, page and pictures in docs. `just compare --quick` takes five and shows them here.
compare *args:
    bench/compare --all {{ if args == "" { "--out docs/benchmarks" } else { args } }}

# Instructions per job of the hot paths against their budget; `just budget --write` records what they take now.
budget *args:
    tests/budget/check {{args}}
