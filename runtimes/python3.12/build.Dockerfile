# What Python sources are built in: the interpreter of the runtime's image, with pip. The context is the repository's root:
#   docker build -f runtimes/python3.12/build.Dockerfile .
FROM python:3.12-slim
ARG VERSION=dev
LABEL org.opencontainers.image.title="Lateen build python3.12" \
      org.opencontainers.image.description="Installs what Python 3.12 functions depend on" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
RUN find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY runtimes/python3.12/build.py /lateen/runtime/
ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8
USER 65532:65532
WORKDIR /tmp
