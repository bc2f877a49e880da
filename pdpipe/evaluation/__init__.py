"""Measurements: FID, inception score, label accuracy, paired error, distance to the training set.

`fidelity` alone imports torch-fidelity, and only when a metric is computed.
"""
