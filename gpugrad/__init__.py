"""gpugrad: tf.gradients on NumPy and CUDA, without TensorFlow."""
