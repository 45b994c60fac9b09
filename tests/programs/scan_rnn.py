"""A recurrent network over sequences of any length: scan, map_fn, cond, RMSProp."""

import gpugrad.compat.v1 as tf
from tests.programs.data import Digits, Initial

initial = Initial(4, 0.3)
digits = Digits()

inputs = tf.placeholder(tf.float32, [None, None, 8])  # [time, batch, features]
targets = tf.placeholder(tf.float32, [None, 10])
with tf.variable_scope("rnn"):
    W = tf.get_variable("W", initializer=initial(8, 10))
    U = tf.get_variable("U", initializer=initial(10, 10))
    b = tf.get_variable("b", [10], initializer=tf.zeros_initializer())

first = tf.zeros([tf.shape(inputs)[1], 10])
states = tf.scan(
    lambda h, x: tf.tanh(tf.matmul(x, W) + tf.matmul(h, U) + b), inputs, first
)
scores = tf.map_fn(lambda h: tf.nn.log_softmax(h * 3.0), states)
last = scores[-1]
steps = tf.shape(inputs)[0]
weight = tf.cond(steps > 4, lambda: tf.constant(1.0), lambda: tf.reduce_mean(U * U))
loss = -tf.reduce_mean(tf.reduce_sum(targets * last, 1)) * (1.0 + weight)
optimizer = tf.train.RMSPropOptimizer(0.01, momentum=0.5)
pairs = [(g, v) for g, v in optimizer.compute_gradients(loss) if g is not None]
train = optimizer.apply_gradients([(tf.clip_by_norm(g, 1.0), v) for g, v in pairs])

losses = []
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for i in range(30):
        pictures, labels = digits.next_batch(12)
        length = 3 + i % 4
        rows = pictures.reshape((12, 8, 8)).transpose([1, 0, 2])[:length]
        losses.append(sess.run([loss, train], {inputs: rows, targets: labels})[0])
