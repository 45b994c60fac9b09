"""An LSTM classifier written out: while_loop, TensorArrays, clipped gradients."""

import gpugrad.compat.v1 as tf
from tests.programs.data import Digits, Initial

initial = Initial(3, 0.3)
digits = Digits()

num_input, timesteps, num_hidden = 8, 8, 12
X = tf.placeholder(tf.float32, [None, timesteps, num_input])
Y = tf.placeholder(tf.float32, [None, 10])
weights = {"gates": tf.Variable(initial(20, 48)), "out": tf.Variable(initial(12, 10))}
biases = {"gates": tf.Variable(tf.zeros([48])), "out": tf.Variable(initial(10))}


def step(x, state):
    c, h = state
    gates = tf.matmul(tf.concat([x, h], 1), weights["gates"]) + biases["gates"]
    i, j, f, o = tf.split(gates, 4, axis=1)
    c = c * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
    return c, tf.tanh(c) * tf.sigmoid(o)


def rnn(inputs):
    inputs_ta = tf.TensorArray(tf.float32, size=timesteps)
    inputs_ta = inputs_ta.unstack(tf.transpose(inputs, [1, 0, 2]))
    outputs_ta = tf.TensorArray(tf.float32, size=timesteps)
    zeros = tf.zeros([tf.shape(inputs)[0], num_hidden])

    def body(time, state, output_ta):
        state = step(inputs_ta.read(time), state)
        return time + 1, state, output_ta.write(time, state[1])

    _, _, outputs_ta = tf.while_loop(
        lambda time, *_: time < timesteps, body, (0, (zeros, zeros), outputs_ta)
    )
    return outputs_ta.stack()


outputs = rnn(X)
logits = tf.matmul(outputs[-1], weights["out"]) + biases["out"]
loss_op = tf.reduce_mean(
    tf.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=Y)
)
trainable = tf.trainable_variables()
grads, norm = tf.clip_by_global_norm(tf.gradients(loss_op, trainable), 0.5)
train_op = tf.train.AdamOptimizer(0.01).apply_gradients(zip(grads, trainable))

losses = []
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for _ in range(30):
        batch_x, batch_y = digits.next_batch(16)
        batch_x = batch_x.reshape((16, timesteps, num_input))
        results = sess.run([train_op, loss_op, norm], {X: batch_x, Y: batch_y})
        losses += results[1:]
