"""Where mathematics leaves a choice, PyTorch's is taken; PyTorch 2.13 printed these numbers, in float64."""

import numpy as np
import pytest

from tinyopt import Tensor, ops

LOGITS = [[1.0, 2.0, 0.5], [-1.0, 0.0, 3.0]]
LABELS = np.array([1, 0])
SOFT = [[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]]

# (what is chosen, function, inputs, incoming gradient or None for ones, value, gradient of each input)
CONVENTIONS = [
    ("maximum: a tie gives half to each", ops.maximum, [[1, 2, 3], [2, 2, 2]], [1, 2, 4],
     [2, 2, 3], [[0, 1, 4], [1, 1, 0]]),
    ("minimum: a tie gives half to each", ops.minimum, [[1, 2, 3], [2, 2, 2]], [1, 2, 4],
     [1, 2, 2], [[1, 1, 0], [0, 1, 4]]),
    ("max: ties share evenly along the axis", lambda x: x.max(axis=1), [[[1, 3, 3], [3, 0, 3]]], [1, 2],
     [3, 3], [[[0, 0.5, 0.5], [1, 0, 1]]]),
    ("max: ties share evenly over all", lambda x: x.max(), [[[1, 3, 3], [3, 0, 3]]], None,
     3, [[[0, 0.25, 0.25], [0.25, 0, 0.25]]]),
    ("min: ties share evenly", lambda x: x.min(), [[0, 1, 0, 2]], None, 0, [[0.5, 0, 0.5, 0]]),
    ("max_pool2d: the first of equals", lambda x: ops.max_pool2d(x, kernel_size=2, stride=1),
     [[[[[1, 2, 2], [2, 2, 1], [0, 2, 2]]]]], [[[[1, 2], [4, 8]]]],
     [[[[2, 2], [2, 2]]]], [[[[[0, 3, 0], [4, 8, 0], [0, 0, 0]]]]]),
    ("max_pool2d: padding never wins", lambda x: ops.max_pool2d(x, kernel_size=2, padding=1),
     [[[[[-1, -2], [-3, -4]]]]], [[[[1, 2], [4, 8]]]], [[[[-1, -2], [-3, -4]]]], [[[[[1, 2], [4, 8]]]]]),
    ("avg_pool2d: padding counts", lambda x: ops.avg_pool2d(x, kernel_size=2, padding=1),
     [[[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]], [[[[1, 2], [4, 8]]]],
     [[[[0.25, 1.25], [2.75, 7]]]], [[[[[0.25, 0.5, 0.5], [1, 2, 2], [1, 2, 2]]]]]),
    ("clip: the limits are inside", lambda x: x.clip(-1, 1), [[-2, -1, 0, 1, 2]], None,
     [-1, -1, 0, 1, 1], [[0, 1, 1, 1, 0]]),
    ("abs: 0 at 0", abs, [[-1, 0, 2]], None, [1, 0, 2], [[-1, 0, 1]]),
    ("relu: 0 at 0", ops.relu, [[-1, 0, 2]], None, [0, 0, 2], [[0, 0, 1]]),
    ("pow: x⁰ is 1 and flat, also at 0", lambda x: x**0, [[0, 0, 2]], None, [1, 1, 1], [[0, 0, 0]]),
    ("pow: 0 to the y is flat in y", ops.pow, [[0, 2, 3], [2, 0, 1.5]], None, [0, 1, 5.196152422706632],
     [[0, 0, 2.598076211353316], [0, 0.6931471805599453, 5.708556905378076]]),
    ("var: divides by n − 1", lambda x: x.var(), [[1, 2, 4, 9]], None,
     12.666666666666666, [[-2, -1.3333333333333333, 0, 3.333333333333333]]),
    ("var: correction=0 divides by n", lambda x: x.var(axis=1, correction=0), [[[1, 2, 4], [9, 0, 3]]], None,
     [1.5555555555555554, 14], [[[-0.888888888888889, -0.22222222222222232, 1.111111111111111],
                                [3.333333333333333, -2.6666666666666665, -0.6666666666666666]]]),
    ("cross_entropy: mean over the batch", lambda z: ops.cross_entropy(z, LABELS), [LOGITS], None,
     2.265126343932687, [[[0.11561194881107452, -0.18573414039411879, 0.07012219158304424],
       [-0.4914260872272398, 0.023306311288986945, 0.4681197759382529]]]),
    ("cross_entropy: label smoothing",
     lambda z: ops.cross_entropy(z, LABELS, label_smoothing=0.1), [LOGITS], None,
     2.2234596772660207, [[[0.09894528214440786, -0.15240080706078546, 0.053455524916377575],
                           [-0.45809275389390647, 0.006639644622320279, 0.4514531092715862]]]),
    ("cross_entropy: one loss for each",
     lambda z: ops.cross_entropy(z, LABELS, reduction="none", label_smoothing=0.1), [LOGITS], None,
     [0.5477021174412783, 3.8992172370907623],
     [[[0.1978905642888157, -0.3048016141215709, 0.10691104983275515],
       [-0.9161855077878129, 0.013279289244640557, 0.9029062185431724]]]),
    ("cross_entropy: soft targets, which are differentiated too", ops.cross_entropy, [LOGITS, SOFT], None,
     0.940126343932687, [[[0.015611948811074514, 0.06426585960588121, -0.07987780841695576],
       [-0.04142608722723981, -0.026693688711013058, 0.06811977593825286]],
      [[0.7321843920539725, 0.23218439205397245, 0.9821843920539725],
       [2.0329419518787146, 1.5329419518787146, 0.03294195187871456]]]),
    ("cross_entropy: soft targets smoothed, summed",
     lambda z, t: ops.cross_entropy(z, t, label_smoothing=0.1, reduction="sum"), [LOGITS, SOFT], None,
     2.061919354532041, [[[0.01789056428881569, 0.1451983858784291, -0.16308895016724487],
       [-0.10618550778781297, -0.07672071075535947, 0.18290621854317235]],
      [[1.3179319056971504, 0.41793190569715044, 1.7679319056971505],
       [3.6592955133816862, 2.7592955133816863, 0.059295513381686205]]]),
    ("batch_norm: by the biased variance of the batch",
     lambda x, w, b: ops.batch_norm(x, w, b, x.data.mean(axis=0), x.data.var(axis=0)),
     [[[1, 2], [3, 5], [8, 4]], [2, -1], [0.5, 0]], [[1, 2], [3, -1], [0.5, 4]],
     [[-1.538097485635139, 1.3363019143128718], [-0.17936582854504635, -1.0690415314502975],
      [3.2174633141801854, -0.26726038286257436]],
     [[[-0.6532360118089704, 0.6872348484629893], [0.9145310436387537, 1.374486877840144],
       [-0.26129503182978325, -2.061721726303133]], [-1.3587316570900927, -2.6726038286257428], [4.5, 5]]),
    ("expand: −1 keeps a length", lambda x: ops.expand(x, shape=(-1, 3, -1)), [[[[1, 2]], [[3, 4]]]], None,
     [[[1, 2]] * 3, [[3, 4]] * 3], [[[[3, 3]], [[3, 3]]]]),
]  # fmt: skip


@pytest.mark.parametrize("choice, f, inputs, g, y, gradients", CONVENTIONS, ids=[c[0] for c in CONVENTIONS])
def test_choices_are_pytorchs(choice, f, inputs, g, y, gradients):
    tensors = [Tensor(np.array(x, dtype="float64"), requires_grad=True) for x in inputs]
    output = f(*tensors)
    np.testing.assert_allclose(output.data, y, rtol=1e-12, atol=1e-14)
    output.backward(np.ones(output.shape) if g is None else np.array(g, dtype="float64"))
    for t, wanted in zip(tensors, gradients, strict=True):
        np.testing.assert_allclose(t.grad, wanted, rtol=1e-12, atol=1e-14)
