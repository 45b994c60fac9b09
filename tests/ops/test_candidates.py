"""Candidate samplers, and the losses on what they draw."""

import numpy as np
import pytest

import gpugrad as gg
import gpugrad.compat.v1 as tf
from tests.ops.running import built

TRUE = [[0], [4]]
SAMPLERS = {
    "log_uniform": tf.nn.log_uniform_candidate_sampler,
    "uniform": tf.nn.uniform_candidate_sampler,
    "unigram": lambda *args, **kwargs: tf.nn.fixed_unigram_candidate_sampler(
        *args, unigrams=np.arange(1, args[4] + 1), distortion=0.5, **kwargs
    ),
}


def shares(name, count):
    """The chance of each class."""
    k = np.arange(count)
    weights = {
        "log_uniform": np.log((k + 2) / (k + 1)),
        "uniform": np.ones(count),
        "unigram": np.sqrt(k + 1),
    }[name]
    return weights / weights.sum()


def run(build, runs=1):
    with tf.Graph().as_default(), tf.Session() as session:
        tensors = build()
        found = [session.run(tensors) for _ in range(runs)]
        return found if runs > 1 else found[0]


@pytest.mark.parametrize("name", SAMPLERS)
def test_repeated_draws_follow_the_shares(name):
    count, draws = 7, 20000
    drawn, true, expected = run(
        lambda: SAMPLERS[name](TRUE, 1, draws, False, count, seed=3)
    )
    assert drawn.dtype == np.int64 and true.dtype == expected.dtype == np.float32
    wanted = shares(name, count)
    seen = np.bincount(drawn, minlength=count) / draws
    assert np.abs(seen - wanted).max() < 5 * np.sqrt(0.25 / draws)
    np.testing.assert_allclose(true[:, 0], draws * wanted[[0, 4]], rtol=1e-6)
    np.testing.assert_allclose(expected, draws * wanted[drawn], rtol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(("count", "draws"), [(5, 5), (7, 3), (1000, 40), (1, 1)])
def test_unique_draws(name, count, draws):
    """No class twice; all expectations come from one number of tries."""
    for drawn, _, expected in run(
        lambda: SAMPLERS[name]([[0]], 1, draws, True, count, seed=5), runs=20
    ):
        assert len(set(drawn.tolist())) == draws
        assert drawn.min() >= 0 and drawn.max() < count
        share = shares(name, count)[drawn]
        if np.allclose(expected, share * draws, rtol=1e-6):
            continue  # no class was drawn twice: as without unique
        rare = share.argmin()
        tries = np.rint(np.log1p(-float(expected[rare])) / np.log1p(-share[rare]))
        wanted = -np.expm1(tries * np.log1p(-share))
        np.testing.assert_allclose(expected, wanted, rtol=1e-5)
        assert tries > draws


def test_first_unique_draw_follows_the_shares():
    found = run(lambda: SAMPLERS["log_uniform"]([[0]], 1, 3, True, 7, seed=1), runs=800)
    seen = np.bincount([f[0][0] for f in found], minlength=7) / 800
    assert np.abs(seen - shares("log_uniform", 7)).max() < 5 * np.sqrt(0.25 / 800)


def test_seeds_and_runs():
    def build():
        return [SAMPLERS["uniform"](TRUE, 1, 9, False, 1000, seed=s)[0] for s in (1, 2)]

    (a, b), (c, _) = run(build, runs=2)
    assert (a != b).any() and (a != c).any()
    again, _ = run(build, runs=2)
    np.testing.assert_array_equal(a, again[0])


def test_too_many_unique_classes():
    with pytest.raises(ValueError, match="range is too small"):
        built(lambda: SAMPLERS["uniform"](TRUE, 1, 6, True, 5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="can be drawn"):
        run(lambda: tf.nn.fixed_unigram_candidate_sampler(
            TRUE, 1, 2, True, 3, unigrams=[0, 5, 0]))  # fmt: skip


def test_unigrams_from_a_file(tmp_path):
    path = tmp_path / "words.csv"
    path.write_text("the,3\nof, 1\n\n")
    drawn, true, _ = run(
        lambda: tf.nn.fixed_unigram_candidate_sampler(
            [[1, 2, 0]], 3, 4, False, 3, vocab_file=str(path), num_reserved_ids=1
        )
    )
    assert set(drawn.tolist()) <= {1, 2}
    np.testing.assert_allclose(true, [[3, 1, 0]])
    with pytest.raises(ValueError, match="range_max is 5"):
        built(lambda: tf.nn.fixed_unigram_candidate_sampler(
            TRUE, 1, 2, True, 5, unigrams=[1, 2]))  # fmt: skip


def test_all_candidates():
    drawn, true, expected = run(lambda: tf.nn.all_candidate_sampler(TRUE, 1, 3, True))
    assert drawn.tolist() == [0, 1, 2]
    assert true.tolist() == [[1], [1]] and expected.tolist() == [1, 1, 1]


def test_accidental_hits():
    rows, places, weights = run(
        lambda: tf.nn.compute_accidental_hits([[1, 3], [2, 3]], [3, 1, 0], 2)
    )
    assert (rows.tolist(), places.tolist()) == ([0, 0, 1], [1, 0, 0])
    assert weights.tolist() == [np.finfo(np.float32).min] * 3


# What TensorFlow 2.21 gives for the network below.
W = np.arange(10, dtype=np.float32).reshape(5, 2) / 10
B = np.arange(5, dtype=np.float32) / 7
INPUTS = np.array([[1, 2], [0.5, -1]], np.float32)
LABELS = [[3], [1]]
VALUES = (
    np.array([3, 0], np.int64),
    np.array([[0.5], [0.25]], np.float32),
    np.array([0.3, 0.2], np.float32),
)
NCE = [5.662868976593018, 3.4323596954345703]
NCE_WITHOUT_HITS = [2.0042195320129395, 3.4323596954345703]
SOFTMAX = [0.2383909821510315, 1.133165955543518]
SLOPES = [
    [[-0.04222023, -0.08444047], [-0.10464987, 0.20929974],
     [0.38713178, -0.77426356], [1.2687829, 0.89961]],
    [-0.04222023, -0.20929974, 0.77426356, 1.6782718],
    [[-0.02533214, 0.05637523], [0.4226982, 0.5610924]],
]  # fmt: skip


def test_losses():
    def build():
        nce = tf.nn.nce_loss(W, B, LABELS, INPUTS, 2, 5, sampled_values=VALUES)
        without = tf.nn.nce_loss(
            W, B, LABELS, INPUTS, 2, 5, sampled_values=VALUES,
            remove_accidental_hits=True,
        )  # fmt: skip
        softmax = tf.nn.sampled_softmax_loss(
            W, B, LABELS, INPUTS, 2, 5, sampled_values=VALUES
        )
        return nce, without, softmax

    for found, wanted in zip(run(build), (NCE, NCE_WITHOUT_HITS, SOFTMAX)):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_slices_of_the_tables():
    """Weights and biases get rows [labels, samples]; the inputs a dense gradient."""

    def build():
        xs = [tf.constant(v) for v in (W, B, INPUTS)]
        loss = tf.nn.nce_loss(
            xs[0], xs[1], LABELS, xs[2], 2, 5, sampled_values=VALUES,
            remove_accidental_hits=True,
        )  # fmt: skip
        return tf.gradients(loss, xs)

    weights, biases, inputs = run(build)
    for slices, wanted in zip((weights, biases), SLOPES):
        assert slices.indices.tolist() == [3, 1, 3, 0]
        np.testing.assert_allclose(slices.values, wanted, rtol=1e-5)
    np.testing.assert_allclose(inputs, SLOPES[2], rtol=1e-5)


def test_sharded_tables():
    """Lists of tables: rows by remainder in TensorFlow 1, in parts in 2."""
    parts = [W[:3], W[3:]]
    shards = [W[::2], W[1::2]]

    def build():
        return (
            tf.nn.nce_loss(shards, B, LABELS, INPUTS, 2, 5, sampled_values=VALUES),
            gg.nn.nce_loss(parts, B, LABELS, INPUTS, 2, 5, sampled_values=VALUES),
            gg.nn.sampled_softmax_loss(
                parts, B, LABELS, INPUTS, 2, 5, sampled_values=VALUES
            ),
        )

    for found, wanted in zip(run(build), (NCE, NCE, SOFTMAX)):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_training_lowers_the_loss():
    """The samplers in a loop, their numbers other ones at every step."""
    with tf.Graph().as_default(), tf.Session() as session:
        tf.set_random_seed(4)
        weights = tf.get_variable("w", [50, 8])
        biases = tf.get_variable("b", [50], initializer=tf.zeros_initializer())
        inputs = tf.get_variable("x", [10, 8])
        labels = np.arange(10).reshape(10, 1)
        loss = tf.reduce_mean(tf.nn.nce_loss(weights, biases, labels, inputs, 5, 50))
        full = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=labels[:, 0],
                logits=tf.matmul(inputs, weights, transpose_b=True) + biases,
            )
        )
        step = tf.train.GradientDescentOptimizer(1.0).minimize(loss)
        session.run(tf.global_variables_initializer())
        before = session.run(full)
        for _ in range(100):
            session.run(step)
        assert session.run(full) < 0.5 * before
