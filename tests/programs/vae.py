"""A variational autoencoder."""

import gpugrad.compat.v1 as tf
from tests.programs.data import Digits, Initial, noise

initial = Initial(5)
digits = Digits()
steps = noise(30, 16, 4)

x = tf.placeholder(tf.float32, [None, 64])
epsilon = tf.placeholder(tf.float32, [None, 4])


def dense(inputs, size, name, activation=None):
    with tf.variable_scope(name):
        width = inputs.get_shape().as_list()[-1]
        w = tf.get_variable("w", initializer=initial(width, size))
        b = tf.get_variable("b", shape=[size], initializer=tf.zeros_initializer())
        found = tf.nn.xw_plus_b(inputs, w, b)
    return found if activation is None else activation(found)


with tf.variable_scope("encoder"):
    h = dense(x, 24, "h", tf.nn.softplus)
    z_mean = dense(h, 4, "mean")
    z_log_sigma_sq = dense(h, 4, "log_sigma_sq")
z = tf.add(z_mean, tf.multiply(tf.sqrt(tf.exp(z_log_sigma_sq)), epsilon))
with tf.variable_scope("decoder"):
    logits = dense(dense(z, 24, "h", tf.nn.softplus), 64, "out")

reconstr_loss = tf.reduce_sum(
    tf.nn.sigmoid_cross_entropy_with_logits(labels=x, logits=logits), 1
)
latent_loss = -0.5 * tf.reduce_sum(
    1 + z_log_sigma_sq - tf.square(z_mean) - tf.exp(z_log_sigma_sq), 1
)
cost = tf.reduce_mean(reconstr_loss + latent_loss)
optimizer = tf.train.AdamOptimizer(learning_rate=0.005).minimize(cost)

losses = []
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for e in steps:
        pictures, _ = digits.next_batch(16)
        losses.append(sess.run((optimizer, cost), {x: pictures, epsilon: e})[1])
