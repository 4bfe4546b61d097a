# h5_zoo.py FOLDER: files that h5py writes and core/file/h5.c must read or refuse; used by h5_test.lua.
import os
import sys

import h5py
import numpy as np

folder = sys.argv[1]
values = np.arange(24).reshape(2, 3, 4)

with h5py.File(os.path.join(folder, "types.h5"), "w") as f:
    for name in "i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split():
        f[name] = values.astype("<" + name)
        f[name + "_big"] = values.astype(">" + name)
    f["bool"] = (values % 2 == 1)
    f["scalar"] = np.float32(2.5)
    f["empty"] = np.zeros((0, 4), "f4")
    f["none"] = h5py.Empty("f4")
    f["u8_large"] = np.array([1, 2**63 + 5], "u8")
    f["complex"] = values.astype("c8")
    f["text"] = "hello"
    f["rank6"] = np.zeros((1, 1, 1, 1, 1, 2), "f4")
    f["long_double"] = values.astype(np.longdouble)
    f.create_dataset("chunked", data=np.arange(1000 * 7, dtype="f4").reshape(1000, 7), chunks=(33, 3), compression="gzip",
                     shuffle=True, fletcher32=True)
    f.create_dataset("growing", data=values.astype("i4"), maxshape=(None, 3, 4))
    g = f.create_group("attributes")
    g.attrs["int"] = 7
    g.attrs["u1"] = np.uint8(200)
    g.attrs["real"] = 0.25
    g.attrs["half"] = np.float16(0.5)
    g.attrs["flag"] = True
    g.attrs["text"] = "grüße"
    g.attrs["fixed"] = np.bytes_(b"fixed")
    g.attrs["ints"] = [1, 2, 3]
    g.attrs["reals"] = np.array([[1.5, 2.5], [3.5, 4.5]])
    g.attrs["texts"] = ["a", "bc", ""]
    g.attrs["none"] = h5py.Empty("f4")
    g.attrs["complex"] = 1 + 2j
    f.create_group("a/b/c")

with h5py.File(os.path.join(folder, "other.h5"), "w") as f:
    f["x"] = values.astype("f4")

with h5py.File(os.path.join(folder, "hostile.h5"), "w") as f:
    f["x"] = values.astype("f4")
    f["soft"] = h5py.SoftLink("/x")
    f["loop"] = h5py.SoftLink("/loop")
    f["outside"] = h5py.ExternalLink("other.h5", "/x")
    f["outside_group"] = h5py.ExternalLink("other.h5", "/")
    f.create_group("cycle")["again"] = f["/"]
    layout = h5py.VirtualLayout(shape=(2, 3, 4), dtype="f4")
    layout[:] = h5py.VirtualSource(os.path.join(folder, "other.h5"), "x", shape=(2, 3, 4))
    f.create_virtual_dataset("virtual", layout)
    f.create_dataset("elsewhere", shape=(4,), dtype="i1", external=[("/etc/hostname", 0, 4)])
    f.create_dataset("lzf", data=values, compression="lzf")
    f.create_dataset("scaleoffset", data=values, scaleoffset=0)
    f.create_dataset("claim", shape=(2**40,), dtype="f4", chunks=(1024,))
    f.create_dataset("claim_gzip", shape=(2**28,), dtype="f4", chunks=(1024,), compression="gzip")
    f["claim_gzip"][:1024] = 1
    f.create_dataset("chunk", shape=(2**30,), dtype="i1", chunks=(2**30,), compression="gzip")
    f.create_dataset("overflow", shape=(2**62, 8), dtype="f8", chunks=(1, 8))
