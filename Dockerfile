# One binary, linked against nothing but the C library, on a base without a shell. The gateway listens on loopback unless
# its file says otherwise, so a container needs one:
#   docker run -v ./plimsoll.yaml:/data/plimsoll.yaml:ro -v plimsoll:/data -p 4180:4180 -p 127.0.0.1:4181:4181 plimsoll
# Both stages stand on Debian 12: a binary linked against a newer C library would not start.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# What is copied is listed in .dockerignore; tests and benches come along because the manifest names them.
COPY . .
RUN rustup component add llvm-tools && scripts/release && mkdir /data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/shipped/plimsoll /plimsoll
# The ledger's directory; 65532 is the base's `nonroot`.
COPY --from=build --chown=65532:65532 /data /data
WORKDIR /data
VOLUME /data
USER 65532:65532
# Data plane; dashboard, admin API, /metrics, /healthz, /readyz.
EXPOSE 4180 4181
ENTRYPOINT ["/plimsoll"]
CMD ["serve"]
