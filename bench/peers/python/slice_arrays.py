"""Writes rows [start, start + count) of every array of an .npz to another: python slice_arrays.py <from> <to> <start> <count>"""

import sys

import numpy as np

source, target, start, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with np.load(source) as arrays:
    np.savez(target, **{name: arrays[name][start : start + count] for name in arrays})
