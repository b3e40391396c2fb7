"""The programs of which public CUDA memory snapshots exist, restated.

Each follows what its public script makes and drops, operation by operation, as the snapshot's own stacks tell it: sizes
of the model, what is kept for the backward pass, in which order weights come to the device. Nothing here is fast or good
practice; that is how these programs were written.
"""
