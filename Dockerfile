# syntax=docker/dockerfile:1

# The base is named by tag because this file was written where no image registry could be asked; a release names it by
# digest: docker build --build-arg BASE=python:3.11-slim@sha256:…
ARG BASE=python:3.11-slim

# Build: the steps of `make setup`, for the runtime lock. Only published wheels, each checked against its hash; the
# project's own wheel is then made by the pinned backend without the network.
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/build.lock requirements/runtime.lock requirements/
RUN python -m venv /opt/build \
    && python -m venv --without-pip /opt/sidecar \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.lock \
    && /opt/build/bin/pip --python /opt/sidecar/bin/python install --require-hashes --only-binary :all: \
        -r requirements/runtime.lock
COPY LICENSE pyproject.toml ./
COPY sidecar sidecar
RUN /opt/build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /opt/wheels . \
    && /opt/build/bin/pip --python /opt/sidecar/bin/python install --no-index --no-deps /opt/wheels/*.whl \
    && mkdir -p /rootfs/data /rootfs/etc/sidecar/policies /rootfs/etc/sidecar/schemas \
    && chmod 0700 /rootfs/data

# Run: the base and one virtualenv without pip; nothing in it belongs to the user it runs as but /data. It is made for
#   docker run --read-only --tmpfs /tmp --cap-drop ALL --security-opt no-new-privileges --pids-limit 128 \
#     --ulimit core=0 -v sidecar-data:/data -v ./policies:/etc/sidecar/policies:ro -v ./schemas:/etc/sidecar/schemas:ro …
# The shipped schema is in the image, no policy is: what nobody mounted permits nothing.
FROM ${BASE}
COPY --from=build /opt/sidecar /opt/sidecar
COPY --from=build /rootfs/etc/sidecar /etc/sidecar
COPY schemas /etc/sidecar/schemas
COPY --from=build --chown=10001:10001 /rootfs/data /data
ENV PATH=/opt/sidecar/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SIDECAR_HOST=0.0.0.0 \
    SIDECAR_PORT=8181 \
    SIDECAR_DATA_DIR=/data \
    SIDECAR_POLICIES=/etc/sidecar/policies \
    SIDECAR_SCHEMAS=/etc/sidecar/schemas
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8181
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"SIDECAR_PORT\"]}/readyz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["sidecar", "serve"]
