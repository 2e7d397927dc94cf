# One target per service: `docker build --target email .`, or all six images with `make images`. A service's image holds its
# own code, what every service stands on, and its locked packages; a change in sms leaves the layers of email alone. The
# sixth, carillon, is what people use beside them: the command line, the console and the sandbox.

# Any Debian-like image with Python 3.11 or newer and its venv module.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim
# For a build without an index: "--no-index --find-links=FOLDER" of the locked packages.
ARG PIP_OPTIONS=""
# Anything at all: with what OpenTelemetry needs to send spans, see docs/guides/tracing.md.
ARG TRACING=""

FROM ${BASE_IMAGE} AS base
# Pods have a read-only root: nothing is written at run time, and the bytecode is made here.
ENV PATH=/opt/carillon/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app

# An environment of its own, so that the final images get the packages and not what installed them.
FROM base AS packages
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/carillon

FROM packages AS router-packages
ARG PIP_OPTIONS
ARG TRACING
COPY requirements/router.txt requirements/tracing.txt ./
RUN pip install --quiet $PIP_OPTIONS --require-hashes -r router.txt ${TRACING:+-r tracing.txt} && \
    pip uninstall --quiet --yes setuptools pip

FROM packages AS email-packages
ARG PIP_OPTIONS
ARG TRACING
COPY requirements/email.txt requirements/tracing.txt ./
RUN pip install --quiet $PIP_OPTIONS --require-hashes -r email.txt ${TRACING:+-r tracing.txt} && \
    pip uninstall --quiet --yes setuptools pip

FROM packages AS sms-packages
ARG PIP_OPTIONS
ARG TRACING
COPY requirements/sms.txt requirements/tracing.txt ./
RUN pip install --quiet $PIP_OPTIONS --require-hashes -r sms.txt ${TRACING:+-r tracing.txt} && \
    pip uninstall --quiet --yes setuptools pip

FROM packages AS push-packages
ARG PIP_OPTIONS
ARG TRACING
COPY requirements/push.txt requirements/tracing.txt ./
RUN pip install --quiet $PIP_OPTIONS --require-hashes -r push.txt ${TRACING:+-r tracing.txt} && \
    pip uninstall --quiet --yes setuptools pip

FROM packages AS realtime-packages
ARG PIP_OPTIONS
ARG TRACING
COPY requirements/realtime.txt requirements/tracing.txt ./
RUN pip install --quiet $PIP_OPTIONS --require-hashes -r realtime.txt ${TRACING:+-r tracing.txt} && \
    pip uninstall --quiet --yes setuptools pip

FROM packages AS carillon-packages
ARG PIP_OPTIONS
ARG TRACING
COPY requirements/carillon.txt requirements/tracing.txt ./
RUN pip install --quiet $PIP_OPTIONS --require-hashes -r carillon.txt ${TRACING:+-r tracing.txt} && \
    pip uninstall --quiet --yes setuptools pip

FROM base AS code
COPY services/__init__.py services/
COPY shared shared/
# Here and not in the base: a commit leaves the packages' layers alone.
ARG VERSION=0.2.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Carillon" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM code AS router
COPY --from=router-packages /opt/carillon /opt/carillon
COPY services/router services/router/
RUN python -m compileall -q shared services
USER 10001:10001
EXPOSE 9100
ENTRYPOINT ["python", "-m", "services.router"]

FROM code AS email
COPY --from=email-packages /opt/carillon /opt/carillon
COPY services/email services/email/
RUN python -m compileall -q shared services
USER 10001:10001
EXPOSE 9101
ENTRYPOINT ["python", "-m", "services.email"]

FROM code AS sms
COPY --from=sms-packages /opt/carillon /opt/carillon
COPY services/sms services/sms/
RUN python -m compileall -q shared services
USER 10001:10001
EXPOSE 9102
ENTRYPOINT ["python", "-m", "services.sms"]

FROM code AS push
COPY --from=push-packages /opt/carillon /opt/carillon
COPY services/push services/push/
RUN python -m compileall -q shared services
USER 10001:10001
EXPOSE 9103
ENTRYPOINT ["python", "-m", "services.push"]

FROM code AS realtime
COPY --from=realtime-packages /opt/carillon /opt/carillon
COPY services/realtime services/realtime/
RUN python -m compileall -q shared services
USER 10001:10001
EXPOSE 8080 9104
ENTRYPOINT ["python", "-m", "services.realtime"]

# The command line plans and explains as the router does, and the console answers as the realtime service does: it holds
# all their code. Any of `python -m sandbox` and `python -m deploy.dev_secrets` can be run in place of the entry point.
FROM code AS carillon
COPY --from=carillon-packages /opt/carillon /opt/carillon
COPY services services/
COPY clients/python/src/carillon_publisher carillon_publisher/
COPY sandbox sandbox/
COPY deploy/dev_secrets deploy/dev_secrets/
COPY carillon carillon/
# For whoever works inside the container: `carillon audit`, from any folder.
RUN python -m compileall -q carillon carillon_publisher deploy sandbox services shared && \
    printf '#!/bin/sh\nPYTHONPATH=/app exec python -m carillon "$@"\n' >/opt/carillon/bin/carillon && \
    chmod 755 /opt/carillon/bin/carillon
USER 10001:10001
EXPOSE 8025 8026 1025 2197
ENTRYPOINT ["python", "-m", "carillon"]
