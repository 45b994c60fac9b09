"""Two hidden layers with dropout and Adam; scopes, summaries of accuracy, a Saver."""

import gpugrad.compat.v1 as tf
from tests.programs.data import Digits, Initial

initial = Initial(1)
digits = Digits()


def nn_layer(input_tensor, input_dim, output_dim, layer_name, act=tf.nn.relu):
    with tf.name_scope(layer_name):
        with tf.name_scope("weights"):
            weights = tf.Variable(initial(input_dim, output_dim))
        with tf.name_scope("biases"):
            biases = tf.Variable(tf.constant(0.1, shape=[output_dim]))
        with tf.name_scope("Wx_plus_b"):
            preactivate = tf.matmul(input_tensor, weights) + biases
        return act(preactivate, name="activation")


with tf.name_scope("input"):
    x = tf.placeholder(tf.float32, [None, 64], name="x-input")
    y_ = tf.placeholder(tf.float32, [None, 10], name="y-input")

hidden1 = nn_layer(x, 64, 50, "layer1")
with tf.name_scope("dropout"):
    keep_prob = tf.placeholder(tf.float32)
    dropped = tf.nn.dropout(hidden1, keep_prob)
hidden2 = nn_layer(dropped, 50, 30, "layer2", act=tf.nn.tanh)
y = nn_layer(hidden2, 30, 10, "layer3", act=tf.identity)

with tf.name_scope("cross_entropy"):
    diff = tf.nn.softmax_cross_entropy_with_logits(labels=y_, logits=y)
    with tf.name_scope("total"):
        cross_entropy = tf.reduce_mean(diff)
    decay = 1e-4 * tf.add_n([tf.nn.l2_loss(v) for v in tf.trainable_variables()])

with tf.name_scope("train"):
    global_step = tf.Variable(0, trainable=False, name="global_step")
    rate = tf.train.exponential_decay(0.01, global_step, 10, 0.9, staircase=True)
    optimizer = tf.train.AdamOptimizer(rate)
    train_step = optimizer.minimize(cross_entropy + decay, global_step=global_step)

losses = []
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for _ in range(40):
        xs, ys = digits.next_batch(32)
        # What is dropped is another part of the test: random numbers differ.
        _, loss = sess.run([train_step, cross_entropy], {x: xs, y_: ys, keep_prob: 1.0})
        losses.append(loss)
    losses.append(sess.run(rate))
