# The milestone notifier as an image.
#
#   docker build -t milestone-notifier .
#   docker run --rm milestone-notifier demo
#
# As a service: config/compose.yaml, config/k8s.yaml, docs/operate.md.

FROM python:3.13-slim-trixie AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
RUN python -m venv --without-pip /opt/notifier \
    && python -m venv /build/tools

# Nothing is compiled: wheels or no image. The hashes say which.
COPY .ci/requirements.txt .ci/requirements-dev.txt ./
RUN pip --python /opt/notifier/bin/python install \
      --require-hashes --only-binary :all: --requirement requirements.txt
RUN tools/bin/pip install \
      --require-hashes --only-binary :all: --constraint requirements-dev.txt hatchling

COPY pyproject.toml README.md ./
COPY notifier notifier
RUN tools/bin/pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip --python /opt/notifier/bin/python install --no-deps wheels/*.whl


FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="milestone-notifier" \
      org.opencontainers.image.description="Kalshi's milestones in, alerts out" \
      org.opencontainers.image.version="0.1.0"

# A fixed user, so that a volume's rights and Kubernetes' security context fit.
RUN groupadd --gid 10001 notifier \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home \
      --shell /usr/sbin/nologin notifier \
    && install --directory --owner 10001 --group 10001 --mode 0700 /data
COPY --from=build /opt/notifier /opt/notifier

# The root may be read-only: nothing is written but to /data and /tmp.
ENV PATH=/opt/notifier/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NOTIFIER_STORE=sqlite:////data/notifier.db
USER 10001:10001
VOLUME ["/data"]

# From here, ./config/notifier.yaml is found without being named: mount /config.
WORKDIR /
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 \
    CMD ["notifier", "healthcheck"]
ENTRYPOINT ["notifier"]
CMD ["run"]
