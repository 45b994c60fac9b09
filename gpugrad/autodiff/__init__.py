"""tf.gradients: reverse-mode derivatives built as ordinary nodes of the graph."""
