"""``gpugrad demo``: a classifier of handwritten digits, trained on gg.gradients."""
