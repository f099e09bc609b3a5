# docker build --build-arg VERSION=$(git describe --tags --always) -t highlander .
# docker run -v highlander:/data -p 6745:6745 highlander --remote-write.url http://LTS/api/v1/write
FROM golang:1.26 AS build
ARG VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/highlander ./cmd/highlander \
 && mkdir /out/data

FROM scratch
# Certificates of public authorities, for an LTS behind TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/highlander /highlander
# A volume takes owner and mode from the directory it is laid over.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV HIGHLANDER_STORAGE_PATH=/data
VOLUME /data
EXPOSE 6745 6746
# `status` asks the node over its socket in /data; it fails while the node does not answer.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["/highlander", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/highlander", "run"]
