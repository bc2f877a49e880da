"""Measurements: the metrics, label accuracy, paired error, distance to the training set.

`fidelity` alone imports torch-fidelity, and only when it is needed.
"""
