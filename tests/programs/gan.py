"""A generative adversarial network: two optimizers, each with variables of its own."""

import gpugrad.compat.v1 as tf
from tests.programs.data import Digits, Initial, noise

initial = Initial(6, 0.2)
digits = Digits()
samples = noise(30, 16, 6, seed=8)

gen_input = tf.placeholder(tf.float32, shape=[None, 6], name="input_noise")
disc_input = tf.placeholder(tf.float32, shape=[None, 64], name="disc_input")


def layer(x, rows, columns, name):
    with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
        w = tf.get_variable("w", initializer=initial(rows, columns))
        b = tf.get_variable("b", initializer=tf.zeros([columns]))
    return tf.matmul(x, w) + b


def generator(x):
    with tf.variable_scope("Generator"):
        hidden = tf.nn.relu(layer(x, 6, 24, "hidden"))
        return tf.nn.sigmoid(layer(hidden, 24, 64, "out"))


def discriminator(x):
    with tf.variable_scope("Discriminator", reuse=tf.AUTO_REUSE):
        hidden = tf.nn.leaky_relu(layer(x, 64, 24, "hidden"), alpha=0.2)
        return layer(hidden, 24, 1, "out")


gen_sample = generator(gen_input)
disc_real = discriminator(disc_input)
disc_fake = discriminator(gen_sample)


def cross_entropy(logits, real):
    labels = tf.ones_like(logits) if real else tf.zeros_like(logits)
    return tf.reduce_mean(
        tf.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=labels)
    )


gen_loss = cross_entropy(disc_fake, True)
disc_loss = cross_entropy(disc_real, True) + cross_entropy(disc_fake, False)

gen_vars = tf.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES, scope="Generator")
disc_vars = [v for v in tf.trainable_variables() if v.name.startswith("Disc")]
train_gen = tf.train.AdamOptimizer(0.01, beta1=0.5).minimize(
    gen_loss, var_list=gen_vars
)
with tf.control_dependencies([train_gen]):
    train_disc = tf.train.GradientDescentOptimizer(0.1).minimize(
        disc_loss, var_list=disc_vars
    )

losses = []
with tf.Session() as sess:
    sess.run(tf.global_variables_initializer())
    for z in samples:
        batch_x, _ = digits.next_batch(16)
        feed_dict = {disc_input: batch_x, gen_input: z}
        losses += sess.run([gen_loss, disc_loss], feed_dict=feed_dict)
        sess.run(train_gen, feed_dict=feed_dict)
        sess.run(train_disc, feed_dict=feed_dict)
