"""A classifier of digits: one hidden layer, its gradients from gg.gradients."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gpugrad as gg
from gpugrad.demo.digits import CLASSES, PIXELS, Digits, minibatches

HIDDEN = 128
LEARNING_RATE = 0.1
MOMENTUM = 0.9


@dataclass(frozen=True)
class Score:
    """How well the classifier did on one batch, before it learned from it."""

    loss: float
    accuracy: float


class Classifier:
    """A graph with a network in it, and a session that holds its weights.

    The order of the work is TensorFlow 1's: build the whole step as a graph once,
    its gradients and updates included, then run it batch after batch.
    """

    def __init__(self, seed: int) -> None:
        graph = gg.Graph()
        with graph.as_default():
            gg.set_random_seed(seed)
            self._images = gg.placeholder(gg.float32, [None, PIXELS], name="images")
            self._labels = gg.placeholder(gg.int32, [None], name="labels")

            weights = []
            signal: Any = self._images
            for layer, (inputs, units) in enumerate(
                [(PIXELS, HIDDEN), (HIDDEN, CLASSES)]
            ):
                # He initialisation keeps the size of the signal through a relu.
                start = gg.random_normal([inputs, units], stddev=(2 / inputs) ** 0.5)
                weight = gg.Variable(start, name=f"weight_{layer}")
                bias = gg.Variable(gg.zeros([units]), name=f"bias_{layer}")
                weights += [weight, bias]
                if layer > 0:
                    signal = gg.nn.relu(signal)
                signal = gg.matmul(signal, weight) + bias
            logits = signal

            self._probabilities = gg.nn.softmax(logits, name="probabilities")
            self._loss = gg.reduce_mean(
                gg.nn.sparse_softmax_cross_entropy_with_logits(
                    labels=self._labels, logits=logits
                ),
                name="loss",
            )
            right = gg.equal(gg.argmax(logits, 1, output_type=gg.int32), self._labels)
            self._accuracy = gg.reduce_mean(gg.cast(right, gg.float32), name="accuracy")

            # The tuple holds every update back until all gradients are there: one of
            # them reads the second weight, which another step is about to change.
            gradients = gg.tuple(gg.gradients(self._loss, weights))
            updates = []
            for weight, gradient in zip(weights, gradients, strict=True):
                velocity = gg.Variable(gg.zeros(weight.shape), trainable=False)
                faster = MOMENTUM * velocity - LEARNING_RATE * gradient
                updates.append(gg.assign_add(weight, gg.assign(velocity, faster)))
            self._learn = gg.group(*updates, name="learn")
            initialize = gg.global_variables_initializer()

        self._session = gg.Session(graph=graph)
        self._session.run(initialize)

    def train(
        self, digits: Digits, steps: int, batch: int, seed: int
    ) -> Iterator[Score]:
        """Learn from ``steps`` batches; the score of each batch as it passes."""
        batches = minibatches(digits, batch, seed)
        for _ in range(steps):
            _, loss, accuracy = self._session.run(
                [self._learn, self._loss, self._accuracy], self._feed(next(batches))
            )
            yield Score(float(loss), float(accuracy))

    def score(self, digits: Digits) -> Score:
        """Loss and accuracy on ``digits``; nothing is learned."""
        loss, accuracy = self._session.run(
            [self._loss, self._accuracy], self._feed(digits)
        )
        return Score(float(loss), float(accuracy))

    def probabilities(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """How likely each image is each digit: a row for an image, a column a digit."""
        result: NDArray[np.float32] = self._session.run(
            self._probabilities, {self._images: images}
        )
        return result

    def _feed(self, digits: Digits) -> dict[Any, Any]:
        return {self._images: digits.images, self._labels: digits.labels}
