# What Node sources are built in: the program of the runtime's image, with npm. The context is the repository's root:
#   docker build -f runtimes/node20/build.Dockerfile .
FROM node:20-slim
ARG VERSION=dev
LABEL org.opencontainers.image.title="Lateen build node20" \
      org.opencontainers.image.description="Installs what Node 20 functions depend on" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
RUN find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY runtimes/node20/build.cjs /lateen/runtime/
USER 65532:65532
WORKDIR /tmp
