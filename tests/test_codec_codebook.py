"""Labels and centroids: sizes as promised, and back bit by bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinyopt.codec import decode_codebook, encode_codebook
from tinyopt.errors import FormatError


@st.composite
def codebooks(draw):
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    centroids = draw(hnp.arrays(dtype, st.integers(1, 70)))  # NaN and Inf too: bytes are bytes
    labels = draw(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=2, max_side=12, min_side=0),
                             elements=st.integers(0, centroids.size - 1)))
    return labels, centroids


@given(codebooks(), st.sampled_from(["auto", "packed", "huffman"]))
def test_roundtrip_to_the_bit(case, coding):
    labels, centroids = case
    data = encode_codebook(labels, centroids, coding=coding)
    labels_back, centroids_back = decode_codebook(data, labels.size)
    assert labels_back.tolist() == labels.reshape(-1).tolist()
    assert centroids_back.dtype == centroids.dtype and centroids_back.tobytes() == centroids.tobytes()


@given(codebooks())
def test_packed_takes_the_promised_bits_and_auto_the_smaller(case):
    labels, centroids = case
    lengths = {c: len(encode_codebook(labels, centroids, coding=c)) for c in ("auto", "packed", "huffman")}
    bits = next(b for b in range(9) if 2**b >= centroids.size)
    assert lengths["packed"] == 2 + centroids.nbytes + -(-labels.size * bits // 8)
    assert lengths["auto"] == min(lengths.values())


def test_skewed_labels_shrink_under_huffman():
    labels = np.minimum(np.random.default_rng(0).geometric(0.5, 10_000) - 1, 15)
    packed, coded = (len(encode_codebook(labels, np.ones(16), coding=c)) for c in ("packed", "huffman"))
    assert coded < 0.52 * packed  # the entropy of these is 2 bits, of 4


def test_bad_input_is_refused():
    centroids = np.ones(4, np.float32)
    for labels in ([4], [-1], [0.5]):
        with pytest.raises(ValueError, match=r"labels are integers in 0\.\.3"):
            encode_codebook(np.array(labels), centroids)
    for wrong in (np.ones((2, 2)), np.arange(4), np.ones(4, np.float16)):
        with pytest.raises(ValueError, match="centroids are a row"):
            encode_codebook(np.array([0]), wrong)
    with pytest.raises(ValueError, match="'zip'"):
        encode_codebook(np.array([0]), centroids, coding="zip")


@pytest.mark.parametrize("coding", ["packed", "huffman"])
def test_cut_or_lengthened_data_is_refused(coding):
    data = encode_codebook(np.arange(30) % 5, np.linspace(0, 1, 5, dtype=np.float32), coding=coding)
    for cut in range(len(data)):
        with pytest.raises(FormatError):
            decode_codebook(data[:cut], 30)
    for wrong, count in ((data + b"\x00", 30), (data, 17), (data, 40), (b"\x07" + data[1:], 30)):
        with pytest.raises(FormatError):
            decode_codebook(wrong, count)


def test_a_label_beyond_the_centroids_is_refused():
    data = bytearray(encode_codebook(np.array([0, 1, 2]), np.ones(3, np.float32), coding="packed"))
    data[-1] = 0b11111100
    with pytest.raises(FormatError, match=r"0\.\.2 are due; got 3, up to 3"):
        decode_codebook(bytes(data), 3)
