# syntax=docker/dockerfile:1
# The bridge. OpenSSL, zlib and zstd are linked statically, so the image needs no library of its own.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
# Members of the workspace: cargo reads them, and builds nothing of them.
COPY python/Cargo.toml python/Cargo.toml
COPY python/src python/src
COPY tests/fuzz/Cargo.toml tests/fuzz/Cargo.toml
COPY tests/fuzz/src tests/fuzz/src
# Compiled in by `schema` and `demo`.
COPY schemas schemas
COPY examples/routing examples/routing
# The commit that --version shows.
ARG COMMIT=""
# jemalloc does not start where memory pages are larger than it was built for: ARM has hosts with pages of 64 KiB.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    case "$(uname -m)" in aarch64) export JEMALLOC_SYS_WITH_LG_PAGE=16 ;; esac \
    && export WORKFLOW_BRIDGE_COMMIT="$COMMIT" \
    && cargo build --release --locked --bin workflow-bridge \
    && cp target/release/workflow-bridge /usr/local/bin/

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /var/lib/workflow-bridge bridge \
    && install --directory --owner=bridge --mode=0750 /var/lib/workflow-bridge
COPY --from=build /usr/local/bin/workflow-bridge /usr/local/bin/
# The routing folder is mounted here: an image cannot know where its agents are. bridge.yaml is read from the folder
# above it if there is one.
WORKDIR /etc/workflow-bridge
ENV BRIDGE_ROUTING_DIR=/etc/workflow-bridge/routing \
    BRIDGE_DATA_DIR=/var/lib/workflow-bridge
VOLUME /var/lib/workflow-bridge
USER 10001
# /metrics, /healthz, /readyz, /api/status, /api/events/ID: on loopback until BRIDGE_ADMIN_ADDR says otherwise.
EXPOSE 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["workflow-bridge", "healthcheck"]
ENTRYPOINT ["workflow-bridge"]
CMD ["run"]
