# `just verify` reads only and is what CI runs; `just fix` writes.

default:
    @just --list

# Everything CI checks, in the same order.
verify:
    .ci/run

# One step of CI: packages, fmt, clippy, build, test, examples, docs, deny.
step name:
    .ci/run {{name}}

# Formats and applies what Clippy can apply.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# The style test alone: quick.
tidy:
    cargo test -p windlass-tests --test tidy

# A server, a worker and the dashboard on http://127.0.0.1:7420
dev *args:
    cargo run --release -- dev {{args}}

# Rates and latencies of this machine.
bench *args:
    cargo run --release -- bench {{args}}
