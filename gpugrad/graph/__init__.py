"""What the user builds, in TensorFlow's vocabulary."""
