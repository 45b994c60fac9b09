"""Word vectors: rows of an embedding, noise-contrastive loss, nearest words."""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.programs.data import Initial, skip_grams

initial = Initial(9, 0.5)
vocabulary_size, embedding_size, batch_size, num_sampled = 50, 8, 16, 6
words, neighbours = skip_grams(30 * batch_size, vocabulary_size)
random = np.random.RandomState(11)

with tf.name_scope("inputs"):
    train_inputs = tf.placeholder(tf.int32, shape=[batch_size])
    train_labels = tf.placeholder(tf.int64, shape=[batch_size, 1])
    sampled = tf.placeholder(tf.int64, shape=[num_sampled])

with tf.name_scope("embeddings"):
    embeddings = tf.Variable(initial(vocabulary_size, embedding_size))
    embed = tf.nn.embedding_lookup(embeddings, train_inputs)
with tf.name_scope("weights"):
    nce_weights = tf.Variable(initial(vocabulary_size, embedding_size))
with tf.name_scope("biases"):
    nce_biases = tf.Variable(tf.zeros([vocabulary_size]))

with tf.name_scope("loss"):
    rate = num_sampled / vocabulary_size
    loss = tf.reduce_mean(
        tf.nn.nce_loss(
            weights=nce_weights,
            biases=nce_biases,
            labels=train_labels,
            inputs=embed,
            num_sampled=num_sampled,
            num_classes=vocabulary_size,
            # Drawn by NumPy, so that all libraries see the same.
            sampled_values=(
                sampled,
                tf.fill([batch_size, 1], rate),
                tf.fill([num_sampled], rate),
            ),
        )
    )
optimizer = tf.train.GradientDescentOptimizer(1.0).minimize(loss)

norm = tf.sqrt(tf.reduce_sum(tf.square(embeddings), 1, keepdims=True))
similarity = tf.matmul(embeddings / norm, embeddings / norm, transpose_b=True)

losses = []
with tf.Session() as session:
    tf.global_variables_initializer().run()
    for step in range(30):
        here = slice(step * batch_size, (step + 1) * batch_size)
        feed_dict = {
            train_inputs: words[here],
            train_labels: neighbours[here],
            sampled: random.randint(0, vocabulary_size, num_sampled),
        }
        losses.append(session.run([optimizer, loss], feed_dict=feed_dict)[1])
    losses.append(similarity.eval().std())
