# What Go sources are compiled in. The context is the repository's root:
#   docker build -f runtimes/golang1.22/build.Dockerfile .
FROM golang:1.22
ARG VERSION=dev
LABEL org.opencontainers.image.title="Lateen build golang1.22" \
      org.opencontainers.image.description="Compiles Go functions" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
RUN find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY runtimes/golang1.22/build.go /lateen/runtime/
COPY runtimes/golang1.22/module/ /lateen/runtime/module/
ENV PATH=/usr/local/go/bin:/usr/local/bin:/usr/bin:/bin
USER 65532:65532
WORKDIR /tmp
