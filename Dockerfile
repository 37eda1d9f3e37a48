# The programs publish, subscribe and outbox, for PostgreSQL, MySQL/MariaDB and SQLite:
#   docker build --tag diesel-outbox .
#   docker run --env DATABASE_URL --env STOMP_URL diesel-outbox publish
FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libpq-dev libmariadb-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo install --locked --path . --features postgres,mysql,cli,web --root /programs

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libmariadb3 libpq5 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home outbox
COPY --from=build /programs/bin/ /usr/local/bin/
USER outbox
# Without a shell in between, so that the program is process 1 and gets the signals: it handles
# SIGTERM itself, which process 1 would otherwise ignore.
CMD ["publish"]
