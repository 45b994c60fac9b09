# gpugrad with its CUDA libraries. No CUDA base image: the wheels bring the libraries,
# the NVIDIA container toolkit brings the driver.
#
#   docker build -t gpugrad .
#   docker run --rm --gpus all gpugrad info
#   docker run --rm --gpus all -v "$PWD:/work" --user "$(id -u):$(id -g)" gpugrad demo

ARG BASE=python:3.12.12-slim-bookworm

# --- build: a virtual environment without pip, made by the pip of the base image ------
FROM ${BASE} AS build

# cuda12 for drivers from 525 on; cuda13 needs 580
ARG EXTRAS=cuda13,demo
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /src
COPY . .
RUN python -m pip wheel --no-deps --wheel-dir wheels . \
    && python -m venv --without-pip /opt/gpugrad \
    && python -m pip --python /opt/gpugrad/bin/python install \
        "$(ls "$PWD"/wheels/*.whl)[$EXTRAS]"

# --- final ----------------------------------------------------------------------------
FROM ${BASE}

LABEL org.opencontainers.image.title="gpugrad" \
      org.opencontainers.image.licenses="Apache-2.0"

COPY --from=build /opt/gpugrad /opt/gpugrad

# Nothing is installed from here on, so pip goes too. The cache is open to every user:
# `docker run --user` may choose any.
RUN python -m pip uninstall --yes --quiet pip \
    && useradd --uid 1000 --create-home gpugrad \
    && install --directory --mode 1777 /cache /work

# Without these two the container runtime shows the container no GPU.
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    GPUGRAD_CACHE_DIR=/cache/gpugrad \
    CUPY_CACHE_DIR=/cache/cupy \
    MPLCONFIGDIR=/cache/matplotlib \
    PATH=/opt/gpugrad/bin:$PATH

# Compiled kernels: keep the volume and the next container starts warm.
VOLUME /cache
WORKDIR /work
# By number, so that a cluster can see that it is not root.
USER 1000
ENTRYPOINT ["gpugrad"]
CMD ["info"]
