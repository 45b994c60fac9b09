"""python -m bench --gpu: kernels and training steps on one GPU, within eight minutes.

Only the checks of its arithmetic, its tables and its budget have run: without a GPU
nothing here has been timed.
"""
