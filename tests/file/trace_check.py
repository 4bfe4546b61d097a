# trace_check.py FILE…: opens each trace with plain h5py and checks that every row marked done holds what trace_test.c wrote.
# Prints "FILE rows_done finished" a line; ends with 1 at the first wrong value. The content is a function of row and tap.
import sys

import h5py
import numpy as np

TAPS = ["layer00/mixer", "layer00/router_experts", "half", "logits"]

for path in sys.argv[1:]:
    with h5py.File(path, "r") as f:
        assert list(f["meta"].attrs["taps"]) == TAPS, path
        assert f["meta"].attrs["format"] == "nibble trace" and f["meta"].attrs["version"] == 1, path
        assert f["meta"].attrs["run"] == "test", path
        row = np.nonzero(f["rows/done"][:])[0]
        for field, want in {"seq": row % 3, "pos": row // 3, "step": row // 2, "token": 1000 - row}.items():
            assert (f["rows/" + field][:][row] == want).all(), (path, field)
        mixer = f["taps/layer00/mixer"][:][row]
        assert (mixer == (row[:, None] * 8 + np.arange(8)).astype("f4") + 0.5).all(), path
        assert (f["taps/layer00/router_experts"][:][row] == row[:, None, None] * 6 + np.arange(6).reshape(2, 3)).all(), path
        assert (f["taps/half"][:][row] == (row[:, None] + np.arange(5)).astype("u2")).all(), path
        assert f["taps/half"].attrs["dtype"] == "BF16", path
        has = f["present/logits"][:][row] == 1
        assert (has == (row % 4 == 3)).all(), path
        assert (f["taps/logits"][:][row[has]] == row[has][:, None] - np.arange(40)).all(), path
        assert f["taps/logits"].dims[1].label == "vocab" and f["taps/logits"].attrs["units"] == "nat", path
        print(path, len(row), bool(f["meta"].attrs["finished"]))
