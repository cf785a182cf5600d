"""What CuPy 14 has and NumPy has otherwise, as data; `standin.py` acts by it.

Source: CuPy, `cupy/_core/core.pyx` (the array's methods and both protocols), "Universal functions" in its
reference, and `cupy-names.txt` beside this file.
"""

import pathlib

CUPY_NAMES = set(pathlib.Path(__file__).with_name("cupy-names.txt").read_text(encoding="utf-8").split("\n"))

# Which ufuncs have a method, beside being called; `outer` is everybody's.
UFUNC_METHODS = {
    "at": {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"},
    "reduce": {"add", "multiply"},
    "accumulate": {"add", "multiply"},
    "reduceat": {"add"},
}
UFUNC_KEYWORDS = {"out", "dtype", "casting", "axis", "keepdims"}
ATOMIC_TYPES = ("int32", "uint32", "uint64", "float16", "float32", "float64")  # what a GPU can add `at`

# The array's methods, and the keywords that they take.
METHODS = """
all any max min argmax argmin: axis out keepdims
sum prod mean: axis dtype out keepdims
var std: axis dtype out ddof keepdims
cumsum cumprod: axis dtype out
sort argsort: axis kind
partition argpartition: kth axis
ravel flatten copy reshape: order
transpose swapaxes nonzero conj conjugate:
astype: dtype order copy
clip: min max out
diagonal: offset axis1 axis2
dot: b out
fill: value
repeat: repeats axis
round: decimals out
searchsorted: v side sorter
squeeze: axis
take: indices axis out
view: dtype
"""
METHODS = {
    name: keywords.split()
    for names, _, keywords in (line.partition(":") for line in METHODS.strip().split("\n"))
    for name in names.split()
}

# Functions, by how they differ.
NEVER_DISPATCHED = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}  # but for like=
PRINTING = {"array2string", "array_repr", "array_str", "save", "savez", "savez_compressed", "savetxt"}
ARRAYS_ONLY = {"concatenate", "stack", "hstack", "vstack", "dstack", "column_stack"}  # no lists of numbers
FACTS = {"shape", "ndim", "size", "result_type", "iscomplexobj", "isrealobj", "may_share_memory"}  # no arrays
NUMPY_ONLY = {"where", "initial", "stable", "hermitian", "correction", "min", "max"}  # keywords
