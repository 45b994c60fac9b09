"""Softmax regression with gradient descent, the first tutorial of them all."""

import numpy as np

import gpugrad.compat.v1 as tf
from tests.programs.data import Digits, Initial

initial = Initial(0)
digits = Digits()

# Create the model
x = tf.placeholder(tf.float32, [None, 64])
W = tf.Variable(initial(64, 10))
b = tf.Variable(tf.zeros([10]))
y = tf.matmul(x, W) + b

# Define loss and optimizer
y_ = tf.placeholder(tf.float32, [None, 10])
cross_entropy = tf.reduce_mean(
    -tf.reduce_sum(y_ * tf.log(tf.nn.softmax(y)), reduction_indices=[1])
)
train_step = tf.train.GradientDescentOptimizer(0.5).minimize(cross_entropy)

# Test trained model
correct_prediction = tf.equal(tf.argmax(y, 1), tf.argmax(y_, 1))
accuracy = tf.reduce_mean(tf.cast(correct_prediction, tf.float32))

losses = []
sess = tf.InteractiveSession()
tf.global_variables_initializer().run()
for _ in range(40):
    batch_xs, batch_ys = digits.next_batch(50)
    feed = {x: batch_xs, y_: batch_ys}
    losses.append(sess.run([train_step, cross_entropy], feed_dict=feed)[1])
test_xs, test_ys = digits.next_batch(200)
losses.append(np.float32(accuracy.eval({x: test_xs, y_: test_ys})))
sess.close()
